"""The records that ship: each is what its name says, ranked, and its experiment has all its protocol's seeds."""

from __future__ import annotations

import json
import lzma
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from poisonbench.errors import CorruptFileError, PoisonbenchError
from poisonbench.experiment.protocol import load
from poisonbench.leaderboard import published as published_module
from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.published import published
from poisonbench.store import shipped
from poisonbench.store.canonical import hash_of_itself, parse_json
from poisonbench.store.record import Record
from poisonbench.store.shipped import shipped_hashes, shipped_ids, shipped_texts
from poisonbench.store.upgrades import SCHEMA_VERSION

CHECKOUT = Path(__file__).resolve().parents[2]
UNDER_WAY = {("mnist-v2", "nn")}
"""Boards of which a seed takes hours: what is finished of them is published, unranked until every seed is there."""

PROTOCOLS = (
    "digits-17-v2", "digits-unlearnable-v2", "digits-v1", "digits-v2", "mnist-17-v2", "mnist-5k-v2", "mnist-v1",
    "mnist-v2",
)  # fmt: skip


def test_every_file_is_a_ranked_record_that_names_itself(published_records: tuple[Record, ...]) -> None:
    assert [record.record_id for record in published_records] == sorted(shipped_ids())
    assert all(record.ranked and record.status == "ok" for record in published_records)
    assert {record.protocol.name for record in published_records} == set(PROTOCOLS)


def test_every_text_names_itself_and_reads_as_it_would_from_anybody() -> None:
    """So none takes the slow way; some of every board take both."""
    for protocol in PROTOCOLS:
        texts = list(shipped_texts({protocol}))
        assert all(hash_of_itself(text, SCHEMA_VERSION) for text in texts)
        for text in texts[::100]:
            record = Record.read_shipped(text)
            assert record == Record.read(parse_json(text))
            assert record.content_hash in shipped_hashes()
    assert len(shipped_hashes()) == len(shipped_ids())


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


def test_it_does_not_matter_how_a_record_is_written_and_what_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = next(text for text in shipped_texts({"digits-v1"}) if b'"name":"tgda"' in text)

    def ship(text: bytes) -> None:
        monkeypatch.setattr(published_module, "shipped_texts", lambda protocols=None: iter([text]))

    ship(json.dumps(json.loads(one), indent=1).encode())
    assert published(("digits-v1",), attacks=("tgda",)) == published() != []
    assert published(("digits-v2",)) == published(attacks=("emn",)) == []
    ship(one[:-100])
    with pytest.raises(PoisonbenchError):
        published(("digits-v1",))


def test_a_board_that_lost_records_on_the_way_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CHECKOUT / "leaderboard" / "results" / "mnist-v1", tmp_path / "results" / "mnist-v1")
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    assert len(list(shipped_texts())) == 150
    path = tmp_path / "results" / "mnist-v1" / "lr.jsonl.xz"
    path.write_bytes(lzma.compress(lzma.decompress(path.read_bytes()).split(b"\n", 1)[1]))
    with pytest.raises(CorruptFileError, match="149 records, but 150 ids"):
        list(shipped_texts())


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
