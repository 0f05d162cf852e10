"""Experiments picked by name, paired by seed and by image, and put into words; from records whose numbers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from poisonbench.errors import ConfigError, CorruptFileError, UnknownNameError, ValidationError
from poisonbench.leaderboard import selection
from poisonbench.leaderboard.comparison import Answers, compare
from poisonbench.leaderboard.experiments import Experiment, experiments
from poisonbench.leaderboard.selection import names_a_record, select
from poisonbench.leaderboard.statistics.correctness import correct
from poisonbench.leaderboard.statistics.verdicts import p_value, verdict
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.artifacts import Artifacts
from poisonbench.store.record import Metrics, Record

FIXTURE = json.loads(Path(__file__).with_name("test_store_record_v4.json").read_text("utf-8"))
LABELS = np.arange(20) % 10


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
            "attack": {**fields["attack"], "name": attack, "params": params or {}},
            "defense": {
                **fields["defense"],
                "name": defense,
                "params": {} if defense == "none" else {"fraction": 0.03},
            },
            "seeds": {**fields["seeds"], "run": seed},
            "metrics": Metrics.of(acc1, acc2),
            "finished_at": f"2026-01-{day:02d}T00:00:00Z",
            **changes,
        }
    )


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
        ({"dataset": {**FIXTURE["dataset"], "n_test": 7}}, "test images: 1000 / 7"),
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


def test_pairs_are_the_seeds_in_common() -> None:
    a = over_seeds("tgda", 80.0, 79.0, 77.0, 20.0)
    b = [record("label-flip", seed=seed, acc2=number) for seed, number in ((9, 1.0), (2, 84.0), (1, 84.0), (0, 86.0))]
    (pair,) = compare(chosen([*a, *b], "tgda", "label-flip"), "drop", {})
    assert pair.seeds == (0, 1, 2)
    assert (pair.of_a.mean, pair.of_b.mean) == (pytest.approx(34 / 3), pytest.approx(16 / 3))
    assert pair.across_seeds.difference.mean == pytest.approx(6.0)
    assert pair.across_seeds.difference.std == pytest.approx(1.0)
    assert pair.across_seeds.p == pytest.approx(1 - (108 / 110) ** 0.5)  # t = 6√3 on 2 degrees of freedom
    assert pair.across_seeds.holm == pair.across_seeds.p
    assert pair.over_images is None


def test_experiments_that_share_no_seed_are_refused() -> None:
    picked = chosen([record(seed=0), record("label-flip", seed=1)], "tgda", "label-flip")
    with pytest.raises(ConfigError, match=r"tgda has drop for seeds 0, label-flip for 1: none in common"):
        compare(picked, "drop", {})
    with pytest.raises(ConfigError, match=r"tgda has saved for seeds none"):
        compare(picked, "saved", {})
    other = record("label-flip", seeds={**FIXTURE["seeds"], "split": 12345})
    with pytest.raises(ConfigError, match="other random streams"):
        compare(chosen([record(), other], "tgda", "label-flip"), "drop", {})


def test_every_pair_is_in_the_family_and_a_pair_without_a_test_is_not() -> None:
    records = over_seeds("tgda", 80.0, 79.0, 77.0) + over_seeds("label-flip", 86.0, 84.0, 84.0)
    records += over_seeds("emn", 88.0, 87.0, 87.0) + over_seeds("min-max", 70.0, 69.0, 67.0)
    pairs = compare(chosen(records, "tgda", "label-flip", "emn", "min-max"), "drop", {})
    assert [(pair.a, pair.b) for pair in pairs][2:4] == [("tgda", "min-max"), ("label-flip", "emn")]
    untested = pairs[2].across_seeds
    assert (untested.p, untested.holm, untested.difference.std) == (None, None, 0.0)
    tested = sorted((pair.across_seeds.p, pair.across_seeds.holm) for pair in pairs if pair.across_seeds.p is not None)
    assert len(tested) == 5
    assert tested[0][1] == pytest.approx(5 * tested[0][0])


def answered(rng: np.random.Generator, attack: str, seeds: int) -> tuple[list[Record], Answers]:
    """Records and which of 20 images their models got right, such that they agree."""
    records, answers = [], {}
    for seed in range(seeds):
        right = {kind: rng.random(20) < part for kind, part in (("clean-predictions", 0.9), ("predictions", 0.6))}
        acc1, acc2 = (100.0 * right[kind].sum() / 20 for kind in ("clean-predictions", "predictions"))
        records.append(record(attack, seed=seed, acc1=acc1, acc2=acc2))
        answers[records[-1].record_id] = right
    return records, answers


@pytest.mark.parametrize("name", ["drop", "acc1", "acc2"])
def test_the_difference_over_images_is_the_difference_of_the_values(name: str) -> None:
    rng = np.random.default_rng(5)
    for seeds in (1, 2, 4):
        a, of_a = answered(rng, "tgda", seeds)
        b, of_b = answered(rng, "label-flip", seeds)
        (pair,) = compare(chosen([*a, *b], "tgda", "label-flip"), name, {**of_a, **of_b})
        assert pair.over_images is not None
        assert pair.over_images.difference.n == 20
        assert pair.over_images.difference.mean == pytest.approx(pair.across_seeds.difference.mean)
        assert pair.over_images.difference.mean == pytest.approx(
            np.mean([VALUES[name].of(one) for one in a]) - np.mean([VALUES[name].of(one) for one in b])
        )
        kind = "clean-predictions" if name == "acc1" else "predictions"
        for seed, (one, two) in enumerate(zip(a, b, strict=True)):
            only_a = of_a[one.record_id][kind] & ~of_b[two.record_id][kind]
            assert pair.mcnemar[seed].only_a == only_a.sum()
        if seeds == 1 and name != "drop":
            assert pair.over_images.p == pytest.approx(pair.mcnemar[0].p)


def test_without_every_prediction_there_is_no_test_over_images() -> None:
    a, of_a = answered(np.random.default_rng(0), "tgda", 2)
    b, of_b = answered(np.random.default_rng(1), "label-flip", 2)
    picked, everything = chosen([*a, *b], "tgda", "label-flip"), {**of_a, **of_b}
    del everything[b[1].record_id]
    (pair,) = compare(picked, "drop", everything)
    assert (pair.over_images, pair.mcnemar) == (None, {})
    (pair,) = compare(picked, "attack-time", {**of_a, **of_b})
    assert (pair.over_images, pair.across_seeds.p) == (None, 1.0)


# Predictions


def stored(home: Path, predictions: NDArray[Any], clean: NDArray[Any] = LABELS, **changes: Any) -> Record:
    """A record with its predictions kept below that home."""
    pairs = (("clean-predictions", clean), ("predictions", predictions))
    artifacts = [Artifacts(home).put_bytes(save({"predictions": tensor}), kind) for kind, tensor in pairs]
    return record(acc1=100.0, acc2=75.0, artifacts=[one.model_dump() for one in artifacts], **changes)


def wrong_in(count: int) -> NDArray[np.int16]:
    predictions = LABELS.astype(np.int16)
    predictions[:count] += 1
    return predictions


def test_predictions_are_read_and_checked_against_the_record(tmp_path: Path) -> None:
    found = correct(stored(tmp_path, wrong_in(5)), LABELS, Artifacts(tmp_path))
    assert found is not None
    assert found["clean-predictions"].all()
    assert found["predictions"].tolist() == [False] * 5 + [True] * 15
    with pytest.raises(ValidationError, match=r"give an accuracy of 70.0000 %, the record says 75.0000"):
        correct(stored(tmp_path, wrong_in(6)), LABELS, Artifacts(tmp_path))
    with pytest.raises(ValidationError, match="clean-predictions of record"):
        correct(stored(tmp_path, wrong_in(5)), LABELS[::-1], Artifacts(tmp_path))


@pytest.mark.parametrize("predictions", [wrong_in(5)[:19], wrong_in(5)[None], np.zeros((20, 10), np.float32)])
def test_predictions_of_another_shape_are_refused(predictions: NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="does not hold the classes of 20 test images"):
        correct(stored(tmp_path, predictions), LABELS, Artifacts(tmp_path))


def test_what_numpy_cannot_read_is_a_corrupt_file(tmp_path: Path) -> None:
    header = b'{"predictions":{"dtype":"BF16","shape":[20],"data_offsets":[0,40]}}'
    data = len(header).to_bytes(8, "little") + header + bytes(40)
    artifact = Artifacts(tmp_path).put_bytes(data, "clean-predictions")
    whole = stored(tmp_path, wrong_in(5))
    odd = record(acc1=100.0, acc2=75.0, artifacts=[artifact.model_dump(), whole.artifacts[1].model_dump()])
    with pytest.raises(CorruptFileError):
        correct(odd, LABELS, Artifacts(tmp_path))


def test_predictions_that_were_not_kept_are_none(tmp_path: Path) -> None:
    assert correct(record(), LABELS, Artifacts(tmp_path)) is None
    kept = stored(tmp_path / "there", wrong_in(5))
    assert correct(kept, LABELS, Artifacts(tmp_path)) is None


# In words


def said(a: list[float], b: list[float], name: str = "drop") -> str:
    picked = chosen(over_seeds("tgda", *a) + over_seeds("label-flip", *b), "tgda", "label-flip")
    return verdict(compare(picked, name, {})[0], name)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (
            [80.0, 79.0, 77.0],
            [86.0, 84.0, 84.0],
            "tgda lowers accuracy more than label-flip: 6.00 points, 95 % interval 3.52 to 8.48, p = 0.009; n = 3.",
        ),
        (
            [86.0, 84.0, 84.0],
            [80.0, 79.0, 77.0],
            "label-flip lowers accuracy more than tgda: 6.00 points, 95 % interval 3.52 to 8.48, p = 0.009; n = 3.",
        ),
        (
            [80.0, 84.0],
            [82.0, 80.0],
            "No difference is shown between tgda and label-flip: -1.00 points, 95 % interval -39.12 to 37.12, "
            "p = 0.795; n = 2.",
        ),
        (
            [80.0],
            [82.0],
            "Nothing is shown between tgda and label-flip: 2.00 points in seed 0, the only one that both have.",
        ),
        (
            [80.0, 81.0],
            [82.0, 83.0],
            "tgda lowers accuracy more than label-flip: 2.00 points in each of 2 seeds. What does not vary cannot be "
            "tested.",
        ),
        (
            [80.0, 81.0],
            [80.0, 81.0],
            "No difference is shown between tgda and label-flip: 0.00 points in each of 2 seeds, p = 1.000; n = 2.",
        ),
    ],
)
def test_a_verdict_is_a_plain_sentence(a: list[float], b: list[float], expected: str) -> None:
    assert said(a, b) == expected


def test_a_verdict_names_the_value_and_the_adjusted_p() -> None:
    assert said([86.0, 84.0, 84.0], [80.0, 79.0, 77.0], "acc2").startswith(
        "acc2 is higher for tgda than label-flip: 6.00"
    )
    records = over_seeds("tgda", 80.0, 79.0, 77.0) + over_seeds("label-flip", 86.0, 84.0, 82.0) + over_seeds("emn", 1.0)
    first = compare(chosen(records, "tgda", "label-flip"), "drop", {})[0]
    assert "lowers accuracy more" in verdict(first, "drop")
    records += [record("emn", seed=1, acc2=90.0), record("emn", seed=2, acc2=45.0)]
    p = first.across_seeds.p
    assert p is not None
    pair = compare(chosen(records, "tgda", "label-flip", "emn"), "drop", {})[0]
    assert f"p = {p:.3f} (p = {3 * p:.3f} after Holm)" in verdict(pair, "drop")


def test_a_verdict_says_where_the_test_over_images_disagrees() -> None:
    many, none = np.arange(20) < 8, np.zeros(20, dtype=bool)
    clean = np.ones(20, dtype=bool)

    def told(wrong_a: list[NDArray[np.bool_]], wrong_b: list[NDArray[np.bool_]]) -> str:
        records, answers = [], {}
        for attack, wrongs in (("tgda", wrong_a), ("label-flip", wrong_b)):
            for seed, wrong in enumerate(wrongs):
                records.append(record(attack, seed=seed, acc1=100.0, acc2=100.0 * (~wrong).mean()))
                answers[records[-1].record_id] = {"clean-predictions": clean, "predictions": ~wrong}
        return verdict(compare(chosen(records, "tgda", "label-flip"), "drop", answers)[0], "drop")

    assert told([many], [none]).endswith(" The models themselves differ over test images: p = 0.008.")
    few = [np.arange(20) < count for count in (3, 3, 4)]
    assert told(few, [none] * 3).endswith("n = 3. Over test images no difference is shown: p = 0.125.")
    assert told([many] * 2, [none, many[::-1]]).endswith("n = 2.")


@pytest.mark.parametrize(("p", "shown"), [(None, "–"), (0.0421, "0.042"), (0.0009, "<0.001"), (1.0, "1.000")])
def test_p_in_a_table(p: float | None, shown: str) -> None:
    assert p_value(p) == shown
