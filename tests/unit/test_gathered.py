"""A store's records together with those that ship, by filters and by their ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poisonbench.cli.main import app
from poisonbench.errors import UnknownNameError
from poisonbench.leaderboard.gathered import gathered, named
from poisonbench.leaderboard.published import published
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.shipped import shipped_ids

CHOICES: tuple[tuple[dict[str, object], Callable[[Record], bool]], ...] = (
    ({"attack": "tgda"}, lambda one: one.attack.name == "tgda"),
    (
        {"attack": ("tgda", "min-max"), "seed": (1, 2)},
        lambda one: one.attack.name in {"tgda", "min-max"} and one.seeds.run in {1, 2},
    ),
    ({"epsilon": 0.03, "defense": ["none"]}, lambda one: one.threat.epsilon == 0.03 and one.defense.name == "none"),
    ({"protocol": "digits-v2"}, lambda one: False),
    ({"surrogate": (None,)}, lambda one: one.surrogate is None),
    ({"surrogate": ("nn",)}, lambda one: one.surrogate == "nn"),
    ({"model": {"lr"}, "seed": 3}, lambda one: one.model.name == "lr" and one.seeds.run == 3),
)
"""Filters, and what fits them."""


@pytest.fixture
def shipped(ship: Callable[..., None]) -> list[Record]:
    ship("mnist-v2", "lr", "none")
    return published()


def test_each_record_is_there_once_and_fits_every_filter(shipped: list[Record], tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.add(shipped[0])
        assert gathered(store, {}, False) == [shipped[0]]
        assert sorted(one.record_id for one in gathered(store, {}, True)) == [one.record_id for one in shipped]
        for filters, fits in CHOICES:
            expected = {one.record_id for one in shipped if fits(one)}
            assert {one.record_id for one in gathered(store, filters, True)} == expected, filters
        with pytest.raises(UnknownNameError):
            gathered(store, {"attak": "tgda"}, True)


def test_a_published_record_is_found_by_the_start_of_its_id(shipped: list[Record], tmp_path: Path) -> None:
    one = shipped[0]
    with Store.open(tmp_path) as store:
        assert named(store, one.record_id[:12].upper(), True) == one
        with pytest.raises(UnknownNameError, match="No record"):
            named(store, one.record_id, False)
        with pytest.raises(UnknownNameError, match="No record"):
            named(store, "", True)
        several = next(id_[0] for id_ in sorted(shipped_ids()))
        with pytest.raises(UnknownNameError, match="begins several records") as published:
            named(store, several, True)
        store.add_all([one for one in shipped if one.record_id.startswith(several)][:10])
        with pytest.raises(UnknownNameError) as stored:
            named(store, several, False)
        assert str(published.value).endswith(", …. Give more characters.")
        assert len(str(published.value)) == len(str(stored.value))  # told in the same words, of other records


def test_commands_read_what_ships_from_an_empty_store(shipped: list[Record], tmp_path: Path) -> None:
    def command(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--published", "--store", str(tmp_path)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    found = json.loads(command("compare", "tgda", "label-flip", "--protocol", "mnist-v2", "--json"))
    drops = {
        name: [one.metrics.drop for one in shipped if one.metrics and one.attack.name == name]
        for name in ("tgda", "label-flip")
    }
    (pair,) = found["comparisons"]
    assert (pair["images"], len(pair["seeds"])) == (10_000, 5)
    assert pair["difference"]["mean"] == pytest.approx((sum(drops["tgda"]) - sum(drops["label-flip"])) / 5)
    one = shipped[0]
    assert json.loads(command("results", "show", one.record_id)) == one.document()
    assert len(json.loads(command("results", "show", "--attack", "tgda", "--json"))) == 5
    assert one.record_id[:8] in command("results", "show", "--limit", "0")
    command("results", "export", one.record_id, "--output", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / f"{one.record_id}.json").read_text()) == one.document()
