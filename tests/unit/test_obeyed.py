"""What is accepted is obeyed: every key of a protocol, of a recipe and of a method changes the cell or is refused, and
so does every option of the command line that is empty or there twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from poisonbench.cli.axes import AxisFlags, Settings
from poisonbench.cli.cells import cells_of, choices
from poisonbench.cli.main import app
from poisonbench.cli.options import Policy
from poisonbench.errors import ConfigError, UsageError
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.protocol import Protocol, RecipeSection, ThreatSection
from poisonbench.experiment.settings import Setting, parse_setting, read_settings
from poisonbench.plugins.built_in import BUILT_IN
from poisonbench.plugins.registry import load

OTHERS: dict[str, str] = {
    "recipe.optimizer": "adam", "recipe.lr": "0.25", "recipe.momentum": "0.5", "recipe.weight_decay": "0.01",
    "recipe.batch_size": "7", "recipe.epochs": "3", "recipe.schedule": "constant",
    "recipe.augmentation": "flips-and-crops", "threat.knowledge": "training-data-only", "threat.mode": "perturbation",
    "threat.radius": "0.1", "validation": "0.2", "trusted": "0.02", "padded": "false", "train_rows": "100",
}  # fmt: skip
"""Of every key of a protocol that is a setting, a value that digits-v2 has not."""

REFUSED = {"name", "version", "summary", "dataset", "models", "seeds", "threat.epsilon"}
AXES = {field.name for field in fields(AxisFlags)} | {"preset", "seed"}


def made(*texts: str, attack: str = "label-flip", defense: str = "none") -> Cell:
    svm = ("digits-17", "svm") if attack == "poison-svm" else (None, None)
    axes = AxisFlags(attack=attack, defense=defense, protocol=svm[0], model=svm[1], seeds="0")
    (cell,) = cells_of(axes, Settings(setting=list(texts)))
    return cell


def keys() -> set[str]:
    sections = {"recipe": RecipeSection, "threat": ThreatSection}
    own = {key for key in Protocol.model_fields if key not in (*sections, "recipes")}
    return own | {f"{name}.{key}" for name, section in sections.items() for key in section.model_fields}


def test_every_key_of_a_protocol_changes_the_cell_or_is_refused() -> None:
    assert keys() == set(OTHERS) | REFUSED  # a new key is entered above
    before = made()
    for key, value in OTHERS.items():
        cell = made(f"{key}={value}")
        assert cell.hash() != before.hash(), key
        assert any(one.startswith(f"{key}: ") for one in cell.deviations), key
    for key in (key for key in OTHERS if key.startswith("recipe.")):
        own = key.replace("recipe.", "recipes.lr.")
        assert made(f"{own}={OTHERS[key]}").hash() != before.hash(), own
        with pytest.raises(ConfigError, match=r"no model 'nn' is trained here, only lr\.$"):
            made(f"{key.replace('recipe.', 'recipes.nn.')}={OTHERS[key]}")


@pytest.mark.parametrize("key", sorted(REFUSED | AXES))
def test_what_has_a_flag_is_no_setting(tmp_path: Path, key: str) -> None:
    value = {"version": "3", "seeds": "[[4]]", "models": "[[lr]]", "epsilon": "0.1", "threat.epsilon": "0.1"}
    with pytest.raises(ConfigError, match=rf"^--set: {key} is no setting") as error:
        made(f"{key}={value.get(key, 'mnist-v1')}")
    assert "--" in str(error.value).removeprefix("--set")
    config = tmp_path / "mine.yaml"
    config.write_text(f"{key}: x\n" if "." not in key else "threat: {epsilon: 0.1}\n")
    with pytest.raises(ConfigError, match=rf"mine\.yaml: {key} is no setting"):
        read_settings(config)


def other(value: object, annotation: Any) -> object:
    """Another value of a field's kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, Enum):
        return next(one.value for one in type(value) if one is not value)
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 or 0.5
    return next((one for one in get_args(annotation) if isinstance(one, str) and one != value), None)


def method_fields() -> Iterator[tuple[str, str, str]]:
    for kind in ("attack", "defense"):
        for name in BUILT_IN[kind]:
            for field in fields(load(kind, name)):
                yield kind, name, field.name


@pytest.mark.parametrize(("kind", "name", "field"), list(method_fields()))
def test_every_field_of_a_method_changes_the_cell_or_is_refused(kind: str, name: str, field: str) -> None:
    methods = {"attack": "label-flip", "defense": "none", kind: name}
    before = made(**methods)
    found = other(getattr(getattr(before, kind), field), type(getattr(before, kind)).__annotations__.get(field))
    for key in (f"{kind}.{field}", f"{kind}.{name}.{field}"):
        if found is not None:
            with suppress(UsageError):
                assert made(f"{key}={found}", **methods).hash() != before.hash(), key
        with pytest.raises(UsageError):
            made(f"{key}=[[yes, {{a: 1}}]]", **methods)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe.lr=", "--set recipe.lr=: there is no value; null is none, '\"\"' an empty text."),
        ("recipe.lr=null", "--set: recipe.lr: Input should be a valid number, got None."),
        ("recipe.lr=''", "--set: recipe.lr: Input should be a valid number, got ''."),
        ("recipe.epochs=1_000", "--set: recipe.epochs: Input should be a valid integer, got '1_000'."),
        ("recipe.epochs=1:30", "--set: recipe.epochs: Input should be a valid integer, got '1:30'."),
        ("padded=no", "--set: padded: Input should be a valid boolean, got 'no'."),
        ("recipe.lr={a: 1, a: 2}", "--set recipe.lr={a: 1, a: 2}: the value is 'a' is there twice, in lines 1 and 1;"),
        ("recipe.lr=&x 3", "--set recipe.lr=&x 3: the value is YAML aliases (*name) are not read here"),
        ("attack=tgda", "--set: attack is no setting; it is given by --attack."),
        ("attack.=1", "--set: Unknown key 'attack.'."),
        (" =1", "--set  =1: expected key=value"),
    ],
)
def test_a_value_that_would_be_read_otherwise_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        made(text)
    assert str(error.value).startswith(message)


def test_a_number_with_a_zero_before_it_is_decimal() -> None:
    assert made("attack.epochs=010", attack="tgda").attack.epochs == 10  # type: ignore[attr-defined]
    assert parse_setting("attack.x=yes").value == "yes"


def test_a_methods_own_setting_wins_however_the_two_are_typed() -> None:
    general, own = "defense.fraction=0.1", "defense.loss.fraction=0.2"
    for texts in ((general, own), (own, general)):
        cells = cells_of(AxisFlags(attack="label-flip", defense="loss,l2", seeds="0"), Settings(setting=list(texts)))
        assert {cell.defense.name: cell.defense.fraction for cell in cells} == {"loss": 0.2, "l2": 0.1}  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match=r"^defense\.fraction: nothing is left for it beside defense\.loss\."):
            made(*texts, defense="loss")


def test_set_is_above_a_config_whichever_of_the_two_is_for_one_method(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("attack: {epochs: 5, tgda: {epochs: 7}, m: 2}\nrecipes: {lr: {epochs: 9}}\n")
    with pytest.raises(ConfigError, match=r"^attack\.epochs: nothing is left for it beside attack\.tgda\.epochs\.$"):
        cells_of(AxisFlags(attack="tgda", seeds="0"), Settings(config=config))
    config.write_text("attack: {tgda: {epochs: 7}}\nrecipes: {lr: {epochs: 9}}\n")
    (cell,) = cells_of(
        AxisFlags(attack="tgda", seeds="0"),
        Settings(setting=["attack.epochs=3", "recipe.epochs=4"], config=config),
    )
    assert (cell.attack.epochs, cell.recipe.epochs) == (3, 4)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: {epochs: 5}\nrecipe: {lr: 0.05}\n", "'recipe' is there twice, in lines 1 and 2; remove one."),
        ("recipe: {epochs: 5}\nrecipe.epochs: 6\n", "recipe.epochs is there twice, with a dot and in its section"),
        ("recipe: {}\n", "recipe: expected keys and values, got none."),
        ("attack: {tgda: {}}\n", "attack.tgda: expected keys and values, got none."),
        ("attack: tgda\n", "attack is no setting; it is given by --attack."),
    ],
)
def test_a_config_file_with_a_key_that_would_be_dropped(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_settings(config)
    assert str(error.value).startswith(f"{config}: {message}")


def commands(command: Any = None, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    command = command or get_command(app)
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from commands(inner, *words, word)
    else:
        yield words, command


EVERY = {" ".join(words): command for words, command in commands()}


@pytest.mark.parametrize("name", EVERY)
def test_every_option_is_there_once_and_has_a_value(name: str) -> None:
    command = EVERY[name]
    for parameter in (one for one in command.params if one.param_type_name == "option" and one.name != "help"):
        flag = parameter.opts[0]
        cases = {f"{flag} is given twice": [flag] * 2 if parameter.is_flag else [flag, "1"] * 2}
        if not parameter.is_flag:
            cases[f"{flag} '': expected a value"] = [flag, ""]
            cases[f"{flag} '  ': expected a value"] = [f"{flag}=  "]
        if parameter.multiple:
            del cases[f"{flag} is given twice"]
        for message, given in cases.items():
            with pytest.raises(ConfigError) as error:
                command.make_context(name, list(given))
            assert str(error.value).startswith(message)


@pytest.mark.parametrize("words", ["run -a tgda --timeout", "sweep -a tgda --gpus", "check tgda --timeout"])
def test_no_number_is_no_number(words: str) -> None:
    done = CliRunner().invoke(app, [*words.split(), "nan"])
    assert done.exit_code == 2


def test_epsilon_is_rounded_where_it_enters() -> None:
    near = 0.1 + 0.2 - 0.27
    assert near != 0.03
    asked = (AxisFlags(attack="label-flip", seeds="0", epsilon=text) for text in ("0.03", repr(near)))
    plain, odd = (cells_of(axes, Settings())[0] for axes in asked)
    assert plain.hash() == odd.hash() == made().hash()
    assert odd.settings.protocol.threat.epsilon == 0.03
    assert protocol.resolve("digits-v1", (Setting("threat.epsilon", near, "here"),)).protocol.threat.epsilon == 0.03
    assert AxisFlags(epsilon=repr(near)).filters() == {"epsilon": (0.03,)}


@pytest.mark.parametrize("overwrite", ["never", "always"])
def test_retries_are_of_what_is_missing(overwrite: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^--retry says nothing beside --overwrite {overwrite}; give one of the two"
    ):
        choices(Policy(overwrite, "failed"))
    assert choices(Policy(retry="failed"))[1] == {"failed"}
