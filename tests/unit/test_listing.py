"""The list of methods shows what docstrings say, brackets and all."""

import pytest

from poisonbench.cli import listing
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
