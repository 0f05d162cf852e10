"""Whatever code does to its process is undone, all of it, also when it raises."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from poisonbench.guard.process_state import _KEPT, COMPUTING, ProcessState, process_kept

HELD: list[torch.inference_mode] = []
"""It ends with the object that began it."""

DEEDS: dict[str, Callable[[], object]] = {
    "modes": lambda: torch.set_default_device("meta"),
    "inference mode": lambda: HELD.append(torch.inference_mode()) or HELD[-1].__enter__(),  # type: ignore[func-returns-value]
    "gradients": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16).__enter__(),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "oneDNN": lambda: torch.backends.mkldnn.set_flags(False),
    "cuDNN": lambda: torch.backends.cudnn.set_flags(_benchmark=True),
    "torch's generator": lambda: torch.manual_seed(99),
    "NumPy's generator": lambda: np.random.seed(99),
    "Python's generator": lambda: random.seed(99),
    "environment": lambda: (os.environ.pop("HOME"), os.environ.update(POISONBENCH_HOME="elsewhere")),
    "folder": lambda: os.chdir(Path.cwd().parent),
    "import path": lambda: sys.path.insert(0, "elsewhere"),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "floating-point errors": lambda: np.seterr(all="raise"),
    "garbage collection": gc.disable,
    "recursion limit": lambda: sys.setrecursionlimit(5000),
    "signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}


def test_there_is_a_deed_for_all_that_is_kept() -> None:
    assert DEEDS.keys() == _KEPT.keys() - {"CUDA's generators"}


@pytest.mark.parametrize("name", DEEDS)
def test_a_deed_is_undone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = _KEPT[name]
    before = read()
    with process_kept():
        DEEDS[name]()
        changed = read()
    try:
        assert repr(changed) != repr(before)
        assert repr(read()) == repr(before)
    finally:
        write(before)
    _, _ = torch.ones(1, requires_grad=True).sum().backward(), torch.zeros(2).numpy()  # type: ignore[no-untyped-call]


def test_all_at_once_and_then_an_error() -> None:
    before = ProcessState.now()

    def everything() -> None:
        with process_kept():
            for deed in DEEDS.values():
                deed()
            raise ValueError("at the end")

    with pytest.raises(ValueError, match="at the end"):
        everything()
    assert repr(ProcessState.now().values) == repr(before.values)


def test_within_goes_there_and_back() -> None:
    ours = ProcessState.now(COMPUTING)
    with process_kept():
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        with ours.within():
            assert torch.get_default_dtype() is torch.float32
            assert torch.is_grad_enabled()
        assert torch.get_default_dtype() is torch.float64
        assert not torch.is_grad_enabled()


def test_what_is_excepted_stays() -> None:
    with process_kept():
        with process_kept(but=("import path",)):
            sys.path.insert(0, "elsewhere")
            random.seed(99)
            drawn = random.getstate()
        assert sys.path[0] == "elsewhere"
        assert random.getstate() != drawn
