"""Grids: their cells in order, against a count by hand and by brute force; and what they refuse, in one line."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from poisonbench.cli.axes import AxisFlags, Settings
from poisonbench.cli.cells import cells_of
from poisonbench.errors import ConfigError, UnknownNameError, UsageError
from poisonbench.experiment.cell import Cell, code_of
from poisonbench.experiment.settings import Setting
from poisonbench.plugins.registry import name_of
from poisonbench.sweeps.grid import cells, grid, read

ORIGIN = "mine.yaml"
MANY = [number / 1e6 for number in range(1, 10_001)]


def made(document: dict[str, Any]) -> list[Cell]:
    return cells(grid(document, ORIGIN), ORIGIN)


def axes(cell: Cell) -> tuple[str, str, str, str, float, int]:
    protocol = cell.settings.protocol
    attack, model = name_of(type(cell.attack)), name_of(cell.model)
    return protocol.name, model, attack, cell.defense.name, protocol.threat.epsilon, cell.seed


def refused(document: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as error:
        made(document)
    text = str(error.value)
    assert text.startswith(f"{ORIGIN}: ")
    assert text.count(ORIGIN) == 1
    assert "\n" not in text
    return text.removeprefix(f"{ORIGIN}: ")


def test_every_combination_comes_once_protocols_outermost_seeds_innermost() -> None:
    lists: dict[str, list[Any]] = {
        "protocol": ["digits-v1", "mnist-v1"],
        "model": ["nn", "lr"],
        "attack": ["tgda", "label-flip"],
        "defense": ["none", "loss+sever"],
        "epsilon": [0.1, 0.03],
        "seeds": [2, 0, 1],
    }
    assert [axes(cell) for cell in made(lists)] == list(itertools.product(*lists.values()))
    assert [axes(cell) for cell in made(dict(reversed(lists.items())))] == [axes(cell) for cell in made(lists)]


def test_what_is_left_out_is_the_protocols() -> None:
    (first, *_), found = made({"attack": "label-flip"}), made({"attack": "label-flip"})
    assert [axes(cell) for cell in found] == [
        ("digits-v2", "lr", "label-flip", "none", 0.03, seed) for seed in range(10)
    ]
    assert first.surrogate is first.model
    written = {"protocol": ["digits-v2"], "model": None, "surrogate": [None], "preset": None, "epsilon": [None]}
    for more in ({"seeds": None}, {"seeds": [None, 2]}, {"dataset": "digits"}, {"protocol": "digits"}):
        assert [cell.hash() for cell in made({"attack": ["label-flip"], **written, **more})] == [
            cell.hash() for cell in found
        ]


def test_a_dataset_takes_its_newest_protocol_and_beside_a_protocol_is_a_deviation() -> None:
    found = made({"attack": "label-flip", "dataset": ["mnist", "digits-17"], "seeds": 0})
    assert [cell.settings.protocol.name for cell in found] == ["mnist-v2", "digits-17-v2"]
    assert [cell.deviations for cell in found] == [(), ()]
    both = made({"attack": "label-flip", "protocol": "digits-v1", "dataset": ["digits", "mnist"], "seeds": 0})
    assert [cell.settings.protocol.name for cell in both] == ["digits-v1", "digits-v1"]
    assert [cell.deviations for cell in both] == [(), ("dataset: 'digits' → 'mnist'",)]
    whole = {"attack": "label-flip", "dataset": ["mnist", "digits"], "seeds": [0, 1]}
    for rule in ({"dataset": "mnist"}, {"protocol": "mnist"}, {"protocol": ["mnist-v2"]}):
        assert [cell.settings.protocol.name for cell in made({**whole, "exclude": [rule]})] == ["digits-v2"] * 2


def test_a_new_version_is_the_default_at_once(new_protocol: Callable[..., None]) -> None:
    new_protocol("digits", 3)
    for axes_ in ({}, {"protocol": "digits"}, {"dataset": "digits"}):
        assert made({"attack": "label-flip", "seeds": 0, **axes_})[0].settings.protocol.name == "digits-v3"
    (old,) = made({"attack": "label-flip", "seeds": 0, "protocol": "digits-v1"})
    assert old.settings.protocol.name == "digits-v1"


def test_null_stands_beside_values() -> None:
    found = made({"attack": "tgda", "surrogate": [None, "nn"], "preset": [None, "paper"], "seeds": 0})
    assert [(cell.transfer, cell.attack.solver) for cell in found] == [
        (transfer, solver) for transfer in (None, "nn") for solver in ("cg", "cgnr")
    ]
    epsilons = made({"attack": "label-flip", "epsilon": [None, 0.1], "seeds": 0})
    assert [axes(cell)[4] for cell in epsilons] == [0.03, 0.1]


def test_lists_below_set_are_axes() -> None:
    document = {"attack": "tgda", "set": {"attack.m": [1, 2], "attack.n": 5, "recipe.epochs": [3, 4]}, "seeds": [0, 1]}
    found = [(cell.attack.m, cell.attack.n, cell.recipe.epochs, cell.seed) for cell in made(document)]
    assert found == [(m, 5, epochs, seed) for m in (1, 2) for epochs in (3, 4) for seed in (0, 1)]


def test_a_value_that_is_a_list_is_a_list_of_one_list() -> None:
    flips = {"attack.flip": "random", "attack.class_weights": [[1, 0, 2], [1, 1]]}
    found = made({"attack": "label-flip", "set": flips, "seeds": 0})
    assert [cell.attack.class_weights for cell in found] == [(1, 0, 2), (1, 1)]
    assert "class_weights" in refused({"attack": "label-flip", "set": {"attack.class_weights": [1, 2]}})


def test_settings_of_one_method_do_not_multiply_the_others() -> None:
    document = {
        "attack": ["label-flip", "tgda"],
        "defense": ["none", "loss"],
        "set": {"attack.tgda.epochs": [20, 40, 60], "defense.loss.fraction": [0.03, 0.1]},
        "seeds": [0, 1],
    }
    found = made(document)
    assert len(found) == 2 * (1 * (1 + 2) + 3 * (1 + 2))
    assert {cell.attack.epochs for cell in found if hasattr(cell.attack, "epochs")} == {20, 40, 60}


def test_common_settings_hold_everywhere_and_the_grids_own_win() -> None:
    common = (Setting("recipe.epochs", 7, "--set"), Setting("attack.m", 3, "--set"))
    document = {"attack": "tgda", "set": {"attack.m": [1, 2]}, "seeds": 0}
    found = cells(grid(document, ORIGIN), ORIGIN, common)
    assert [(cell.recipe.epochs, cell.attack.m) for cell in found] == [(7, 1), (7, 2)]
    with pytest.raises(ConfigError, match=r"^attack\.loss\.m: no attack 'loss' is run here, only tgda\.$"):
        cells(grid({"attack": "tgda"}, "sweep"), "", (Setting("attack.loss.m", 3, "--set"),))


FULL = {
    "attack": ["label-flip", "tgda"],
    "model": ["lr", "nn"],
    "defense": ["none", "loss"],
    "epsilon": [None, 0.1],
    "set": {"recipe.epochs": [3, 4]},
    "seeds": [0, 1],
}


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ([], 64),
        ([{"attack": "tgda"}], 32),
        ([{"attack": "tgda", "model": "nn"}], 48),
        ([{"attack": ["tgda", "label-flip"], "model": "nn"}], 32),
        ([{"attack": "tgda", "model": ["lr", "nn"], "defense": "loss", "seeds": 1}], 56),
        ([{"seeds": [1, 2, 3]}], 32),
        ([{"epsilon": None}], 32),
        ([{"epsilon": [0.1]}, {"attack": "tgda"}], 16),
        ([{"set": {"recipe.epochs": 3}}], 32),
        ([{"set": {"recipe.epochs": [3, 4]}, "attack": "tgda"}], 32),
        ([{"attack": "tgda"}, {"attack": "tgda", "seeds": 0}], 32),
    ],
)
def test_what_matches_all_of_a_rule_is_left_out(rules: list[dict[str, Any]], left: int) -> None:
    assert len(made({**FULL, "exclude": rules})) == left


def test_what_is_left_keeps_its_order() -> None:
    whole = [axes(cell) for cell in made({**FULL, "set": {}})]
    some = [axes(cell) for cell in made({**FULL, "set": {}, "exclude": [{"attack": "tgda", "model": "lr"}]})]
    assert some == [point for point in whole if point[1:3] != ("lr", "tgda")]


def test_inclusions_take_what_they_leave_out_from_the_grid() -> None:
    document = {
        **FULL,
        "epsilon": 0.1,
        "exclude": [{"attack": "tgda"}],
        "include": [
            {"attack": "tgda", "model": "nn", "set": {"attack.tgda.m": [1, 2]}},  # was excluded, comes in again
            {"attack": "label-flip", "seeds": [1, 9]},  # half of which is there already
        ],
    }
    found = made(document)
    assert [axes(cell)[2] for cell in found[:16]] == ["label-flip"] * 16
    again, more = found[16:32], found[32:]
    assert {axes(cell)[1:3] for cell in again} == {("nn", "tgda")}
    assert {(cell.attack.m, cell.recipe.epochs) for cell in again} == {(1, 3), (1, 4), (2, 3), (2, 4)}
    assert {axes(cell)[4] for cell in found} == {0.1}
    assert len(more) == 8
    assert {cell.seed for cell in more} == {9}


def test_a_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("attack: tgda\nset: {attack.alpha: [1e-3, 0.01]}\nepsilon: 3e-2\nseeds: 0\n")
    assert [cell.attack.alpha for cell in cells(read(path), str(path))] == [0.001, 0.01]
    path.write_text("attack: tgda\nseed: 0\n")
    with pytest.raises(ConfigError, match=r"grid\.yaml: Unknown axis 'seed'\. Did you mean 'seeds'\?$"):
        read(path)
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory\.$"):
        read(tmp_path / "none.yaml")


def saved_poison(folder: Path, *names: str) -> list[str]:
    for number, name in enumerate(names):
        np.savez(folder / name, x=np.full((1, 1, 8, 8), 0.5), y=np.array([number]))
    return [str(folder / name) for name in names]


def test_poison_sets_of_ones_own_are_an_axis(tmp_path: Path) -> None:
    files = saved_poison(tmp_path, "a.npz", "b.npz")
    found = made({"poison": files, "seeds": [0, 1]})
    played = [(cell.attack.file, cell.seed) for cell in found]
    assert played == list(itertools.product(files, (0, 1)))
    replayed = made({"attack": "replay", "set": {"attack.replay.file": files}, "seeds": [0, 1]})
    assert [cell.hash() for cell in found] == [cell.hash() for cell in replayed]


def test_the_same_poison_set_from_two_places_is_one_cell(tmp_path: Path) -> None:
    (file,) = saved_poison(tmp_path, "a.npz")
    copied = shutil.copy(file, tmp_path / "copy.npz")
    (first,), (second,) = (made({"poison": str(one), "seeds": [0]}) for one in (file, copied))
    assert first.hash() == second.hash()
    assert first.crafting_hash() == second.crafting_hash()
    assert code_of(first.attack) == code_of(second.attack)
    assert first.attack_method == second.attack_method
    assert str(tmp_path) not in str(first.attack_method)
    assert f"{file} and {copied} give the same cells; leave one out" in refused(
        {"poison": [file, str(copied)], "seeds": 0}
    )


def test_poison_is_in_the_place_of_an_attack(tmp_path: Path) -> None:
    (file,) = saved_poison(tmp_path, "a.npz")
    assert "poison: a poison set is in the place of an attack; leave out one of the two" in refused(
        {"poison": file, **LF}
    )
    for key in ("attack.file", "attack.replay.file"):
        assert f"poison: {key} is given as well" in refused({"poison": file, "set": {key: file}})
    for wrong in ("", 3, [file, None]):
        assert "poison: expected files or folders, got" in refused({"poison": wrong})
    assert "is given twice" in refused({"poison": [file, file], "seeds": 0})
    assert "cannot be read" in refused({"poison": f"{file}.not", "seeds": 0})
    assert (
        refused({"poison": file})
        == "poison: a poison set is made for one seed's split; say for which, such as seeds: 0."
    )
    with pytest.raises(ConfigError, match=r"^--poison: .*, such as --seeds 0\.$"):
        cells_of(AxisFlags(), Settings(poison=file))


def test_a_flag_takes_the_place_of_the_files_attack_or_poison(tmp_path: Path) -> None:
    (file,) = saved_poison(tmp_path, "a.npz")
    path = tmp_path / "grid.yaml"
    path.write_text("attack: [label-flip, tgda]\nseeds: 0\nexclude: [{attack: tgda}]\n")
    (cell,) = cells_of(AxisFlags(), Settings(poison=file), path)
    assert name_of(type(cell.attack)) == "replay"
    path.write_text(f"poison: {file}\nseeds: 0\n")
    (cell,) = cells_of(AxisFlags(attack="label-flip"), Settings(), path)
    assert name_of(type(cell.attack)) == "label-flip"
    with pytest.raises(ConfigError, match="--poison: a poison set is in the place of an attack"):
        cells_of(AxisFlags(attack="label-flip"), Settings(poison=file))


LF = {"attack": "label-flip"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"attak": "tgda"}, "Unknown axis 'attak'. Did you mean 'attack'?"),
        ({"model": "lr"}, "attack: missing; name at least one, such as label-flip."),
        ({}, "attack: missing; name at least one, such as label-flip."),
        ({"attack": []}, "attack: expected one value at least, got []."),
        ({"attack": ""}, "attack.0: String should have at least 1 character, got ''."),
        ({"attack": ["tgda", "emn", "tgda"]}, "attack: 'tgda' is given twice, got ['tgda', 'emn', 'tgda']."),
        ({**LF, "model": ["lr", ""]}, "model.1: String should have at least 1 character, got ''."),
        ({**LF, "epsilon": [0.1, 1e-1]}, "epsilon: 0.1 is given twice, got [0.1, 0.1]."),
        ({**LF, "seeds": []}, "seeds: expected one value at least, got []."),
        ({**LF, "seeds": [1, 0, 1]}, "seeds: 1 is given twice, got [1, 0, 1]."),
        ({**LF, "set": {"recipe.epochs": [3, 3]}}, "set.recipe.epochs: 3 is given twice, got [3, 3]."),
        ({**LF, "set": {"recipe.lr": [1, 1.0]}}, "set.recipe.lr: 1 and 1.0 give the same cells; leave one out."),
        ({**LF, "set": {"recipe.epochs": True}}, "set: recipe.epochs: Input should be a valid integer, got True."),
        ({**LF, "set": {"recipe.epochs": "5"}}, "set: recipe.epochs: Input should be a valid integer, got '5'."),
        ({**LF, "set": {"padded": "yes"}}, "set: padded: Input should be a valid boolean, got 'yes'."),
        ({**LF, "set": {"trusted": ""}}, "set: trusted: Input should be a valid number, got ''."),
        ({"attack": "tgda", "set": {"attack.epochs": "5"}}, "attack.epochs: Input should be a valid integer, got '5'."),
        ({"attack": "tgda", "set": {"attack.epochs": True}}, "attack.epochs: Input should be a valid integer, got "),
        ({**LF, "model": [None, "lr"]}, "model: null and lr give the same cells; leave one out."),
        ({**LF, "protocol": [None, "digits"]}, "protocol: null and digits are both digits-v2; leave one out."),
        ({**LF, "surrogate": [None, "lr"], "model": "lr"}, "surrogate: null and lr give the same cells; leave one"),
        (
            {"attack": ["tgda", "label-flip"], "set": {"attack.tgda.m": [2, 3]}, "exclude": [{"attack": "tgda"}]},
            "attack.tgda.m: no attack 'tgda' is run here, only label-flip.",
        ),
        (
            {"attack": "tgda", "set": {"attack.tgda.m": 2, "attack.m": 3}},
            "attack.m: nothing is left for it beside attack.tgda.m.",
        ),
        ({**LF, "set": {"recipes.nn.lr": 0.2}}, "recipes.nn.lr: no model 'nn' is trained here, only lr."),
        (
            {**LF, "set": {"recipe.lr": 0.2, "recipes.lr.lr": 0.3}},
            "recipe.lr: nothing is left for it beside recipes.lr.lr.",
        ),
        ({**LF, "dataset": "digit"}, "Unknown dataset 'digit'. Did you mean 'digits'? A dataset without a protocol"),
        ({"attack": "tdga"}, "Unknown attack 'tdga'. Did you mean 'tgda'?"),
        ({"attack": [["tgda"]]}, "attack.0: Input should be a valid string, got ['tgda']."),
        ({"attack": [None]}, "attack.0: Input should be a valid string, got None."),
        ({**LF, "model": ["lr", "cn"]}, "Unknown model 'cn'. Did you mean 'cnn'?"),
        ({**LF, "defense": "loss+severe"}, "Unknown defense 'severe'. Did you mean 'sever'?"),
        ({**LF, "protocol": "digit-v1"}, "Unknown protocol 'digit-v1'. Did you mean 'digits-v1'?"),
        ({"attack": "tgda", "preset": "papers"}, "Unknown preset of tgda 'papers'. Did you mean 'paper'?"),
        ({**LF, "epsilon": 3}, "epsilon: threat.epsilon: expected a number in (0, 1], got 3. Did you mean 0.03?"),
        ({**LF, "epsilon": [0.1, 0]}, "epsilon: threat.epsilon: expected a number in (0, 1], got 0."),
        ({**LF, "epsilon": float("nan")}, "epsilon: threat.epsilon: expected a number in (0, 1], got nan."),
        ({**LF, "epsilon": "lots"}, "epsilon.0: Input should be a valid number, got 'lots'."),
        ({**LF, "epsilon": "0.03"}, "epsilon.0: Input should be a valid number, got '0.03'."),
        ({**LF, "epsilon": True}, "epsilon.0: Input should be a valid number, got True."),
        ({**LF, "epsilon": [0.03, 0.1 + 0.2 - 0.27]}, "epsilon: 0.03 is given twice, got "),
        ({**LF, "seeds": ["0"]}, "seeds.0: Input should be a valid integer, got '0'."),
        ({**LF, "seeds": [0, True]}, "seeds.1: Input should be a valid integer, got True."),
        ({**LF, "seeds": -1}, "seeds.0: Input should be greater than or equal to 0, got -1."),
        ({**LF, "seeds": 2**63}, "seeds: expected integers below 2**63, got 9223372036854775808."),
        ({**LF, "set": 3}, "set: Input should be a valid dictionary, got 3."),
        ({**LF, "set": {"recipe.epochs": []}}, "set.recipe.epochs: expected one value at least, got []."),
        ({**LF, "set": {"recipe.epohcs": 3}}, "set: Unknown key 'recipe.epohcs'. Did you mean 'recipe.epochs'?"),
        ({**LF, "set": {"recipe.epochs": [3, "ten"]}}, "set: recipe.epochs: Input should be a valid integer"),
        ({**LF, "set": {"attack.flop": "rule"}}, "Unknown field of label-flip 'flop'. Did you mean 'flip'?"),
        (
            {"attack": "tgda", "set": {"attack.label-flip.flip": "rule"}},
            "attack.label-flip.flip: no attack 'label-flip' is run here, only tgda.",
        ),
        (
            {**LF, "defense": ["none", "loss+sever"], "set": {"defense.knn.k": 3}},
            "defense.knn.k: no defense 'knn' is run here, only none, loss, sever.",
        ),
        (
            {**LF, "defense": "loss+sever:pooled", "set": {"defense.knn.k": 3}},
            "defense.knn.k: no defense 'knn' is run here, only loss, sever.",
        ),
        ({**LF, "defense": "sever:pool"}, "Unknown preset of sever 'pool'. Did you mean 'pooled'?"),
        ({**LF, "exclude": {"seeds": 0}}, "exclude: Input should be a valid tuple, got {'seeds': 0}."),
        ({**LF, "exclude": [3]}, "exclude.0: Input should be a valid dictionary, got 3."),
        ({**LF, "exclude": [{"modle": "lr"}]}, "exclude: Unknown axis 'modle'. Did you mean 'model'?"),
        ({**LF, "exclude": [{"set": {"recipe.epochs": 3}}]}, "exclude: Unknown axis 'set.recipe.epochs'."),
        ({**LF, "exclude": [{"set": 3}]}, "exclude.0: set: expected keys and values, got {'set': 3}."),
        ({**LF, "exclude": [{"set": None}]}, "exclude.0: set: expected keys and values, got {'set': None}."),
        ({**LF, "exclude": [{"attack": "label-flip"}]}, "every combination is excluded."),
        ({**LF, "exclude": [{"model": None}]}, "every combination is excluded."),
        (
            {**LF, "set": {"recipe.epochs": [3, 4]}, "exclude": [{"set": {"recipe.epochs": 5}}]},
            "exclude 1: no combination has set.recipe.epochs 5.",
        ),
        ({**LF, "exclude": [{"attack": "tdga"}]}, "exclude 1: no combination has attack tdga."),
        (
            {**LF, "exclude": [{"model": None}, {"epsilon": [0.1, 0.2], "seeds": 0}]},
            "exclude 2: no combination has epsilon [0.1, 0.2], seeds 0.",
        ),
        ({**LF, "include": {"seeds": 0}}, "include: Input should be a valid tuple, got {'seeds': 0}."),
        ({**LF, "include": [{}, {"modle": "lr"}]}, "include 2: Unknown axis 'modle'. Did you mean 'model'?"),
        ({**LF, "include": [{"set": [1]}]}, "include.0: set: expected keys and values, got {'set': [1]}."),
        ({**LF, "include": [{"seeds": "a"}]}, "include 1: seeds.0: Input should be a valid integer, got 'a'."),
        ({**LF, "include": [{"exclude": []}]}, "include 1: Unknown axis 'exclude'."),
        ({**LF, "include": [{"attack": "tdga"}]}, "Unknown attack 'tdga'. Did you mean 'tgda'?"),
        ({**LF, "model": {"lr": list(range(1000))}}, "model.0: Input should be a valid string, got {'lr': [0, 1, 2, "),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_a_line_that_names_file_and_key(document: dict[str, Any], message: str) -> None:
    said = refused(document)
    assert said.startswith(message)
    assert len(said) < 200


def test_an_error_keeps_its_kind_and_flags_name_no_file() -> None:
    with pytest.raises(UnknownNameError, match=r"^Unknown attack 'tdga'\."):
        cells(grid({"attack": "tdga"}, "sweep"), "")
    with pytest.raises(ConfigError, match=r"^--epsilon: threat\.epsilon: .* Did you mean 0\.03\?$"):
        cells(grid({**LF, "epsilon": 3}, "sweep"), "")
    with pytest.raises(ConfigError, match=r"^--seeds: 1 is given twice, got \[1, 1\]\.$"):
        grid({**LF, "seeds": [1, 1]}, "")
    with pytest.raises(ConfigError, match=r"^--set recipe\.epochs: 3 is given twice"):
        grid({**LF, "set": {"recipe.epochs": [3, 3]}}, "")
    with pytest.raises(ConfigError, match=r"^--set: Unknown key 'recipe\.lrr'\."):
        cells(grid({**LF, "set": {"recipe.lrr": 3}}, ""), "")
    with pytest.raises(UnknownNameError, match=rf"^{ORIGIN}: "):
        made({"attack": "tdga"})


ATTACKS, MODELS, DEFENSES = ["label-flip", "tgda", "min-max"], ["lr", "nn", "cnn"], ["none", "loss", "sever"]
SETTINGS: dict[str, list[Any]] = {
    "attack.tgda.m": [1, 2, 3],  # 1 is the default
    "attack.min-max.steps": [7, 8],
    "defense.loss.fraction": [0.03, 0.1],  # 0.03 is the default
    "recipe.epochs": [3, 4],
}


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A grid without inclusions whose every setting is for a method that runs."""
    document: dict[str, Any] = {
        "attack": draw(some(ATTACKS)),
        "model": draw(some(MODELS)),
        "defense": draw(some(DEFENSES)),
        "epsilon": draw(some([None, 0.1])),
        "seeds": draw(some([0, 1, 2])),
    }
    runs = document["attack"] + document["defense"]
    keys = [key for key in SETTINGS if key.split(".")[1] in [*runs, "epochs"]]
    chosen = draw(st.lists(st.sampled_from(keys), unique=True, max_size=2))
    document["set"] = {key: draw(some(SETTINGS[key])) for key in chosen}
    names = draw(st.lists(st.sampled_from([*document.keys() - {"set"}, *chosen]), unique=True, max_size=2))
    rule = {name: draw(st.sampled_from(document[name])) for name in names if name not in chosen}
    below = {name: draw(some(SETTINGS[name])) for name in names if name in chosen}
    if names:
        document["exclude"] = [{**rule, "set": below}]
    return document


def counted(document: dict[str, Any]) -> tuple[int, set[str]]:
    """How many different experiments a grid has, and their methods; one after the other, with none of its code."""
    names = ("attack", "model", "defense", "epsilon", "seeds")
    found, run = set(), {"epochs"}
    for values in itertools.product(*(document[name] for name in names), *document["set"].values()):
        point = dict(zip([*names, *document["set"]], values, strict=True))
        for rule in document.get("exclude", []):
            flat = {name: [value] for name, value in rule.items() if name != "set"} | rule["set"]
            if all(any(point[name] == value for value in wanted) for name, wanted in flat.items()):
                break
        else:
            point["epsilon"] = point["epsilon"] or 0.03
            defaults = {"attack.tgda.m": 1, "defense.loss.fraction": 0.03}
            methods = (point["attack"], point["defense"], "epochs")
            run |= {point["attack"], point["defense"]}
            kept = {key: point[key] for key in document["set"] if key.split(".")[1] in methods}
            kept = {key: value for key, value in kept.items() if defaults.get(key) != value}
            found.add((*(point[name] for name in names), repr(sorted(kept.items()))))
    return len(found), run


@settings(max_examples=60, deadline=None)
@given(documents())
def test_there_are_as_many_cells_as_brute_force_counts_and_none_twice(document: dict[str, Any]) -> None:
    expected, run = counted(document)
    if not expected:
        assert refused(document) == "every combination is excluded."
        return
    if any(key.split(".")[1] not in run for key in document["set"]):  # the rule left none of that method
        assert " is run here, only " in refused(document)
        return
    try:
        found = made(document)
    except ConfigError as error:
        # A rule left none of what tells two values apart, or is about a value that no combination has.
        assume("give the same cells" not in str(error) and ": no combination has " not in str(error))
        raise
    assert len({cell.hash() for cell in found}) == len(found) == expected


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**30, 10**300), st.floats(), texts, st.sampled_from(ATTACKS)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
keys = st.sampled_from(["attack.", "attack.tgda.", "defense..", "recipe.lr", "threat", "seeds", "recipe.epochs", ""])
rules = st.dictionaries(st.sampled_from(["attack", "set", "seeds", "epsilon", "modle"]), values, max_size=3)
good: dict[str, Any] = {
    "attack": ["label-flip", "tgda"],
    "protocol": "digits-v1",
    "model": [None, "nn"],
    "surrogate": "lr",
    "preset": None,
    "defense": ["none", "loss"],
    "epsilon": 0.1,
    "seeds": [0, 1],
}
hostile = st.fixed_dictionaries(
    {"attack": st.just(good["attack"]) | values},
    optional={
        **{axis: st.just(value) | values for axis, value in good.items() if axis != "attack"},
        "set": values | st.dictionaries(keys | texts, values, max_size=2),
        "exclude": values | st.lists(rules, max_size=2),
        "include": values | st.lists(rules, max_size=2),
    },
)


@settings(max_examples=150, deadline=None)
@given(hostile)
def test_a_hostile_document_gives_cells_or_one_line(document: dict[str, Any]) -> None:
    said = ""
    try:
        found = made(document)
    except UsageError as error:
        found, said = [], str(error)
    assert found or said.startswith(f"{ORIGIN}: ")
    assert "\n" not in said


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.one_of(texts, st.integers(), st.none(), st.booleans()), values, min_size=1, max_size=3))
def test_keys_that_are_no_axes_are_one_line(document: dict[Any, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        grid(document, ORIGIN)
    assert str(error.value).startswith(f"{ORIGIN}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("document", "size"),
    [
        ({"attack": ["tgda", "emn"], "seeds": list(range(900)), "epsilon": MANY[:1000]}, "1,800,000"),
        ({"attack": "tgda", "set": {f"attack.tgda.{k}": list(range(30)) for k in range(6)}}, "729,000,000"),
        ({"attack": "tgda", "set": {str(k): [0, 1] for k in range(20_000)}}, "about 10^6020"),
        ({"attack": "tgda", "seeds": 0, "include": [{"seeds": list(range(100_000))}]}, "100,001"),
        ({"attack": "tgda", "seeds": [None, 77], "epsilon": MANY}, "110,000"),
    ],
)
def test_a_grid_that_no_memory_holds_is_refused_with_its_size(document: dict[str, Any], size: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match=re.escape(f"the grid has {size} combinations, at most 100,000")):
        cells(grid(document, "grid.yaml"), "grid.yaml")
    assert time.monotonic() - began < 5


def test_many_seeds_are_read_in_no_time() -> None:
    seeds = ",".join(map(str, range(50_000)))
    began = time.monotonic()
    assert len(AxisFlags(seeds=seeds).values()["seeds"]) == 50_000
    assert time.monotonic() - began < 5
