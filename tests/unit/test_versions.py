"""Declared versions: everything that ships has one, and its code is on record for it."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from poisonbench.errors import PluginError
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell, build
from poisonbench.identity import code, versions
from poisonbench.plugins.built_in import BUILT_IN
from poisonbench.plugins.record import declared
from poisonbench.plugins.registry import load, version_of

ADVICE = "If its numbers can change, raise its version; then run `python -m poisonbench.plugins.record`."

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from poisonbench.attacks.base import Attack
from poisonbench.plugins.registry import register
from poisonbench.problem.threat import ThreatModel
SHIFT = 0
@register("mine")
@dataclass(frozen=True)
class Mine(Attack):
    version: ClassVar[int] = 3
    threat = ThreatModel()
    def craft(self, view, budget, stage):
        return SHIFT
"""


def cell(attack: str = "label-flip", defense: str = "none") -> Cell:
    return build(protocol.resolve("digits-v1", ()), attack, defense, epsilon=0.03, seed=0)


def test_the_code_of_everything_that_ships_is_on_record() -> None:
    changed = [
        f"{kind} {name} {version}"
        for kind, name, version, digest in declared()
        if not versions.on_record(kind, name, version, digest)
    ]
    assert not changed, f"The code of {', '.join(changed)} changed. {ADVICE}"


def test_the_book_names_what_ships_and_nothing_else() -> None:
    shipped = {(kind, name): version for kind, name, version, _ in declared()}
    book = {(kind, name): versions.current(kind, name) for kind, names in versions.book().items() for name in names}
    assert book == shipped


def test_a_hash_is_of_one_version() -> None:
    for names in versions.book().values():
        for by_version in names.values():
            hashes = [digest for digests in by_version.values() for digest in digests]
            assert len(hashes) == len(set(hashes))


@pytest.mark.parametrize("kind", BUILT_IN)
def test_everything_that_ships_declares_its_own_version(kind: str) -> None:
    for name in BUILT_IN[kind]:
        assert "version" in vars(load(kind, name)), name


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, None])
def test_what_is_no_version_is_refused(version: object) -> None:
    with pytest.raises(PluginError, match=r"expected an integer from 1"):
        version_of(type("Odd", (), {"version": version}))


def test_a_version_or_unknown_code_changes_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    known = cell().hash()
    attack = load("attack", "label-flip")
    monkeypatch.setattr(attack, "version", 2)
    assert cell().hash() != known
    monkeypatch.undo()
    assert cell().hash() == known
    book = {**versions.book(), "engine": {"engine": {str(versions.ENGINE): []}}}
    monkeypatch.setattr(versions, "book", lambda: book)
    assert cell().hash() != known


def test_another_form_of_code_on_record_keeps_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    known, book = cell().hash(), versions.book()
    monkeypatch.setattr(versions, "engine_hash", lambda: "f" * 64)
    assert cell().hash() != known
    monkeypatch.setattr(versions, "book", lambda: {**book, "engine": {"engine": {str(versions.ENGINE): ["f" * 64]}}})
    assert cell().hash() == known


def test_an_edited_plugin_has_cells_of_its_own(tmp_path: Path, plug: Callable[..., None]) -> None:
    files = {}
    for shift in (0, 5):
        folder = tmp_path / str(shift)
        folder.mkdir()
        files[shift] = folder / "mine.py"
        files[shift].write_text(PLUGIN.replace("SHIFT = 0", f"SHIFT = {shift}"))
    plug(files[0])
    first = cell("mine").hash()
    assert first == cell("mine").hash()
    files[0].write_text(files[5].read_text())
    code.forget()
    assert cell("mine").hash() != first


def test_every_part_of_a_composed_defense_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    known = cell(defense="loss+maxup").hash()
    for name in ("loss", "maxup"):
        monkeypatch.setattr(load("defense", name), "version", 2)
        assert cell(defense="loss+maxup").hash() != known
        monkeypatch.undo()
    assert cell(defense="loss+maxup").hash() == known


class Declared:
    """A class whose version is a plain class attribute."""

    version: ClassVar[int] = 7


def test_the_version_is_the_class_s() -> None:
    assert version_of(Declared) == 7


def test_what_ships_must_be_of_its_own_version_and_a_plugin_of_any() -> None:
    made_by = [
        ("engine", "engine", versions.ENGINE),
        ("attack", "tgda", load("attack", "tgda").version),
        ("attack", "mine", 9),
    ]
    assert versions.outdated(made_by) == []
    old = [("attack", "tgda", 0), ("attack", "mine", 0), ("defense", "loss", 99)]
    assert versions.outdated(made_by + old) == old
