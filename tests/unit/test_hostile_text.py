"""What strangers write reaches no terminal as commands: every command, with hostile text wherever text may be."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import poisonbench
from poisonbench.cli.main import main
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.terminal import consoles
from poisonbench.visible import one_line, visible

HOSTILE = (
    "[/x]:smile:\x1b]0;owned\x07\x1b[2J\x9b31m\r\b\x7f\x85\N{LINE SEPARATOR}"
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{LEFT-TO-RIGHT ISOLATE}\N{ARABIC LETTER MARK}\N{RIGHT-TO-LEFT MARK}"
)
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]")

Say = Callable[..., tuple[str, str]]


@pytest.fixture
def say(
    plug: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Say:
    """Runs a command; gives its output and its errors, neither of which a terminal obeys or a traceback is in."""
    monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int | None = None) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["poisonbench", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        assert ended.value.code in ((0, 1, 2, 3, 4) if code is None else (code,)), errors
        for text in (output, errors):
            assert not OBEYED.search(text), (words, text)
            assert "--debug" in words or "Traceback" not in text
        return output, errors

    return run


@pytest.fixture
def records(planted: Callable[..., Record], tmp_path: Path) -> list[Record]:
    """Records whose every free text is hostile, in the store."""
    fixture = planted().document()
    free = {
        "environment": {**fixture["environment"], "cpu": HOSTILE, "git": HOSTILE},
        "provenance": {"source": "submission"},
        "attack_stats": {HOSTILE: HOSTILE},
    }
    found = [
        planted(name, drop, seed, params={HOSTILE: f"{HOSTILE}{setting}"}, **free)
        for name, setting, drop in (("tgda", 1, 1.0), ("tgda", 2, 2.0), ("label-flip", 1, 3.0))
        for seed in range(2)
    ]
    found.append(planted("emn", None, error=f"boom {HOSTILE}\n✓ forged"))
    found.append(planted("emn", 2.0, 1, protocol={**fixture["protocol"], "deviations": [HOSTILE]}))
    found = [_from(HOSTILE, record) for record in found]
    with Store.open(tmp_path / "home") as store:
        store.add_all(found)
    return found


def _from(distribution: str, record: Record) -> Record:
    """The record, of an attack that such a distribution brought."""
    document = record.document()
    document.pop("record_id")
    attack = {**document["attack"], "distribution": distribution, "release": distribution}
    return Record.create(**{**document, "attack": attack})


PLUGIN = f'''"""A plugin."""
from dataclasses import dataclass
import poisonbench as pb

@pb.register("strange")
@dataclass(frozen=True)
class Strange(pb.Attack):
    {json.dumps(HOSTILE + "  what it is")}
    note: str = {json.dumps(HOSTILE)}
    presets = {{{json.dumps(HOSTILE)}: {{"note": {json.dumps(HOSTILE)}}}}}
    cost = {json.dumps(HOSTILE)}
    threat = pb.ThreatModel()
    def craft(self, view, budget, stage):
        raise ValueError({json.dumps(HOSTILE)})
'''

ELSEWHERE = {"data prepare", "verify", "leaderboard build", "leaderboard serve", "new defense"}
"""Commands whose texts are those of others that are tried, or that a test below tries."""


def test_every_command(say: Say, records: list[Record], commands: set[str], tmp_path: Path) -> None:
    folder = tmp_path / f"a{HOSTILE.translate({ord(letter): None for letter in '/:'})}"
    folder.mkdir()
    plugin = folder / "strange.py"
    plugin.write_text(PLUGIN, "utf-8")
    grid = folder / "grid.yaml"
    grid.write_text(json.dumps({"attack": HOSTILE, "set": {HOSTILE: HOSTILE}}), "utf-8")
    (folder / "bundle.json").write_text(json.dumps({HOSTILE: 1}), "utf-8")
    (folder / "record.json").write_text(json.dumps({**records[0].document(), HOSTILE: 1}), "utf-8")
    images = folder / "images"
    images.mkdir()
    (images / f"{folder.name}.csv").write_text(f"file,label\n{HOSTILE},1\n", "utf-8")
    one, other = records[0].record_id, records[2].record_id
    tried = {
        "results show": [(), ("--json",), (one,), (one, "--json"), (records[-2].record_id,), ("--attack", HOSTILE)],
        "results export": [("-o", str(folder / "exported"))],
        "results merge": [(str(folder),), ("--into", str(folder / "into"), str(folder))],
        "results fetch": [(str(folder),), (HOSTILE,), (str(folder), HOSTILE), (str(folder), "--kinds", HOSTILE)],
        "results deposit": [
            ("-o", HOSTILE, "--title", HOSTILE, "--creator", f"Me; {HOSTILE}"),
            (one, HOSTILE, "-o", str(folder / "d"), "--title", HOSTILE, "--creator", HOSTILE.replace(";", "")),
            (one, "-o", str(folder / "d"), "--title", HOSTILE, "--creator", HOSTILE.replace(";", "")),
            ("-o", str(folder / "d"), "--title", HOSTILE, "--creator", "Me", "--kinds", "weights"),
        ],
        "table": [("--format", name) for name in ("terminal", "md", "latex", "csv", "html", "json")],
        "compare": [(one, other), (one, other, "--json"), (HOSTILE, one), ("tgda", "label-flip")],
        "list": [("attacks", "--plugin", str(plugin)), ("attacks", "--json", "--plugin", str(plugin)), (HOSTILE,)],
        "describe": [("strange", "--plugin", str(plugin)), (HOSTILE,)],
        "check": [(HOSTILE,)],
        "run": [
            ("-a", HOSTILE), ("-a", "emn", "--set", HOSTILE), ("-a", "emn", "--data-dir", HOSTILE, HOSTILE),
            ("--poison", HOSTILE), ("--poison", str(images)), ("-a", "emn", "--track", HOSTILE),
        ],
        "plan": [(str(grid),), ("-a", "strange", "--plugin", str(plugin), "--seeds", "0")],
        "sweep": [(str(grid),), ("-a", "strange", "--plugin", str(plugin), "--seeds", "0", "-j", "1", "--debug")],
        "reproduce": [(HOSTILE,)],
        "doctor": [(), ("--json",)],
        "data verify": [(HOSTILE,)],
        "gallery": [(one, "-o", f"{HOSTILE}.png"), (one, "-o", "a.png")],
        "plot standings": [("-o", str(folder / "a.svg"))],
        "submit": [(one, "-o", str(folder / "b"))],
        "validate": [(str(folder),), (str(folder), "--json"), (HOSTILE,)],
        "new attack": [(HOSTILE,), ("mine", "-o", str(folder / "mine"))],
        "new model": [(HOSTILE,), ("my-model", "-o", str(folder)), ("my-model", "-o", str(folder))],
        "new dataset": [(HOSTILE,), ("my-data", "-o", str(folder))],
        "data split": [("-o", HOSTILE), ("-o", str(folder / "a.npz")), ("-o", "a.npz", "--dataset", HOSTILE)],
    }  # fmt: skip
    assert {name for name in commands - {*tried, *ELSEWHERE} if not name.startswith("plot ")} == set()
    for command, calls in tried.items():
        for words in calls:
            output, _ = say(*command.split(), *words)
            if "--json" in words:
                json.loads(output)


@pytest.mark.slow
def test_a_plugin_that_is_checked(say: Say, tmp_path: Path) -> None:
    plugin = tmp_path / "strange.py"
    plugin.write_text(PLUGIN, "utf-8")
    assert "owned" in "".join(say("check", "strange", "--plugin", str(plugin)))


def test_json_has_every_letter(say: Say, records: list[Record]) -> None:
    for words in ((records[0].record_id,), ("--json", "--attack", "tgda")):
        found = json.loads(say("results", "show", *words, code=0)[0])
        document: Any = found if isinstance(found, dict) else found[0]
        assert document["environment"]["cpu"] == HOSTILE


def test_a_stranger_begins_no_line(say: Say, records: list[Record]) -> None:
    output, errors = say("results", "show", code=0)
    for line in (*output.splitlines(), *errors.splitlines()):
        assert not line.startswith("✓ forged")


def test_figures_and_pages_show_what_is_hidden(
    say: Say, records: list[Record], tmp_path: Path, record_pages: Callable[[Path], dict[str, str]]
) -> None:
    say("leaderboard", "build", "--no-published", "--no-gallery", "-o", "site", code=0)
    for page in [*(tmp_path / "site").rglob("*.html"), *(tmp_path / "site").rglob("*.svg")]:
        assert not OBEYED.search(page.read_text("utf-8")), page
    for record_id, page in record_pages(tmp_path / "site").items():
        assert not OBEYED.search(page), record_id


def test_visible() -> None:
    assert (
        visible(f"a{HOSTILE}\n\tε 漢 \N{NO-BREAK SPACE}é")
        == f"a[/x]:smile:{visible(HOSTILE)[11:]}\n\tε 漢 \N{NO-BREAK SPACE}é"
    )
    assert set(visible(HOSTILE)[11:]) == {*"\ufffd]0;owned[2J31m"}
    assert one_line("a\nb\tc") == "a\ufffdb\ufffdc"


def test_a_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    consoles.console.print("[bold]x[/] [/nope] :smile: 1.0")
    assert capsys.readouterr().out == "[bold]x[/] [/nope] :smile: 1.0\n"


def test_there_is_one_door() -> None:
    """Nothing but poisonbench.terminal writes to standard output or standard error, once that is imported."""
    package = Path(poisonbench.__file__).parent
    doors, found = {"terminal/consoles.py", "plugins/record.py", "__main__.py"}, []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="print")):
                    found.append(place)
                case ast.Call(func=ast.Attribute(attr="echo" | "secho" | "print_exception" | "print_exc")):
                    found.append(place)
                case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="stdout" | "stderr"), attr="write")):
                    found.append(place)
                case ast.Call(func=ast.Name(id="Console")):
                    found.append(place)
    assert set(found) <= doors
    assert found
