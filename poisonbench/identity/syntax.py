"""A module as its numbers see it: the syntax tree without what only people, type checkers and error messages read."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

_PROSE = {"paper", "cost"}
"""Class attributes that describe a method."""

_SKIPPED = {"ctx", "kind", "type_comment"}
"""Fields of a syntax node that follow from the others, or say nothing."""


@dataclass(frozen=True)
class Module:
    """What a module's numbers depend on.

    Attributes:
        digest: SHA-256 of its stripped tree, in hex.
        imports: dotted names that it imports when it runs.
        uses: those of them that its code has a use for, with attributes, such as `poisonbench.training.descend`.
        literals: its top-level names that are plain literals.
    """

    digest: str
    imports: frozenset[str]
    uses: frozenset[str]
    literals: dict[str, Any]


@cache
def parsed(source: bytes, package: str) -> Module:
    """Read a module's source: once in a process, however often its file is looked at.

    Args:
        source: its bytes.
        package: that relative imports start from.
    Raises:
        SyntaxError: if it is not Python.
    """
    tree = ast.parse(source)
    literals, nodes = dict(_literals(tree)), list(ast.walk(tree))
    for_types = {id(node) for block in nodes if _never_runs(block) for node in ast.walk(block)}
    imported = dict(_imported((node for node in nodes if id(node) not in for_types), package))
    stripped = _Strip().visit(tree)
    stars = {origin for name, origin in imported.items() if name.startswith("*")}
    return Module(
        digest=hashlib.sha256(_text(stripped).encode()).hexdigest(),
        imports=frozenset(imported.values()),
        uses=frozenset(stars.union(_used(stripped, imported))),
        literals=literals,
    )


def _never_runs(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


class _Strip(ast.NodeTransformer):
    """Takes out docstrings, imports, annotations, what is for type checkers alone, and the texts of errors."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A docstring, or a string that documents an attribute."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """An import says where a name comes from; the module there is hashed itself."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """As above."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """`if TYPE_CHECKING` never runs."""
        return None if _never_runs(node) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """The kind of an error can change what happens, its words cannot."""
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=kind, cause=None)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """A parameter without its annotation."""
        return ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function without its return annotation."""
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """As above."""
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """A field keeps its name and its default."""
        if isinstance(node.target, ast.Name) and node.target.id in _PROSE:
            return None
        value = self.visit(node.value) if node.value else None
        return ast.Assign(targets=[self.visit(node.target)], value=value or ast.Name(id="..."))


def _text(node: object) -> str:
    """One text of a tree, the same in every version of Python."""
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={_text(value)}"
            for name, value in ast.iter_fields(node)
            if name not in _SKIPPED and value is not None and value != []
        )
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    return repr(node)


def _imported(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[str, str]]:
    """Each imported name, and what it stands for; a star import under `*` and the module's name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else ((top := alias.name.partition(".")[0]), top)
                yield f" {alias.name}", alias.name  # `import a.b` also runs b, whatever is used of a
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                if alias.name == "*":
                    yield f"*{origin}", origin
                else:
                    yield alias.asname or alias.name, f"{origin}.{alias.name}"


def _literals(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                try:
                    yield name, ast.literal_eval(value)
                except ValueError:
                    continue  # an expression


def _used(tree: ast.AST, imported: dict[str, str]) -> Iterator[str]:
    """The dotted names of what is used of imports."""
    for node in ast.walk(tree):
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id in imported:
            yield ".".join((imported[node.id], *reversed(names)))
