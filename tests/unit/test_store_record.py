"""The record: canonical text, schema, what it refuses, and upgrades from older schema versions."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonbench.errors import CorruptFileError, ValidationError
from poisonbench.problem.threat import Knowledge, Mode
from poisonbench.store.canonical import (
    canonical_json,
    content_hash,
    hash_of_itself,
    parse_json,
    pretty_json,
    record_id_of,
)
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact, artifact_path
from poisonbench.store.record_results import Metrics
from poisonbench.store.upgrades import SCHEMA_VERSION, upgrade

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")
OLDER = {version: Path(__file__).with_name(f"test_store_record_v{version}.json") for version in (1, 2, 3, 4)}

percents = st.floats(0, 100)
texts = st.text(max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(texts, values, max_size=4)


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(FIXTURE.read_text("utf-8")), **changes}


def make(**changes: Any) -> Record:
    fields = document(**changes)
    fields.pop("record_id")
    return Record.create(**fields)


@st.composite
def records(draw: st.DrawFn) -> Record:
    status = draw(st.sampled_from(["ok", "failed", "timeout", "oom"]))
    metrics = Metrics.of(draw(percents), draw(percents), *(draw(st.none() | percents) for _ in range(3)))
    return make(
        status=status,
        error=None if status == "ok" else draw(texts),
        metrics=metrics if status == "ok" else draw(st.none() | st.just(metrics)),
        attack={**document()["attack"], "params": draw(objects)},
        attack_stats=draw(objects),
        seeds={key: draw(st.integers(0, 2**63 - 1)) for key in ("run", "split", "train", "attack", "defense")},
        solver=draw(st.none() | st.just({"steps": 3, "residual": 1e-9, "converged": False})),
    )


def shuffled(value: Any, draw: st.DataObject) -> Any:
    if isinstance(value, dict):
        keys = draw.draw(st.permutations(list(value)))
        return {key: shuffled(value[key], draw) for key in keys}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@given(values, st.data())
def test_the_hash_ignores_the_order_of_keys(value: Any, data: st.DataObject) -> None:
    other = shuffled(value, data)
    assert canonical_json(other) == canonical_json(value)
    assert content_hash(other) == content_hash(value)


@given(values)
def test_canonical_text_is_strict_json_of_the_same_value(value: Any) -> None:
    text = canonical_json(value)
    assert parse_json(text.encode("ascii")) == value
    assert parse_json(pretty_json(value).encode("utf-8")) == value
    assert canonical_json(parse_json(text.encode())) == text


def test_canonical_text_is_known() -> None:
    assert canonical_json({"b": (1, 2.0, None, True), "a": "ε"}) == '{"a":"\\u03b5","b":[1,2.0,null,true]}'
    assert content_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert content_hash({"a": 1}) != content_hash({"a": 2})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": {"b": [1.0, math.nan]}}, "a.b[1] is nan, expected a finite number"),
        (-math.inf, "-inf"),
        ({1: 2}, "has the key 1, expected text"),
        ({"a": object()}, "a is a object"),
        ({"a": 10**5000}, "a is an integer of"),
        ({"a": "\ud800"}, "a has text that is not Unicode"),
    ],
)
def test_what_json_cannot_hold_is_named(value: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        canonical_json(value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "a is inf"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' occurs twice"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 200 + b"]" * 200, "nested deeper"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested deeper"),
        (b"9" * 10_000, "digits"),
        (b'"\\ud800"', "not Unicode"),
        (b"\x80\x04\x95\x10", "not UTF-8"),
        (b"cos\nsystem\n(S'true'\ntR.", "not JSON"),
        (b"", "not JSON"),
        (b"{} {}", "not JSON"),
    ],
)
def test_hostile_json_is_refused_in_one_line(data: bytes, words: str) -> None:
    with pytest.raises(CorruptFileError) as caught:
        parse_json(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(records())
def test_records_round_trip(record: Record) -> None:
    text = canonical_json(record.document())
    again = Record.read(parse_json(text.encode()))
    assert again == record
    assert canonical_json(again.document()) == text
    assert again.record_id == record_id_of(json.loads(text))
    assert Record.read_shipped(text.encode()) == record


def test_a_shipped_text_vouches_for_itself_alone() -> None:
    """It is read as any other: what was changed, and what is named well and is no record, is refused."""
    text = canonical_json(document()).encode()
    assert hash_of_itself(text, SCHEMA_VERSION)
    assert not hash_of_itself(text, SCHEMA_VERSION + 1)
    assert Record.read_shipped(text) == Record.read(document())
    assert Record.read_shipped(pretty_json(document()).encode()) == Record.read(document())
    changed = text.replace(b'"run":0', b'"run":1')
    assert changed != text
    assert not hash_of_itself(changed, SCHEMA_VERSION)
    with pytest.raises(ValidationError, match="it was changed"):
        Record.read_shipped(changed)
    other = {**document(), "metrics": {**document()["metrics"], "acc1": 101.0}}
    named = canonical_json({**other, "record_id": record_id_of(other)}).encode()
    assert hash_of_itself(named, SCHEMA_VERSION)
    with pytest.raises(ValidationError, match=r"record\.metrics\.acc1"):
        Record.read_shipped(named)


def test_the_released_fixture_still_reads_and_keeps_its_name() -> None:
    record = Record.read(document())
    assert record.record_id == "b5b4469f3d05669c"
    assert pretty_json(record.document()) == FIXTURE.read_text("utf-8")
    assert record.ranked
    assert not make(protocol={**document()["protocol"], "deviations": ["recipe.epochs"]}).ranked


@pytest.mark.parametrize("version", OLDER)
def test_records_of_older_versions_still_read(version: int) -> None:
    old = json.loads(OLDER[version].read_text("utf-8"))
    assert old["schema_version"] == version
    assert (
        old["record_id"]
        == {1: "bf1891a63dcbf78b", 2: "32be3022739e1f80", 3: "99dbbaf6ef795e09", 4: "5a83c5aeb92ab194"}[version]
    )
    new = Record.read(old).document()
    for part in ("metrics", "memory", "dataset", "model"):
        assert new[part].items() >= old[part].items()
    assert new["defense_detail"].items() >= old["defense_detail"].items()
    if version < 4:
        assert (new["dataset"]["n_trusted"], new["trajectories"], new["metrics"]["answers"]) == (0, None, None)
    assert new["provenance"] == {"source": old["provenance"]["source"], "verification": None}  # anybody can type a name
    assert new["threat"] == {key: value for key, value in old["threat"].items() if key != "box"}
    if version < 3:
        for method in ("attack", "defense"):
            assert new[method].pop("release") == old[method].pop("version")
            assert new[method].pop("version") == "0"
        assert (new["engine"]["version"], new["dataset"]["version"], new["model"]["version"]) == (0, 0, 0)
    same = old.keys() - {
        "schema_version", "record_id", "metrics", "memory", "dataset", "model", "defense_detail", "provenance", "threat"
    }  # fmt: skip
    assert {key: new[key] for key in same} == {key: old[key] for key in same}


def test_what_was_composed_before_versions_has_one_for_each_part() -> None:
    old = json.loads(OLDER[2].read_text("utf-8"))
    old["defense"]["name"] = "loss+maxup"
    new = Record.read({**old, "record_id": record_id_of(old)})
    assert new.defense.version == "0+0"


def test_a_record_says_what_made_it() -> None:
    fields = document()
    defense = {**fields["defense"], "name": "loss+maxup", "version": "1+2"}
    made = make(defense=defense, surrogate="nn", surrogate_version=4).made_by
    assert made == (
        ("engine", "engine", 1),
        ("dataset", "digits", 1),
        ("model", "lr", 1),
        ("model", "nn", 4),
        ("attack", "tgda", 1),
        ("defense", "loss", 1),
        ("defense", "maxup", 2),
    )


def test_knowledge_and_mode_are_those_of_the_threat_model() -> None:
    for knowledge in Knowledge:
        for mode in Mode:
            threat = make(threat={**document()["threat"], "knowledge": knowledge, "mode": mode}).threat
            assert (threat.knowledge, threat.mode) == (knowledge, mode)


def test_metrics_compute_the_drop() -> None:
    assert Metrics.of(96.1, 94.7).drop == 96.1 - 94.7
    assert Metrics.of(50.0, 60.0).drop == -10.0
    assert Metrics.of(96.1, 94.7, acc1_defended=95.8).clean_cost == 96.1 - 95.8
    assert Metrics.of(96.1, 94.7, acc2_undefended=90.0).clean_cost is None


@pytest.mark.parametrize("drop", [1.4, 94.7 - 96.1, 0.0])
def test_a_drop_that_is_not_the_difference_is_refused(drop: float) -> None:
    # 96.1 − 94.7 is 1.3999999999999915 in binary: even a rounded drop is not the difference.
    forged = document(metrics={**document()["metrics"], "drop": drop})
    forged["record_id"] = record_id_of(forged)
    with pytest.raises(ValidationError, match=r"drop is .*, but acc1 − acc2 = "):
        Record.read(forged)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("metrics", "acc1"), math.nan, "record.metrics.acc1: Input should be a finite number"),
        (("timing", "total_s"), math.inf, "record.timing.total_s: Input should be a finite number"),
        (("attack", "params", "alpha"), math.nan, "record.attack.params: alpha is nan, expected a finite number"),
        (("attack_stats", "loss"), -math.inf, "record.attack_stats: loss is -inf"),
        (("metrics", "acc1"), "96.1", "valid number"),
        (("metrics", "acc2"), 101.0, "less than or equal to 100"),
        (("threat", "epsilon"), True, "valid number"),
        (("threat", "epsilon"), 3.0, "less than or equal to 1"),
        (("threat", "knowledge"), "all", "training-only"),
        (("seeds", "run"), 2**63, "less than"),
        (("seeds", "extra"), 1, "Extra inputs are not permitted"),
        (("attack", "name"), "../tgda\n", "pattern"),
        (("attack", "name"), "tgda\n", "pattern"),
        (("attack", "name"), "<script>", "pattern"),
        (("metrics", "per_class", "acc1"), [1.0], "acc1 has 1 classes, acc2 has 2"),
        (("metrics",), None, "there are no metrics"),
        (("surrogate",), "nn", "surrogate is 'nn', but its version is None"),
        (("defense", "version"), "1+1", "expected one for each part"),
        (("attack", "version"), "1.0", "pattern"),
        (("model", "version"), -1, "greater than or equal to 0"),
        (("metrics", "clean_cost"), 0.5, "clean_cost is 0.5, but acc1_padded − acc1_defended = "),
        (("metrics", "acc1_padded"), None, "numbers together, or null together"),
        (("metrics", "answers", "clean"), "/w==", "answers.clean are not those of 1000 images"),
        (("metrics", "answers", "clean"), "A" * 166 + "8=", "answers.clean say 4 of 1000 images, the accuracy is 96.1"),
        (("metrics", "answers", "attacked"), "no base64!", "pattern"),
        (("dataset", "n_test"), 999, "answers.clean are not those of 999 images"),
        (("trajectories", "epochs"), [1], "1 epochs, 2 and 2 accuracies"),
        (("error",), "boom", "status is ok, but error is 'boom'"),
        (("finished_at",), "2026-05-09T07:35:31+02:00", "not in UTC"),
        (("finished_at",), "2026-05-09T07:35:31", "not in UTC"),
        (("finished_at",), "yesterday", "isoformat"),
        (("schema_version",), 6, "newer than this poisonbench"),
        (("schema_version",), 0, "never a version"),
        (("schema_version",), True, "expected an integer"),
    ],
)
def test_what_breaks_the_schema_is_named_in_one_line(path: tuple[str, ...], value: Any, words: str) -> None:
    broken = document()
    target = broken
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ValidationError) as caught:
        Record.read(broken)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    if path != ("schema_version",):
        broken.pop("record_id")
        with pytest.raises(ValidationError) as caught:
            Record.create(**broken)
        assert words in str(caught.value)


def test_a_tampered_record_is_refused() -> None:
    for changed in ({"attack_stats": {}}, {"surrogate": "nn", "surrogate_version": 1}, {"record_id": "0" * 16}):
        with pytest.raises(ValidationError, match=r"it was changed"):
            Record.read(document(**changed))


@pytest.mark.parametrize("document", [None, [], "x", 1, {}])
def test_what_is_no_record_is_refused(document: Any) -> None:
    with pytest.raises(ValidationError):
        Record.read(document)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", f"artifacts/../{'a' * 64}.safetensors", artifact_path("b" * 64), artifact_path("a" * 64) + "\n"],
)
def test_an_artifact_cannot_name_another_path(path: str) -> None:
    good = {"kind": "poison", "path": artifact_path("a" * 64), "sha256": "a" * 64, "bytes": 1}
    assert Artifact.model_validate(good)
    with pytest.raises(ValidationError):
        make(artifacts=[{**good, "path": path}])


def test_time_has_one_spelling_so_that_text_order_is_time_order() -> None:
    early, late = "2026-05-09T07:35:31Z", "2026-05-09T07:35:31.5+00:00"
    assert make(finished_at=early).finished_at < make(finished_at=late).finished_at
    assert make(finished_at=early) == make(finished_at="2026-05-09T07:35:31.000000+00:00")


def old_document() -> dict[str, Any]:
    """A version that never was: it called the attack's statistics `stats`."""
    old = document(schema_version=0)
    old["stats"] = old.pop("attack_stats")
    return {**old, "record_id": record_id_of(old)}


def test_upgrades_run_in_order_and_rename_the_record() -> None:
    def zero(old: dict[str, Any]) -> dict[str, Any]:
        old["attack_stats"] = old.pop("stats")
        return old

    def one(old: dict[str, Any]) -> dict[str, Any]:
        assert old["schema_version"] == 1
        return old

    old = old_document()
    before = canonical_json(old)
    new = upgrade(old, {0: zero, 1: one, 2: dict, 3: dict, 4: dict})
    assert new == document()
    assert Record.read(new).record_id == document()["record_id"]
    assert canonical_json(old) == before
    assert upgrade(new, {0: zero, 1: one, 2: dict, 3: dict, 4: dict}) is new


def test_an_upgrade_launders_no_tampered_record() -> None:
    with pytest.raises(ValidationError, match=r"it was changed"):
        upgrade(old_document() | {"surrogate": "nn"}, dict.fromkeys(range(5), dict))


def test_a_gap_in_the_upgrades_is_named() -> None:
    with pytest.raises(ValidationError, match=r"0 was never a version"):
        upgrade(old_document(), dict.fromkeys(range(1, 5), dict))


def test_the_store_imports_without_torch() -> None:
    code = "import sys, poisonbench.store.exchange as e; assert e; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
