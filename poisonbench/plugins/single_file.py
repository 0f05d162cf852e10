"""What a single file registers, read from its text: nothing of it is run."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from poisonbench import _FACE
from poisonbench.errors import PluginError

BASES = {
    "poisonbench.attacks": "attack",
    "poisonbench.defenses": "defense",
    "poisonbench.models": "model",
    "poisonbench.data": "dataset",
}
"""Package of a base class → what a class derived from it is."""

DIGITS = 12
"""Of a file's SHA-256, that are its release."""

_REGISTER = "poisonbench.plugins.registry.register"


@dataclass(frozen=True)
class Declared:
    """A class with `@register("name")`.

    Attributes:
        kind: attack, defense, model or dataset, by its base class.
        name: the literal.
        attribute: the class's own name.
    """

    kind: str
    name: str
    attribute: str


def declared(path: Path) -> list[Declared]:
    """The registered classes of a file, in its order.

    Raises:
        PluginError: if it cannot be read or parsed, registers nothing, or a class's name or kind is not to be seen.
    """
    tree = _parsed(path)
    imported = dict(_imported(tree))
    kinds: dict[str, str] = {}
    found: list[Declared] = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        kind = next(filter(None, (_kind(_dotted(base, imported), kinds) for base in node.bases)), None)
        if kind is not None:
            kinds[node.name] = kind
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call) or _dotted(decorator.func, imported) != _REGISTER:
                continue
            if kind is None:
                bases = "Attack, Defense, Model or DatasetSource of poisonbench"
                raise PluginError(f"{path}: {node.name}: none of its base classes is {bases}, or derived from one.")
            item = Declared(kind, _literal(decorator, path, node.name), node.name)
            if any((other.kind, other.name) == (item.kind, item.name) for other in found):
                raise PluginError(f"{path}: registers the {item.kind} {item.name!r} twice.")
            found.append(item)
    if not found:
        raise PluginError(f'{path}: registers nothing; decorate a class with @poisonbench.register("name").')
    return found


def digest(path: Path) -> str:
    """The first DIGITS of the file's SHA-256: its release."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except OSError as error:
        raise PluginError(f"{path}: cannot be read: {error.strerror}.") from error
    except SyntaxError as error:
        raise PluginError(f"{path}: not Python: line {error.lineno}: {error.msg}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise PluginError(f"{path}: not Python: {error}.") from error


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each imported name, and what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else ((top := alias.name.partition(".")[0]), top)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr, imported: dict[str, str]) -> str:
    """The full name of what an expression refers to, as far as the imports tell; of a name of poisonbench's face, where
    it is defined."""
    match node:
        case ast.Name():
            return _defined(imported.get(node.id, node.id))
        case ast.Attribute():
            return _defined(f"{_dotted(node.value, imported)}.{node.attr}")
        case ast.Subscript():
            return _dotted(node.value, imported)
    return ""


def _defined(name: str) -> str:
    package, _, attribute = name.partition(".")
    return _FACE[attribute].replace(":", ".") if package == "poisonbench" and attribute in _FACE else name


def _kind(base: str, local: dict[str, str]) -> str | None:
    if base in local:
        return local[base]
    return next((kind for package, kind in BASES.items() if base.startswith(f"{package}.")), None)


def _literal(decorator: ast.Call, path: Path, cls: str) -> str:
    match decorator.args, decorator.keywords:
        case [ast.Constant(value=str() as name)], []:
            return name
    raise PluginError(f'{path}: {cls}: expected its name as a literal, @register("name").')
