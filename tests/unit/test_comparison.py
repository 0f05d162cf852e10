"""Experiments picked by name, paired by seed and by image, and put into words; from records whose numbers are known."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from poisonbench.errors import ConfigError, UnknownNameError
from poisonbench.identity.versions import current
from poisonbench.leaderboard import selection
from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.comparison import compare
from poisonbench.leaderboard.experiments import Experiment, experiments
from poisonbench.leaderboard.selection import names_a_record, select
from poisonbench.leaderboard.statistics.two_way import two_way
from poisonbench.leaderboard.statistics.verdicts import family, p_value, verdict
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record
from poisonbench.store.record_results import Answers, Metrics

FIXTURE = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))
IMAGES = 1000


def newest(attack: str) -> str:
    """The version that ships, so that a planted record is one of now."""
    return str(current("attack", attack) or 1)


def record(
    attack: str = "tgda",
    defense: str = "none",
    seed: int = 0,
    acc2: float = 80.0,
    acc1: float = 90.0,
    params: dict[str, Any] | None = None,
    day: int = 1,
    **changes: Any,
) -> Record:
    """A ranked record of digits-v1, lr, ε = 0.03."""
    fields = {key: part for key, part in FIXTURE.items() if key != "record_id"}
    return Record.create(
        **{
            **fields,
            "attack": {
                **fields["attack"],
                "name": attack,
                "version": str(current("attack", attack) or 1),
                "params": params or {},
            },
            "defense": {
                **fields["defense"],
                "name": defense,
                "params": {} if defense == "none" else {"fraction": 0.03},
            },
            "seeds": {**fields["seeds"], "run": seed},
            "metrics": metrics(right(acc1), right(acc2)),
            "finished_at": f"2026-01-{day:02d}T00:00:00Z",
            **changes,
        }
    )


def right(accuracy: float) -> NDArray[np.bool_]:
    """Of the images the first ones."""
    return np.arange(IMAGES) < round(IMAGES * accuracy / 100)


def metrics(clean: NDArray[np.bool_], attacked: NDArray[np.bool_]) -> Metrics:
    """With answers."""
    bits = [base64.b64encode(np.packbits(one).tobytes()).decode("ascii") for one in (clean, attacked)]
    answers = Answers(clean=bits[0], attacked=bits[1])
    return Metrics.of(100 * clean.sum() / IMAGES, 100 * attacked.sum() / IMAGES, answers=answers)


def over_seeds(attack: str, *acc2: float, **changes: Any) -> list[Record]:
    return [record(attack, seed=seed, acc2=number, **changes) for seed, number in enumerate(acc2)]


def chosen(records: list[Record], *operands: str | Record) -> list[Experiment]:
    return select(experiments(records), operands)


def refusal(records: list[Record], *operands: str | Record) -> str:
    with pytest.raises(ConfigError) as error:
        chosen(records, *operands)
    assert "\n" not in str(error.value)
    return str(error.value)


# Choosing


def test_an_experiment_is_the_latest_ok_record_of_every_seed() -> None:
    records = [
        record(seed=1, acc2=70.0),
        record(seed=0, acc2=50.0, day=1),
        record(seed=0, acc2=82.0, day=2),
        record(seed=2, status="timeout", error="late", metrics=None),
        *over_seeds("label-flip", 1.0),
    ]
    tgda, flip = chosen(records[::-1], "tgda", "label-flip/none")
    assert [(seed, one.metrics and one.metrics.acc2) for seed, one in tgda.records.items()] == [(0, 82.0), (1, 70.0)]
    assert (tgda.label, flip.label) == ("tgda", "label-flip")


def test_a_defense_is_named_behind_the_attack() -> None:
    records = [record(), record(defense="sever"), record("label-flip", "sever")]
    assert [one.label for one in chosen(records, "tgda/sever", "tgda", "label-flip/sever")] == [
        "tgda/sever",
        "tgda",
        "label-flip/sever",
    ]


def test_several_settings_are_listed_and_each_label_picks_its_own() -> None:
    settings = [{"alpha": 0.01, "layers": [1, 2]}, {"alpha": 0.02, "layers": [1, 2]}, {"alpha": 0.02, "layers": [3]}]
    records = [record("label-flip"), *(record(params=params) for params in settings)]
    records += [
        record(params=settings[0], surrogate="nn", surrogate_version=1),
        record(params=settings[0], defense="loss"),
    ]
    found = [one for one in experiments(records) if one.attack.name == "tgda"]
    message = refusal(records, "tgda", "label-flip")
    assert message.startswith("tgda is 4 experiments: tgda (alpha=0.01, layers=[1, 2]); tgda (")
    for one in found:
        (picked, _) = chosen(records, one.label, "label-flip")
        assert (picked.attack, picked.defense) == (one.attack, one.defense)
    (picked, _) = chosen(records, "tgda (layers=[3])", "label-flip")  # what tells it apart is enough
    assert picked.label == "tgda (alpha=0.02, layers=[3])"
    assert "tgda (alpha=0.02) is 2 experiments" in refusal(records, "tgda (alpha=0.02)", "label-flip")
    assert refusal(records, "tgda (alpha=0.5)", "label-flip").startswith("No tgda (alpha=0.5); there is tgda (")


def test_the_plain_name_is_the_one_that_a_board_prints_so() -> None:
    records = [record(), record(surrogate="nn", surrogate_version=1), record("label-flip")]
    picked = chosen(records, "tgda", "tgda (on nn)", "label-flip")
    assert [one.attack.surrogate for one in picked] == [None, "nn", None]


def test_wrong_names_are_refused() -> None:
    records = [record(), record("label-flip")]
    with pytest.raises(UnknownNameError, match=r"Unknown attack 'tdga'\. Did you mean 'tgda'"):
        chosen(records, "tdga", "label-flip")
    with pytest.raises(UnknownNameError, match=r"Unknown defense 'sver'\. Did you mean 'sever'"):
        chosen(records, "tgda/sver", "label-flip")
    assert "poisonbench run --attack tgda --defense loss+sever" in refusal(records, "tgda/loss+sever", "tgda")
    assert "expected an attack" in refusal(records, "tgda/loss/sever", "tgda")
    assert refusal(records, "tgda", "tgda/none").startswith("tgda is named twice")


def test_a_record_names_its_experiment_superseded_or_not() -> None:
    old, new, other = record(acc2=70.0, day=1), record(acc2=80.0, day=2), record("label-flip")
    picked, _ = chosen([old, new, other], old, "label-flip")
    assert picked.records == {0: new}
    failed = record(status="failed", error="It broke.", metrics=None)
    assert refusal([other], failed, other).endswith("cannot be compared: It broke.")
    assert "left out by" in refusal([other], new, other)


@pytest.mark.parametrize(
    ("operand", "is_one"), [("0a1b", True), ("32be3022739e1f80", True), ("emn", False), ("", False)]
)
def test_what_looks_like_a_record(operand: str, is_one: bool) -> None:
    assert names_a_record(operand) is is_one


def test_an_attack_may_look_like_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "entries", lambda kind: {"decade": None})
    assert not names_a_record("decade")
    assert names_a_record("decad")


def test_names_are_of_ranked_experiments() -> None:
    rules = {**FIXTURE["protocol"], "deviations": ["recipe.epochs: 100 → 5"]}
    quick, quick_flip = record(protocol=rules), record("label-flip", protocol=rules)
    full, full_flip = record(), record("label-flip")
    everything = [quick, quick_flip, full, full_flip]
    assert all(one.ranked for one in chosen(everything, "tgda", "label-flip"))
    assert "An unranked one is named by its record id" in refusal([quick, full_flip], "tgda", "label-flip")
    assert not any(one.ranked for one in chosen(everything, quick, quick_flip))
    assert "deviations: recipe.epochs: 100 → 5 / none" in refusal(everything, quick, full_flip)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"protocol": {**FIXTURE["protocol"], "name": "digits-v2"}}, "protocol: digits-v1 / digits-v2"),
        ({"protocol": {**FIXTURE["protocol"], "hash": "9" * 64}}, "protocol hash: 2222"),
        ({"dataset": {**FIXTURE["dataset"], "name": "mnist"}}, "dataset: digits / mnist"),
        ({"dataset": {**FIXTURE["dataset"], "sha256": "9" * 64}}, "dataset sha256: 3333"),
        ({"dataset": {**FIXTURE["dataset"], "n_test": 7}, "metrics": Metrics.of(90.0, 80.0)}, "test images: 1000 / 7"),
        ({"model": {"name": "svm", "version": 1, "n_params": 650}}, "model: lr / svm"),
        ({"threat": {**FIXTURE["threat"], "epsilon": 0.1}}, "epsilon: 0.03 / 0.1"),
    ],
)
def test_what_is_no_comparison_is_refused_by_what_differs(changes: dict[str, Any], named: str) -> None:
    a, b = record(), record("label-flip", **changes)
    for operands in (("tgda", "label-flip"), (a, b)):
        message = refusal([a, b], *operands)
        assert "no comparison; they differ in " + named in message
        assert message.count(" / ") == 1
    other = {"name": "nn", "version": 1, "n_params": 650}
    far = record("label-flip", **{**changes, "model": other, "threat": {**FIXTURE["threat"], "epsilon": 0.5}})
    assert named in refusal([a, far, b], "tgda", "label-flip")  # the nearest there is


def test_two_boards_are_not_chosen_from_in_silence() -> None:
    svm = {"model": {"name": "svm", "version": 1, "n_params": 650}}
    records = [record(), record("label-flip"), record(**svm), record("label-flip", **svm), record("emn", **svm)]
    message = refusal(records, "tgda", "label-flip")
    assert "digits-v1 · lr · ε = 0.03; digits-v1 · svm · ε = 0.03" in message
    assert "--model" in message
    assert chosen(records, "tgda", "label-flip", "emn")[0].conditions.model == "svm"


# Comparing


def test_a_pair_is_tested_over_seeds_and_images() -> None:
    a = over_seeds("tgda", 80.0, 79.0, 77.0, 20.0)
    b = [record("label-flip", seed=seed, acc2=number) for seed, number in ((9, 1.0), (2, 84.0), (1, 84.0), (0, 86.0))]
    (pair,) = compare(chosen([*a, *b], "tgda", "label-flip"), "drop")
    assert (pair.seeds, pair.images, pair.family) == ((0, 1, 2), 1000, 2)
    assert (pair.of_a.mean, pair.of_b.mean) == (pytest.approx(34 / 3), pytest.approx(16 / 3))
    assert (pair.difference.mean, pair.difference.std) == (pytest.approx(6.0), pytest.approx(1.0))
    lost = [(80.0, 86.0), (79.0, 84.0), (77.0, 84.0)]
    test = two_way(np.array([100.0 * (right(of_b).astype(int) - right(of_a)) for of_a, of_b in lost]))
    assert test is not None
    assert (pair.p, pair.difference.interval) == (pytest.approx(test.p), pytest.approx(test.interval))
    assert pair.adjusted == pytest.approx(pair.p, abs=1e-6)
    assert [(one.only_a, one.only_b) for one in pair.mcnemar.values()] == [(0, 60), (0, 50), (0, 70)]


def test_seeds_of_ones_own_take_no_part_beside_the_protocols() -> None:
    """digits-v1 has 0, 1 and 2; a board's numbers are over those."""
    records = [*over_seeds("tgda", 80.0, 81.0, 79.0, 10.0), *over_seeds("label-flip", 85.0, 84.0, 86.0, 90.0)]
    (pair,) = compare(chosen(records, "tgda", "label-flip"), "drop")
    assert pair.seeds == (0, 1, 2)
    assert pair.difference.mean == pytest.approx(5.0)
    own = [record(attack, seed=seed) for attack in ("tgda", "label-flip") for seed in (7, 8)]
    assert compare(chosen(own, "tgda", "label-flip"), "drop")[0].seeds == (7, 8)


def test_experiments_that_share_no_seed_are_refused() -> None:
    picked = chosen([record(seed=0), record("label-flip", seed=1)], "tgda", "label-flip")
    with pytest.raises(ConfigError, match=r"drop is there by seed: tgda for 0; label-flip for 1\. None is in common"):
        compare(picked, "drop")
    with pytest.raises(ConfigError, match=r"saved is there by seed: tgda for none"):
        compare(picked, "saved")
    other = record("label-flip", seeds={**FIXTURE["seeds"], "split": 12345})
    with pytest.raises(ConfigError, match="other random streams"):
        compare(chosen([record(), other], "tgda", "label-flip"), "drop")


def test_the_family_is_tested_on_the_seeds_that_all_have_and_as_a_board_ranks_it() -> None:
    records = over_seeds("tgda", 80.0, 79.0, 77.0) + over_seeds("label-flip", 86.0, 84.0, 84.0)
    records += over_seeds("emn", 85.0, 84.0, 84.5, 0.0) + over_seeds("min-max", 60.0, 61.0, 62.0)
    pairs = compare(chosen(records, "tgda", "label-flip", "emn", "min-max"), "drop")
    assert [(pair.a, pair.b) for pair in pairs][2:4] == [("tgda", "min-max"), ("label-flip", "emn")]
    assert all((pair.seeds, pair.family) == ((0, 1, 2), 4) for pair in pairs)
    (board,) = boards(records)
    leader = next(iter(board.attack_ranking.ranks))
    assert leader == "min-max"
    told = {({pair.a, pair.b} - {leader}).pop(): pair.adjusted for pair in pairs if leader in (pair.a, pair.b)}
    assert told == pytest.approx(dict(board.attack_ranking.p))


@pytest.mark.parametrize("name", ["drop", "acc1", "acc2"])
def test_the_difference_is_that_of_the_values(name: str) -> None:
    rng = np.random.default_rng(5)
    for seeds in (2, 3):
        records = [
            record(attack, seed=seed, metrics=metrics(rng.random(IMAGES) < 0.9, rng.random(IMAGES) < 0.6))
            for attack in ("tgda", "label-flip")
            for seed in range(seeds)
        ]
        (pair,) = compare(chosen(records, "tgda", "label-flip"), name)
        numbers = [VALUES[name].of(one) for one in records]
        assert pair.difference.mean == pytest.approx(np.mean(numbers[:seeds]) - np.mean(numbers[seeds:]))
        low, high = pair.difference.interval or (0.0, 0.0)
        assert (low + high) / 2 == pytest.approx(pair.difference.mean)
        for seed, test in pair.mcnemar.items():
            assert (
                test.only_a - test.only_b
                == round((numbers[seed] - numbers[seeds + seed]) * IMAGES / 100 * (-1 if name == "drop" else 1))
                or name == "drop"
            )


def test_one_seed_or_a_record_without_answers_is_no_test() -> None:
    (pair,) = compare(chosen([record(), record("label-flip", acc2=85.0)], "tgda", "label-flip"), "drop")
    assert (pair.p, pair.adjusted, pair.difference.interval) == (None, None, None)
    assert pair.mcnemar[0].only_b == 50
    records = over_seeds("tgda", 80.0, 81.0) + over_seeds("label-flip", 85.0, 86.0)
    old = record("label-flip", seed=1, metrics=Metrics.of(90.0, 86.0))
    (pair,) = compare(chosen([*records[:3], old], "tgda", "label-flip"), "drop")
    assert (pair.p, pair.adjusted, pair.difference.interval) == (None, None, None)
    assert (pair.difference.mean, list(pair.mcnemar)) == (pytest.approx(5.0), [0])


def test_a_value_that_is_no_mean_over_images_is_tested_over_seeds() -> None:
    times = {"tgda": (3.0, 4.0, 5.5), "label-flip": (1.0, 1.5, 2.0)}
    records = [
        record(attack, seed=seed, timing={**FIXTURE["timing"], "attack_s": seconds})
        for attack, found in times.items()
        for seed, seconds in enumerate(found)
    ]
    (pair,) = compare(chosen(records, "tgda", "label-flip"), "attack-time")
    expected = stats.ttest_rel(times["tgda"], times["label-flip"])
    assert (pair.images, pair.p, pair.mcnemar) == (None, pytest.approx(expected.pvalue), {})
    assert pair.difference.interval == pytest.approx(tuple(expected.confidence_interval()))


# In words


def said(a: list[float], b: list[float], name: str = "drop") -> str:
    picked = chosen(over_seeds("tgda", *a) + over_seeds("label-flip", *b), "tgda", "label-flip")
    return verdict(compare(picked, name)[0], name)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (
            [80.0, 79.0, 77.0],
            [86.0, 84.0, 84.0],
            "tgda lowers accuracy more than label-flip: 6.00 points, 95 % interval 3.22 to 8.78, p = 0.007",
        ),
        (
            [86.0, 84.0, 84.0],
            [80.0, 79.0, 77.0],
            "label-flip lowers accuracy more than tgda: 6.00 points, 95 % interval 3.22 to 8.78, p = 0.007",
        ),
        (
            [80.0, 84.0],
            [82.0, 80.0],
            "No difference is shown between tgda and label-flip: -1.00 points, 95 % interval -39.",
        ),
        (
            [80.0],
            [82.0],
            "Nothing is shown between tgda and label-flip: 2.00 points in seed 0, the only one that all have.",
        ),
        (
            [80.0, 81.0],
            [80.0, 81.0],
            "No difference is shown between tgda and label-flip: 0.00 points, 95 % interval -0.20 to 0.20, p = 1.000; "
            "2 seeds × 1,000 images.",
        ),
    ],
)
def test_a_verdict_is_a_plain_sentence(a: list[float], b: list[float], expected: str) -> None:
    found = said(a, b)
    assert found.startswith(expected)
    assert len(a) == 1 or found.endswith(f"; {len(a)} seeds × 1,000 images.")


def test_a_verdict_says_why_there_is_no_test() -> None:
    records = [
        record(attack, seed=seed, metrics=Metrics.of(90.0, acc2))
        for attack, acc2 in (("tgda", 80.0), ("label-flip", 85.0))
        for seed in range(2)
    ]
    assert verdict(compare(chosen(records, "tgda", "label-flip"), "drop")[0], "drop") == (
        "tgda lowers accuracy more than label-flip: 5.00 points in the mean of 2 seeds. "
        "Without the records' answers by test image it cannot be tested."
    )
    timed = [
        record(attack, seed=seed, timing={**FIXTURE["timing"], "attack_s": seconds})
        for attack, seconds in (("tgda", 3.0), ("label-flip", 1.0))
        for seed in range(2)
    ]
    assert verdict(compare(chosen(timed, "tgda", "label-flip"), "attack-time")[0], "attack-time") == (
        "attack-time is higher for tgda than label-flip: 2.0 in the mean of 2 seeds. "
        "What does not vary cannot be tested."
    )


def test_a_verdict_names_the_value_and_the_family() -> None:
    assert said([86.0, 84.0, 84.0], [80.0, 79.0, 77.0], "acc2").startswith(
        "acc2 is higher for tgda than label-flip: 6.00"
    )
    records = over_seeds("tgda", 80.0, 79.0, 77.0) + over_seeds("label-flip", 86.0, 84.0, 82.0)
    records += over_seeds("emn", 20.0, 90.0, 45.0)
    pair = compare(chosen(records, "tgda", "label-flip", "emn"), "drop")[0]
    assert pair.p is not None
    assert pair.adjusted is not None
    assert pair.p < 0.05 < pair.adjusted  # emn is noisy, and of three entries two pairs are
    sentence = verdict(pair, "drop")
    assert sentence.startswith("No difference is shown between tgda and label-flip")
    assert f"p = {pair.p:.3f} (p = {pair.adjusted:.3f} in the family of 3)" in sentence
    assert "over seeds and test images; p in family: adjusted for all pairs of these 3" in family(pair)
    assert family(pair).endswith("families of its own: attacks, defenses with trusted data and those without.")
    assert family(compare(chosen(records, "tgda", "emn"), "drop")[0]) == "Paired test over seeds and test images."


@pytest.mark.parametrize(("p", "shown"), [(None, "–"), (0.0421, "0.042"), (0.0009, "<0.001"), (1.0, "1.000")])
def test_p_in_a_table(p: float | None, shown: str) -> None:
    assert p_value(p) == shown
