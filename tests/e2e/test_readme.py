"""The commands and the code of README.md and of the documentation's pages, as written. A block is tested if
`<!-- tested -->` stands on the line above it; one with a file's name there is written to that file."""

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
FIRST_RUN, ATTACK, GUIDE = (
    f"docs/{name}.md" for name in ("tutorials/first-run", "tutorials/your-attack", "bring-your-own")
)
PAGES = (CHECKOUT / "README.md", CHECKOUT / FIRST_RUN, *sorted((CHECKOUT / "docs").rglob("*.md")))
"""As they are read: what a page compares must not be what a later one ran with other settings, too."""

TEXTS = {str(path.relative_to(CHECKOUT)): path.read_text(encoding="utf-8") for path in PAGES}


def blocks(text: str) -> list[tuple[str, str, str]]:
    """File or nothing, language and content of each tested block."""
    return re.findall(r"^<!-- (?:tested|file: (\S+)) -->\n```(\w+)\n(.*?)^```$", text, re.M | re.S)


BLOCKS = {page: found for page, text in TEXTS.items() if (found := blocks(text))}


def python(page: str) -> str:
    """The page's only block of Python."""
    (found,) = [text for _, language, text in BLOCKS[page] if language == "python"]
    return found


def test_there_is_something_to_test() -> None:
    assert {"README.md", FIRST_RUN, ATTACK, GUIDE, "docs/tutorials/your-defense.md"} < set(BLOCKS)
    assert {language for found in BLOCKS.values() for _, language, _ in found} == {"console", "python"}
    assert len(blocks(TEXTS[GUIDE])) == TEXTS[GUIDE].count("```python") + TEXTS[GUIDE].count("```console") > 5
    for page in ("README.md", FIRST_RUN):
        assert "$ pip install . && poisonbench run --attack tgda --defense sever\n" in TEXTS[page]
    assert '$ pip install ".[test]" && pytest\n' in TEXTS["README.md"]
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", BLOCKS)
def test_a_pages_commands_run(page: str, poisonbench: Any) -> None:
    """One after the other, in one folder and one store for all pages; `pip install` is for whoever runs the tests."""
    for file, language, text in BLOCKS[page]:
        if file:
            (poisonbench.home / file).write_text(text, encoding="utf-8")
        elif language == "python":
            run(text, poisonbench)
        else:
            for line in text.splitlines():
                program, *arguments = shlex.split(re.sub(r"^\$ (pip install \S+ && )?", "", line))
                assert program == "poisonbench"
                (poisonbench.script if "--jobs" in arguments else poisonbench)(*arguments)


def run(text: str, poisonbench: Any) -> str:
    """What a script prints, run where the commands are."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        env=poisonbench.variables(),
        cwd=poisonbench.home,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_run_shows_its_output() -> None:
    shown = re.search(
        r"<!-- quick-start output -->\n```text\n(.*?)```\n<!-- quick-start output -->", TEXTS[FIRST_RUN], re.S
    )
    assert shown
    for word in ("tgda against sever", "acc1 %", "acc2 %", "drop", "Records"):
        assert word in shown[1]


def test_the_python_example_runs(first: subprocess.CompletedProcess[str], poisonbench: Any) -> None:
    """In the home of the session's first run, whose cells are half of its own."""
    heading, *rows = run(python(FIRST_RUN), poisonbench).splitlines()
    assert heading.split()[-3:] == ["acc1", "acc2", "drop"]
    assert sorted(row.split()[0] for row in rows) == ["tgda", "tgda/sever"]
    assert f"\n```text\n{heading}\n" in TEXTS[FIRST_RUN]


def test_the_python_example_is_three_lines_and_that_of_the_readme() -> None:
    lines = [line for line in python(FIRST_RUN).splitlines() if line]
    assert len(lines) == 3
    assert f"print({lines[1].removeprefix('results = ')})\n" in TEXTS["README.md"]


def test_the_plugin_example_runs(fresh: Callable[..., Any], tmp_path: Path) -> None:
    entry = re.search(
        r'^\[project\.entry-points\."(poisonbench\.attacks)"\]\n(\S+) = "(\S+):(\S+)"$', TEXTS[ATTACK], re.M
    )
    assert entry
    group, name, module, cls = entry.groups()
    info = tmp_path / "plugins" / "example-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{cls}\n", encoding="utf-8")
    (info.parent / f"{module}.py").write_text(python(ATTACK), encoding="utf-8")
    poisonbench = fresh(plugins=info.parent)
    (checked,) = poisonbench.json("check", name, "--json")
    assert checked["ok"], checked
    (record,) = poisonbench.json("run", "-a", name, "--seeds", "0", "--json")
    assert (record["attack"]["name"], record["attack"]["distribution"], record["status"]) == (name, "example", "ok")


def test_every_method_command_and_protocol_is_named(poisonbench: Any) -> None:
    """In the reference."""
    reference = "".join(text for page, text in TEXTS.items() if page.startswith("docs/reference/"))
    for rows in poisonbench.json("list", "--json").values():
        for row in rows:
            assert f"`{row['name']}`" in reference
    for command in re.findall(r"^│ (\w+) ", poisonbench("--help").stdout, re.M):
        assert f"`{command}" in reference
