"""The records that ship: each is what its name says, ranked, and its experiment has all its protocol's seeds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from poisonbench.errors import PoisonbenchError
from poisonbench.experiment.protocol import load
from poisonbench.leaderboard import published as published_module
from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.published import published
from poisonbench.store.record import Record

CHECKOUT = Path(__file__).resolve().parents[2]
UNDER_WAY = {("mnist-v2", "nn")}
"""Boards of which a seed takes hours: what is finished of them is published, unranked until every seed is there."""

PROTOCOLS = ("digits-17-v2", "digits-unlearnable-v2", "digits-v1", "digits-v2", "mnist-17-v2", "mnist-v1", "mnist-v2")


def test_every_file_is_a_ranked_record_that_names_itself(published_records: tuple[Record, ...]) -> None:
    files = {path.stem for path in (CHECKOUT / "leaderboard" / "results").glob("*.json")}
    assert {record.record_id for record in published_records} == files
    assert all(record.ranked and record.status == "ok" for record in published_records)
    assert {record.protocol.name for record in published_records} == set(PROTOCOLS)


def test_what_is_asked_for_alone_is_read(published_records: tuple[Record, ...], ship: Callable[..., None]) -> None:
    ship("tgda")
    asked = published({"digits-v1"}, {"tgda", "nobody's"}, {"sever", "loss"})
    assert asked == [
        record
        for record in published_records
        if (record.protocol.name, record.attack.name) == ("digits-v1", "tgda")
        and record.defense.name in ("sever", "loss")
    ]
    assert asked
    assert len(asked) < len(published({"digits-v1"})) < len(published(PROTOCOLS))
    assert published(attacks=()) == published(("cifar10-v1",)) == []


def test_it_does_not_matter_how_a_file_is_written_and_what_is_no_record_is_refused(
    ship: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ship("tgda", "digits-v1")
    one, *_ = published_module.shipped_files()
    document = json.loads(one.read_text())
    (tmp_path / "compact.json").write_text(json.dumps(document))
    monkeypatch.setattr(published_module, "shipped_files", lambda: [tmp_path / "compact.json"])
    assert published(("digits-v1",), attacks=("tgda",)) == published() != []
    assert published(("digits-v2",)) == published(attacks=("emn",)) == []
    (tmp_path / "compact.json").write_bytes(one.read_bytes()[:-100])
    with pytest.raises(PoisonbenchError):
        published(("digits-v1",))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_experiment_has_all_seeds(name: str, published_records: tuple[Record, ...]) -> None:
    """But for those of boards that are under way, which have some of them and no other."""
    found = experiments(record for record in published_records if record.protocol.name == name)
    assert found
    assert all(not one.superseded and not one.mixed_code for one in found)
    begun = [one for one in found if (name, one.conditions.model) in UNDER_WAY]
    whole = [one for one in found if (name, one.conditions.model) not in UNDER_WAY]
    seeds = set(load(name).seeds)
    assert all(set(one.records) >= seeds for one in whole)
    assert all(set(one.records) <= seeds for one in begun)
    by_model = defaultdict(set)
    for one in whole:
        by_model[one.conditions.model].add(tuple(one.records))
    assert all(len(found) == 1 for found in by_model.values()), "some of a board's experiments have more seeds"
