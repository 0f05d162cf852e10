"""Every documented exit code, and one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

CELL = "digits-v2 · lr · faulty · none · ε = 0.03 · seed 0: "

PLUGIN = """
from dataclasses import dataclass, replace

import torch

from poisonbench.attacks.base import Attack
from poisonbench.plugins.registry import register
from poisonbench.problem.threat import Knowledge, ThreatModel
from poisonbench.problem.samples import PoisonSet


@register("faulty")
@dataclass(frozen=True)
class Faulty(Attack):
    '''Does what an attack must not do.'''

    threat = ThreatModel(Knowledge.TRAINING_DATA_ONLY, clean_label=True)
    fault: str = "no number"

    def craft(self, view, budget, stage):
        n = budget.n_poison + (self.fault == "too many")
        rows = torch.arange(n)
        poison = PoisonSet(view.train.x[:n].clone(), view.train.y[:n].clone(), rows)
        if self.fault == "no number":
            poison.x[0, 0, 0, 0] = float("nan")
        if self.fault == "box":
            poison.x[0] += 2.0
        if self.fault == "label":
            poison.y[0] = (poison.y[0] + 1) % view.classes
        if self.fault == "raise":
            raise RuntimeError("the disk of my laptop")
        if self.fault == "type":
            return None
        return poison
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two distributions: one attack that is faulty, one that does not import."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "faulty_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (folder / "rotten_plugin.py").write_text("import a_module_that_nobody_has\n", encoding="utf-8")
    for name, target in (("faulty", "faulty_plugin:Faulty"), ("rotten", "rotten_plugin:Rotten")):
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[poisonbench.attacks]\n{name} = {target}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attack", "tdga"], "Error: Unknown attack 'tdga'. Did you mean 'tgda'?"),
        (["-a", "tgda", "--epsilon", "3"], "expected a number in (0, 1], got 3. Did you mean 0.03?"),
        (["-a", "tgda", "--epsilon", "0.0001"], "the smallest epsilon that fits a point is 0.0011."),
    ],
    ids=["name", "percent", "no point fits"],
)
def test_a_wrong_value_exits_with_2(arguments: list[str], message: str, poisonbench: Any) -> None:
    assert message in poisonbench.error("run", *arguments, code=2)


def test_wrong_values_are_named_with_what_was_expected(poisonbench: Any) -> None:
    cases = {
        "-d severe": "Unknown defense 'severe'. Did you mean 'sever'?",
        "-d loss+severe": "Unknown defense 'severe'. Did you mean 'sever'?",
        "-d none+loss": "--defense none+loss: none removes no rows, so nothing can come after it.",
        "-d loss --set defense.sever.fraction=0.1": "defense.sever.fraction: no defense 'sever' is run here,",
        "-d loss,none --set defense.fraction=0.1": "Unknown field of none 'fraction'.",
        "--model cn": "Unknown model 'cn'. Did you mean 'cnn'?",
        "--dataset digit": "Unknown dataset 'digit'. Did you mean 'digits'?",
        "--protocol digits-v7": "Unknown protocol 'digits-v7'. Did you mean 'digits-v2'?",
        "--set attack.alhpa=1": "Unknown field of tgda 'alhpa'. Did you mean 'alpha'?",
        "--set attack.alpha=-1": "attack.alpha: expected a number > 0, got -1",
        "--set attack.alpha=.nan": "attack.alpha: expected a number > 0, got nan",
        "--set attack.epochs=1.5": "attack.epochs: ",
        "--set recipe.epochs=none": "--set: recipe.epochs: ",
        "--set recipe.epohcs=3": "--set: Unknown key 'recipe.epohcs'. Did you mean 'recipe.epochs'?",
        "--set recipe.epochs": "--set recipe.epochs: expected key=value",
        "--epsilon three": "--epsilon: expected a number, got 'three'.",
        "--epsilon 0": "--epsilon: threat.epsilon: expected a number in (0, 1], got 0.",
        "--seeds -1": "--seeds: expected integers ≥ 0 and below 2**63 by comma, got '-1'.",
        "--seeds ,": "--seeds ',': expected values by comma, none of them empty.",
        "--seeds 1,1": "--seeds: '1' is given twice.",
        "--set attack.alpha=1 --set attack.alpha=2": "--set attack.alpha is given twice; several values are a list,",
        "--store redis://localhost": "use sqlite:///FILE or postgresql+psycopg://HOST/NAME.",
        "--timeout -1": "--timeout",
        "--nonsense": "--nonsense",
    }
    for case, expected in cases.items():
        said = poisonbench("run", "-a", "tgda", *case.split(), code=2).stderr
        assert said.startswith("Error: "), f"{case}: {said}"
        assert said.count("\n") == 1, f"{case}: {said}"
        assert expected in said, case


def test_a_missing_option_exits_with_2(poisonbench: Any) -> None:
    assert "--attack" in poisonbench.error("run", code=2)
    assert "no such command" in poisonbench.script("attack", code=2).stderr.lower()


def test_without_a_command_the_help_is_shown_by_task_and_nothing_is_wrong(poisonbench: Any) -> None:
    for words in ((), ("plot",)):
        done = poisonbench(*words, code=2)
        assert "Usage: poisonbench" in done.stdout
        assert done.stderr == ""
    shown = poisonbench("--help").stdout
    tasks = [shown.index(f"─ {task} ─") for task in ("Run", "Look", "Publish", "Extend")]
    assert tasks == sorted(tasks)
    assert shown.index("│ sweep ") < tasks[1] < shown.index("│ table ") < tasks[2] < shown.index("│ submit ") < tasks[3]


def test_yaml_errors_name_file_and_key(poisonbench: Any, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("recipe:\n  lrr: 0.5\n", encoding="utf-8")
    message = poisonbench.error("run", "-a", "tgda", "--config", str(config), code=2)
    assert f"{config}: Unknown key 'recipe.lrr'. Did you mean 'recipe.lr'?" in message
    config.write_text("recipe: [1, 2\n", encoding="utf-8")
    assert f"{config}: not YAML" in poisonbench.error("run", "-a", "tgda", "--config", str(config), code=2)
    absent = str(tmp_path / "absent.yaml")
    assert f"{absent}: cannot be read" in poisonbench.error("run", "-a", "tgda", "--config", absent, code=2)


def test_missing_data_offline_exits_with_3(fresh: Callable[..., Any]) -> None:
    command = fresh()
    message = command.error("run", "-a", "label-flip", "--dataset", "mnist", "--offline", code=3)
    assert "network: not tried, offline" in message
    assert "Put the four idx files in a folder and pass --data-dir." in message
    assert command.json("results", "show", "--json") == []


def test_a_store_that_cannot_be_written_exits_with_1(fresh: Callable[..., Any], tmp_path: Path) -> None:
    command = fresh()
    command("doctor")  # makes the store
    url = f"sqlite:///file:{command.home / 'store.db'}?mode=ro&uri=true"
    message = command.error("run", "-a", "label-flip", "--store", url, code=1)
    assert "Make it writable, or choose another store with --store PATH." in message
    (tmp_path / "file").write_text("no folder")
    message = command.error("run", "-a", "label-flip", "--store", str(tmp_path / "file" / "store"), code=1)
    assert "Choose another with --store PATH." in message


def test_a_poison_set_with_nan_exits_with_4(fresh: Callable[..., Any], plugins: Path) -> None:
    message = "faulty's poison set has 1 pixel that is NaN or infinite."
    command = fresh(plugins=plugins)
    done = command("run", "-a", "faulty", "--set", "attack.fault=no number", "--seeds", "0", "--json", code=4)
    assert done.stderr.splitlines()[-1] == f"Error: {CELL}{message}"
    (record,) = json.loads(done.stdout)
    assert command.json("results", "show", "--json") == [record]
    assert (record["status"], record["error"], record["metrics"]) == ("failed", message, None)
    assert record["attack"]["distribution"] == "faulty"


def test_every_other_fault_is_named(fresh: Callable[..., Any], plugins: Path) -> None:
    faults = {
        "box": (4, "faulty's poison set leaves the box: pixels in [0, 3], expected [0, 1]."),
        "too many": (4, "faulty's poison set breaks its budget: 28 rows, between 1 and 27 allowed"),
        "label": (4, "faulty is declared clean-label, yet 1 of its labels differ"),
        "raise": (1, "faulty raised RuntimeError: the disk of my laptop"),
        "type": (4, "faulty must return a PoisonSet, not a NoneType."),
    }
    command = fresh(plugins=plugins)
    for fault, (code, expected) in faults.items():
        said = command("run", "-a", "faulty", "--seeds", "0", "--set", f"attack.fault={fault}", code=code).stderr
        assert f"Error: {CELL}{expected}" in said, fault
        assert "Traceback" not in said, fault
    run = ("run", "-a", "faulty", "--seeds", "0", "--set", "attack.fault=raise")
    assert "Traceback" in command(*run, "--debug", code=1).stderr


def test_a_failed_cell_leaves_the_others_alone(fresh: Callable[..., Any], plugins: Path) -> None:
    found = fresh(plugins=plugins).json("run", "-a", "faulty,label-flip", "--seeds", "0", "--json", code=4)
    assert [(record["attack"]["name"], record["status"]) for record in found] == [
        ("faulty", "failed"),
        ("label-flip", "ok"),
    ]


def test_a_training_that_diverges_exits_with_1(fresh: Callable[..., Any]) -> None:
    done = fresh()("run", "-a", "label-flip", "--model", "nn", "--set", "recipe.lr=1e30", "--seeds", "0", code=1)
    assert "pretrain diverged: " in done.stderr
    assert "Lower recipe.lr." in done.stderr


def test_different_failures_exit_with_1(fresh: Callable[..., Any], plugins: Path) -> None:
    slow = ("--set", "attack.tgda.epochs=4000", "--timeout", "4")
    run = ("run", "-a", "faulty,tgda", "--seeds", "0", *slow, "--json")
    found = fresh(plugins=plugins).json(*run, code=1)
    assert [record["status"] for record in found] == ["failed", "timeout"]


def test_a_plugin_that_does_not_import_breaks_nothing_else(fresh: Callable[..., Any], plugins: Path) -> None:
    command = fresh(plugins=plugins)
    message = command.error("run", "-a", "rotten", code=2)
    assert "The attack 'rotten' of rotten does not import: ModuleNotFoundError" in message
    assert {row["name"] for row in command.json("list", "attacks", "--json")["attacks"]} >= {"faulty", "rotten", "tgda"}


def test_two_plugins_of_one_name_are_an_error(fresh: Callable[..., Any], tmp_path: Path) -> None:
    info = tmp_path / "plugins" / "usurper-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: usurper\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        dedent("""\
            [poisonbench.attacks]
            tgda = usurper:TGDA
            """),
        encoding="utf-8",
    )
    command = fresh(plugins=tmp_path / "plugins")
    assert "poisonbench, usurper all register 'tgda'; remove one." in command.error("run", "-a", "tgda", code=2)
    assert not command.json("doctor", "--json", code=1)["healthy"]


@pytest.mark.parametrize(
    "words",
    [
        ("reproduce", "figure1", "--output", "file/deep"),
        ("results", "export", "--output", "file/deep"),
        ("results", "export", "--output", "file"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    fresh: Callable[..., Any], words: tuple[str, ...]
) -> None:
    command = fresh()
    command.home.mkdir(parents=True)
    (command.home / "file").write_text("x")
    assert "Cannot write to file" in command.error(*words, code=1)
    assert command.json("results", "show", "--json") == []


def test_a_status_that_there_is_none_of(fresh: Callable[..., Any]) -> None:
    assert "Unknown status 'fail'. Did you mean 'failed'?" in fresh().error(
        "results", "show", "--status", "fail", code=2
    )
