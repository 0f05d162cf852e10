"""A store that is named and is not there: who only reads refuses it in a line, and makes none."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import poisonbench
from poisonbench.cli.main import app
from poisonbench.errors import ConfigError

READ_ONLY = (
    "table",
    "compare tgda label-flip",
    "results show",
    "results export -o out",
    "results deposit -o out --title T --creator Ada",
    "results fetch source",
    "plot pareto -o out.svg",
    "leaderboard build -o out",
    "doctor",
    "submit abc -o out",
    "gallery abc -o out.png",
)


@pytest.mark.parametrize("command", READ_ONLY)
@pytest.mark.parametrize("name", ["typo", "typo.db", "sqlite:///typo.db"])
def test_who_only_reads_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*command.split(), "--store", name])
    assert isinstance(done.exception, ConfigError), done.output
    assert str(done.exception).startswith(f"--store {name}: there is no store; ")
    assert len(str(done.exception).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_default_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, ["table"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "No records yet" in done.output


def test_a_function_refuses_it_as_well(tmp_path: Path) -> None:
    for read in (poisonbench.results, lambda store: poisonbench.load_poison("abc", store=store)):
        with pytest.raises(ConfigError, match="there is no store"):
            read(store=str(tmp_path / "typo"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_records_is_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    done = CliRunner().invoke(app, ["results", "show", "--store", str(tmp_path / "new")], catch_exceptions=False)
    assert done.exit_code == 0
