"""Tables with any axes: which numbers count, where they stand, what is marked. Against counting by hand."""

from __future__ import annotations

import base64
import statistics
import time
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poisonbench.errors import ConfigError, UnknownNameError
from poisonbench.identity.versions import current
from poisonbench.leaderboard.statistics.answers import Answered
from poisonbench.leaderboard.statistics.two_way import two_way
from poisonbench.leaderboard.tables.axes import AXES, coordinate
from poisonbench.leaderboard.tables.marks import Mark, marks
from poisonbench.leaderboard.tables.pivot import Table, pivot
from poisonbench.leaderboard.tables.shapes import PRESETS, Shape, shape
from poisonbench.leaderboard.tables.sheets import Sheet
from poisonbench.leaderboard.tables.texts import sheet
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.tables import Row

ROW = Row(
    record_id="0", cell_hash="c", status="ok", protocol="digits-v1", protocol_version=1, protocol_hash="a" * 64,
    locked=True, deviations="[]", engine_version=1, ranked=True, source="run", signed_with=None, dataset="digits",
    dataset_version=1, engine_code=None, model_code=None,
    dataset_sha256="b" * 64, n_test=500, model="lr", model_version=1, attack="tgda", attack_version="1",
    attack_code="c" * 64, attack_params="{}", surrogate=None, surrogate_version=None, defense="none",
    defense_version="1",
    defense_code="d" * 64, defense_params="{}", epsilon=0.03, whole_set=False, seed=0, acc1=90.0, acc2=85.0, drop=5.0,
    clean_cost=0.0, trusted=0, total_s=1.0, finished_at="2026-01-01T00:00:00.000000Z", computed=True, added_at="",
)  # fmt: skip
NUMBERS = {name: attrgetter(of.column) for name, of in VALUES.items() if of.column}


def row(drop: float = 5.0, seed: int = 0, **changes: Any) -> Row:
    """One row; each is a record of its own, of the version of its attack that ships."""
    made = {"seed": seed, "drop": drop, "acc2": 90.0 - drop, "locked": changes.get("ranked", True), **changes}
    made.setdefault("surrogate_version", 1 if made.get("surrogate") else None)
    made.setdefault("attack_version", str(current("attack", made.get("attack", ROW.attack)) or 1))
    return ROW._replace(**{"record_id": str(sorted(made.items(), key=str)), **made})


def seeds(drops: list[float], **changes: Any) -> list[Row]:
    """One row a seed."""
    return [row(drop, seed, **changes) for seed, drop in enumerate(drops)]


def tables(records: list[Row], **given: Any) -> list[Table]:
    return pivot(records, NUMBERS, Shape(**given), {each.record_id: answers(each) for each in records})


def answers(each: Row) -> Answered:
    """Of 500 images the first are right."""
    clean, attacked = (np.arange(500) < round(5 * (accuracy or 0.0)) for accuracy in (each.acc1, each.acc2))
    return Answered(*(base64.b64encode(np.packbits(right).tobytes()).decode() for right in (clean, attacked)), 500)


def one(records: list[Row], **given: Any) -> Sheet:
    """The only table's texts."""
    (found,) = tables(records, **given)
    return sheet(found)


def body(found: Sheet) -> list[tuple[str, ...]]:
    return [found.headings, *found.rows]


# Which numbers count

some_rows = st.builds(
    row,
    drop=st.integers(-20, 80).map(lambda tenths: tenths / 10),
    seed=st.integers(0, 3),
    attack=st.sampled_from(["tgda", "emn"]),
    attack_params=st.sampled_from(["{}", '{"alpha":1}']),
    surrogate=st.sampled_from([None, "nn"]),
    defense=st.sampled_from(["none", "loss"]),
    model=st.sampled_from(["lr", "nn"]),
    protocol=st.sampled_from(["digits-v1", "digits-17-v1"]),
    epsilon=st.sampled_from([0.03, 0.1]),
    ranked=st.booleans(),
    status=st.sampled_from(["ok", "ok", "ok", "failed", "timeout"]),
    finished_at=st.integers(1, 9).map(lambda day: f"2026-01-0{day}T00:00:00.000000Z"),
)
shapes = st.permutations(AXES).flatmap(
    lambda axes: st.tuples(st.integers(1, 4), st.integers(0, 3)).map(
        lambda cut: Shape(tuple(axes[: cut[0]]), tuple(axes[cut[0] : sum(cut)]), ("drop", "acc2"))
    )
)
checked = settings(max_examples=60, deadline=None)


setup = attrgetter(
    "protocol", "dataset", "model", "epsilon", "attack", "attack_params", "surrogate", "defense", "defense_params"
)
"""What tells the rows of one mean from others, of what differs between rows here."""


def by_hand(rows: list[Row], shown: Shape) -> dict[Any, float]:
    """The mean of each cell: of a seed's ranked good rows the latest; if seeds are no axis, over those of the protocol,
    0 to 2, or over all if none of those is there."""
    latest: dict[Any, dict[int, Row]] = {}
    for each in rows:
        if each.ranked and each.status == "ok":
            own = latest.setdefault(setup(each), {})
            old = own.get(each.seed)
            if old is None or (old.finished_at, old.record_id) < (each.finished_at, each.record_id):
                own[each.seed] = each
    if "seed" in shown.axes:
        return {(key, seed): float(each.drop or 0) for key, own in latest.items() for seed, each in own.items()}
    counted = {key: {seed: own[seed] for seed in own if seed < 3} or own for key, own in latest.items()}
    return {(key, None): statistics.fmean(each.drop or 0 for each in own.values()) for key, own in counted.items()}


def drops(found: list[Table]) -> dict[Any, float]:
    return {
        (setup(next(iter(one.experiment.rows.values()))), one.seed): one.summary.mean
        for table in found
        for one in table.measured.values()
        if one.value == "drop"
    }


def numbers(found: list[Table]) -> dict[Any, Any]:
    """All that a table says, by position."""
    return {
        position: (one.seed, one.seeds, one.summary, one.mark)
        for table in found
        for position, one in table.measured.items()
    }


@checked
@given(st.lists(some_rows, max_size=30), shapes)
def test_every_cell_is_the_mean_over_its_seeds_alone(rows: list[Row], shown: Shape) -> None:
    found = pivot(rows, NUMBERS, shown)
    assert drops(found) == pytest.approx(by_hand(rows, shown))
    good = {(setup(each), each.ranked, each.seed) for each in rows if each.status == "ok"}
    ranked = {cell for cell in good if cell[1]}
    assert sum(table.counted + table.other_seeds for table in found) == len(ranked)
    assert sum(table.unranked for table in found) == len(good - ranked)
    bad = {(setup(each), each.ranked, each.seed) for each in rows if each.status != "ok"}
    assert sum(table.failed for table in found) == len(bad - good)
    for table in found:
        for (down, across, _), one in table.measured.items():
            stands = [coordinate(axis, one.experiment, one.seed, shown.axes) for axis in shown.axes]
            assert [*down, *across] == stands
            assert {
                axis: coordinate(axis, one.experiment, None, shown.axes) for axis in table.conditions
            } == table.conditions


@checked
@given(st.lists(some_rows, max_size=30), shapes, st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(rows: list[Row], shown: Shape, random: Any) -> None:
    before = [sheet(table) for table in pivot(rows, NUMBERS, shown)]
    random.shuffle(rows)
    assert [sheet(table) for table in pivot(rows, NUMBERS, shown)] == before


@checked
@given(st.lists(some_rows, max_size=20), st.lists(some_rows, max_size=20), shapes)
def test_what_does_not_count_changes_no_number(rows: list[Row], others: list[Row], shown: Shape) -> None:
    useless = [each._replace(ranked=False, locked=False) if each.status == "ok" else each for each in others]
    more, alone = pivot(rows + useless, NUMBERS, shown), pivot(rows, NUMBERS, shown)
    assert numbers(more) == numbers(alone)


@checked
@given(st.lists(some_rows, min_size=1, max_size=20), shapes, st.data())
def test_a_later_record_of_a_seed_supersedes(rows: list[Row], shown: Shape, data: Any) -> None:
    old = data.draw(st.sampled_from(rows))
    new = old._replace(
        record_id="new",
        status="ok",
        ranked=True,
        locked=True,
        drop=-50.0,
        finished_at="2027-01-01T00:00:00.000000Z",
    )
    rows.insert(data.draw(st.integers(0, len(rows))), new)
    found = [one for table in pivot(rows, NUMBERS, shown) for one in table.measured.values() if one.value == "drop"]
    (measured,) = (
        one
        for one in found
        if setup(next(iter(one.experiment.rows.values()))) == setup(old) and one.seed in (None, old.seed)
    )
    assert measured.seeds[old.seed] == -50.0


# Where they stand


def test_conditions_that_differ_make_tables_of_their_own() -> None:
    rows = [row(model=model, epsilon=epsilon) for model in ("nn", "lr") for epsilon in (0.1, 0.03)]
    assert [sheet(table).title.split(" · accuracy")[0] for table in tables(rows)] == [
        "digits-v1 · lr · ε = 0.03",
        "digits-v1 · lr · ε = 0.1",
        "digits-v1 · nn · ε = 0.03",
        "digits-v1 · nn · ε = 0.1",
    ]
    (found,) = tables(rows, rows=("model",), columns=("epsilon",))
    assert sheet(found).title == "digits-v1 · attack tgda · defense none · accuracy drop in points, mean ± std (seeds)"
    assert body(sheet(found)) == [
        ("model", "ε = 0.03", "ε = 0.1"),
        ("lr", "5.00 (1)", "5.00 (1)"),
        ("nn", "5.00 (1)", "5.00 (1)"),
    ]


def test_attacks_that_are_no_axis_are_labelled_among_all_tables() -> None:
    rows = [row(attack_params=params) for params in ("{}", '{"alpha":1}')]
    titles = [sheet(table).title for table in tables(rows, rows=("model",))]
    assert [title.split(" · ")[2] for title in titles] == ["attack tgda", "attack tgda (alpha=1)"]


def test_attacks_are_in_the_order_of_strength_and_no_defense_comes_first() -> None:
    rows = [
        row(1.0, attack="weak"), row(9.0, attack="weak", defense="loss"), row(3.0, attack="strong"),
        row(2.0, attack="only-defended", defense="loss"), row(1.0, attack="also-weak", defense="a-loss"),
        row(1.0, attack="also-weak"),
    ]  # fmt: skip
    found = one(rows)
    assert found.headings == ("attack", "none", "a-loss", "loss")
    assert [line[0] for line in found.rows] == ["strong", "only-defended", "also-weak", "weak"]
    assert [line[0] for line in one(rows, values=("acc2",)).rows] == [line[0] for line in found.rows]
    assert [line[0] for line in one(rows, values=("acc1",)).rows] == ["also-weak", "only-defended", "strong", "weak"]


def test_surrogates_are_an_axis_or_part_of_the_attack() -> None:
    rows = [row(1.0), row(2.0, surrogate="nn"), row(3.0, surrogate="cnn")]
    assert [line[0] for line in one(rows).rows] == ["tgda (on cnn)", "tgda (on nn)", "tgda"]
    found = one(rows, rows=("surrogate",), columns=("attack",))
    assert body(found) == [("surrogate", "tgda"), ("target", "1.00 (1)"), ("cnn", "3.00 (1)"), ("nn", "2.00 (1)")]
    assert one(rows, rows=("attack",), columns=("surrogate",)).headings == ("attack", "on target", "on cnn", "on nn")


def test_seeds_of_ones_own_move_no_mean() -> None:
    """They are left out and counted, whether all of the protocol's are there or some; alone they are all there is."""
    for drops in ([5.0, 6.0, 7.0], [5.0, 6.0]):  # of the protocol's three
        usual = tables(seeds(drops), rows=("attack",))
        (found,) = tables([*seeds(drops), row(80.0, 99)], rows=("attack",))
        assert [one.seeds for one in found.measured.values()] == [one.seeds for one in usual[0].measured.values()]
        assert (found.counted, found.other_seeds) == (len(drops), 1)
        assert sheet(found).title.endswith("; left out: 1 of other seeds")
    (alone,) = tables([row(80.0, 99)], rows=("attack",))
    assert [one.seeds for one in alone.measured.values()] == [{99: 80.0}]
    assert alone.other_seeds == 0
    (each,) = tables([row(5.0, 0), row(80.0, 99)], rows=("attack",), columns=("seed",))
    assert [one.seed for one in each.measured.values()] == [0, 99]
    assert each.other_seeds == 0


def test_poison_sets_of_ones_own_are_told_apart_by_the_beginnings_of_their_hashes() -> None:
    params = ['{"mode":"addition","sha256":"%s"}' % (digit * 64) for digit in "ab"]
    (found,) = tables([row(attack="replay", attack_params=each) for each in params], rows=("attack",))
    assert [line[0] for line in sheet(found).rows] == [f"replay (sha256={digit * 12})" for digit in "ab"]


def test_what_was_mended_is_not_left_out() -> None:
    failed = [row(seed=seed, status="failed", finished_at=f"2026-01-0{day}") for seed, day in ((0, 1), (0, 2))]
    assert [table.failed for table in tables(failed)] == [1]
    assert [table.failed for table in tables([*failed, row(5.0, 0)])] == [0]


def test_seeds_as_an_axis_are_shown_each() -> None:
    found = one(seeds([1.0, 2.0, 10.0]), rows=("attack",), columns=("seed",))
    assert body(found) == [("attack", "seed 0", "seed 1", "seed 2"), ("tgda", "1.00", "2.00", "10.00")]
    assert found.title.endswith("· accuracy drop in points")
    assert [line[0] for line in one([row(seed=seed) for seed in (10, 9)], rows=("seed",)).rows] == ["9", "10"]


def test_a_protocols_entry_holds_its_dataset() -> None:
    rows = [row(1.0), row(3.0, dataset="other")]
    found = one(rows, rows=("protocol",))
    assert body(found)[1:] == [
        ("digits-v1 (dataset digits)", "1.00 (1)"),
        ("digits-v1 (dataset other)", "3.00 (1)"),
    ]


def test_several_axes_and_values() -> None:
    rows = [
        row(model=model, attack=attack, defense=defense)
        for model in "ab"
        for attack in "xy"
        for defense in ("none", "d")
    ]
    found = one(rows, rows=("model", "attack"), columns=("defense", "epsilon"), values=("drop", "acc2"))
    assert [[(span.text, span.width) for span in line] for line in found.over] == [
        [("none", 2), ("d", 2)], [("ε = 0.03", 2), ("ε = 0.03", 2)],
    ]  # fmt: skip
    assert found.headings == ("model", "attack", "drop", "acc2", "drop", "acc2")
    assert [line[:2] for line in found.rows] == [("a", "x"), ("", "y"), ("b", "x"), ("", "y")]
    assert (found.groups, found.left) == (frozenset({0, 2}), 2)
    assert found.flat("/") == [
        "model",
        "attack",
        "none/ε = 0.03/drop",
        "none/ε = 0.03/acc2",
        "d/ε = 0.03/drop",
        "d/ε = 0.03/acc2",
    ]
    assert found.notes[0].startswith("drop: accuracy drop in points; acc2: accuracy after")


def test_no_columns_are_values_alone() -> None:
    found = one(seeds([1.0, 2.0]), rows=("attack",), columns=())
    assert body(found) == [("attack", "drop"), ("tgda", "1.50 ± 0.71 (2)")]
    assert "· defense none ·" in found.title


def test_labels_of_different_settings_are_never_one_row() -> None:
    rows = [row(1.0, attack_params='{"a":"1"}'), row(3.0, attack_params='{"a":1}')]
    assert [line[1] for line in one(rows).rows] == ["3.00 (1)", "1.00 (1)"]


def test_a_table_of_nothing_that_counts_says_so() -> None:
    found = one([row(ranked=False), row(seed=1, status="timeout")])
    assert found.title.endswith("; left out: 1 unranked, 1 failed")
    assert found.rows == (("No ranked records.",),)


def test_the_spread() -> None:
    (found,) = tables(seeds([1.0, 2.0, 6.0]))
    images = np.arange(500)
    lost = [100.0 * ((images < 450) & (images >= 450 - 5 * drop)) for drop in (1, 2, 6)]
    test = two_way(np.stack(lost))
    assert test is not None
    low, high = (f"{bound:.2f}".replace("-", "−") for bound in test.interval)
    assert [sheet(found, spread).rows[0][1] for spread in ("std", "interval", "none")] == [
        "3.00 ± 2.65 (3)", f"3.00 [{low}, {high}] (3)", "3.00 (3)",
    ]  # fmt: skip
    (alone,) = tables([row(-0.001)])
    assert [sheet(alone, spread).rows[0][1] for spread in ("std", "interval")] == ["0.00 (1)", "0.00 (1)"]


def test_control_characters_are_drawn() -> None:
    found = one([row(attack_params='{"a":"\\u001b[31m\\u0000\\u009b"}'), row(attack_params='{"a":1}')])
    assert found.rows[0][0] == "tgda (a=␛[31m␀\N{REPLACEMENT CHARACTER})"


# What is marked

STRONG, WEAK, NOISY = [9.0, 9.1, 9.2], [1.0, 1.2, 1.1], [8.0, 2.0, 14.0]


def marked(found: Sheet) -> dict[tuple[str, str], Mark]:
    """By the labels of row and column."""
    return {(found.rows[row][0], found.headings[column]): mark for (row, column), mark in found.marks.items()}


def test_the_largest_drop_is_best_and_what_does_not_differ_is_tied() -> None:
    rows = [*seeds(STRONG, attack="strong"), *seeds(WEAK, attack="weak"), *seeds(NOISY, attack="noisy")]
    rows += seeds([0.2, 0.4, 0.4], attack="void")
    rows += [*seeds(WEAK, attack="strong", defense="d"), *seeds(STRONG, attack="weak", defense="d")]
    found = one(rows)
    assert marked(found) == {
        ("strong", "none"): Mark.BEST, ("noisy", "none"): Mark.TIED, ("weak", "d"): Mark.BEST,
    }  # fmt: skip
    assert found.notes == (
        "Bold: the best attack (largest drop). Underlined: not told from it for other seeds and test images in the "
        "family of all attacks beside it (5 %). One setting a method, over the protocol's seeds; accuracies without "
        "answers by test image have neither.",
    )
    assert marked(one(rows, best="defense")) == {
        ("strong", "d"): Mark.BEST, ("weak", "none"): Mark.BEST,
    }  # fmt: skip
    assert marked(one(rows, best="none")) == {}
    assert one(rows, best="none").notes == ()
    assert marked(one(rows, rows=("attack",), columns=("defense",), values=("acc1",))) == {}


def test_without_attacks_defenses_compete() -> None:
    rows = [
        *seeds(STRONG),
        *seeds(WEAK, defense="d"),
        *seeds(NOISY, model="nn"),
        *seeds(STRONG, model="nn", defense="d"),
    ]
    found = one(rows, rows=("model",), columns=("defense",))
    assert marked(found) == {("lr", "d"): Mark.BEST, ("nn", "none"): Mark.BEST, ("nn", "d"): Mark.TIED}
    assert "the best defense (smallest drop)" in found.notes[0]


def test_defenses_with_trusted_data_compete_among_themselves() -> None:
    """Whichever leads over all, each family has its best; what a family lacks changes no mark of the other."""
    without = [*seeds(STRONG), *seeds([3.0, 3.2, 3.4], defense="d"), *seeds([3.0, 3.2, 3.6], defense="e")]
    knowing = [*seeds(WEAK, defense="t", trusted=13), *seeds(NOISY, defense="u", trusted=13)]
    shown = {"rows": ("defense",), "columns": (), "values": ("drop", "trusted")}
    found = one([*without, *knowing], **shown)
    assert {name: mark for (name, _), mark in marked(found).items()} == {
        "d": Mark.BEST, "e": Mark.TIED, "t": Mark.BEST, "u": Mark.TIED,
    }  # fmt: skip
    assert marked(one(without, **shown)).items() <= marked(found).items()
    assert {line[0]: line[2] for line in found.rows}["t"] == "13 ± 0 (3)"
    assert "With trusted data, clean rows that no attack changes: t (13 rows), u (13 rows)." in found.notes
    assert "Defenses with trusted data are a family of their own." in found.notes[-1]
    assert not any("With trusted data" in note for note in one(without, **shown).notes)


def test_attacks_compete_against_defenses_with_trusted_data_as_against_others() -> None:
    rows = [*seeds(STRONG, attack="strong", defense="t", trusted=13), *seeds(WEAK, attack="weak", defense="t")]
    assert marked(one(rows)) == {("strong", "t"): Mark.BEST}


@pytest.mark.parametrize("name", VALUES)
def test_who_competes_for_a_value(name: str) -> None:
    expected = {
        "acc2": (("attack", "smallest"), ("defense", "largest")),
        "drop": (("attack", "largest"), ("defense", "smallest")),
        **dict.fromkeys(["undefended", "last-quarter", "best-epoch"], (("attack", "largest"), None)),
        "attack-time": (("attack", "smallest"), None),
        "saved": (("defense", "largest"), ("defense", "largest")),
        **dict.fromkeys(["certified", "precision", "recall"], (("defense", "largest"), ("defense", "largest"))),
        **dict.fromkeys(
            ["clean-cost", "defense-time", "defense-memory"], (("defense", "smallest"), ("defense", "smallest"))
        ),
    }.get(name, (None, None))  # fmt: skip
    both, defenses = Shape(values=(name,)), Shape(("defense",), ("model",), (name,))
    assert (both.contest(name), defenses.contest(name)) == expected
    assert Shape(("model",), ("dataset",), (name,)).contest(name) is None
    assert Shape(values=(name,), best="none").contest(name) is None


def test_too_few_seeds_and_no_rivals_are_not_marked() -> None:
    rows = [*seeds(STRONG, attack="strong"), *seeds([99.0, 99.0], attack="two-seeds")]
    assert one(rows).marks == {}  # of one competitor there is no best
    rows += seeds(WEAK, attack="weak")
    assert marked(one(rows)) == {("strong", "none"): Mark.BEST}


def test_equal_means_are_both_the_best() -> None:
    up, down = {seed: np.array([1.0 + seed]) for seed in range(3)}, {seed: np.array([3.0 - seed]) for seed in range(3)}
    low = {seed: np.array([-30.0 - seed / 10]) for seed in range(3)}
    assert marks({"up": up, "down": down, "low": low}, range(3), "largest") == {"up": Mark.BEST, "down": Mark.BEST}
    same = dict.fromkeys(range(3), np.array([1.0]))
    assert marks({"a": same, "b": same}, range(3), "smallest") == {"a": Mark.BEST, "b": Mark.BEST}
    assert marks({}, range(3), "largest") == marks({"a": same}, range(3), "largest") == {}


def test_without_answers_a_mean_over_images_has_neither_mark_nor_interval() -> None:
    rows = [*seeds(STRONG, attack="strong"), *seeds(WEAK, attack="weak")]
    (found,) = pivot(rows, NUMBERS, Shape())
    assert {(each.mark, each.interval) for each in found.measured.values()} == {(None, None)}
    (found,) = tables(rows)
    assert {each.mark for each in found.measured.values()} == {Mark.BEST, None}


def test_of_two_settings_of_a_method_one_competes() -> None:
    rows = [*seeds(STRONG, attack="a", attack_params='{"x":1}'), *seeds(WEAK, attack="b")]
    rows += seeds([20.0, 20.2, 20.4], attack="a", attack_params='{"x":2}', finished_at="2026-02-01T00:00:00.000000Z")
    assert marked(one(rows)) == {("a (x=1)", "none"): Mark.BEST}


def test_a_column_of_many_attacks_is_quick() -> None:
    rows = [each for index in range(1000) for each in seeds([index % 7, 1.0, index % 5], attack=f"a{index}")]
    began = time.process_time()
    (found,) = tables(rows)
    assert time.process_time() - began < 6
    assert len(found.rows) == 1000


# What is refused


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"rows": ("attacks",)}, UnknownNameError, "Unknown axis 'attacks'. Did you mean 'attack'?"),
        ({"columns": ("sead",)}, UnknownNameError, "Unknown axis 'sead'. Did you mean 'seed'?"),
        ({"values": ("dorp",)}, UnknownNameError, "Unknown value 'dorp'. Did you mean 'drop'?"),
        ({"best": "attacks"}, UnknownNameError, "Unknown competitor 'attacks'. Did you mean 'attack'?"),
        ({"rows": ("defense",)}, ConfigError, "--rows and --cols: the axis defense is there twice; name each once."),
        ({"values": ("drop", "drop")}, ConfigError, "--value: the value drop is there twice; name each once."),
        ({"rows": ()}, ConfigError, f"--rows: expected an axis: {', '.join(AXES)}; got none."),
        ({"values": ()}, ConfigError, "--value: expected a value, such as drop; got none."),
        (
            {"columns": (), "best": "defense"},
            ConfigError,
            "--best defense: expected defense among --rows or --cols; got --rows attack --cols ''.",
        ),
    ],
)
def test_shapes_that_are_none(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Shape(**given)
    assert str(caught.value) == message


def test_presets_are_shapes_and_flags_go_over_them() -> None:
    assert shape(None, None, None, None, None) == Shape()
    assert shape("table2", None, None, None, None) == PRESETS["table2"]
    assert shape("table2", None, ["defense"], ["drop"], "none") == Shape(("model",), ("defense",), ("drop",), "none")
    with pytest.raises(UnknownNameError, match="Did you mean 'table2'"):
        shape("tabel2", None, None, None, None)
    with pytest.raises(ConfigError, match="the axis attack is there twice"):
        shape("table2", ["attack"], None, None, None)
