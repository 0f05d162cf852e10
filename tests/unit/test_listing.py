"""The list of methods shows what docstrings say, brackets and all, and what methods know."""

import json

import pytest

from poisonbench.cli import listing
from poisonbench.errors import ConfigError
from poisonbench.plugins import registry
from poisonbench.plugins.registry import Entry


def test_brackets_are_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown = {"a": Entry("attack", "a", "m:A", "d", "1", "Moves [x] to [/y].")}
    shown["b"] = Entry("attack", "b", "m:B", "d", "1", "", "no [red] module")
    monkeypatch.setattr(registry, "entries", lambda _: shown)
    listing.list_("attacks")
    found = capsys.readouterr().out
    assert "Moves [x] to [/y]." in found
    assert "no [red] module" in found


def test_what_methods_know_is_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    def column(kind: str) -> dict[str, str]:
        listing.list_(kind)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        return {words[0]: words[-3] for words in lines if words[-2:-1] == ["poisonbench"]}

    attacks, defenses = column("attacks"), column("defenses")
    assert (attacks["clean-copies"], attacks["label-flip"], attacks["tgda"]) == ("data", "data/model", "model")
    assert (defenses["trusted-only"], defenses["influence"], defenses["sever"]) == ("yes", "yes/no", "no")
    listing.list_("defenses", as_json=True)
    found = {row["name"]: row["trusted_data"] for row in json.loads(capsys.readouterr().out)["defenses"]}
    assert (found["trusted-only"], found["influence"], found["sever"]) == ([True], [True, False], [False])
    listing.list_("models", as_json=True)
    assert "knowledge" not in json.loads(capsys.readouterr().out)["models"][0]


def test_as_markdown_there_is_a_line_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    listing.list_("attacks", layout="md")
    heading, rule, *rows = capsys.readouterr().out.splitlines()
    assert heading == "| attack | knows | labels | problem | models | paper |"
    assert rule == "| --- | --- | --- | --- | --- | --- |"
    assert [row.split("`")[1] for row in rows] == sorted(registry.entries("attack"))
    with pytest.raises(ConfigError, match="--format md: list attacks or list defenses"):
        listing.list_("models", layout="md")
