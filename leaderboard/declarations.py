"""What a method's class declares, read from its source as the registry reads its summary: to import it is to import
torch, which takes longer than the whole site. And its paper, as BibTeX."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
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


_MEANING = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
"""A field below "Fields:", and the lines that go on about it."""


@dataclass(frozen=True)
class Field:
    """A field of a method's class.

    Attributes:
        name: as after --set attack. or --set defense.
        default: as it is given there; a quotient as the source has it; empty if there is none.
        meaning: what the docstring says of it; empty if it says nothing.
    """

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Declaration:
    """What could be read of a method's class.

    Attributes:
        summary: first sentence of the docstring.
        source: distribution and version that it comes from.
        paper: key of its entry in the bibliography.
        defaults: by field, as a record has them; a field whose default is no literal is left out. Class attributes
            such as cost and presets are there too.
        fields: in the order of the class.
    """

    summary: str = ""
    source: str = ""
    paper: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[Field, ...] = ()


def declaration(kind: str, name: str) -> Declaration:
    """What the attack or defense registered under a name declares; empty if none is."""
    entry = entries(kind).get(name)
    return Declaration() if entry is None or entry.broken else _declaration(entry)


@cache
def _declaration(entry: Entry) -> Declaration:
    """Of a file's entry with every text of the file, as the entry holds its release."""
    found: dict[str, Any] = {}
    own: dict[str, str] = {}
    meanings: dict[str, str] = {}
    for body in reversed(lineage(entry.target)):
        own |= {name: _shown(value) for name, value in _fields(body)}
        meanings |= _meanings(body)
        for key, value in _assigned(body):
            found.pop(key, None)
            try:
                found[key] = plain(_literal(value))
            except ValueError:
                continue
    paper = found.pop("paper", None)
    source = f"{entry.distribution} {entry.release}"
    fields = tuple(Field(name, default, meanings.get(name, "")) for name, default in own.items())
    return Declaration(entry.summary, source, paper if isinstance(paper, str) else None, found, fields)


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


def _fields(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr | None]]:
    """The fields of a dataclass, with their defaults."""
    for node in body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=default):
                if "ClassVar" not in ast.unparse(kind):
                    yield name, default


def _shown(node: ast.expr | None) -> str:
    """A default as it is written after --set; what is no literal as the source has it, a member of an enumeration by
    its name."""
    if node is None:
        return ""
    if isinstance(node, ast.Attribute):
        return node.attr.lower().replace("_", "-")
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
    if isinstance(value, str) and value:
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(plain(value), ensure_ascii=False)


def _meanings(body: list[ast.stmt]) -> dict[str, str]:
    """What a class's docstring says below "Fields:", by field."""
    match body:
        case [ast.Expr(value=ast.Constant(value=str() as text)), *_]:
            _, _, said = inspect.cleandoc(text).partition("\nFields:\n")
            return {name: " ".join(words.split()) for name, words in _MEANING.findall(said)}
    return {}


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
