"""`poisonbench table`: what is read, by which filters, in which format, and what is refused before any work."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from poisonbench.cli import table_rows
from poisonbench.cli.main import app
from poisonbench.errors import ConfigError, PoisonbenchError, UnknownNameError
from poisonbench.identity.versions import current
from poisonbench.leaderboard.tables.axes import AXES
from poisonbench.leaderboard.tables.shapes import PRESETS
from poisonbench.leaderboard.tables.texts import SPREADS
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_results import Answers, Metrics

FIELDS = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))
FIELDS.pop("record_id")

Command = Callable[..., str]


def newest(attack: str) -> str:
    """The version that ships, so that a planted record is one of now."""
    return str(current("attack", attack) or 1)


def record(seed: int, acc2: float, attack: str = "tgda", defense: str = "none", **changes: Any) -> Record:
    """acc1 = 90; a ranked record of digits-v1."""
    return Record.create(
        **{
            **FIELDS,
            "attack": {
                **FIELDS["attack"],
                "name": attack,
                "version": str(current("attack", attack) or 1),
                "params": {},
            },
            "defense": {**FIELDS["defense"], "name": defense, "params": {}},
            "seeds": {**FIELDS["seeds"], "run": seed},
            "metrics": metrics(acc2),
            "timing": {**FIELDS["timing"], "attack_s": 10.0 + seed},
            "protocol": {**FIELDS["protocol"], "locked": True, "deviations": []},
            **changes,
        }
    )


def metrics(acc2: float) -> Metrics:
    """With answers of 1000 images, of which the first are right."""
    bits = [np.packbits(np.arange(1000) < round(10 * accuracy)).tobytes() for accuracy in (90.0, acc2)]
    clean, attacked = (base64.b64encode(one).decode("ascii") for one in bits)
    return Metrics.of(90.0, acc2, answers=Answers(clean=clean, attacked=attacked))


RECORDS = [
    *(record(seed, acc2) for seed, acc2 in enumerate((80.0, 81.0, 79.0))),
    *(record(seed, acc2, "label-flip") for seed, acc2 in enumerate((89.0, 88.5, 89.5))),
    *(record(seed, acc2, defense="loss") for seed, acc2 in enumerate((88.0, 87.0, 89.0))),
    record(3, 10.0, protocol={**FIELDS["protocol"], "locked": True, "deviations": ["recipe.epochs: 100 → 1"]}),
]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`poisonbench table` on a store of RECORDS; its standard output. Raises what it refuses with."""
    with Store.open(str(tmp_path)) as store:
        store.add_all(RECORDS)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["table", "--store", str(tmp_path), *arguments], catch_exceptions=False)
        return done.stdout

    return call


def test_by_default_it_is_drops_of_attacks_by_defenses(command: Command) -> None:
    lines = [line.split() for line in command().splitlines()]
    start = lines.index(["attack", "none", "loss"])
    assert lines[start : start + 3] == [
        ["attack", "none", "loss"],
        ["tgda", "10.00", "±", "1.00", "(3)", "2.00", "±", "1.00", "(3)"],
        ["label-flip", "1.00", "±", "0.50", "(3)", "–"],
    ]
    assert "left out: 1 unranked" in " ".join(command().split())


def test_marks_are_explained_where_they_are_seen(command: Command) -> None:
    piped, written = command(), command("--format", "md")
    assert "Bold: the best attack" in written
    assert "Bold" not in piped
    assert "Underlined" not in piped


def test_every_flag_reaches_the_table(command: Command) -> None:
    shown = command(
        "--rows", "model", "--cols", "attack", "--value", "acc2,attack-time", "--spread", "none", "--best", "none",
        "--defense", "none", "--format", "md",
    )  # fmt: skip
    assert "| model | tgda · acc2 | tgda · attack-time | label-flip · acc2 | label-flip · attack-time |" in shown
    assert "| lr | 80.00 (3) | 11.0 (3) | 89.00 (3) | 11.0 (3) |" in shown
    assert (
        command(
            "--preset", "table2", "--value", "drop", "--attack", "tgda", "--defense", "none", "--format", "md"
        ).count("| lr | 10.00 ± 1.00 (3) |")
        == 1
    )
    assert "| drop | acc2 | attack-time |" in command("--preset", "attacks", "--defense", "none", "--format", "md")
    assert "| attack | drop |" in command("--cols", "none", "--defense", "loss", "--format", "md")


@pytest.mark.parametrize("format_", ["md", "latex", "csv", "html", "json"])
def test_formats(command: Command, format_: str) -> None:
    found = command("--format", format_)
    assert found.endswith("\n")
    begins = {
        "md": "**digits-v1 · lr · ε = 0.03 ·", "latex": "% \\usepackage{booktabs,graphicx}\n\n\\begin{table}\n",
        "csv": "protocol,dataset,model,", "html": "<!doctype html>\n", "json": "[\n",
    }  # fmt: skip
    assert found.startswith(begins[format_])
    assert ("10.00" in found) == (format_ not in ("csv", "json"))


def test_json_is_an_alias_of_its_format(command: Command) -> None:
    assert command("--json") == command("--format", "json") == command("--json", "--format", "json")
    with pytest.raises(ConfigError, match="--json and --format md: name one of the two"):
        command("--json", "--format", "md")
    (found,) = json.loads(command("--json"))
    assert (found["counted"], found["unranked"], found["failed"]) == (9, 1, 0)
    assert found["conditions"] == {"protocol": "digits-v1", "model": "lr", "epsilon": "0.03"}
    best = {(cell["attack"]["name"], cell["defense"]["name"]): cell["mark"] for cell in found["cells"]}
    assert best == {("tgda", "none"): "best", ("label-flip", "none"): None, ("tgda", "loss"): None}


def test_records_are_parsed_for_values_without_a_column_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_rows, "_BLOCK", 2)
    lines = list(csv.DictReader(command("--value", "attack-time", "--format", "csv").splitlines()))
    assert [(line["attack"], line["defense"], float(line["mean"])) for line in lines] == [
        ("label-flip", "none", 11.0), ("tgda", "none", 11.0), ("tgda", "loss", 11.0),
    ]  # fmt: skip

    def refuse(self: Store, **filters: object) -> list[Record]:
        raise AssertionError("a record was parsed")

    monkeypatch.setattr(Store, "records", refuse)
    assert "10.00 ± 1.00 (3)" in command("--value", "drop,acc1,acc2,clean-cost", "--format", "md")


def test_filters(command: Command) -> None:
    def pairs(*arguments: str) -> set[tuple[str, str]]:
        lines = csv.DictReader(command("--format", "csv", *arguments).splitlines())
        return {(line["attack"], line["defense"]) for line in lines}

    every = {("tgda", "none"), ("tgda", "loss"), ("label-flip", "none")}
    assert pairs() == pairs("--attack", "tgda,label-flip", "--epsilon", "0.030", "--dataset", "digits") == every
    assert pairs("--defense", "loss") == {("tgda", "loss")}
    assert pairs("--attack", "tgda", "--defense", "none", "--model", "lr") == {("tgda", "none")}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--attack", "tdga"), UnknownNameError, "Unknown recorded attack 'tdga'. Did you mean 'tgda'?"),
        (("--attack", "tgda,tdga"), UnknownNameError, "Did you mean 'tgda'?"),
        (("--protocol", "mnist-v1"), UnknownNameError, "Unknown recorded protocol 'mnist-v1'. Did you mean"),
        (("--epsilon", "0.05"), UnknownNameError, "Unknown recorded epsilon '0.05'. Did you mean '0.03'?"),
        (("--epsilon", "3%"), ConfigError, "--epsilon: expected a number, got '3%'."),
        (("--format", "tex"), UnknownNameError, "Unknown format 'tex'. "),
        (("--spread", "sd"), UnknownNameError, "Unknown spread 'sd'. Did you mean 'std'?"),
        (("--preset", "table1"), UnknownNameError, "Unknown preset 'table1'. "),
        (("--rows", "attacks"), UnknownNameError, "Unknown axis 'attacks'. Did you mean 'attack'?"),
        (("--rows", "none"), ConfigError, "--rows: expected an axis: "),
    ],
)
def test_what_is_refused(command: Command, arguments: tuple[str, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        command(*arguments)
    assert message in str(caught.value)
    assert isinstance(caught.value, PoisonbenchError)
    assert caught.value.exit_code == 2


def test_published_records_stand_beside_the_stores(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = [record(seed, 70.0 + seed, "emn") for seed in range(3)]
    monkeypatch.setattr(table_rows, "published", lambda: [*theirs, RECORDS[0], RECORDS[-1]])  # two are in the store too
    assert "emn" not in command("--format", "csv")
    lines = csv.DictReader(command("--published", "--value", "drop,attack-time", "--format", "csv").splitlines())
    found = {(line["attack"], line["defense"], line["value"]): (line["mean"], line["n"]) for line in lines}
    assert found["emn", "none", "drop"] == ("19.0", "3")
    assert found["emn", "none", "attack-time"] == ("11.0", "3")
    assert found["tgda", "none", "drop"] == ("10.0", "3")
    assert json.loads(command("--published", "--json"))[0]["unranked"] == 1
    (tmp_path / "new").mkdir()
    empty = CliRunner().invoke(
        app, ["table", "--store", str(tmp_path / "new"), "--published", "--attack", "emn", "--format", "md"]
    )
    assert "19.00 ± 1.00 (3)" in empty.stdout


@pytest.mark.parametrize(
    ("format_", "stdout"),
    [("terminal", ""), ("md", ""), ("latex", ""), ("json", "[]\n"), ("csv", None), ("html", None)],
)
def test_an_empty_store(tmp_path: Path, format_: str, stdout: str | None) -> None:
    done = CliRunner().invoke(app, ["table", "--store", str(tmp_path), "--attack", "tgda", "--format", format_])
    assert done.exit_code == 0
    assert "No records yet." in done.stderr
    if stdout is not None:
        assert done.stdout == stdout
    elif format_ == "csv":
        assert len(done.stdout.splitlines()) == 1
    else:
        assert "<p>No records.</p>" in done.stdout


def test_help_names_every_axis_value_preset_and_spread() -> None:
    done = CliRunner().invoke(app, ["table", "--help"], env={"COLUMNS": "200"})
    words = set(done.stdout.replace(",", " ").replace(".", " ").replace("(", " ").split())
    assert {*AXES, *VALUES, *PRESETS, *SPREADS} <= words
