"""Tables of published results in README and the documentation are what the command above them prints now."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poisonbench.cli import table_rows
from poisonbench.cli.main import app
from poisonbench.leaderboard.published import published

CHECKOUT = Path(__file__).resolve().parents[2]
PRINTED = [
    (path.relative_to(CHECKOUT), *found)
    for path in [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
    for found in re.findall(
        r"^<!-- results: poisonbench (table [^\n]*) -->\n(.*?)^<!-- results -->$", path.read_text("utf-8"), re.M | re.S
    )
]
"""Page, command and table."""


def test_the_readme_has_one() -> None:
    assert [str(page) for page, _, _ in PRINTED].count("README.md") == 1


@pytest.mark.parametrize(("page", "command", "shown"), PRINTED)
def test_it_is_what_the_command_prints(
    page: Path, command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the records of its protocol, attacks and defenses alone: reading all of them takes most of the time."""
    arguments = shlex.split(command)
    named = [set(arguments[arguments.index(flag) + 1].split(",")) for flag in ("--protocol", "--attack", "--defense")]
    monkeypatch.setattr(table_rows, "published", lambda: published(*named))
    done = CliRunner().invoke(app, [*arguments, "--store", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert shown == done.stdout, f"{page}: put this in its place:\n{done.stdout}"
