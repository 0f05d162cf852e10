"""Earlier code: records of other versions never mix with those of the versions that ship, and say what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poisonbench.identity import versions
from poisonbench.leaderboard.badges import Badge, Tier
from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.conditions import newest
from poisonbench.leaderboard.experiments import Experiment, experiments
from poisonbench.leaderboard.selection import select
from poisonbench.leaderboard.tables.pivot import pivot
from poisonbench.leaderboard.tables.shapes import Shape
from poisonbench.store.record import Record
from poisonbench.store.tables import row_of

FIXTURE = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))
BEFORE = {"engine": {"version": 0}, "model": {**FIXTURE["model"], "version": 0}}

Seeds = Callable[..., list[Record]]


def of_version(records: list[Record], version: str, **changes: Any) -> list[Record]:
    """The same by another version of their attack."""
    documents = [{key: part for key, part in one.document().items() if key != "record_id"} for one in records]
    return [Record.create(**{**one, "attack": {**one["attack"], "version": version, **changes}}) for one in documents]


def only(records: list[Record]) -> Experiment[Record]:
    (found,) = experiments(records)
    return found


def test_records_from_before_versions_have_a_board_of_their_own(seeds: Seeds) -> None:
    now, before = seeds("tgda", [3.0, 4.0, 5.0]), seeds("tgda", [30.0, 40.0, 50.0], **BEFORE)
    current, earlier = boards([*before, *now])
    assert (current.conditions.earlier, earlier.conditions.earlier) == (False, True)
    assert earlier.title == f"{current.title} · earlier code"
    assert [standing.experiment.drops for standing in current.attacks] == [{0: 3.0, 1: 4.0, 2: 5.0}]
    assert [standing.rank for board in (current, earlier) for standing in board.attacks] == [1, 1]
    assert [one.tier for board in (current, earlier) for one in board.experiments] == [Tier.SELF_REPORTED, Tier.EARLIER]
    assert Badge.EARLIER in earlier.experiments[0].badges


def test_another_version_of_a_method_is_shown_and_not_ranked(seeds: Seeds) -> None:
    now, before = seeds("tgda", [3.0, 4.0, 5.0]), of_version(seeds("tgda", [30.0, 40.0, 50.0]), "0")
    (board,) = boards([*before, *now])
    assert [(one.rank, one.experiment.attack_label) for one in board.attacks] == [
        (1, "tgda"),
        (None, "tgda (version=0)"),
    ]
    outdated = board.attacks[1].experiment
    assert (outdated.ranked, outdated.tier) == (False, Tier.EARLIER)
    assert {Badge.UNRANKED, Badge.EARLIER} <= set(outdated.badges)


def test_a_plugin_may_have_any_version(seeds: Seeds) -> None:
    (board,) = boards(of_version(seeds("mine", [3.0, 4.0, 5.0]), "7"))
    assert board.attacks[0].rank == 1
    assert not board.attacks[0].experiment.earlier


def test_tables_keep_them_apart(seeds: Seeds) -> None:
    records = [*seeds("tgda", [3.0, 4.0, 5.0]), *seeds("tgda", [30.0, 40.0, 50.0], **BEFORE)]
    shape = Shape(("attack",), ("defense",), ("drop",))
    tables = pivot(map(row_of, records), {"drop": lambda row: row.drop}, shape)
    means = [[one.summary.mean for one in table.measured.values()] for table in tables]
    assert sorted(means) == [[4.0], [40.0]]


def test_what_is_named_is_taken_of_the_code_that_ships(seeds: Seeds) -> None:
    names = ("tgda", "emn")
    now = [record for name in names for record in seeds(name, [3.0, 4.0])]
    before = [record for name in names for record in seeds(name, [30.0, 40.0], **BEFORE)]
    chosen = select(experiments([*before, *now]), names)
    assert [one.conditions.earlier for one in chosen] == [False, False]
    assert [one.conditions.earlier for one in select(experiments(before), names)] == [True, True]
    assert len(newest(boards([*before, *now]), lambda board: board.conditions)) == 1


def test_forms_of_code_on_record_for_one_version_are_no_mixed_code(
    seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, unknown = "1" * 64, "2" * 64, "3" * 64
    book = {"attack": {"tgda": {"1": [one, other]}}}
    monkeypatch.setattr(versions, "book", lambda: book)

    first, second = seeds("tgda", [1.0, 2.0])

    def codes(*hashes: str) -> list[Record]:
        pairs = zip((first, second), hashes, strict=True)
        return [changed for record, code in pairs for changed in of_version([record], "1", code_hash=code)]

    assert not only(codes(one, other)).mixed_code
    assert only(codes(one, unknown)).mixed_code


@pytest.mark.parametrize("part", ["engine", "model", "attack", "defense"])
def test_whatever_had_other_code_mixes_it(seeds: Seeds, part: str) -> None:
    first, second = (record.document() for record in seeds("tgda", [1.0, 2.0]))

    def of_code(document: dict[str, Any], digit: str) -> Record:
        facts = {key: value for key, value in document.items() if key != "record_id"}
        return Record.create(**{**facts, part: {**facts[part], "code_hash": digit * 64}})

    assert not only([of_code(first, "5"), of_code(second, "5")]).mixed_code
    found = only([of_code(first, "5"), of_code(second, "6")])
    assert found.mixed_code
    assert Badge.MIXED_CODE in found.badges
