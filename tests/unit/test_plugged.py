"""Single files as plugins: found without being imported, importable anywhere, refused at once if they are none."""

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poisonbench import plugged
from poisonbench.cli.main import app
from poisonbench.errors import PluginError
from poisonbench.experiment.cell import Cell, build
from poisonbench.experiment.protocol import resolve
from poisonbench.identity import code
from poisonbench.identity.code import code_hash
from poisonbench.leaderboard.declarations import declaration
from poisonbench.plugins.registry import code_hash_of, configure, entries, load
from poisonbench.plugins.single_file import declared, digest

ATTACK = '''
from dataclasses import dataclass
import poisonbench as pb

@pb.register("{name}")
@dataclass(frozen=True)
class Mine(pb.Attack):
    """Does nothing. At all."""
    threat = pb.ThreatModel()
    strength: float = 1.0
    def craft(self, view, budget, stage): ...
'''


def write(path: Path, text: str = ATTACK.format(name="mine")) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_listed_before_it_is_imported(tmp_path: Path, plug: Callable[..., None]) -> None:
    file = write(tmp_path / "my-attack.py")
    plug(file)
    entry = entries("attack")["mine"]
    assert (entry.distribution, entry.release, entry.summary) == ("file", digest(file), "Does nothing.")
    assert "poisonbench.plugged.my-attack" not in sys.modules
    attack = configure(load("attack", "mine"), {"strength": 2}, "attack")
    assert pickle.loads(pickle.dumps(attack)) == attack
    assert type(attack).__module__ == "poisonbench.plugged.my-attack"


def test_every_process_sees_it(tmp_path: Path, plug: Callable[..., None]) -> None:
    first, second = write(tmp_path / "a.py"), write(tmp_path / "b.py", ATTACK.format(name="other"))
    plug(first)
    plug(second, first)
    assert os.environ[plugged.VARIABLE] == f"{first}{os.pathsep}{second}"
    assert {"mine", "other"} <= set(entries("attack"))


def test_the_version_and_the_code_hash_are_those_of_the_text(tmp_path: Path, plug: Callable[..., None]) -> None:
    file = write(tmp_path / "a.py")
    plug(file)
    seen = {(entries("attack")["mine"].release, code_hash("poisonbench.plugged.a"))}
    file.write_text(file.read_text() + "CHANGED = 1\n")
    code.forget()
    plug(file)
    seen.add((entries("attack")["mine"].release, code_hash("poisonbench.plugged.a")))
    assert len({release for release, _ in seen}) == len({found for _, found in seen}) == 2


def test_a_neighbour_is_no_plugin(tmp_path: Path, plug: Callable[..., None]) -> None:
    """b/two.py was asked for; a/two.py lies first, and nobody asked for it."""
    for neighbour in ("a/two.py", "b/three.py"):
        write(tmp_path / neighbour, "raise RuntimeError\n")
    plug(write(tmp_path / "a" / "one.py"), write(tmp_path / "b" / "two.py", ATTACK.format(name="two")))
    assert sys.modules[load("attack", "two").__module__].__file__ == str(tmp_path / "b" / "two.py")
    with pytest.raises(ModuleNotFoundError):
        __import__("poisonbench.plugged.three")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ATTACK.format(name="mine"), [("attack", "mine", "Mine")]),
        (
            "from poisonbench import Attack, register\n@register('mine')\nclass Mine(Attack): ...\n",
            [("attack", "mine", "Mine")],
        ),
        (
            "from poisonbench import FilterDefense as Base, register as named\n"
            "class Shared(Base): ...\n@named('x')\nclass X(Shared): ...\n",
            [("defense", "x", "X")],
        ),
        (
            "import poisonbench\n@poisonbench.register('m')\nclass M(poisonbench.Model): ...\n"
            "@poisonbench.register('d')\nclass D(poisonbench.DatasetSource): ...\n",
            [("model", "m", "M"), ("dataset", "d", "D")],
        ),
        (
            "import poisonbench.defenses.base as d\nfrom poisonbench.plugins import registry\n"
            "class Shared(d.FilterDefense): ...\n@registry.register('x')\nclass X(Shared): ...\n",
            [("defense", "x", "X")],
        ),
        (
            "import poisonbench.models.base, poisonbench.plugins.registry\n"
            "@poisonbench.plugins.registry.register('m')\nclass M(poisonbench.models.base.Model): ...\n",
            [("model", "m", "M")],
        ),
        (
            "from poisonbench.plugins.registry import register as named\n"
            "from poisonbench.data.base import DatasetSource as D\n"
            "from poisonbench.attacks.tgda.attack import TGDA\n"
            "@named('d')\nclass A(D): ...\n@named('t')\nclass B(TGDA): ...\n",
            [("dataset", "d", "A"), ("attack", "t", "B")],
        ),
    ],
)
def test_the_kind_is_that_of_the_base_class(tmp_path: Path, text: str, expected: list[tuple[str, str, str]]) -> None:
    found = declared(write(tmp_path / "a.py", text))
    assert [(item.kind, item.name, item.attribute) for item in found] == expected


REGISTER = "from poisonbench import Attack, register\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", r"a\.txt: expected a Python file"),
        ("a.b.py", "", r"a\.b\.py: a plugin's file name has one dot"),
        ("absent.py", None, r"absent\.py: no such file"),
        ("folder.py", "FOLDER", r"folder\.py: no such file"),
        ("a.py", "class Mine(:\n", r"a\.py: not Python: line 1: "),
        ("a.py", "x = '\0'\n", r"a\.py: not Python: "),
        ("a.py", f"{'(' * 5000}\n", r"a\.py: not Python: "),
        ("a.py", "class Mine: ...\n", r"a\.py: registers nothing; decorate a class with @poisonbench\.register"),
        ("a.py", REGISTER + "@register('a')\nclass A: ...\n", r"A: none of its base classes is Attack, Defense"),
        (
            "a.py",
            "import poisonbench as pb\n@pb.register('a')\nclass A(pb.Record): ...\n",
            "A: none of its base classes",
        ),
        ("a.py", "import other as pb\n@pb.register('a')\nclass A(pb.Attack): ...\n", "registers nothing"),
        ("a.py", REGISTER + "N = 'a'\n@register(N)\nclass A(Attack): ...\n", r"A: expected its name as a literal"),
        ("a.py", REGISTER + "@register('A b')\nclass A(Attack): ...\n", "'A b' is not a method name"),
        ("a.py", (REGISTER + "@register('a')\nclass A(Attack): ...\n") * 2, "registers the attack 'a' twice"),
    ],
)
def test_what_is_no_plugin_is_refused_at_once(
    tmp_path: Path, plug: Callable[..., None], name: str, text: str | None, message: str
) -> None:
    file = tmp_path / name
    if text == "FOLDER":
        file.mkdir()
    elif text is not None:
        write(file, text)
    with pytest.raises(PluginError, match=message) as error:
        plug(file)
    assert "\n" not in str(error.value)


def test_a_refused_path_leaves_the_variable_as_it_was(tmp_path: Path, plug: Callable[..., None]) -> None:
    plug(file := write(tmp_path / "a" / "one.py"))
    with pytest.raises(PluginError, match=r"b/one\.py and .*a/one\.py have the same name; rename one of them"):
        plug(write(tmp_path / "b" / "one.py", ATTACK.format(name="other")))
    with pytest.raises(PluginError, match="cannot have ':' in it"):
        plug(write(tmp_path / "c:d" / "two.py"))
    assert os.environ[plugged.VARIABLE] == str(file)


def test_a_relative_path_in_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugged.VARIABLE, "a.py")
    with pytest.raises(PluginError, match=r"a\.py: POISONBENCH_PLUGINS expects absolute paths"):
        plugged.files()


def test_an_unfinished_method_says_what_it_lacks(tmp_path: Path, plug: Callable[..., None]) -> None:
    plug(write(tmp_path / "mine.py", ATTACK.format(name="mine").replace("    threat = pb.ThreatModel()\n", "")))
    with pytest.raises(PluginError, match="Mine lacks threat; define it"):
        configure(load("attack", "mine"), {}, "attack")


def test_a_name_that_is_taken_says_by_whom(tmp_path: Path, plug: Callable[..., None]) -> None:
    first, second = (write(tmp_path / f"{stem}.py", ATTACK.format(name="mine")) for stem in "ab")
    usurper = write(tmp_path / "c.py", ATTACK.format(name="tgda"))
    plug(first, second, usurper)
    with pytest.raises(PluginError, match=rf"{first}, {second} all register 'mine'; remove one\."):
        load("attack", "mine")
    with pytest.raises(PluginError, match=rf"{usurper}, poisonbench all register 'tgda'; remove one\."):
        load("attack", "tgda")
    assert load("attack", "label-flip")


def test_a_file_that_raises_breaks_nothing_else(tmp_path: Path, plug: Callable[..., None]) -> None:
    plug(write(tmp_path / "a.py", ATTACK.format(name="mine") + "raise SystemExit(3)\n"))
    assert load("attack", "label-flip")
    with pytest.raises(PluginError, match="The attack 'mine' of file does not import: SystemExit: 3"):
        load("attack", "mine")


def test_the_command_line_takes_files(tmp_path: Path, plug: Callable[..., None]) -> None:
    file = write(tmp_path / "a.py")
    listed = CliRunner().invoke(app, ["list", "attacks", "--json", "--plugin", str(file)])
    assert "mine" in {row["name"] for row in json.loads(listed.stdout)["attacks"]}
    described = CliRunner().invoke(app, ["describe", "mine", "--plugin", str(file)])
    assert "attack.strength" in described.stdout
    absent = CliRunner().invoke(app, ["list", "--plugin", str(tmp_path / "absent.py")])
    assert isinstance(absent.exception, PluginError)


@pytest.mark.parametrize("command", ["run", "sweep", "plan", "reproduce", "check", "list", "describe"])
def test_every_command_that_runs_or_shows_methods_takes_files(command: str) -> None:
    assert "--plugin" in CliRunner().invoke(app, [command, "--help"], terminal_width=200).stdout


CRAFTING = ATTACK.replace(
    "def craft(self, view, budget, stage): ...", "def craft(self, view, budget, stage):\n        return {body}"
)


def result() -> object:
    return configure(load("attack", "mine"), {}, "attack").craft(None, None, None)


def test_a_file_that_was_edited_is_imported_anew_when_it_is_plugged_again(
    tmp_path: Path, plug: Callable[..., None]
) -> None:
    file = write(tmp_path / "a.py", CRAFTING.format(name="mine", body="1"))
    plug(file)
    old, seen = load("attack", "mine"), set()
    for body in ("1", "2", "3"):  # within one second, and as long as before: byte code would pass for current
        file.write_text(CRAFTING.format(name="mine", body=body))
        plug(file)
        assert result() == int(body)
        cls = load("attack", "mine")
        seen.add((code_hash_of(cls), entries("attack")["mine"].release, declaration("attack", "mine").source))
        assert entries("attack")["mine"].release == digest(file)
    assert len({part for one in seen for part in one}) == 9
    with pytest.raises(PluginError, match=r"^mine was edited and plugged anew; make the cell again\.$"):
        code_hash_of(old)
    assert code_hash_of(load("attack", "label-flip"))


def test_until_it_is_plugged_again_the_old_code_runs_under_its_own_hash(
    tmp_path: Path, plug: Callable[..., None]
) -> None:
    file = write(tmp_path / "a.py", CRAFTING.format(name="mine", body="1"))
    plug(file)
    before, release = code_hash_of(load("attack", "mine")), digest(file)
    file.write_text(CRAFTING.format(name="mine", body="2"))
    entries.cache_clear()
    assert (result(), code_hash_of(load("attack", "mine"))) == (1, before)
    assert entries("attack")["mine"].release == release
    plug()
    assert result() == 2
    assert code_hash_of(load("attack", "mine")) != before


def test_a_file_that_was_edited_after_it_was_listed_is_what_its_release_says(
    tmp_path: Path, plug: Callable[..., None]
) -> None:
    file = write(tmp_path / "a.py", CRAFTING.format(name="mine", body="1"))
    plug(file)
    assert entries("attack")["mine"].release == digest(file)
    file.write_text(CRAFTING.format(name="mine", body="2"))
    assert result() == 2
    assert entries("attack")["mine"].release == digest(file)


def test_a_helper_beside_it_is_a_part_of_it(
    tmp_path: Path, plug: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    helper = write(tmp_path / "lab_helper.py", "from lab_deeper import SHIFT\n")
    deeper = write(tmp_path / "lab_deeper.py", "SHIFT = 1\n")
    __import__("lab_helper")  # in a notebook it was looked at first
    deeper.write_text("SHIFT = 2\n")
    text = CRAFTING.format(name="mine", body="SHIFT").replace(
        "import poisonbench", "from lab_helper import SHIFT\nimport poisonbench"
    )
    plug(write(tmp_path / "a.py", text))
    hashes = set()
    for shift in (2, 3, 4):
        deeper.write_text(f"SHIFT = {shift}\n")
        plug()
        assert result() == shift
        hashes.add(code_hash_of(load("attack", "mine")))
    assert len(hashes) == 3
    helper.write_text("SHIFT = 9\n")
    plug()
    assert result() == 9


def test_a_cell_of_before_an_edit_does_not_run(tmp_path: Path, plug: Callable[..., None]) -> None:
    file = write(tmp_path / "a.py", CRAFTING.format(name="mine", body="1"))
    plug(file)

    def cell() -> Cell:
        return build(resolve("digits-v1", ()), "mine", "none", epsilon=0.03, seed=0)

    old, same = cell(), cell()
    assert old.hash() == same.hash()
    file.write_text(CRAFTING.format(name="mine", body="2"))
    plug(file)
    assert len({cell().hash(), cell().hash()}) == 1
    with pytest.raises(PluginError, match="make the cell again"):
        old.hash()
