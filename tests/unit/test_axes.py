"""The flags of the command line: the same axes wherever cells are run or records looked at, and one reading of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner

from poisonbench.cli.axes import AxisFlags, Settings, commas
from poisonbench.cli.main import app
from poisonbench.cli.options import JsonOption, group_options
from poisonbench.errors import ConfigError, UsageError
from poisonbench.experiment.cell import Cell

Asked = Callable[..., list[Cell]]

CELLS = {"run", "plan", "sweep"}
RECORDS = {
    "table", "compare", "submit", "results show",
    *(f"plot {kind}" for kind in ("fraction", "epsilon", "train-size", "pareto", "heatmap", "standings", "training")),
    "plot certified",
}  # fmt: skip
OTHERS = {
    "reproduce", "list", "describe", "check", "gallery", "validate", "verify", "doctor", "results export",
    "results merge", "results fetch", "results deposit", "new attack", "new defense", "new model", "new dataset",
    "data prepare", "data verify", "leaderboard build", "leaderboard serve",
}  # fmt: skip
"""They name what they are about, or take everything."""
SPLITS = {"data split"}
"""They take the protocol and the dataset of a cell."""


def declared(command: Any = None, name: str = "") -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """Every command with its options: the spellings of each, by parameter."""
    command = command or get_command(app)
    if hasattr(command, "commands"):
        for word, inner in command.commands.items():
            yield from declared(inner, f"{name} {word}".strip())
    else:
        yield name, {one.name: tuple(one.opts) for one in command.params}


def test_every_command_that_selects_cells_or_records_has_the_same_axes() -> None:
    found = dict(declared())
    assert set(found) == CELLS | RECORDS | OTHERS | SPLITS  # a new command is entered above
    axes = [field.name for field in fields(AxisFlags)]
    assert {"protocol", "dataset", "model", "attack", "surrogate", "defense", "epsilon", "seeds"} == set(axes)
    for name in CELLS | RECORDS:
        assert {axis: found[name].get(axis) for axis in axes} == {axis: found["run"][axis] for axis in axes}, name
    for name in CELLS:
        for field in fields(Settings):
            assert found[name][field.name] == found["run"][field.name], name
    for name in SPLITS:
        assert {axis: found[name][axis] for axis in ("protocol", "dataset")} == {
            axis: found["run"][axis] for axis in ("protocol", "dataset")
        }
    for name in OTHERS:
        assert not {"protocol", "dataset", "epsilon", "seeds"} & set(found[name]), name


def outcome(asked: Asked, command: str, *words: str) -> list[str] | str:
    """The cells' hashes, or the line with which they are refused."""
    try:
        return [cell.hash() for cell in asked(command, *words)]
    except UsageError as error:
        return str(error)


def by_comma(values: list[str]) -> st.SearchStrategy[str]:
    """Mostly what is right; a value may come twice."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=3).map(",".join)


FLAGS = {
    "--protocol": by_comma(["digits", "digits-v1", "mnist-v1", "null", "mnist-v9"]),
    "--dataset": by_comma(["digits", "mnist", "digits-17", "null", "digit"]),
    "--model": by_comma(["lr", "nn", "null", ""]),
    "--surrogate": by_comma(["lr", "nn", "null"]),
    "--preset": by_comma(["null", "paper"]),
    "--defense": by_comma(["none", "loss", "loss+maxup", "lose"]),
    "--epsilon": by_comma(["0.03", "3e-2", "0.1", "null", "3", "x"]),
    "--seeds": by_comma(["0", "1", "7", "null", "-1", ""]),
}
SETTINGS = [
    "attack.tgda.m=[1, 2]", "attack.tgda.m=2", "attack.label-flip.flip=worst", "recipe.epochs=[3, 4]", "train_rows=100",
    "threat.epsilon=0.2", "recipe.epochs=[]", "attack.knn.k=3", "recipe.lr", "recipe.lrr=1", "dataset=mnist",
]  # fmt: skip


@st.composite
def flags(draw: st.DrawFn) -> list[str]:
    """A command's flags, as they are typed."""
    words = ["--attack", draw(by_comma(["tgda", "label-flip"]) | st.sampled_from(["", "tdga", "null"]))]
    for flag in draw(st.lists(st.sampled_from(sorted(FLAGS)), unique=True, max_size=3)):
        words += [flag, draw(FLAGS[flag])]
    for setting in draw(st.lists(st.sampled_from(SETTINGS), max_size=2)):
        words += ["--set", setting]
    return words


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flags())
def test_run_plan_and_sweep_of_the_same_flags_are_the_same_cells(asked: Asked, words: list[str]) -> None:
    first = outcome(asked, "run", *words)
    assert first
    assert outcome(asked, "plan", *words) == outcome(asked, "sweep", *words) == first
    assert isinstance(first, list) or "\n" not in first


@pytest.mark.parametrize("more", [[], ["--dataset", "digits"], ["--protocol", "digits"]], ids=" ".join)
@pytest.mark.parametrize("command", sorted(CELLS))
def test_a_new_version_is_every_commands_default(
    new_protocol: Callable[..., None], asked: Asked, command: str, more: list[str]
) -> None:
    words = (command, "--attack", "label-flip", *more)
    assert {cell.settings.protocol.name for cell in asked(*words)} == {"digits-v2"}
    new_protocol("digits", 3)
    assert {cell.settings.protocol.name for cell in asked(*words)} == {"digits-v3"}
    assert {cell.settings.protocol.name for cell in asked(command, "-a", "emn", "--protocol", "digits-v1")} == {
        "digits-v1"
    }


def test_flags_take_the_place_of_a_files_axes_and_a_config_is_below_both(asked: Asked, tmp_path: Path) -> None:
    grid, config = tmp_path / "grid.yaml", tmp_path / "config.yaml"
    grid.write_text("attack: [tgda, emn]\nseeds: [0, 1]\nset: {recipe.epochs: 5, recipe.lr: [0.1, 0.2]}\n")
    config.write_text("recipe: {epochs: 6, lr: 0.3, batch_size: 7}\nattack: {epochs: 9}\n")
    found = asked("plan", str(grid), "--attack", "tgda", "--config", str(config), "--set", "recipe.lr=0.4")
    recipes = {(cell.recipe.epochs, cell.recipe.lr, cell.recipe.batch_size) for cell in found}
    assert (len(found), recipes) == (2, {(5, 0.4, 7)})
    assert {vars(cell.attack)["epochs"] for cell in found} == {9}
    grid.write_text("attack: [tgda, emn]\nmodel: [lr, nn]\nexclude: [{attack: emn, model: nn}]\nseeds: 0\n")
    assert len(asked("plan", str(grid))) == 3
    assert len(asked("plan", str(grid), "--attack", "tgda")) == 2  # where the exclusion has nothing to do
    grid.write_text("attack: tgda\nset: 3\n")
    with pytest.raises(ConfigError, match=r"grid\.yaml: set: Input should be a valid dictionary, got 3\.$"):
        asked("sweep", str(grid), "--set", "recipe.lr=0.4")


def test_a_list_is_an_axis_and_a_list_in_a_list_a_value(asked: Asked) -> None:
    words = ("run", "--attack", "label-flip", "--seeds", "0", "--set", "attack.flip=random")
    assert len(asked(*words, "--set", "recipe.epochs=[3, 4]")) == 2
    (cell,) = asked(*words, "--set", "attack.class_weights=[[1, 1]]")
    assert vars(cell.attack)["class_weights"] == (1, 1)


@pytest.mark.parametrize("command", ["run", "sweep", "table", "results show", "plot heatmap -o a.svg"])
@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("--attack", "", "--attack '': expected a value, got an empty text."),
        ("--model", " ", "--model ' ': expected a value, got an empty text."),
        ("--seeds", ",", "--seeds ',': expected values by comma, none of them empty."),
        ("--defense", "loss,,none", "--defense 'loss,,none': expected values by comma, none of them empty."),
        ("--dataset", "digits,mnist,digits", "--dataset: 'digits' is given twice."),
        ("--epsilon", "3%", "--epsilon: expected a number, got '3%'."),
        ("--seeds", "9" * 5000, "--seeds: expected integers ≥ 0 and below 2**63 by comma, got '99"),
        ("--epsilon", "0.03,3e-2", "--epsilon: 0.03 is given twice."),
        ("--epsilon", "0.03,0.030000000000000027", "--epsilon: 0.03 is given twice."),
        ("--seeds", "0,00", "--seeds: 0 is given twice."),
        ("--store", "", "--store '': expected a value, got an empty text."),
        ("--seeds", "0.5", "--seeds: expected integers ≥ 0 and below 2**63 by comma, got '0.5'."),
    ],
)
def test_what_would_be_ignored_is_refused(tmp_path: Path, command: str, flag: str, text: str, message: str) -> None:
    store = [] if flag == "--store" else ["--store", str(tmp_path)]
    done = CliRunner().invoke(app, [*command.split(), *store, flag, text])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(message)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    ("flag", "hints"),
    [("--retry", []), ("--epsilons", ["--epsilon"]), ("--defence", ["--defense", "--device"])],
)
def test_an_option_that_is_not_there_is_hinted_at_by_near_names_alone(flag: str, hints: list[str]) -> None:
    """Of --retry click thinks that --preset was meant."""
    error: Any = CliRunner().invoke(app, ["run", flag, "failed"], standalone_mode=False).exception
    assert error.possibilities == hints
    assert error.format_message().startswith(f"No such option: {flag}")


def test_filters_are_columns_and_protocols_have_their_version() -> None:
    axes = AxisFlags(protocol="digits,mine", epsilon="3e-2,0.1", seeds="0,1", surrogate="null,nn")
    assert axes.filters() == {
        "protocol": ("digits-v2", "mine"), "surrogate": (None, "nn"), "epsilon": (0.03, 0.1), "seed": (0, 1),
    }  # fmt: skip
    assert AxisFlags().filters() == {}
    with pytest.raises(ConfigError, match=r"^--defense sever:pooled: records are chosen by the defense's name alone"):
        AxisFlags(defense="none,sever:pooled").filters()
    assert commas(" a , b", "-o") == ("a", "b")


@dataclass(frozen=True)
class Group:
    """Two options."""

    size: Annotated[int, typer.Option("--size", help="So many.")]
    as_json: JsonOption = False


def test_a_group_is_options_of_its_own() -> None:
    seen: list[object] = []

    def command(name: Annotated[str, typer.Argument()], group: Group, loud: bool = False) -> None:
        """What it does."""
        seen.extend((name, group, loud))

    flat = group_options(command)
    assert list(inspect.signature(flat).parameters) == ["name", "size", "as_json", "loud"]
    own = typer.Typer()
    own.command()(flat)
    shown = CliRunner().invoke(own, ["--help"]).stdout
    assert all(word in shown for word in ("What it does.", "--size", "So many.", "--json", "--loud"))
    assert CliRunner().invoke(own, ["a", "--json"]).exit_code == 2  # --size is required
    assert CliRunner().invoke(own, ["a", "--size", "3", "--loud"]).exit_code == 0
    assert seen == ["a", Group(3), True]
