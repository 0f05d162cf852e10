"""Boards from planted records: who is ranked, what is left out of numbers and still seen, and what is measured."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from poisonbench.experiment.protocol import ORACLE
from poisonbench.identity.versions import current
from poisonbench.leaderboard.badges import Badge, Tier
from poisonbench.leaderboard.boards import Board, boards
from poisonbench.leaderboard.conditions import Kind
from poisonbench.leaderboard.declarations import declaration
from poisonbench.leaderboard.statistics.largest import interval_of_largest
from poisonbench.leaderboard.trust import Trust
from poisonbench.leaderboard.trust import trust as trust_of
from poisonbench.store.record import Record
from poisonbench.store.record_results import Answers, Metrics

FIXTURE = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))
FIXTURE.pop("record_id")
UNRANKED = {**FIXTURE["protocol"], "locked": True, "deviations": ["recipe.epochs: 100 → 1"]}


def newest(attack: str) -> str:
    """The version that ships, so that a planted record is one of now."""
    return str(current("attack", attack) or 1)


def record(
    attack: str = "tgda",
    drop: float | None = 1.0,
    seed: int = 0,
    defense: str = "none",
    cost: float | None = None,
    day: int = 1,
    params: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """acc1 = 90 with answers of 1000 images, of which all attacks lose the same first; a drop of None is a failure.
    Params are the attack's, settings the defense's."""
    bad = {"status": "failed", "error": "boom", "metrics": None}
    costs = None if cost is None else 90.0 - cost
    good = {"metrics": None if drop is None else metrics(90.0 - drop, costs)}
    facts = {
        "attack": {
            **FIXTURE["attack"],
            "name": attack,
            "version": str(current("attack", attack) or 1),
            "params": params or {},
        },
        "defense": {**FIXTURE["defense"], "name": defense, "params": settings or {}},
        "seeds": {**FIXTURE["seeds"], "run": seed},
        "finished_at": f"2026-01-{day:02d}T00:00:00Z",
        "protocol": {**FIXTURE["protocol"], "locked": True, "deviations": []},
        "surrogate": None,
        "defense_detail": None,
    }
    return Record.create(**{**FIXTURE, **facts, **(bad if drop is None else good), **changes})


def metrics(acc2: float, acc1_defended: float | None = None) -> Metrics:
    clean, attacked = (np.arange(1000) < round(10 * accuracy) for accuracy in (90.0, acc2))
    bits = [base64.b64encode(np.packbits(right).tobytes()).decode("ascii") for right in (clean, attacked)]
    answers = Answers(clean=bits[0], attacked=bits[1])
    return Metrics.of(90.0, acc2, acc1_defended=acc1_defended, answers=answers)


def seeds(attack: str, drops: list[float], **options: Any) -> list[Record]:
    return [record(attack, drop, seed, **options) for seed, drop in enumerate(drops)]


def board(records: list[Record]) -> Board:
    (found,) = boards(records)
    return found


def test_attacks_stand_by_mean_drop_and_share_a_rank_where_they_cannot_be_told_apart() -> None:
    strong, same, weak = [10.0, 10.6, 9.7], [10.1, 10.4, 9.6], [1.0, 1.1, 0.9]
    found = board([*seeds("b", strong), *seeds("a", same), *seeds("c", weak)])
    assert [(one.rank, one.experiment.attack_label) for one in found.attacks] == [(1, "b"), (1, "a"), (3, "c")]
    ranking = found.attack_ranking
    assert (ranking.tied, ranking.ahead, ranking.last("a"), found.seeds) == (("a",), ("c",), 2, (0, 1, 2))
    first = found.attacks[0]
    assert first.test is not None
    assert first.drop is not None
    assert (first.drop.n, first.drop.mean, first.drop.interval) == (3, pytest.approx(30.3 / 3), first.test.interval)
    assert [one.told_from_zero for one in found.attacks] == [True, True, True]
    assert board(seeds("d", [0.1, -0.2, 0.3])).attacks[0].told_from_zero is False


def test_the_protocols_seeds_count_and_no_others() -> None:
    plain = [*seeds("a", [10.0, 10.6, 9.7]), *seeds("b", [1.0, 1.1, 0.9])]
    others = [
        *seeds("more", [5.0, 5.1, 4.9, 80.0, 80.0]),
        *seeds("two", [50.0, 50.0]),
        *[record("apart", 70.0, seed) for seed in (7, 8, 9)],
    ]
    found = board([*plain, *others])
    standing = {one.experiment.attack_label: one for one in found.attacks}
    assert {name: one.rank for name, one in standing.items()} == {"a": 1, "more": 2, "b": 3, "two": None, "apart": None}
    more = standing["more"]
    assert more.drop is not None
    assert (more.drop.mean, more.notes) == (pytest.approx(5.0), ("5 seeds, 3 of them count",))
    assert standing["two"].badges == ("2 of 3 seeds",)
    assert standing["apart"].badges == ("0 of 3 seeds", "3 seeds, 0 of them count")
    assert standing["two"].drop is not None
    assert (standing["two"].test, standing["two"].told_from_zero) == (None, None)
    alone = board(plain)
    with_unranked = board([*plain, *others[5:]])
    assert [one for one in with_unranked.attacks if one.rank] == list(alone.attacks)
    assert with_unranked.attack_ranking == alone.attack_ranking


def test_of_a_protocol_that_is_not_there_the_seeds_that_all_share_count() -> None:
    rules = {**FIXTURE["protocol"], "name": "digits-v0", "deviations": [], "locked": True}
    found = board([*seeds("a", [9.0, 9.1, 9.2, 9.3], protocol=rules), *seeds("b", [1.0] * 5, protocol=rules)])
    assert found.seeds == (0, 1, 2, 3)
    assert [one.rank for one in found.attacks] == [1, 2]


def test_records_without_answers_are_shown_and_not_ranked() -> None:
    old = [record("old", 20.0, seed, metrics=Metrics.of(90.0, 70.0)) for seed in range(3)]
    found = board([*seeds("a", [10.0, 10.6, 9.7]), *old])
    assert [(one.rank, one.experiment.attack_label) for one in found.attacks] == [(1, "a"), (None, "old")]
    last = found.attacks[1]
    assert last.drop is not None
    assert (last.drop.mean, last.drop.interval, last.badges) == (pytest.approx(20.0), None, (Badge.NO_ANSWERS,))


def test_one_setting_of_a_method_is_ranked() -> None:
    """The defaults if they are there, else the oldest; the others change nothing."""

    def run(attack: str, drop: float, params: dict[str, Any], **options: Any) -> list[Record]:
        return [record(attack, drop + seed / 10, seed, params=params, **options) for seed in range(3)]

    defaults = dict(declaration("attack", "label-flip").defaults)
    plain = [*run("label-flip", 3.0, defaults), *run("mine", 9.0, {"x": 2}, day=1)]
    variants = [
        *run("label-flip", 30.0, {**defaults, next(iter(defaults)): "another"}),
        *run("label-flip", 20.0, defaults, surrogate="nn", surrogate_version=1),
        *run("mine", 50.0, {"x": 1}, day=2),
    ]
    found, alone = board([*plain, *variants]), board(plain)
    ranks = [(one.rank, one.experiment.attack.name, one.notes) for one in found.attacks]
    assert ranks[:2] == [(1, "mine", ()), (2, "label-flip", ())]
    assert [rank[0] for rank in ranks[2:]] == [None] * 3
    assert all(Badge.VARIANT in rank[2] for rank in ranks[2:])
    assert list(found.attack_ranking.p.values()) == list(alone.attack_ranking.p.values())


def test_what_does_not_count_is_seen_with_a_badge_and_changes_no_number() -> None:
    counted = seeds("tgda", [3.0, 4.0, 5.0])
    others = [
        record("tgda", 80.0, 0, protocol=UNRANKED),
        record("tgda", None, 3),
        record("tgda", 50.0, 1, day=1, started_at="2025-12-31T00:00:00Z"),
        record("late", None, 0, status="timeout"),
        record("big", None, 0, status="oom"),
        record("once", 70.0, 0),
    ]
    superseding = record("tgda", 4.0, 1, day=2)
    found = board([*counted, *others, superseding])
    standings = {(one.experiment.attack_label, one.experiment.ranked): one for one in found.attacks}
    tgda = standings["tgda", True]
    assert tgda.experiment.drops == {0: pytest.approx(3.0), 1: pytest.approx(4.0), 2: pytest.approx(5.0)}
    assert (tgda.rank, tgda.badges) == (1, (Badge.FAILED,))
    assert standings["tgda", False].rank is None
    assert standings["tgda", False].badges == (Badge.UNRANKED, Badge.FEW_SEEDS)
    assert standings["late", False].badges == (Badge.TIMEOUT,)
    assert standings["big", False].badges == (Badge.OOM,)
    assert (standings["once", True].rank, standings["once", True].badges) == (None, ("1 of 3 seeds",))
    assert [one.experiment.attack_label for one in found.attacks] == ["tgda", "once", "tgda", "big", "late"]


def test_an_attack_that_says_it_collapsed_is_marked() -> None:
    found = board([*seeds("fine", [3.0, 4.0, 5.0]), *seeds("flat", [1.0, 1.0, 1.0], attack_stats={"collapsed": True})])
    assert {one.experiment.attack_label: one.badges for one in found.attacks} == {
        "fine": (),
        "flat": (Badge.COLLAPSED,),
    }


def test_a_later_failure_does_not_undo_a_good_record() -> None:
    (one,) = board([record(drop=2.0, day=1), record(drop=None, day=2)]).experiments
    assert (one.drops, one.failures) == ({0: pytest.approx(2.0)}, {})


def test_seeds_of_several_codes_are_told() -> None:
    fields = record(seed=2).document()
    fields.pop("record_id")
    fields["attack"]["code_hash"] = "f" * 64
    other = Record.create(**fields)
    (one,) = board([record(seed=0), record(seed=1), other]).experiments
    assert Badge.MIXED_CODE in one.badges
    assert Badge.MIXED_CODE not in board([record(seed=0), record(seed=1)]).experiments[0].badges


def test_the_badge_is_for_what_a_trusted_key_signed_alone(verify: Callable[..., Record]) -> None:
    stranger = Ed25519PrivateKey.generate()
    plain = [record(seed=seed) for seed in range(3)]
    signed, unknown = list(map(verify, plain)), [verify(one, key=stranger) for one in plain]
    for found, tier in (
        (signed, Tier.VERIFIED),
        ([signed[0], *plain[1:]], Tier.SELF_REPORTED),
        (unknown, Tier.SELF_REPORTED),
    ):
        (one,) = board(found).experiments
        assert one.tier is tier


def test_conditions_that_differ_are_boards_of_their_own() -> None:
    whole = {**FIXTURE["threat"], "mode": "perturbation", "n_poison": 1006, "denominator": 1006, "epsilon": 1.0}
    added = {**whole, "mode": "addition"}
    part = {**whole, "n_poison": 30}
    found = boards(
        [
            record(),
            record(model={"name": "nn", "version": 1, "n_params": 1}),
            record(protocol={**FIXTURE["protocol"], "version": 9, "deviations": [], "locked": True}),
            record(dataset={**FIXTURE["dataset"], "name": "other"}),
            record(threat=whole),
            record(threat=added),
            record(threat=part),
            record(threat={**FIXTURE["threat"], "epsilon": 0.5}),
        ]
    )
    assert len(found) == 7
    assert [one.conditions.kind for one in found] == [Kind.POISONING] * 6 + [Kind.UNLEARNABLE]
    assert sum(len(one.experiments[0].records) for one in found) == 7  # added and part are one cell: the latest counts
    assert len({one.title for one in found}) == 7


def defended(name: str, drops: dict[str, list[float]], cost: float) -> list[Record]:
    return [one for attack, found in drops.items() for one in seeds(attack, found, defense=name, cost=cost)]


def test_defenses_stand_by_what_they_leave_of_the_same_attacks() -> None:
    nothing = {"a": [10.0, 10.5, 9.6], "b": [2.0, 2.1, 2.2]}
    found = board(
        [
            *defended("none", nothing, 0.0),
            *defended("good", {"a": [1.0, 1.2, 0.9], "b": [1.0, 1.1, 1.2]}, 3.0),
            *defended("dear", {"a": [2.0, 2.2, 1.9], "b": [2.0, 2.1, 2.2]}, 4.0),
            *defended("partial", {"a": [0.0, 0.1, 0.2]}, 0.5),
            *[one for one in defended("short", {"a": [4.0, 4.1, 4.2], "b": [4.0, 4.1, 4.2]}, 0.5) if one.seeds.run < 2],
        ]
    )
    assert found.yardstick == ("a", "b")
    standing = {one.defense: one for one in found.defenses}
    assert [one.defense for one in found.defenses] == ["good", "dear", "none", "short", "partial"]
    assert [standing[name].rank for name in ("good", "dear", "none")] == [1, 2, 3]
    assert [standing[name].told_from_none for name in ("good", "dear", "none", "short")] == [True, True, None, None]
    assert standing["good"].against_none is not None
    assert standing["good"].against_none.mean == pytest.approx((3.1 - 30.1 + 3.3 - 6.3) / 6)
    assert standing["short"].badges == ("2 of 3 seeds",)
    assert standing["good"].residual is not None
    assert standing["good"].residual.mean == pytest.approx((3.1 / 3 + 3.3 / 3) / 2)
    worst = standing["none"].worst
    assert worst is not None
    assert (worst.attack, worst.drop.mean) == ("a", pytest.approx(30.1 / 3))
    assert {name: one.efficient for name, one in standing.items()} == {
        "good": True, "dear": False, "none": True, "partial": False, "short": False,
    }  # fmt: skip
    partial = standing["partial"]
    assert (partial.rank, partial.residual, partial.worst, partial.missing) == (None, None, None, ("b",))


def shown(rows: int | None) -> dict[str, Any]:
    """What a record says of a defense that was shown that many trusted rows."""
    return {"defense_detail": {"removed": 3, "trusted": rows}}


def families(found: Board) -> dict[str, list[tuple[int | None, str]]]:
    return {one.trust: [(each.rank, each.defense) for each in one.standings] for one in found.families}


def test_defenses_with_trusted_data_are_ranked_among_themselves() -> None:
    attacks = {"a": [10.0, 10.5, 9.6], "b": [2.0, 2.1, 2.2]}

    def left(name: str, by: float, cost: float, rows: int | None = 0) -> list[Record]:
        drops = {attack: [drop - by for drop in found] for attack, found in attacks.items()}
        return [one for each in drops for one in seeds(each, drops[each], defense=name, cost=cost, **shown(rows))]

    without = [*left("none", 0.0, 0.0), *left("good", 1.0, 2.0), *left("weak", 0.5, 1.0)]
    knowing = [*left("knows", 1.9, 5.0, 13), *left("knows-less", 0.4, 6.0, 7)]
    found, alone = board([*without, *knowing]), board(without)
    assert families(found) == {
        "without trusted data": [(1, "good"), (2, "weak"), (3, "none")],
        "with trusted data": [(1, "knows"), (2, "knows-less")],
    }
    assert found.families[0] == alone.families[0]  # ranks, p-values and badges: as if there were no others
    assert [len(one.ranking.p) for one in found.families] == [2, 1]
    assert [one.leader.defense for one in found.families if one.leader] == ["good", "knows"]
    standing = {one.defense: one for one in found.defenses}
    assert {name: one.trusted for name, one in standing.items()} == {
        "good": 0, "weak": 0, "none": 0, "knows": 13, "knows-less": 7,
    }  # fmt: skip
    assert [standing[name].told_from_none for name in ("good", "knows", "none")] == [True, True, None]
    against = standing["knows"].against_none
    assert against is not None
    assert against.mean == pytest.approx(-1.9)
    efficient = {name for name, one in standing.items() if one.efficient}
    assert efficient == {"none", "weak", "good", "knows"}
    (worse,) = board([*without, *left("harms", -1.0, 5.0, 13)]).families[1].standings
    assert (worse.rank, worse.efficient) == (1, False)  # no defense leaves less and costs less


def test_the_rows_that_a_filter_removes_stand_beside_what_it_leaves() -> None:
    """The mean over the yardstick's attacks: filters do not take equally many."""

    def taking(rows: int | None, attack: str, name: str) -> list[Record]:
        detail = None if rows is None else {"removed": rows, "trusted": 0}
        return seeds(attack, [1.0, 1.1, 0.9], defense=name, cost=0.0, defense_detail=detail)

    found = board(
        [
            *(one for attack in ("a", "b") for one in taking(None, attack, "none")),
            *taking(40, "a", "filters"),
            *taking(61, "b", "filters"),
            *taking(9, "a", "partial"),
        ]
    )
    removed = {one.defense: one.removed for one in found.defenses}
    assert removed == {"none": None, "filters": 50.5, "partial": None}


def test_an_oracle_is_on_the_board_and_has_no_rank() -> None:
    """Nor does it change another's rank, the yardstick or who is efficient; what deviates otherwise is not there."""
    plain = [*defended("none", {"a": [9.0, 9.5, 8.6]}, 0.0), *defended("even", {"a": [3.0, 3.2, 2.9]}, 1.0)]
    protocol = {**FIXTURE["protocol"], "locked": True, "deviations": [ORACLE]}
    oracle = seeds("a", [0.0, 0.1, -0.1], defense="perfect", cost=0.0, protocol=protocol)
    other = {**protocol, "deviations": [ORACLE, "recipe.epochs: 100 → 5"]}
    more = seeds("a", [0.0, 0.1, -0.1], defense="elsewhere", cost=0.0, protocol=other)
    alone, found = board(plain), board([*plain, *oracle, *more])
    assert found.families[0].standings[:2] == alone.families[0].standings
    (last,) = found.families[0].standings[2:]
    assert (last.defense, last.rank, last.notes, last.efficient) == ("perfect", None, ("oracle",), False)
    assert last.residual is not None
    assert last.residual.mean == pytest.approx(0.0)
    assert (found.yardstick, found.seeds) == (alone.yardstick, alone.seeds)


def test_colours_reach_to_the_strongest_attack_alone() -> None:
    """A control that loses 45 points leaves the colours of the others as they are."""
    plain = defended("none", {"a": [9.0, 9.5, 8.5], "b": [-2.0, -2.1, -1.9]}, 0.0)
    assert board(plain).reach == pytest.approx(9.0)
    assert board([*plain, *defended("hopeless", {"a": [45.0, 44.0, 46.0]}, 40.0)]).reach == pytest.approx(9.0)
    assert board(defended("even", {"a": [3.0, 3.2, 2.8]}, 0.0)).reach == pytest.approx(3.0)
    assert board([record("a", None)]).reach == 1.0


def test_a_method_has_one_setting_in_each_family() -> None:
    def run(drop: float, params: dict[str, Any], rows: int, day: int) -> list[Record]:
        options = {"day": day, "defense": "mine", "settings": params, **shown(rows)}
        return [record("a", drop + seed / 10, seed, **options) for seed in range(3)]

    found = board([*run(5.0, {"x": 1}, 13, 1), *run(4.0, {"x": 2}, 13, 2), *run(3.0, {"x": 3}, 0, 3)])
    assert families(found) == {
        "without trusted data": [(1, "mine (x=3)")],
        "with trusted data": [(1, "mine (x=1)"), (None, "mine (x=2)")],
    }


@pytest.mark.parametrize(
    ("name", "rows", "trust"),
    [
        ("influence", None, Trust.WITH),
        ("loss+trusted-only", None, Trust.WITH),
        ("sever", None, Trust.WITHOUT),
        ("not-installed", None, Trust.WITHOUT),
        ("influence", 0, Trust.WITHOUT),
        ("sever", 1, Trust.WITH),
    ],
)
def test_records_from_before_trusted_rows_were_counted_go_by_what_the_class_declares(
    name: str, rows: int | None, trust: Trust
) -> None:
    assert trust_of(name, rows) is trust


def test_the_worst_attack_is_one_that_every_defense_has_met() -> None:
    """Where a combination is missing there is no worst attack, rather than a smaller one."""
    found = board(
        [
            *defended("none", {"a": [9.0, 9.5, 8.6], "b": [2.0, 2.1, 2.2], "new": [50.0, 51.0, 52.0]}, 0.0),
            *defended("even", {"a": [3.0, 3.2, 2.9], "b": [4.0, 4.1, 4.2]}, 1.0),
            *defended("odd", {"a": [1.0, 1.1, 1.2], "b": [7.0, 6.1, 7.2]}, 1.0),
            *defended("partial", {"a": [0.0, 0.1, 0.2]}, 0.5),
        ]
    )
    worst = {one.defense: one.worst for one in found.defenses}
    assert {name: one and (one.attack, one.name, one.drop.n) for name, one in worst.items()} == {
        "none": ("a", "a", 3), "even": ("b", "b", 3), "odd": ("b", "b", 3), "partial": None,
    }  # fmt: skip
    assert worst["odd"] is not None
    assert worst["odd"].drop.mean == pytest.approx(20.3 / 3)
    drops = [one.contributions("drop") for one in found.experiments if one.defense_label == "odd"]
    interval = interval_of_largest([np.stack([parts[seed] for seed in range(3)]) for parts in drops])
    assert worst["odd"].drop.interval == interval
    assert interval is not None


def test_a_worst_drop_is_over_the_seeds_of_the_mean() -> None:
    """Those that count, or those that all attacks have; nothing without any. Equal drops are the stronger attack's."""
    short = [one for one in seeds("b", [5.0, 5.1, 9.0], defense="x") if one.seeds.run != 1]
    found = board([*seeds("a", [1.0, 2.0, 3.0, 90.0], defense="x"), *short]).defenses[0]
    assert found.worst is not None
    assert (found.worst.attack, found.worst.drop.n, found.worst.drop.mean) == ("b", 2, pytest.approx(7.0))
    apart = [record("a", 1.0, 0, defense="x"), record("b", 1.0, 1, defense="x")]
    assert board(apart).defenses[0].worst is None
    plain = [*seeds("a", [1.0, 1.1, 1.2]), *seeds("b", [3.0, 3.1, 3.2])]
    even = [*seeds("a", [2.0, 2.1, 2.2], defense="x"), *seeds("b", [2.0, 2.1, 2.2], defense="x")]
    assert [one.worst.attack for one in board([*plain, *even]).defenses if one.worst] == ["b", "b"]
    old = [record(attack, drop, seed, defense="x", metrics=Metrics.of(90.0, 90.0 - drop))
           for attack, drop in (("a", 2.0), ("b", 3.0)) for seed in range(3)]  # fmt: skip
    (unranked,) = board(old).defenses
    assert unranked.worst is not None
    assert (unranked.worst.attack, unranked.worst.drop.interval) == ("b", None)


def test_defenses_can_be_in_the_order_of_their_worst_attack() -> None:
    """Ranks stay those of the mean, and so do the leaders."""
    records = [
        *defended("none", {"a": [9.0, 9.5, 8.6], "b": [8.0, 8.1, 8.2]}, 0.0),
        *defended("odd", {"a": [0.0, 0.1, 0.2], "b": [7.0, 6.1, 7.2]}, 1.0),
        *defended("even", {"a": [4.5, 4.6, 4.7], "b": [5.0, 5.1, 5.2]}, 1.0),
        *defended("partial", {"a": [0.0, 0.1, 0.2]}, 0.5),
    ]
    (by_mean,), (by_worst,) = boards(records), boards(records, "worst")
    assert [one.defense for one in by_mean.defenses] == ["odd", "even", "none", "partial"]
    assert [one.defense for one in by_worst.defenses] == ["even", "odd", "none", "partial"]
    assert {one.defense: one for one in by_worst.defenses} == {one.defense: one for one in by_mean.defenses}
    ((before,), (after,)) = by_mean.families, by_worst.families
    assert (after.ranking, after.leader) == (before.ranking, before.leader)


def test_an_attack_that_only_some_defenses_faced_is_no_yardstick() -> None:
    faced = {"a": [5.0, 5.1, 5.2]}
    found = board(
        [
            *defended("none", faced | {"new": [50.0, 51.0, 52.0]}, 0.0),
            *defended("x", faced, 1.0),
            *defended("y", faced, 1.0),
        ]
    )
    assert found.yardstick == ("a",)
    assert all(one.rank for one in found.defenses)


def test_a_residual_is_over_the_seeds_that_all_its_attacks_have() -> None:
    found = board([*seeds("a", [1.0, 2.0, 3.0], defense="x"), *seeds("b", [1.0, 2.0, 3.0, 9.0], defense="x")]).defenses[
        0
    ]
    assert found.residual is not None
    assert (found.residual.n, found.residual.mean) == (3, pytest.approx(2.0))


@given(st.permutations(range(12)), st.lists(st.booleans(), min_size=12, max_size=12))
@settings(max_examples=25, deadline=None)
def test_the_order_of_records_and_what_is_unranked_change_nothing(order: list[int], extra: list[bool]) -> None:
    rows = [one for attack in ("a", "b", "c", "d") for one in seeds(attack, [len(attack), 2.0, ord(attack) / 10])]
    noise = [record(one.attack.name, 60.0, one.seeds.run, protocol=UNRANKED) for one in rows]
    whole, mixed = board(rows), board([rows[i] for i in order] + [noise[i] for i in order if extra[i]])
    assert [one for one in mixed.attacks if one.experiment.ranked] == list(whole.attacks)
    assert mixed.defenses == whole.defenses
