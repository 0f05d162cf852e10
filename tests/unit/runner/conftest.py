"""A tiny dataset and methods that do as they are told, plugins of a temporary distribution, found through the same door
as everybody's; and the runner on them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from poisonbench.experiment import cell as cells
from poisonbench.experiment.cell import Cell, build
from poisonbench.experiment.protocol import resolve
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.experiment.settings import Setting
from poisonbench.plugins import registry
from poisonbench.store.database import Store

PLUGIN = '''
"""A tiny dataset, and methods that misbehave."""
from dataclasses import dataclass, replace
import time
import torch
from poisonbench.attacks.base import Attack
from poisonbench.data.base import DatasetSource
from poisonbench.defenses.base import Defense
from poisonbench.models.lr import LogisticRegression
from poisonbench.plugins.registry import register
from poisonbench.problem.threat import Knowledge, Mode, ThreatModel
from poisonbench.problem.samples import Dataset, PoisonSet, Samples
from poisonbench.problem.predictor import Vote
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.views import Defended

seen = {}

def fail(error):
    raise error

class Mute(Exception):
    def __str__(self): raise RuntimeError("no")

@register("tiny")
class Tiny(DatasetSource):
    """Sixty noisy patterns of three classes."""
    classes, mean, std = 3, (0.5,), (0.5,)
    def load(self, options):
        generator = torch.Generator().manual_seed(0)
        pattern = torch.rand(3, 1, 4, 4, generator=generator)
        def rows(n, first):
            y = torch.arange(n) % 3
            return Samples((pattern[y] + torch.rand(n, 1, 4, 4, generator=generator)) / 2, y, first + torch.arange(n))
        seen["dataset"] = Dataset("tiny", "0" * 64, rows(60, 0), rows(30, 1000), 3, self.mean, self.std)
        return seen["dataset"]
    def verify(self, options): return []

@register("crooked")
@dataclass(frozen=True)
class Crooked(LogisticRegression):
    """Raises what it is told to, where it is told to."""
    def __post_init__(self): self.meet("made")
    def init(self, generator):
        self.meet("drawn")
        return super().init(generator)
    def meet(self, where):
        if seen.get("where") == where: fail(seen["fault"])

@register("rogue")
@dataclass(frozen=True)
class Rogue(Attack):
    """Breaks the rule it is told to break."""
    how: str = "good"
    cost = "nothing"
    knows: str = "training-only"
    @property
    def threat(self):
        free = self.how == "unbounded" or (self.how == "two-faced" and "view" not in seen)  # until it has crafted
        return ThreatModel(Knowledge(self.knows), Mode.ADDITION, clean_label=self.how == "clean", box=not free)
    def ready_for(self, model):
        if self.how == "unready": raise KeyError("odd")
        if self.how == "unready memory": raise MemoryError("odd")
        if self.how == "curious": print(len(__import__("gc").get_objects()) > 0)
    def craft(self, view, budget, stage):
        seen["view"] = view
        n = budget.n_poison
        x, y, source = view.train.x[:n].clone(), (view.train.y[:n] + 1) % 3, torch.arange(n)
        stats = {}
        if self.how == "raises": raise RuntimeError("boom\\nand more")
        if self.how == "memory": raise torch.OutOfMemoryError("CUDA out of memory")
        if self.how == "allocator": raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        if self.how == "system-exit": raise ValueError
        if self.how == "vandal":
            for part in (*vars(view.train).values(), *vars(view.validation).values(), *view.weights.values()):
                part.zero_()
            for thing, name in ((view.model, "mean"), (view.recipe, "epochs"), (budget, "epsilon")):
                object.__setattr__(thing, name, None)
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(False)
            torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
        if self.how == "nan": x[0, 0, 0, 0] = float("nan")
        if self.how in ("box", "unbounded", "two-faced"): x[0, 0, 0, 0] = 1.5
        if self.how == "many": x, y, source = (torch.cat([part, part[:1]]) for part in (x, y, source))
        if self.how == "dtype": x = x.double()
        if self.how == "few": x, y, source = x[1:], y[1:], source[1:]
        if self.how == "nothing": return None
        if self.how.startswith("return "): return eval(self.how[7:], globals(), locals())
        if self.how == "slow":
            for _ in stage.steps("slow", 1000, {}): time.sleep(0.01)
        if self.how == "stats": stats = {"loss": float("nan")}
        return PoisonSet(x, y, source, stats)

class Steps(Procedure):
    """Steps that are taken on something else."""
    def __init__(self, change): self.change = change
    def batch(self, weights, batch, state, generator): return self.change(batch, weights)

@register("counting")
@dataclass(frozen=True)
class Counting(Defense):
    """Defends itself against poison if there are more rows than D_tr has, and otherwise does nothing."""
    n_train: int = 0
    uses: bool = False
    steps: bool = False
    cost = "nothing"
    @property
    def trusted_data(self): return self.uses
    def defend(self, view, train, stage):
        seen.setdefault("defenders", []).append(view)
        kept = torch.ones(len(view.train), dtype=torch.bool)
        if self.steps:
            return Defended(train(view.train, Steps(lambda batch, now: seen["step"](view.trusted, batch))), kept)
        if len(view.train) > self.n_train: kept[::2] = False
        return Defended(train(view.train.rows(kept)), kept)

@register("bad-guard")
@dataclass(frozen=True)
class BadGuard(Defense):
    """Returns what it should not."""
    how: str = "good"
    cost = "nothing"
    def transform(self, x):
        if self.how == "transform": return x[1:]
        return 1 - x if self.how == "negatives" else x.zero_() if self.how == "wipes" else x
    def certify(self, votes, classes, rows):
        seen["votes"] = votes
        if self.how == "proof": return votes.sum(0) // 2
        if self.how == "false proof": return torch.full_like(votes[0], 1000)
        if self.how == "odd proof": return votes[0] - 1
    def defend(self, view, train, stage):
        seen.setdefault("defenders", []).append(view)
        kept = torch.ones(len(view.train), dtype=torch.bool)
        if self.how == "vote":
            parts = [train(view.train.rows(slice(first, None, 3))) for first in range(2)]
            if seen.pop("kill", False): raise KeyboardInterrupt
            parts.append(train(view.train.rows(slice(2, None, 3))))
            return Defended(Vote(tuple(parts)), kept)
        if self.how == "vandal":
            torch.set_default_dtype(torch.float64)
            torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
        weights = train(view.train)
        if self.how == "vandal":
            for part in (*vars(view.train).values(), *vars(view.trusted).values()):
                part.zero_()
            object.__setattr__(view.model, "std", None)
        if self.how in ("identity", "vandal-in-steps"):
            def same(batch, now):
                y = batch.y.clone()
                if self.how == "vandal-in-steps":
                    for part in (*now.values(), batch.y, batch.rows): part.zero_()
                    torch.set_grad_enabled(False)
                    torch.set_default_dtype(torch.float64)
                    torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
                return replace(batch, y=y)
            weights = train(view.train, Steps(same))
        if self.how == "no procedure": weights = train(view.train, lambda weights, x, y, generator: x)
        if self.how == "number": weights = train(view.train, Steps(lambda batch, now: 3))
        if self.how == "shape": weights = train(view.train, Steps(lambda batch, now: replace(batch, x=batch.x[1:])))
        if self.how == "sparse":
            weights = train(view.train, Steps(lambda batch, now: replace(batch, x=batch.x.to_sparse())))
        if self.how == "labels":
            weights = train(view.train, Steps(lambda batch, now: replace(batch, y=batch.y.float())))
        if self.how == "weights-of-rows":
            weights = train(view.train, Steps(lambda batch, now: replace(batch, weights=torch.ones(3))))
        if self.how == "raises": raise KeyError("gone")
        if self.how == "kept": kept = kept[1:]
        if self.how == "class": kept = view.train.y != 1
        if self.how == "lie": kept[:10] = False
        if self.how == "other lie": weights = train(view.train.rows(slice(10, None)))
        if self.how == "own training": weights = {name: value / 2 for name, value in weights.items()}
        if self.how == "clean-class": kept = (view.train.y != 1) | torch.tensor(len(view.train) > 42)
        if self.how == "scores": return Defended(weights, kept, torch.zeros(3))
        if self.how == "twice":
            seen["losses"] = []
            for dim in (0.0, 0.5):
                weights = train(view.train, Steps(lambda batch, now: replace(batch, x=batch.x * dim)))
                seen["losses"].append(weights["linear.weight"].abs().sum())
        if self.how.startswith("return "): return eval(self.how[7:], globals(), locals())
        if self.how == "kept-dtype": kept = kept.int()
        if self.how == "weights": weights = {}
        if self.how == "nan-weights": weights = {name: value * float("nan") for name, value in weights.items()}
        return Defended(weights, kept)
'''


PROTOCOL = """
{name: tiny-v1, version: 1, summary: Tiny., dataset: tiny, models: [lr], validation: 0.3, seeds: [0],
recipe: {optimizer: sgd, lr: 0.1, momentum: 0.0, weight_decay: 0.0, batch_size: 16, epochs: 2, schedule: constant},
threat: {knowledge: training-only, mode: addition, epsilon: 0.1, radius: null}}
"""


FAIR = PROTOCOL.replace("tiny-v1", "fair-v1").replace("seeds: [0]", "seeds: [0], trusted: 0.1, padded: true")
"""Sixty rows: 18 of D_v, 6 of the defender's own, 36 of D_tr, 3 of poison."""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of that dataset and those methods, registered; `seen` in it is what they were shown."""
    (tmp_path / "rogue_plugin.py").write_text(PLUGIN)
    info = tmp_path / "rogue-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rogue\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[poisonbench.datasets]\ntiny = rogue_plugin:Tiny\n[poisonbench.attacks]\nrogue = rogue_plugin:Rogue\n"
        "[poisonbench.defenses]\nbad-guard = rogue_plugin:BadGuard\ncounting = rogue_plugin:Counting\n"
        "[poisonbench.models]\ncrooked = rogue_plugin:Crooked\n"
    )
    (tmp_path / "tiny.yaml").write_text(PROTOCOL)
    (tmp_path / "fair.yaml").write_text(FAIR)
    monkeypatch.syspath_prepend(tmp_path)
    registry.entries.cache_clear()
    yield __import__("rogue_plugin")
    registry.entries.cache_clear()
    cells._instance.cache_clear()  # methods of this module, which the next test imports anew
    del sys.modules["rogue_plugin"]


@pytest.fixture
def cell(plugin: ModuleType, tmp_path: Path) -> Callable[..., Cell]:
    """Builds a cell: `cell(attack__how="nan", protocol="fair")`; two underscores are a setting's dot."""

    def built(
        attack: str = "rogue", defense: str = "none", epsilon: float = 0.1, protocol: str = "tiny", **fields: Any
    ) -> Cell:
        settings = tuple(Setting(key.replace("__", "."), value, "--set") for key, value in fields.items())
        return build(resolve(str(tmp_path / f"{protocol}.yaml"), settings), attack, defense, epsilon=epsilon, seed=0)

    return built


@pytest.fixture
def run(cell: Callable[..., Cell], tmp_path: Path) -> Iterator[Callable[..., Outcome]]:
    """Runs such a cell, in a store that a test's runs share: `run(timeout=1.0, attack__how="slow")`."""
    with Store.open(str(tmp_path / "store")) as store:
        yield lambda timeout=None, **what: Runner(store, timeout=timeout).run(cell(**what))
