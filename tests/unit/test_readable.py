"""Whatever a command prints is whole: in narrow consoles, in pipes, and where the output is not UTF-8."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import poisonbench
from poisonbench.cli.main import _plain_help, app
from poisonbench.store.database import Store
from poisonbench.terminal import consoles
from poisonbench.terminal.encoding import in_letters_of, spell_out

NAMES = ("label-flip", "spectral-signatures")

COMMANDS: dict[str, list[list[str]]] = {
    "run": [["--attack", "label-flip", "--defense", "none,spectral-signatures", "--seeds", "0,1"]],
    "sweep": [["--attack", "label-flip", "--seeds", "0,1", "--overwrite", "never"]],
    "plan": [["--attack", "label-flip", "--defense", "spectral-signatures", "--seeds", "0,1"]],
    "reproduce": [["table2", "--overwrite", "never", "--dry-run"]],
    "doctor": [[]],
    "data verify": [["digits"]],
    "list": [[]],
    "describe": [["tgda"], ["sever"], ["digits-v2"], ["resnet18"], ["spectral-signatures"]],
    "table": [[], ["--value", "drop,acc2,linf"], ["--format", "md"], ["--format", "csv"], ["--spread", "interval"]],
    "compare": [["label-flip", "label-flip/spectral-signatures"]],
    "results show": [[]],
    "results export": [["-o", "exported"]],
    "results merge": [["exported"]],
    "results fetch": [["exported"]],
    "results deposit": [["-o", "deposit-{}", "--title", "Results", "--creator", "Me"]],
    "submit": [["--attack", "label-flip", "-o", "bundle-{}"]],
    "validate": [["bundle"]],
    "verify": [["bundle"]],
    "new attack": [["mine", "-o", "attack-{}"]],
    "new defense": [["mine", "-o", "defense-{}"]],
    "new model": [["mine", "-o", "model-{}"]],
    "new dataset": [["mine", "-o", "dataset-{}"]],
    "data split": [["-o", "split-{}.npz"]],
    "plot heatmap": [["-o", "a.svg"]],
}
"""What each is called with; {} is a number of its own."""

HELP_ALONE = {
    "data prepare", "gallery", "check", "leaderboard build", "leaderboard serve", "plot fraction", "plot epsilon",
    "plot train-size", "plot pareto", "plot standings", "plot training", "plot certified",
}  # fmt: skip
"""Those that print a path or a line at most, or take seconds."""

TABLES = {"run": NAMES, "plan": NAMES, "list": NAMES, "table": NAMES, "compare": NAMES, "results show": NAMES}
"""Names that must be whole."""

SHAPES = [("utf-8", 40), ("utf-8", 50), ("utf-8", 64), ("utf-8", 80), ("ascii", 80), ("latin-1", 80), ("cp1252", 80)]
SHAPES += [("ascii", 40), ("cp1252", 50)]


def test_every_command_is_tried(commands: set[str]) -> None:
    assert {*COMMANDS, *HELP_ALONE} == commands


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POISONBENCH_HOME", str(folder))
        patch.chdir(folder)
        assert call(patch, "utf-8", 80, "run", *COMMANDS["run"][0])[0] == 0
        assert call(patch, "utf-8", 80, "results export", "-o", "exported")[0] == 0
        assert call(patch, "utf-8", 80, "submit", "--attack", "label-flip", "-o", "bundle")[0] == 0
        yield folder


def call(patch: pytest.MonkeyPatch, encoding: str, width: int, command: str, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that writes to files of that encoding."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding, errors="strict") for _ in range(2))
    with pytest.MonkeyPatch.context() as streams:
        streams.setattr(sys, "stdout", output)
        streams.setattr(sys, "stderr", errors)
        streams.setenv("COLUMNS", str(width))
        for one in (consoles.console, consoles.errors):
            streams.setattr(one, "_width", width)
        spell_out()
        code = app([*command.split(), *words], standalone_mode=False)
        output.flush()
        errors.flush()
    texts = [stream.buffer.getvalue().decode(encoding) for stream in (output, errors)]  # type: ignore[attr-defined]
    return code or 0, texts[0], texts[1]


@pytest.mark.parametrize(("encoding", "width"), SHAPES)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_cut_off(
    home: Path, monkeypatch: pytest.MonkeyPatch, command: str, encoding: str, width: int
) -> None:
    monkeypatch.setenv("POISONBENCH_HOME", str(home))
    monkeypatch.chdir(home)
    for words in COMMANDS[command]:
        number = f"{encoding}-{width}"
        code, output, errors = call(monkeypatch, encoding, width, command, *(word.format(number) for word in words))
        assert code == 0
        assert "…" not in output
        assert "…" not in errors.replace("Preparing", "")
        assert "\\u" not in output
        if encoding != "utf-8":
            assert "?" not in re.sub(r"[a-z]\?", "", output + errors)  # but for questions
        if "--format" not in words and command != "describe":
            for name in TABLES.get(command, ()):
                assert name in output, output


def test_numbers_are_whole(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISONBENCH_HOME", str(home))
    with Store.open(home) as store:
        metrics = [record.metrics for record in store.records(attack="label-flip")]
    wanted = {f"{number:.2f}" for one in metrics if one for number in (one.acc1, one.acc2, one.drop)}
    both = [*COMMANDS["run"][0], "--quiet"]
    alone = [[word.replace("none,spectral-signatures", one) for word in both] for one in ("none", NAMES[1])]
    whole = numbers(call(monkeypatch, "utf-8", 200, "run", *both)[1])
    for width in (20, 30, 40, 50, 64, 80, 200):
        assert wanted <= numbers(call(monkeypatch, "utf-8", width, "results show")[1]), width
        panels = [call(monkeypatch, "utf-8", width, "run", *words)[1] for words in alone]
        assert wanted <= numbers("".join(panels)), width
        assert numbers(call(monkeypatch, "utf-8", width, "run", *both)[1]) == whole, width


def numbers(text: str) -> set[str]:
    return set(re.findall(r"(?<![\d.])-?\d+\.\d\d(?![\d.])", text))


@pytest.mark.parametrize("command", [["results", "show"], ["list"], ["table"], ["doctor"]])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_stays_json(home: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], encoding: str) -> None:
    monkeypatch.setenv("POISONBENCH_HOME", str(home))
    texts = [call(monkeypatch, one, 40, " ".join(command), "--json")[1] for one in (encoding, "utf-8")]
    found = [json.loads(text) for text in texts]
    assert found[0] == found[1]


@pytest.fixture
def plain_help(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def begin() -> None:
        for part in (app, *(group.typer_instance for group in app.registered_groups)):
            assert part
            monkeypatch.setattr(part, "rich_markup_mode", part.rich_markup_mode)
            for info in (*part.registered_commands, *part.registered_groups):
                monkeypatch.setattr(info, "short_help", info.short_help)
        _plain_help(app)

    return begin


@pytest.mark.parametrize(("encoding", "width"), SHAPES)
def test_help_is_whole(
    monkeypatch: pytest.MonkeyPatch, plain_help: Callable[[], None], commands: set[str], encoding: str, width: int
) -> None:
    if width < 64:
        plain_help()
    groups = [str(group.name) for group in app.registered_groups]
    for command in ["", *groups, *sorted(commands)]:
        _, output, _ = call(monkeypatch, encoding, width, command, "--help")
        assert "…" not in output, command
        assert not re.search(r"\w\.\.\.\n", output), command
        assert "Usage: " in output


def test_letters_are_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "acc1 − acc2 ± ε · × ≥ ✓ ✗ Muñoz–González Mądry \udcff 漢"
    for encoding, expected in {
        "ascii": "acc1 - acc2 +/- eps . x >= + x Munoz-Gonzalez Madry \\udcff ?",
        "cp1252": "acc1 - acc2 ± eps · × >= + x Muñoz–González Madry \\udcff ?",
        "utf-8": "acc1 − acc2 ± ε · × ≥ ✓ ✗ Muñoz–González Mądry \\udcff 漢",
    }.items():
        stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
        monkeypatch.setattr(sys, "stdout", stream)
        spell_out()
        stream.write(text)
        stream.flush()
        assert stream.buffer.getvalue().decode(encoding) == expected  # type: ignore[attr-defined]


def test_every_letter_of_ours_has_a_spelling() -> None:
    found = os.walk(Path(poisonbench.__file__).parent, followlinks=True)  # a checkout has links
    files = [Path(folder, name) for folder, _, names in found for name in names if name.endswith((".py", ".yaml"))]
    assert "sheet_latex.py" in {file.name for file in files}
    letters = sorted({letter for path in files for letter in path.read_text("utf-8")})
    assert [letter for letter in letters if "?" in in_letters_of("ascii", letter) and letter not in "?\ufffd"] == []
