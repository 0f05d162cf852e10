"""Methods that cheat or misbehave in a run: each ends in a failed cell with a line that names what it did."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file

from poisonbench.data.base import DataOptions
from poisonbench.errors import PoisonbenchError
from poisonbench.experiment.cell import Cell, build
from poisonbench.experiment.protocol import resolve
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.experiment.settings import Setting
from poisonbench.store.database import Store

PLUGIN = '''
from dataclasses import dataclass
import os, sys
from pathlib import Path
import torch
from poisonbench.attacks.base import Attack
from poisonbench.data.base import DatasetSource
from poisonbench.defenses.base import Defense
from poisonbench.plugins.registry import register
from poisonbench.problem.threat import Knowledge, ThreatModel
from poisonbench.problem.samples import Dataset, PoisonSet, Samples
from poisonbench.problem.views import Defended

def images(n, seed):
    return torch.randint(256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(seed)) / 255

@register("toy")
class Toy(DatasetSource):
    """Noise."""
    classes, mean, std = 3, (0.5,), (0.5,)
    file_names = ("toy-",)
    @classmethod
    def folders(cls): return (Path(os.environ["TOY_DATA"]) / "shared",)
    def load(self, options):
        train = Samples(images(60, 0), torch.arange(60) % 3, torch.arange(60))
        test = Samples(images(30, 1), torch.arange(30) % 3, 1000 + torch.arange(30))
        test.x[0] = train.x[0]
        return Dataset("toy", "0" * 64, train, test, 3, self.mean, self.std)
    def verify(self, options): return []

def misbehave(how):
    folder = Path(os.environ["TOY_DATA"])
    if how == "cache": (folder / "cache" / "mnist.safetensors").read_bytes()
    if how == "load":
        from safetensors.numpy import load_file
        load_file(folder / "cache" / "mnist.safetensors")
    if how == "data-dir": (folder / "brought" / "images").read_bytes()
    if how == "dataset-file": (folder / "toy-images").read_bytes()
    if how == "dataset-folder": (folder / "shared" / "images").read_bytes()
    if how == "exit": sys.exit(3)
    if how == "print":
        print("python")
        os.system("echo native")

@register("cheat")
@dataclass(frozen=True)
class Cheat(Attack):
    """Breaks the rule it is told to break."""
    how: str = "nothing"
    threat = ThreatModel(Knowledge.TRAINING_DATA_ONLY, clean_label=True)
    cost = "nothing"
    def craft(self, view, budget, stage):
        misbehave(self.how)
        n = budget.n_poison + (self.how == "many")
        x, y = view.train.x[:n].clone(), view.train.y[:n].clone()
        if self.how == "model": view.model.forward(view.weights, x)
        if self.how == "recipe": y = y + view.recipe.epochs
        if self.how == "weights": view.weights["linear.weight"]
        if self.how == "test": x[1:3] = images(30, 1)[8:10] + 0.3 / 255
        if self.how == "shared": x[1] = images(60, 0)[0]
        if self.how == "flip": y = (y + 1) % 3
        return PoisonSet(x, y, torch.arange(n))

@register("peek")
@dataclass(frozen=True)
class Peek(Defense):
    """Breaks the rule it is told to break."""
    how: str = "nothing"
    cost = "nothing"
    def defend(self, view, train, stage):
        misbehave(self.how)
        return Defended(train(view.train), torch.ones(len(view.train), dtype=torch.bool))
'''

PROTOCOL = """
{name: toy-v1, version: 1, summary: Toy., dataset: toy, models: [lr], validation: 0.3, seeds: [0],
recipe: {optimizer: sgd, lr: 0.1, momentum: 0.0, weight_decay: 0.0, batch_size: 16, epochs: 2, schedule: constant},
threat: {knowledge: training-only, mode: addition, epsilon: 0.1, radius: null}}
"""


@pytest.fixture
def toy(tmp_path: Path, plug: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy.yaml").write_text(PROTOCOL)
    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    for folder in ("cache", "brought", "shared"):
        (tmp_path / folder).mkdir()
    save_file({"x": torch.zeros(1).numpy()}, tmp_path / "cache" / "mnist.safetensors")
    for file in ("brought/images", "shared/images", "toy-images"):
        (tmp_path / file).write_text("")
    monkeypatch.setenv("TOY_DATA", str(tmp_path))
    plug(tmp_path / "toy_plugin.py")
    return tmp_path


def cell(toy: Path, attack: str = "nothing", defense: str = "nothing") -> Cell:
    settings = (Setting("attack.how", attack, "--set"), Setting("defense.how", defense, "--set"))
    return build(resolve(str(toy / "toy.yaml"), settings), "cheat", "peek", epsilon=0.1, seed=0)


def run(toy: Path, attack: str = "nothing", defense: str = "nothing") -> Outcome:
    """One cell, in a store that lies within --data-dir."""
    data = DataOptions(toy / "cache", toy / "brought", offline=True)
    with Store.open(str(toy / "brought" / "store")) as store:
        return Runner(store, data).run(cell(toy, attack, defense))


def error_of(outcome: Outcome) -> PoisonbenchError:
    assert outcome.error is not None
    assert outcome.record.status == "failed"
    assert outcome.record.error == str(outcome.error)
    assert outcome.record.metrics is None
    assert "\n" not in str(outcome.error)
    return outcome.error


def test_who_keeps_the_rules_gets_a_record(toy: Path) -> None:
    outcome = run(toy)
    assert outcome.error is None
    assert outcome.record.attack.distribution == "file"


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("cache", 4, r"{who} opened .*/cache/mnist\.safetensors while {doing}"),
        ("load", 4, r"{who} opened .*/cache/mnist\.safetensors while {doing}"),
        ("data-dir", 4, r"{who} opened .*/brought/images while {doing}"),
        ("dataset-file", 4, r"{who} opened .*/toy-images while {doing}"),
        ("dataset-folder", 4, r"{who} opened .*/shared/images while {doing}"),
        ("exit", 1, "{who} raised SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("side", ["attack", "defense"])
def test_a_method_that_reaches_past_its_view_fails(toy: Path, side: str, how: str, code: int, message: str) -> None:
    error = error_of(run(toy, **{side: how}))
    who, doing = {"attack": ("cheat", "crafting"), "defense": ("peek", "defending")}[side]
    assert error.exit_code == code
    with pytest.raises(type(error), match=message.format(who=who, doing=doing)):
        raise error


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("test", "cheat's poison set has 2 rows that are images of the test set"),
        ("many", "cheat's poison set breaks its budget: 5 rows, between 1 and 4 allowed"),
        ("flip", "cheat is declared clean-label, yet 4 of its labels differ"),
    ],
)
def test_a_poison_set_that_cheats_is_refused(toy: Path, how: str, message: str) -> None:
    error = error_of(run(toy, how))
    assert message in str(error)
    assert error.exit_code == 4
    assert message in str(error_of(run(toy, how))), "taken from the store the second time"


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("model", 4, "A training-data-only attacker knows no model. Declare Knowledge.TRAINING_ONLY in `threat`."),
        ("recipe", 4, "A training-data-only attacker knows no recipe. Declare Knowledge.TRAINING_ONLY in `threat`."),
        ("weights", 1, "cheat raised KeyError: 'linear.weight' (toy_plugin.py:LINE)"),
    ],
)
def test_an_attack_that_declares_the_data_alone_gets_nothing_else(toy: Path, how: str, code: int, message: str) -> None:
    error = error_of(run(toy, how))
    assert (re.sub(r"\.py:\d+", ".py:LINE", str(error)), error.exit_code) == (message, code)


def test_an_image_that_the_training_set_shares_with_the_test_set_may_be_returned(toy: Path) -> None:
    assert run(toy, "shared").error is None


def test_what_methods_print_is_kept_out_of_standard_output(toy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(toy, "print", "print").error is None
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("python") == err.count("native") == 3, "the attack, the defense, the defense without poison"


def test_a_kill_by_the_user_is_no_fault_of_the_method(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    wanted = cell(toy)
    monkeypatch.setattr(type(wanted.attack), "craft", interrupt)
    with Store.open(str(toy / "store")) as store, pytest.raises(KeyboardInterrupt):
        Runner(store, DataOptions(toy / "cache")).run(wanted)
