"""Imports run one way. Read from the source; an import inside a function counts, one for type checkers does not."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import poisonbench

LAYERS = (
    {"__main__"},
    {"api", "cli"},
    {"submission", "sweeps", "terminal", "testing", "scaffold", "tracking"},
    {"leaderboard"},
    {"experiment"},
    {"attacks", "defenses"},
    {"training"},
    {"data", "models", "stages"},
    {"plugins", "problem", "store"},
    {"bilevel", "guard", "plugged"},
    {"augmentation", "counted", "errors", "files", "identity", "images", "process", "seeding", "visible"},
)
"""Top to bottom: a module may import from its own layer and from those below. A new module is entered here."""

FOLDERS = ("attacks", "defenses", "leaderboard", "protocols")


@pytest.fixture(scope="module")
def graph(checkout: Path) -> dict[str, set[str]]:
    """Module → the modules of poisonbench that it imports."""
    paths = {".".join(("poisonbench", *path.parts)): checkout / "poisonbench" / path for path in _python(checkout)}
    paths |= {
        ".".join(("poisonbench", folder, *path.parts)): checkout / folder / path
        for folder in FOLDERS
        for path in _python(checkout, folder)
    }
    files = {name.removesuffix(".py").removesuffix(".__init__"): path for name, path in paths.items()}
    return {name: set(_imports(path, set(files))) - {name, "poisonbench"} for name, path in files.items()}


def _python(checkout: Path, folder: str = "poisonbench") -> Iterator[Path]:
    return (path.relative_to(checkout / folder) for path in sorted((checkout / folder).rglob("*.py")))


def _imports(path: Path, known: set[str]) -> Iterator[str]:
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import; write poisonbench.… in full"
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            yield from inside
            if node.module in known and len(inside) < len(node.names):
                yield str(node.module)


def _unit(module: str) -> str:
    """The name in LAYERS: that of the module, or of the package it is in."""
    return module.split(".")[1] if "." in module else module


def test_every_module_has_a_layer(graph: dict[str, set[str]]) -> None:
    placed = set().union(*LAYERS)
    assert {_unit(module) for module in graph} - placed - {"poisonbench", "protocols"} == set()


def test_no_import_runs_back_up(graph: dict[str, set[str]]) -> None:
    level = {unit: index for index, units in enumerate(LAYERS) for unit in units}
    wrong = [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if level.get(_unit(other), len(LAYERS)) < level.get(_unit(module), len(LAYERS))
    ]
    assert wrong == []


def test_nothing_inside_goes_through_the_face(checkout: Path) -> None:
    """It would hide which module is meant, from this file and from the hash of a method's code."""
    for path in (
        checkout / folder / path for folder in ("poisonbench", *FOLDERS) for path in _python(checkout, folder)
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "poisonbench":
                taken = {alias.name for alias in node.names}
                assert taken.isdisjoint(poisonbench.__all__), path
            if isinstance(node, ast.Import):
                assert "poisonbench" not in {alias.name for alias in node.names}, path


def test_there_is_no_circle(graph: dict[str, set[str]]) -> None:
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        (
            "leaderboard",
            {"leaderboard", "counted", "experiment", "store", "plugins", "identity", "errors", "visible", "files"},
        ),
        ("store", {"store", "errors", "files"}),
        ("terminal", {"terminal", "counted", "leaderboard", "store", "errors", "visible"}),
        ("bilevel", {"bilevel", "errors"}),
        ("models", {"models", "bilevel", "plugins", "problem", "errors"}),
        ("data", {"data", "plugins", "seeding", "problem", "errors", "files", "images"}),
    ],
)
def test_a_package_reads_nothing_else(graph: dict[str, set[str]], package: str, allowed: set[str]) -> None:
    read = {_unit(other) for module, others in graph.items() if _unit(module) == package for other in others}
    assert read <= allowed


def test_attacks_and_defenses_do_not_know_each_other(graph: dict[str, set[str]]) -> None:
    sides = {"attacks", "defenses"}
    for module, others in graph.items():
        if _unit(module) in sides:
            assert not {_unit(other) for other in others} & (sides - {_unit(module)}), module


def test_a_method_does_not_reach_the_store_or_the_test_set(graph: dict[str, set[str]]) -> None:
    """It knows what its view holds; a method that opened a dataset itself would know more."""
    for module, others in graph.items():
        if _unit(module) in {"attacks", "defenses"}:
            assert not {_unit(other) for other in others} & {"store", "data", "experiment"}, module
