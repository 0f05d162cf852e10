"""A plugin changes none of its neighbours: each plays in a process of its own; what it does there ends in a line."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import poisonbench as pb
from poisonbench.defenses.mixing import CutMix, Mixup
from poisonbench.errors import PluginError, StageTimeoutError
from poisonbench.experiment.cell import code_of
from poisonbench.plugins import trial
from poisonbench.plugins.registry import code_hash_of, load
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline, Silent
from poisonbench.store.database import Store
from poisonbench.sweeps.workers import listener

DEEDS = {
    "patches": "torch.randperm = torch.arange",
    "widens": "torch.set_default_dtype(torch.float64); torch.set_num_threads(3)",
    "strays": "threading.Thread(target=time.sleep, args=(1000,), name='stray').start()",
    "forks": "os.fork()",
    "exits": "os._exit(0)",
    "waits": "threading.Thread(target=later, daemon=True).start()",
    "hangs": "time.sleep(1000)",
}
"""What an attack does as it crafts, by its name."""

HEAD = """
import os, threading, time
from dataclasses import dataclass
import poisonbench as pb
import torch

def later():
    while True:
        time.sleep(0.001)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
"""

ATTACK = """
@pb.register({name!r})
@dataclass(frozen=True)
class {title}(pb.Attack):
    cost = "a process"
    threat = pb.ThreatModel()

    def craft(self, view, budget, stage):
        {deed}
        rows = slice(0, budget.n_poison)
        return pb.PoisonSet(view.train.x[rows].clone(), view.train.y[rows].clone(), torch.arange(budget.n_poison))
"""

QUICK = {"recipe.epochs": 2}

ERRORS = {
    "patches": "the attack patches replaced torch.randperm while computing the poison",
    "strays": "the attack strays left the thread stray running while computing the poison",
    "forks": "forks forked this process (os.fork) while crafting",
    "exits": "the attack exits ended the process (exit code 0).",
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> pb.Record:
    """The built-in cell, in a run without plugins."""
    return pb.run("label-flip", seeds=0, settings=QUICK, store=tmp_path_factory.mktemp("alone"), progress=False)[0]


@pytest.fixture
def deeds(tmp_path: Path, plug: Callable[..., None]) -> None:
    attacks = [ATTACK.format(name=name, title=name.title(), deed=deed) for name, deed in DEEDS.items()]
    (tmp_path / "deeds.py").write_text(HEAD + "".join(attacks))
    plug(tmp_path / "deeds.py")


def test_a_neighbour_is_not_changed(deeds: None, alone: pb.Record, tmp_path: Path) -> None:
    """Whatever ran before it in the same run, a built-in cell's record is the one that it has without them."""
    names = [name for name in DEEDS if name != "hangs"]
    found = pb.run([*names, "label-flip"], seeds=0, settings=QUICK, store=tmp_path, progress=False)
    errors = {record.attack.name: record.error for record in found if record.error is not None}
    errors.pop("waits", None)  # its own cell is its own affair
    assert errors.keys() == ERRORS.keys(), errors
    assert all(errors[name].startswith(ERRORS[name]) for name in ERRORS), errors
    assert not any("\n" in error for error in errors.values())
    assert (found[-1].metrics, found[-1].artifacts) == (alone.metrics, alone.artifacts)
    widens = found[1].metrics
    assert widens
    assert alone.metrics
    assert widens.acc1 == alone.metrics.acc1
    assert threading.active_count() == 1 + sum(one.daemon for one in threading.enumerate())


def test_what_is_computed_beside_a_plugin_is_found_beside_it_alone(tmp_path: Path) -> None:
    first, second = {"attack a": "code of a"}, {"defense b": "code of b"}
    with Store.open(str(tmp_path)) as store:

        def weights(plugins: dict[str, str], value: float) -> float:
            cache = StageCache(store, torch.device("cpu"), Silent(), Deadline.after(None), plugins=plugins)
            done = cache.get_or_compute("weights", {}, (0, "train"), lambda stage: ({"w": torch.tensor(value)}, {}))
            return float(done.tensors["w"])

        assert weights(first, 1.0) == 1.0
        assert weights(second, 2.0) == 2.0
        assert weights({**first, **second}, 3.0) == 1.0
        assert weights({}, 4.0) == 4.0
        assert weights(first, 5.0) == 4.0


def test_one_that_hangs_ends_in_a_line(deeds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "GRACE_S", 0.5)
    found = pb.run("hangs", seeds=0, settings=QUICK, store=tmp_path, progress=False, timeout=3)
    assert found[0].status == "timeout"
    assert isinstance(found.errors[found[0].record_id], StageTimeoutError)


@pytest.mark.parametrize(
    ("deed", "line"),
    [
        ("torch.randperm = torch.arange", "its import replaced torch.randperm; define things there, and run nothing."),
        ("threading.Thread(target=time.sleep, args=(9,), name='stray').start()", "its import left the thread stray ru"),
        ("os.fork()", "its import forked this process (os.fork)"),
        ("os._exit(0)", "its import ends the process (exit code 0); never call exit or os._exit there."),
        ("time.sleep(1000)", "its import did not end within 2 s; load nothing but code there."),
    ],
)
def test_an_import_ends_in_a_line(
    deed: str, line: str, tmp_path: Path, plug: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LIMIT_S", 2.0)
    (tmp_path / "early.py").write_text(HEAD + deed + ATTACK.format(name="early", title="Early", deed="pass"))
    plug(tmp_path / "early.py")
    before, process = torch.randperm, os.getpid()
    with pytest.raises(PluginError) as error:
        load("attack", "early")
    assert str(error.value).startswith(f"The attack 'early' of file is refused: {line}")
    assert (torch.randperm, os.getpid()) == (before, process)


def test_an_import_that_sets_something_is_undone(tmp_path: Path, plug: Callable[..., None]) -> None:
    (tmp_path / "sets.py").write_text(HEAD + DEEDS["widens"] + ATTACK.format(name="sets", title="Sets", deed="pass"))
    plug(tmp_path / "sets.py")
    before = torch.get_num_threads()
    load("attack", "sets")
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, before)


def test_two_methods_of_a_file_are_told_apart(tmp_path: Path, plug: Callable[..., None]) -> None:
    """They have the same code hash, and may have the same fields."""
    first = ATTACK.format(name="first", title="First", deed="pass")
    second = ATTACK.format(name="second", title="Second", deed="view.train.x.zero_()")
    (tmp_path / "two.py").write_text(HEAD + first + second)
    plug(tmp_path / "two.py")
    one, other = (code_of(load("attack", name)()) for name in ("first", "second"))
    assert one != other


def test_built_in_methods_of_one_module_are_cached_apart() -> None:
    assert code_hash_of(Mixup) == code_hash_of(CutMix)
    assert code_of(Mixup()) != code_of(CutMix())
    assert code_of(Mixup()) == code_of(Mixup())
