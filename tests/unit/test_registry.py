"""The registry: names, suggestions, settings checked by type, and plugins that may be broken."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.attacks.tgda.attack import TGDA
from poisonbench.errors import ConfigError, PluginError, UnknownNameError
from poisonbench.plugins import registry
from poisonbench.plugins.registry import GROUPS, configure, entries, load, name_of, register


@pytest.mark.parametrize("kind", GROUPS)
def test_every_built_in_loads_under_its_name(kind: str) -> None:
    assert list(entries(kind)) == sorted(entries(kind))
    for name, entry in entries(kind).items():
        assert entry.broken is None
        assert entry.summary.endswith(".")
        assert name_of(load(kind, name)) == name


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("attack", "tdga", "Unknown attack 'tdga'. Did you mean 'tgda'?"),
        ("attack", "labelflip", "Unknown attack 'labelflip'. Did you mean 'label-flip'?"),
        ("defense", "server", "Unknown defense 'server'. Did you mean 'sever'?"),
        ("defense", "xyz", f"Unknown defense 'xyz'. Known: {', '.join(sorted(entries('defense')))}."),
    ],
)
def test_a_misspelt_name_gets_the_nearest(kind: str, name: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        load(kind, name)
    assert str(error.value) == message


def test_settings_become_fields() -> None:
    assert configure(TGDA, {"alpha": 1, "m": 2, "solver": "cgnr"}, "attack") == TGDA(alpha=1.0, m=2, solver="cgnr")
    flip = configure(LabelFlip, {"flip": "random", "class_weights": [1, 0.5]}, "attack")
    assert flip.class_weights == (1.0, 0.5)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"epochs": "many"}, r"attack\.epochs: .*integer.*, got 'many'"),
        ({"epochs": True}, r"attack\.epochs: .*integer.*, got True"),
        ({"epochs": "5"}, r"attack\.epochs: .*integer.*, got '5'"),
        ({"alpha": "0.1"}, r"attack\.alpha: .*number.*, got '0\.1'"),
        ({"epochs": 2.5}, r"attack\.epochs: .*integer.*, got 2\.5"),
        ({"alpha": None}, r"attack\.alpha: .*number.*, got None"),
        ({"alpha": [1]}, r"attack\.alpha: .*got \[1\]"),
        ({"solver": 3}, r"attack\.solver: .*string.*, got 3"),
        ({"m": 0}, r"attack\.m: expected an integer ≥ 1"),
    ],
)
def test_settings_of_the_wrong_type_name_their_key(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as error:
        configure(TGDA, settings, "attack")
    assert "\n" not in str(error.value)


def test_a_field_that_is_not_there_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown field of tgda 'aplha'\. Did you mean 'alpha'\?"):
        configure(TGDA, {"aplha": 1.0}, "attack")
    with pytest.raises(ConfigError, match=r"attack\.flip: .*got 'wrost'"):
        configure(LabelFlip, {"flip": "wrost"}, "attack")


def test_a_method_must_be_a_dataclass_with_a_name() -> None:
    class Plain:
        pass

    @dataclass(frozen=True)
    class Nameless:
        pass

    with pytest.raises(PluginError, match="Plain must be a frozen dataclass"):
        configure(Plain, {}, "attack")
    with pytest.raises(PluginError, match="Nameless has no name; decorate it with @register"):
        name_of(Nameless)
    assert name_of(register("fine-2")(Nameless)) == "fine-2"


@pytest.mark.parametrize("name", ["TGDA", "a b", "a--b", "-a", "a_b", "", "../x"])
def test_names_that_are_no_names(name: str) -> None:
    with pytest.raises(PluginError, match="is not a method name"):
        register(name)


def distribution(folder: Path, name: str, points: str) -> None:
    """An installed package, as far as importlib.metadata can tell."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(points)


ATTACK = """
from dataclasses import dataclass
from poisonbench.attacks.base import Attack
from poisonbench.plugins.registry import register
from poisonbench.problem.threat import ThreatModel

@register("{name}")
@dataclass(frozen=True)
class Mine(Attack):
    '''Does nothing. At all.'''
    threat = ThreatModel()
    def craft(self, view, budget, stage): ...
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Good plugins among bad ones, through the same door as the built-ins."""
    (tmp_path / "good_plugin.py").write_text(ATTACK.format(name="good"))
    (tmp_path / "misnamed_plugin.py").write_text(ATTACK.format(name="other"))
    (tmp_path / "raising_plugin.py").write_text('"""Raises."""\nraise RuntimeError("boom")\nclass Mine: ...\n')
    (tmp_path / "unparsable_plugin.py").write_text("class Mine(:\n")
    (tmp_path / "leaving_plugin.py").write_text('"""Leaves."""\nraise SystemExit(3)\nclass Mine: ...\n')
    (tmp_path / "talking_plugin.py").write_text("print('hello')\n" + ATTACK.format(name="talking"))
    (tmp_path / "wrong_plugin.py").write_text('"""No class."""\ndef Mine(): ...\nnumbers = [1]\n')
    (tmp_path / "rude_package").mkdir()
    (tmp_path / "rude_package" / "__init__.py").write_text("raise SystemExit('nobody may look for my modules')\n")
    (tmp_path / "rude_package" / "part.py").write_text(ATTACK.format(name="rude"))
    group = "[poisonbench.attacks]\n"
    distribution(tmp_path, "good", group + "good = good_plugin:Mine\n")
    distribution(
        tmp_path,
        "bad",
        group
        + "absent = no_such_module_at_all:Mine\n"
        + "absent-part = no_such_package.part:Mine\n"
        + "raising = raising_plugin:Mine\n"
        + "unparsable = unparsable_plugin:Mine\n"
        + "attributeless = good_plugin:Yours\n"
        + "misnamed = misnamed_plugin:Mine\n"
        + "leaving = leaving_plugin:Mine\n"
        + "talking = talking_plugin:Mine\n"
        + "function = wrong_plugin:Mine\n"
        + "list = wrong_plugin:numbers\n"
        + "rude = rude_package.part:Mine\n"
        + "tgda = good_plugin:Mine\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.entries.cache_clear()
    yield tmp_path
    registry.entries.cache_clear()
    for name in ("good_plugin", "misnamed_plugin", "raising_plugin", "talking_plugin", "wrong_plugin"):
        sys.modules.pop(name, None)


def test_a_plugin_is_found_without_being_imported(plugins: Path) -> None:
    entry = entries("attack")["good"]
    assert (entry.distribution, entry.release, entry.summary) == ("good", "1.2", "Does nothing.")
    assert "good_plugin" not in sys.modules
    assert load("attack", "good").__name__ == "Mine"


@pytest.mark.parametrize("name", ["absent", "absent-part", "unparsable"])
def test_a_broken_plugin_is_listed_as_broken(plugins: Path, name: str) -> None:
    assert entries("attack")[name].broken
    with pytest.raises(PluginError, match=f"The attack '{name}' of bad is broken: "):
        load("attack", name)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("raising", "of bad does not import: RuntimeError: boom"),
        ("attributeless", "of bad does not import: AttributeError"),
        ("misnamed", "registers itself as 'other', its entry point says 'misnamed'"),
        ("tgda", r"bad, poisonbench all register 'tgda'; remove one"),
        ("leaving", "of bad does not import: SystemExit: 3"),
        ("rude", "of bad does not import: SystemExit: nobody may look for my modules"),
        ("function", "wrong_plugin:Mine of bad is no class, it is function"),
        ("list", "wrong_plugin:numbers of bad is no class, it is list"),
    ],
)
def test_a_plugin_that_only_fails_when_loaded(plugins: Path, name: str, match: str) -> None:
    with pytest.raises(PluginError, match=match):
        load("attack", name)


def test_listing_runs_no_code_of_a_plugins_packages(plugins: Path) -> None:
    assert entries("attack")["rude"].summary == "Does nothing."
    assert "rude_package" not in sys.modules


def test_a_leaderboard_of_records_of_broken_plugins_runs_none_of_them(plugins: Path) -> None:
    from poisonbench.leaderboard import declarations
    from poisonbench.plugins import lineage
    from poisonbench.plugins.declared_knowledge import declared_knowledge

    cached = (declarations._declaration, lineage._statements)
    try:
        assert declarations.declaration("attack", "rude").summary == "Does nothing."
        for name in entries("attack"):
            declarations.declaration("attack", name)
            declared_knowledge(entries("attack")[name])
    finally:
        for function in cached:
            function.cache_clear()
    assert "rude_package" not in sys.modules


def test_a_plugin_that_prints_on_import_leaves_standard_output_alone(
    plugins: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert load("attack", "talking")
    assert capfd.readouterr() == ("", "hello\n")


def test_broken_plugins_break_nothing_else(plugins: Path) -> None:
    assert load("attack", "label-flip") is LabelFlip
    assert load("attack", "good")
    shown = subprocess.run(
        [sys.executable, "-P", "-m", "poisonbench", "list", "attacks", "--json"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(plugins)},
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    text = json.dumps(json.loads(shown.stdout))
    assert "label-flip" in text
    assert "no_such_module_at_all" in text
