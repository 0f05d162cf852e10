"""A hash of the code behind a method, so that a changed method never takes an older one's results from the cache."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path


@cache
def code_hash(module: str) -> str:
    """SHA-256 over the sources of a module and of every module of poisonbench, or of its own package, that it imports,
    directly or through others. Found by reading the import statements; nothing is imported that was not already."""
    reached: dict[str, bytes] = {}
    waiting = [module]
    packages = {"poisonbench", module.partition(".")[0]}
    while waiting:
        name = waiting.pop()
        if name in reached or name.partition(".")[0] not in packages:
            continue
        source = _source(name)
        if source is None:
            continue
        reached[name] = source
        waiting.extend(_imports(source, _package(name)))
    digest = hashlib.sha256()
    for name in sorted(reached):
        digest.update(f"{name}:{len(reached[name])};".encode())
        digest.update(reached[name])
    return digest.hexdigest()


def _source(name: str) -> bytes | None:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, ValueError):
            return None  # `name` is an attribute of a module, not a module
        file = spec.origin if spec else None
    path = Path(file) if file else None
    return path.read_bytes() if path and path.suffix == ".py" and path.exists() else None


def _package(name: str) -> str:
    spec = importlib.util.find_spec(name)
    return name if spec and spec.submodule_search_locations is not None else name.rpartition(".")[0]


def _imports(source: bytes, package: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names.append(origin)
            names.extend(f"{origin}.{alias.name}" for alias in node.names)
    return names
