"""Tables of published results in README and the documentation are what the records that ship say now."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import pytest
from typer.testing import CliRunner

from poisonbench.cli import table_rows
from poisonbench.cli.main import app
from poisonbench.store.record import Record

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
MEASURED = re.findall(
    r"^<!-- measured: (.*) -->\n((?:\|.*\n)+)",
    (CHECKOUT / "docs" / "explanation" / "measured.md").read_text(encoding="utf-8"),
    re.M,
)
"""Protocol, model, ε, attack and defense of a table's cells, with what names its row and column, and the table."""

Cells = dict[tuple[str, ...], list[str]]


def test_the_readmes_table_is_what_the_command_above_it_prints(
    published_records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_rows, "published", lambda: list(published_records))
    ((command, shown),) = re.findall(
        r"^<!-- results: poisonbench (table .*) -->\n(.*?)^<!-- results -->$", README, re.M | re.S
    )
    done = CliRunner().invoke(app, [*shlex.split(command), "--store", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert shown == done.stdout, f"README.md: put this in its place:\n{done.stdout}"


@pytest.fixture(scope="module")
def drops(published_records: tuple[Record, ...]) -> Cells:
    """Means with and without deviations of drops, by cell; of each setting of the methods."""
    found: dict[tuple[str, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in published_records:
        if "knows defense" not in one.attack.params:
            cell = one.protocol.name, one.model.name, f"{one.threat.epsilon:g}", one.attack.name, one.defense.name
            assert one.metrics
            found[cell][f"{one.attack.params} {one.defense.params}"].append(one.metrics.acc1 - one.metrics.acc2)
    return {cell: [text for values in settings.values() for text in texts(values)] for cell, settings in found.items()}


def texts(drops: list[float]) -> Iterator[str]:
    """As they are printed."""
    average = f"{mean(drops):.2f}".replace("-", "−")
    yield average
    yield f"{average} ± {stdev(drops):.2f}"


@pytest.mark.parametrize(("template", "table"), MEASURED, ids=[template for template, _ in MEASURED])
def test_a_measured_drop_is_that_of_the_records(template: str, table: str, drops: Cells) -> None:
    heading, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    for name, *cells in rows:
        for column, text in zip(heading[1:], cells, strict=True):
            words = template.format(row=plain(name), column=plain(column)).split(" ")
            assert not text or text in drops.get(tuple(words), []), f"{words}: {text}, not {drops.get(tuple(words))}"


def plain(name: str) -> str:
    """A row's or a column's name without markup or a preset; a percentage as a fraction."""
    percent = re.fullmatch(r"(\d+) %", name)
    return f"{int(percent[1]) / 100:g}" if percent else name.replace("`", "").split(":")[0]
