"""The parameters of methods: a field that came later does not turn old records into those of other cells."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar

import pytest

from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell, build, method
from poisonbench.identity import versions
from poisonbench.plugins.parameters import parameters, places
from poisonbench.plugins.registry import configure, entries, load
from poisonbench.store.record import Record
from poisonbench.store.record_setup import KNOWS


@dataclass(frozen=True)
class Grown:
    """A method with a field of its first day, and two that came later."""

    later_fields: ClassVar[frozenset[str]] = frozenset({"start", "width"})

    steps: int = 3
    start: str = "clean"
    width: tuple[float, ...] = (0.5,)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (Grown(), {"steps": 3}),
        (Grown(start="random"), {"steps": 3, "start": "random"}),
        (Grown(steps=4, width=(0.5, 1.0)), {"steps": 4, "width": [0.5, 1.0]}),
        (LabelFlip(), {"flip": "rule", "class_weights": []}),
    ],
)
def test_a_later_field_is_left_out_at_its_default(method: Grown | LabelFlip, expected: dict[str, object]) -> None:
    found = parameters(method)
    assert found == expected
    assert configure(type(method), found, "attack") == method


@dataclass(frozen=True)
class Placed:
    """A method with a field that says where what another one names lies."""

    places: ClassVar[frozenset[str]] = frozenset({"folder"})

    folder: str = ""
    sha256: str = ""


def test_a_place_is_no_parameter() -> None:
    method = Placed("/home/somebody", "ab")
    assert parameters(method) == {"sha256": "ab"}
    assert configure(Placed, parameters(method) | places(method), "attack") == method


@pytest.mark.parametrize("name", entries("attack"))
def test_later_fields_and_places_are_fields_with_defaults(name: str) -> None:
    attack = load("attack", name)
    own = {item.name for item in fields(attack) if item.default is not MISSING}
    for declared in (attack.later_fields, attack.places):
        assert declared <= own
        assert isinstance(declared, frozenset)


def test_a_later_field_leaves_the_cell_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if label-flip had begun without its field `flip`: then the cell was one of no such field."""

    def cell(*settings: protocol.Setting) -> Cell:
        return build(protocol.resolve("digits-v1", settings), "label-flip", "none", epsilon=0.03, seed=0)

    with_it = cell().hash()
    monkeypatch.setattr(LabelFlip, "later_fields", LabelFlip.later_fields | {"flip"})
    assert method("attack", cell().attack)["params"] == {"class_weights": []}
    assert cell().hash() != with_it
    assert cell(protocol.Setting("attack.flip", "rule", "--set")).hash() == cell().hash()
    assert cell(protocol.Setting("attack.flip", "worst", "--set")).hash() != cell().hash()


def test_published_methods_are_those_of_the_classes_that_ship(published_records: tuple[Record, ...]) -> None:
    """Of the versions that ship: a field that a record does not have is a later one, and a record's fields are what the
    same run would record now."""
    seen = set()
    for record in published_records:
        for kind, info in (("attack", record.attack), ("defense", record.defense)):
            if "+" not in info.name and int(info.version) == versions.current(kind, info.name):
                seen.add((kind, info.name, json.dumps(info.params, sort_keys=True)))
    assert {kind for kind, *_ in seen} == {"attack", "defense"}
    for kind, name, text in sorted(seen):
        params = {key: value for key, value in json.loads(text).items() if key != KNOWS}  # is of the cell, no field
        assert parameters(configure(load(kind, name), params, kind)) == params, name
