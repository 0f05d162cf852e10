"""Where a method raised: a line of its author's own files, by the file's name alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poisonbench.errors import DataError
from poisonbench.guard.method_errors import told
from poisonbench.guard.raised_at import raised_at
from poisonbench.plugins import registry


def module(name: str, path: Path, text: str) -> Callable[[], object]:
    """The function `f` of a module of that name and file."""
    names: dict[str, Any] = {"__name__": name}
    exec(compile(text, str(path), "exec"), names)
    found: Callable[[], object] = names["f"]
    return found


def fault_of(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as fault:
        return fault
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("poisonbench.plugged.fail", "home", "fail.py:3"),  # a single file
        ("beside", "home", "fail.py:3"),  # a file that a single file imports
        ("registered.part", "lib/site-packages", "fail.py:3"),  # of a distribution that registers a method
        ("numbers_of_somebody", "lib/site-packages", "test_raised_at.py"),  # of a library: who called it
        ("torch.nn", "lib/site-packages", "test_raised_at.py"),
        ("poisonbench.models.lr", "home", "test_raised_at.py"),
        ("json", "lib", "test_raised_at.py"),
    ],
)
def test_it_is_the_innermost_line_of_the_author(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: str, expected: str
) -> None:
    authors: set[str] = set()
    for module_of in ("guard.raised_at", "plugins.registry"):
        monkeypatch.setattr(f"poisonbench.{module_of}.AUTHORS", authors)
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("registered")(type("Registered", (), {"__module__": "registered.main"}))
    f = module(name, Path(f"/secret/{folder}/fail.py"), "import torch\ndef f():\n    raise ValueError('odd')\n")
    file, _, line = raised_at(fault_of(f)).partition(":")
    assert file == expected.partition(":")[0]
    assert line.isdecimal()
    assert line == expected.partition(":")[2] or file == Path(__file__).name


def test_a_library_called_by_the_author_is_not_blamed() -> None:
    f = module(
        "poisonbench.plugged.fail", Path("/secret/fail.py"), "import torch\n\ndef f():\n    torch.ones(2).view(3)\n"
    )
    assert told(fault_of(f)).endswith(" (fail.py:4)")


def test_of_code_of_ours_alone_it_is_ours() -> None:
    f = module("poisonbench.attacks.mine", Path("/a/mine.py"), "import json\n\ndef f():\n    json.loads('{')\n")
    fault = fault_of(f)
    assert fault.__traceback__ is not None
    own = fault.__traceback__.tb_next  # without the frame of this file
    assert raised_at(fault.with_traceback(own)) == "mine.py:4"


def test_without_frames_there_is_no_place() -> None:
    assert told(ValueError("odd")) == "ValueError: odd"


def test_an_error_of_ours_has_none() -> None:
    def call() -> None:
        raise DataError("no file")

    assert told(fault_of(call)) == "DataError: no file"
