"""`poisonbench compare` on records of its own ε, so that no other test's records are among them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from poisonbench.cli import compare as command
from poisonbench.data.base import DataOptions, prepare
from poisonbench.errors import ConfigError, UnknownNameError
from poisonbench.store.database import Store
from poisonbench.store.record import Record

EPSILON = ("--epsilon", "0.043")
RUN = ("run", "-a", "label-flip,min-max", "-d", "none,loss", *EPSILON, "--seeds", "0,1", "--json")

WITHOUT_TORCH = """
import json, sys
from poisonbench.cli.main import main
sys.argv = ["poisonbench", *sys.argv[1:]]
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def records(poisonbench: Any) -> list[dict[str, Any]]:
    """Two attacks with and without a defense, two seeds."""
    found: list[dict[str, Any]] = poisonbench.json(*RUN)
    return found


def drops(records: list[dict[str, Any]], attack: str, defense: str = "none") -> list[float]:
    return [
        record["metrics"]["drop"]
        for record in records
        if (record["attack"]["name"], record["defense"]["name"]) == (attack, defense)
    ]


@pytest.fixture(scope="module")
def found(records: list[dict[str, Any]], poisonbench: Any) -> dict[str, Any]:
    """The two attacks compared, as JSON."""
    document: dict[str, Any] = poisonbench.json("compare", "min-max", "label-flip", *EPSILON, "--json")
    return document


@pytest.fixture
def compare(
    poisonbench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[dict[str, Any], str]]:
    """The command in this process: its JSON, and what it noted beside."""
    monkeypatch.setenv("POISONBENCH_HOME", str(poisonbench.home))

    def run(*operands: str, store: str | None = None, value: str = "drop") -> tuple[dict[str, Any], str]:
        command.compare(names=operands, epsilon="0.043", value=value, store=store, as_json=True)
        shown = capsys.readouterr()
        return json.loads(shown.out), shown.err

    return run


def test_a_pair_as_json(records: list[dict[str, Any]], found: dict[str, Any]) -> None:
    assert found["value"] == "drop"
    assert (found["conditions"]["protocol"], found["conditions"]["epsilon"]) == ("digits-v2", 0.043)
    a, b = drops(records, "min-max"), drops(records, "label-flip")
    assert [run["drop"] for run in found["experiments"][0]["runs"]] == a
    (pair,) = found["comparisons"]
    assert (pair["a"], pair["b"], pair["seeds"]) == ("min-max", "label-flip", [0, 1])
    expected = sum(a) / 2 - sum(b) / 2
    assert pair["difference"]["mean"] == pytest.approx(expected)
    assert (pair["images"], pair["family"], pair["difference"]["n"]) == (500, 2, 2)
    assert pair["adjusted"] == pytest.approx(pair["p"], abs=1e-4)
    low, high = pair["difference"]["interval"]
    assert (low + high) / 2 == pytest.approx(expected)
    assert [test["seed"] for test in pair["mcnemar"]] == [0, 1]


def test_the_images_are_those_of_scikit_learn(
    records: list[dict[str, Any]], found: dict[str, Any], poisonbench: Any
) -> None:
    """Labels by another way: each test image is looked up among scikit-learn's by its pixels."""
    digits = load_digits()
    label_of = {
        image.astype(int).tobytes(): int(label) for image, label in zip(digits.images, digits.target, strict=True)
    }
    test = (16 * prepare("digits", DataOptions(offline=True)).test.x[:, 0]).round().long().numpy()
    labels = torch.tensor([label_of[image.tobytes()] for image in test])
    right = {}
    with Store.open(str(poisonbench.home / "store.db")) as store:
        for record in records:
            files = {artifact["kind"]: artifact["sha256"] for artifact in record["artifacts"]}
            predictions = store.artifacts.get(files["predictions"])["predictions"]
            right[record["attack"]["name"], record["defense"]["name"], record["seeds"]["run"]] = predictions == labels
    for test_of_seed in found["comparisons"][0]["mcnemar"]:
        a, b = (right[attack, "none", test_of_seed["seed"]] for attack in ("min-max", "label-flip"))
        assert (test_of_seed["only_a"], test_of_seed["only_b"]) == (int((a & ~b).sum()), int((b & ~a).sum()))


def test_a_family_in_a_narrow_terminal(records: list[dict[str, Any]], poisonbench: Any) -> None:
    narrow = replace(poisonbench, environment={"COLUMNS": "80"})
    done = narrow.script("compare", "min-max", "label-flip", "min-max/loss", "label-flip/loss", *EPSILON)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "digits-v2 · lr · ε = 0.043 · accuracy drop in points"
    assert lines[1].split() == ["A", "B", "seeds", "A", "−", "B", "±", "95", "%", "p", "p", "in", "family"]
    difference = sum(drops(records, "min-max")) / 2 - sum(drops(records, "label-flip")) / 2
    assert lines[2].startswith("min-max")
    assert f" 2 {difference:.2f}" in " ".join(lines[2].split())
    sentences = " ".join(done.stdout.split())
    assert "adjusted for all pairs of these 4 experiments" in sentences
    assert sentences.count("between ") + sentences.count("lowers accuracy more than ") == 6


def test_it_needs_neither_data_nor_torch(records: list[dict[str, Any]], poisonbench: Any) -> None:
    arguments = ("compare", "min-max/loss", "label-flip/loss", *EPSILON, "--value", "removed", "--json")
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_TORCH, *arguments],
        capture_output=True,
        text=True,
        env=poisonbench.variables(),
        cwd=poisonbench.home,
    )
    assert (done.returncode, done.stderr) == (0, "False\n")
    (pair,) = json.loads(done.stdout)["comparisons"]
    assert pair["images"] is None
    assert pair["p"] == pytest.approx(1.0)  # the same quota: the same number of rows


def test_without_answers_nothing_is_tested(
    records: list[dict[str, Any]], compare: Callable[..., Any], tmp_path: Path
) -> None:
    with Store.open(str(tmp_path)) as other:
        for record in records:
            fields = {key: part for key, part in record.items() if key != "record_id"}
            other.add(Record.create(**{**fields, "metrics": {**fields["metrics"], "answers": None}}))
    found, _ = compare("min-max", "label-flip", store=str(tmp_path))
    (pair,) = found["comparisons"]
    assert (pair["p"], pair["adjusted"], pair["difference"]["interval"], pair["mcnemar"]) == (None, None, None, [])
    assert pair["verdict"].endswith("Without the records' answers by test image it cannot be tested.")


def test_a_record_stands_for_its_experiment(
    records: list[dict[str, Any]], found: dict[str, Any], compare: Callable[..., Any]
) -> None:
    by_name = {(record["attack"]["name"], record["defense"]["name"]): record["record_id"] for record in records}
    assert compare(by_name["min-max", "none"], by_name["label-flip", "none"][:12])[0] == found


def test_seeds_of_two_versions_are_noted(
    records: list[dict[str, Any]], compare: Callable[..., Any], tmp_path: Path
) -> None:
    changed = {key: part for key, part in records[0].items() if key != "record_id"}
    changed["attack"] = {**changed["attack"], "code_hash": "0" * 64}
    with Store.open(str(tmp_path)) as other:
        other.add_all([*map(Record.read, records[1:]), Record.create(**changed)])
    _, notes = compare("min-max", "label-flip", store=str(tmp_path), value="attack-time")
    assert notes.count("2 versions of its code") == 1


def test_what_cannot_be_compared_is_one_line(
    records: list[dict[str, Any]], poisonbench: Any, compare: Callable[..., Any]
) -> None:
    assert "Did you mean 'min-max'" in poisonbench.error("compare", "mni-max", "label-flip", *EPSILON, code=2)
    with pytest.raises(ConfigError, match="Name two experiments or more"):
        compare("min-max")
    with pytest.raises(UnknownNameError, match="Did you mean 'drop'"):
        compare("min-max", "label-flip", value="dorp")
    with pytest.raises(ConfigError, match="run --attack tgda --defense none"):
        compare("min-max", "tgda")
    with pytest.raises(UnknownNameError, match="No record '0123456789abcdef'"):
        compare("min-max", "0123456789abcdef")
