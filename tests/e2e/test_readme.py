"""README.md's commands and code, and a guide's, as written. A block is tested if `<!-- tested -->` stands on the line
above it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each tested block."""
    return re.findall(r"^<!-- tested -->\n```(\w+)\n(.*?)^```$", text, re.M | re.S)


README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
GUIDE = (CHECKOUT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
BLOCKS = blocks(README)
COMMANDS = [
    line.removeprefix("$ ")
    for language, text in BLOCKS
    for line in text.splitlines()
    if language == "console" and line.startswith("$ ")
]
SCRIPTS = [text for language, text in BLOCKS if language == "python"]


def test_there_is_something_to_test() -> None:
    assert len(COMMANDS) > 5
    assert len(SCRIPTS) == 2
    assert {language for language, _ in BLOCKS} == {"console", "python"}
    assert "$ pip install . && poisonbench run --attack tgda --defense sever\n" in README
    assert '$ pip install ".[test]" && pytest\n' in README


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_run(poisonbench: Any) -> None:
    """One after the other, in one folder; `pip install` is for whoever runs the tests."""
    for command in COMMANDS:
        program, *arguments = shlex.split(re.sub(r"^pip install \S+ && ", "", command))
        assert program == "poisonbench"
        (poisonbench.script if "--jobs" in arguments else poisonbench)(*arguments)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_guide_runs(fresh: Callable[..., Any]) -> None:
    """Commands and code in their order, in one folder."""
    poisonbench = fresh()
    found = blocks(GUIDE)
    assert len(found) == GUIDE.count("```python") + GUIDE.count("```console") > 5
    for language, text in found:
        if language == "python":
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, cwd=poisonbench.home
            )
            assert done.returncode == 0, done.stderr
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line.removeprefix("$ "))
            assert program == "poisonbench"
            poisonbench(*arguments)


def test_the_quick_start_shows_its_output() -> None:
    shown = re.search(r"<!-- quick-start output -->\n```text\n(.*?)```\n<!-- quick-start output -->", README, re.S)
    assert shown
    for word in ("tgda against sever", "acc1 %", "acc2 %", "drop", "Records"):
        assert word in shown[1]


def test_the_python_example_runs(first: subprocess.CompletedProcess[str], poisonbench: Any) -> None:
    """In the home of the session's first run, whose cells are half of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", SCRIPTS[0]],
        capture_output=True,
        text=True,
        env=poisonbench.variables(),
        cwd=poisonbench.home,
    )
    assert done.returncode == 0, done.stderr
    heading, *rows = done.stdout.splitlines()
    assert heading.split()[-3:] == ["acc1", "acc2", "drop"]
    assert sorted(row.split()[0] for row in rows) == ["tgda", "tgda/sever"]
    assert f"\n```text\n{heading}\n" in README


def test_the_python_example_is_three_lines() -> None:
    assert len([line for line in SCRIPTS[0].splitlines() if line]) == 3


def test_the_plugin_example_runs(fresh: Callable[..., Any], tmp_path: Path) -> None:
    entry = re.search(r'^\[project\.entry-points\."(poisonbench\.attacks)"\]\n(\S+) = "(\S+):(\S+)"$', README, re.M)
    assert entry
    group, name, module, cls = entry.groups()
    info = tmp_path / "plugins" / "example-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{cls}\n", encoding="utf-8")
    (info.parent / f"{module}.py").write_text(SCRIPTS[1], encoding="utf-8")
    poisonbench = fresh(plugins=info.parent)
    (checked,) = poisonbench.json("check", name, "--json")
    assert checked["ok"], checked
    (record,) = poisonbench.json("run", "-a", name, "--seeds", "0", "--json")
    assert (record["attack"]["name"], record["attack"]["distribution"], record["status"]) == (name, "example", "ok")


def test_every_method_command_and_protocol_is_named(poisonbench: Any) -> None:
    for rows in poisonbench.json("list", "--json").values():
        for row in rows:
            assert f"`{row['name']}`" in README
    for command in re.findall(r"^│ (\w+) ", poisonbench("--help").stdout, re.M):
        assert f"`{command}" in README
