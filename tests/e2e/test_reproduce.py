"""`poisonbench reproduce`: what is missing is run, then shown beside the paper's numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

TABLE = ("reproduce", "table13", "--profile", "smoke")


@pytest.fixture(scope="module")
def folder(poisonbench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `--output` wrote, for a table, and for curves that have no records yet (.ci/run runs all of the paper's)."""
    path: Path = tmp_path_factory.mktemp("paper")
    poisonbench("reproduce", "table13", "--output", str(path))
    poisonbench("reproduce", "figure1", "filters", "--overwrite", "never", "--output", str(path), code=1)
    return path


def test_nothing_is_run_twice(poisonbench: Any, folder: Path) -> None:
    planned = poisonbench.json(*TABLE, "--dry-run", "--json")
    assert {part["found"] for part in planned} == {"ok"}
    assert not any(part["due"] for part in planned)
    shown = poisonbench(*TABLE).stdout
    assert "Unlearnable examples on digits" in shown
    assert "The 8×8 digits and their NN in the place of CIFAR-10" in " ".join(shown.split())


def test_numbers_are_the_records(poisonbench: Any, folder: Path) -> None:
    (study,) = poisonbench.json(*TABLE, "--json")
    stored = {record["record_id"]: record for record in poisonbench.json("results", "show", "--json")}
    rows = list(csv.DictReader((folder / "table13.csv").read_text().splitlines()))
    assert len(study["entries"]) == len(rows) == 12
    for entry, row in zip(study["entries"], rows, strict=True):
        value = "acc1" if entry["column"] == "Clean" else "acc2"
        numbers = [stored[name]["metrics"][value] for name in entry["records"]]
        assert numbers
        assert float(row["mean"]) == pytest.approx(sum(numbers) / len(numbers), rel=1e-12)
        assert (row["row"], row["column"], row["value"]) == (entry["row"], entry["column"], value)
    assert float(rows[-1]["printed"]) == 16.65


def test_every_format_is_there(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        *(f"{name}.{suffix}" for name in ("table13", "figure1", "filters") for suffix in ("md", "tex", "csv")),
        "figure1.svg",
        "figure1.png",
    }
    assert (folder / "figure1.svg").read_text().startswith("<?xml")
    assert "digits-17, SVM" in (folder / "figure1.md").read_text()


def test_without_computing(fresh: Any) -> None:
    command = fresh()
    shown = command("reproduce", "table2", "--overwrite", "never", "--format", "md", code=1).stdout
    assert "|  | TGDA | – | 89.56 | – | – | 2.79±0.07 | – | 1.1 h | 0 of 3 |" in shown
    assert command.json("results", "show", "--json") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table1",), "Unknown table, figure or study 'table1'. Did you mean 'table1"),
        (("table2", "--profile", "smok"), "Unknown profile of table2 'smok'. Did you mean 'smoke'?"),
        (("table2", "--format", "xyz"), "Unknown format 'xyz'. Known: csv, latex, md, terminal."),
    ],
)
def test_what_is_refused(poisonbench: Any, arguments: tuple[str, ...], message: str) -> None:
    assert message in poisonbench.error("reproduce", *arguments, code=2)
