"""What a method's class declares, read from its source as the registry reads its summary: to import it is to import
torch, which takes longer than the whole site. And its paper, as BibTeX."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from poisonbench import __version__
from poisonbench.plugins.lineage import lineage
from poisonbench.plugins.registry import Entry, entries
from poisonbench.store.canonical import plain
from poisonbench.store.strict_yaml import parse_yaml

BENCHMARK = (
    "@software{poisonbench,\n"
    "  title   = {poisonbench: a benchmark and leaderboard for indiscriminate data poisoning},\n"
    "  author  = {{The poisonbench maintainers}},\n"
    f"  version = {{{__version__}}}\n"
    "}"
)
"""As in CITATION.cff."""


@dataclass(frozen=True)
class Declaration:
    """What could be read of a method's class.

    Attributes:
        summary: first sentence of the docstring.
        source: distribution and version that it comes from.
        paper: key of its entry in the bibliography.
        defaults: by field, as a record has them; a field whose default is no literal is left out.
    """

    summary: str = ""
    source: str = ""
    paper: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


def declaration(kind: str, name: str) -> Declaration:
    """What the attack or defense registered under a name declares; empty if none is."""
    entry = entries(kind).get(name)
    return Declaration() if entry is None or entry.broken else _declaration(entry)


@cache
def _declaration(entry: Entry) -> Declaration:
    """Of a file's entry with every text of the file, as the entry holds its release."""
    found: dict[str, Any] = {}
    for body in reversed(lineage(entry.target)):
        for key, value in _assigned(body):
            found.pop(key, None)
            try:
                found[key] = plain(_literal(value))
            except ValueError:
                continue
    paper = found.pop("paper", None)
    source = f"{entry.distribution} {entry.release}"
    return Declaration(entry.summary, source, paper if isinstance(paper, str) else None, found)


@cache
def citations(kind: str, name: str) -> tuple[str, ...]:
    """The entries of a method's papers, several if it is several joined by +; none if it has none."""
    keys = dict.fromkeys(declaration(kind, part).paper for part in name.split("+"))
    return tuple(_bibliography()[key].strip() for key in keys if key in _bibliography())


@cache
def _bibliography() -> Mapping[str | None, str]:
    text = files("poisonbench").joinpath("bibliography.yaml").read_text(encoding="utf-8")
    found: dict[str | None, str] = parse_yaml(text)
    return found


def _assigned(body: list[ast.stmt]) -> list[tuple[str, ast.expr]]:
    found: list[tuple[str, ast.expr]] = []
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found.append((node.target.id, node.value))
        elif isinstance(node, ast.Assign):
            found.extend((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
    return found


def _literal(node: ast.expr) -> object:
    """A literal's value, that of a quotient of two such as 8 / 255, or of a mapping of these, made read-only or not;
    ValueError for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "MappingProxyType":
        (node,) = node.args
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {
            ast.literal_eval(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key
        }
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        over, under = ast.literal_eval(node.left), ast.literal_eval(node.right)
        if isinstance(over, int | float) and isinstance(under, int | float) and under:
            return over / under
    return ast.literal_eval(node)
