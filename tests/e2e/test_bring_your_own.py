"""What users bring: poison sets that somebody else made, models and datasets of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

PARTS = {"x_train": (908, 1, 8, 8), "y_train": (908,), "x_val": (376, 1, 8, 8), "y_val": (376,)}


@pytest.fixture(scope="module")
def split(poisonbench: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray[Any, Any]]:
    """The split of seed 1, from its file."""
    file = tmp_path_factory.mktemp("split") / "split.npz"
    shown = poisonbench("data", "split", "--protocol", "digits", "--seed", "1", "-o", str(file)).stdout
    assert shown.startswith(f"{file}: x_train (908, 1, 8, 8), y_train (908,), x_val (376, 1, 8, 8), y_val (376,); ")
    assert shown.endswith("digits-v2, seed 1: at most 27 poison points.\n")
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def flips(split: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """A poison set as somebody makes it who has the split alone."""
    return {"x": split["x_train"][:27], "y": (split["y_train"][:27] + 1) % 10, "source": np.arange(27)}


def test_the_split_is_what_attacks_are_shown(poisonbench: Any, split: dict[str, np.ndarray[Any, Any]]) -> None:
    assert {name: value.shape for name, value in split.items()} == PARTS
    assert {str(value.dtype) for value in split.values()} == {"float32", "int64"}
    (record,) = poisonbench.json("run", "-a", "label-flip", "--seeds", "1", "--json")
    (poison,) = [one for one in record["artifacts"] if one["kind"] == "poison"]
    (file,) = poisonbench.home.rglob(f"*{poison['sha256']}*")
    made = load_file(file)
    assert np.array_equal(made["x"], split["x_train"][made["source"]])
    assert (made["y"] != split["y_train"][made["source"]]).all()


def test_no_test_image_is_in_it(split: dict[str, np.ndarray[Any, Any]]) -> None:
    """Nor one of the defender's trusted rows: D_tr, D_v, those and the test set are all the digits there are."""
    digits = load_digits()
    known = {image.tobytes() for image in (digits.images / 16).astype(np.float32)}
    here = [row.tobytes() for row in np.concatenate([split["x_train"], split["x_val"]])]
    assert set(here) <= known
    assert len(here) == 1797 - 500 - 13


def test_another_seed_is_another_split_and_both_formats_are_one(
    poisonbench: Any, split: dict[str, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    for seed, same in (("1", True), ("2", False)):
        poisonbench("data", "split", "--seed", seed, "-o", str(tmp_path / "split.safetensors"))
        found = load_file(tmp_path / "split.safetensors")
        assert set(found) == set(split)
        assert all(np.array_equal(found[name], split[name]) for name in split) is same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "split.csv"), "--output split.csv: expected a name that ends in .npz or .safetensors."),
        (("-o", "split.npz", "--protocol", "digit"), "Unknown protocol 'digit'. Did you mean 'digits-v2'?"),
        (("-o", "split.npz", "--dataset", "digit"), "Unknown dataset 'digit'. Did you mean 'digits'?"),
        (("-o", "split.npz", "--seed", "-1"), "Invalid value for '--seed'"),
    ],
)
def test_a_split_that_there_is_none_of(poisonbench: Any, arguments: tuple[str, ...], message: str) -> None:
    assert message in poisonbench.error("data", "split", *arguments, code=2)


def test_a_poison_set_of_ones_own_is_scored(
    poisonbench: Any, flips: dict[str, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    """As arrays and as images of the same points: but for 16 levels of grey in 256, the same."""
    np.savez(tmp_path / "flips.npz", **flips)
    save_file(flips, tmp_path / "flips.safetensors")
    (tmp_path / "flips").mkdir()
    lines = ["file,label,source"]
    for number, (x, y) in enumerate(zip(flips["x"], flips["y"], strict=True)):
        Image.fromarray((x[0] * 255).round().astype(np.uint8)).save(tmp_path / "flips" / f"{number}.png")
        lines.append(f"{number}.png,{y},{number}")
    (tmp_path / "flips" / "labels.csv").write_text("\n".join(lines))
    files = ",".join(str(tmp_path / name) for name in ("flips.npz", "flips.safetensors", "flips"))
    records = poisonbench.json("run", "--poison", files, "--defense", "loss", "--seeds", "1", "--json")
    assert [record["status"] for record in records] == ["ok"] * 3
    npz, tensors, images = records
    assert npz["metrics"] == tensors["metrics"]
    assert abs(images["metrics"]["acc2"] - npz["metrics"]["acc2"]) <= 1
    for record in records:
        assert (record["attack"]["name"], record["threat"]["n_poison"]) == ("replay", 27)
        assert record["attack"]["params"]["sha256"]
        assert record["protocol"]["deviations"] == []


def test_what_is_over_the_budget_is_a_failed_cell(
    fresh: Callable[..., Any], flips: dict[str, np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    np.savez(tmp_path / "more.npz", **{name: np.concatenate([part, part]) for name, part in flips.items()})
    done = fresh()("run", "--poison", str(tmp_path / "more.npz"), "--seeds", "1", code=4)
    assert "replay's poison set breaks its budget: 54 rows, between 1 and 27 allowed" in done.stderr


def test_a_poison_set_that_is_none_is_refused_at_once(poisonbench: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("run", "plan", "sweep"):
        line = poisonbench.error(command, "--poison", str(tmp_path / "empty"), "--seeds", "0", code=2)
        assert line.endswith("expected one .csv beside the images, with file,label[,source]; there is none.")


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_a_new_file_is_used_at_once(kind: str, fresh: Callable[..., Any]) -> None:
    command = fresh()
    shown = command("new", kind, "my-own").stdout
    check, run = (line.split()[1:] for line in shown.splitlines()[-1].removeprefix("Next: ").split(" && "))
    (checked,) = command.json(*check, "--json")
    assert checked["ok"], checked
    (record,) = command.json(*run, "--seeds", "0", "--json")
    assert (record["status"], record[kind]["name"]) == ("ok", "my-own")
    (deviation,) = record["protocol"]["deviations"]
    assert deviation.startswith(f"{kind}: ")
    assert "my-own" in deviation
