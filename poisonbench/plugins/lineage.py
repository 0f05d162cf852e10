"""The bodies of a class and of its bases, read from their sources: to import a method is to import torch."""

from __future__ import annotations

import ast
from functools import cache

from poisonbench import _FACE
from poisonbench.identity.sources import source


def lineage(target: str) -> list[list[ast.stmt]]:
    """The bodies of a class and of those that it inherits from, itself first; what comes from another package than its
    own and this one is not followed.

    Args:
        target: "module:Class".
    """
    module, _, attribute = target.partition(":")
    return _bodies(module, attribute, module.partition(".")[0])


def _bodies(module: str, attribute: str, home: str) -> list[list[ast.stmt]]:
    if module == "poisonbench" and attribute in _FACE:
        module, _, attribute = _FACE[attribute].partition(":")
    if module.partition(".")[0] not in (home, "poisonbench"):
        return []
    for node in _statements(module):
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return [node.body, *(body for base in node.bases for body in _inherited(base, module, home))]
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == attribute:
                    return _bodies(node.module, alias.name, home)
    return []


def _inherited(base: ast.expr, module: str, home: str) -> list[list[ast.stmt]]:
    """Those of a base class, written as Name or as module.Name."""
    match base:
        case ast.Name():
            return _bodies(module, base.id, home)
        case ast.Attribute(value=ast.Name() as owner):
            imports = (node for node in _statements(module) if isinstance(node, ast.Import))
            for alias in (alias for node in imports for alias in node.names):
                if (alias.asname or alias.name) == owner.id:
                    return _bodies(alias.name, base.attr, home)
    return []


@cache
def _statements(module: str) -> list[ast.stmt]:
    path = source(module)
    try:
        return ast.parse(path.read_bytes()).body if path else []
    except (ValueError, OSError, SyntaxError):
        return []


def forget_sources() -> None:
    """Read every source anew from now on."""
    _statements.cache_clear()
