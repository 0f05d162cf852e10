"""What code replaces in its process, and threads that it leaves running, are told; replacements are put back."""

from __future__ import annotations

import builtins
import random
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from poisonbench import training
from poisonbench.guard import left_behind as module
from poisonbench.guard.left_behind import left_behind

PLACES: dict[str, tuple[object, str]] = {
    "torch.randperm": (torch, "randperm"),
    "torch.Tensor.backward": (torch.Tensor, "backward"),
    "torch.Tensor.sum": (torch.Tensor, "sum"),  # inherited: the new one hides it
    "torch.nn.functional.cross_entropy": (torch.nn.functional, "cross_entropy"),
    "torch.nn.modules.linear.Linear.forward": (torch.nn.Linear, "forward"),
    "numpy.random.rand": (np.random, "rand"),
    "random.random": (random, "random"),
    "builtins.sorted": (builtins, "sorted"),
    "poisonbench.training.train": (training, "train"),
    "poisonbench.training.len": (training, "len"),  # hides the built-in one
}


@pytest.mark.parametrize("title", PLACES)
def test_what_is_replaced_is_told_and_put_back(title: str) -> None:
    holder, name = PLACES[title]
    before, own = getattr(holder, name, None), name in vars(holder)
    with left_behind() as acts:
        setattr(holder, name, lambda *arguments, **keywords: None)
    assert acts == [f"replaced {title}"]
    assert getattr(holder, name, None) is before
    assert (name in vars(holder)) == own


def test_what_takes_another_name_at_the_same_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "last", max, raising=False)
    with left_behind() as acts:
        del torch.last
        torch.first = max
    assert acts == ["replaced torch.last"]
    assert torch.last is max
    del torch.first


def test_what_raises_is_put_back_too() -> None:
    before = torch.randperm

    def replace() -> None:
        with left_behind():
            torch.randperm = torch.arange
            raise ValueError("then this")

    with pytest.raises(ValueError, match="then this"):
        replace()
    assert torch.randperm is before


def test_what_a_package_wraps_itself_is_no_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch.compile wraps torch.manual_seed; a stranger's wrapper is one, whatever it says of itself."""
    wrap: Callable[..., object] = torch.no_grad()  # a decorator, of torch's own code
    monkeypatch.setattr(torch, "is_tensor", torch.is_tensor)
    with left_behind() as acts:
        vars(torch)["is_tensor"] = wrap(torch.is_tensor)
    assert acts == []

    def stranger(value: object) -> bool:
        return False

    with left_behind() as acts:
        stranger.__module__, vars(stranger)["__wrapped__"] = "torch", torch.is_tensor
        vars(torch)["is_tensor"] = stranger
    assert acts == ["replaced torch.is_tensor"]


def test_new_names_and_modules_are_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    with left_behind() as acts:
        monkeypatch.setattr(torch, "my_own", len, raising=False)
        monkeypatch.setitem(sys.modules, "torch.nn.my_own", types.ModuleType("torch.nn.my_own"))
    assert acts == []


def test_a_thread_that_goes_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDING_S", 0.05)
    end = threading.Event()
    with left_behind() as acts:
        thread = threading.Thread(target=end.wait, name="stray")
        thread.start()
    end.set()
    thread.join()
    assert acts == ["left the thread stray running"]


def test_threads_that_end_by_themselves_are_none() -> None:
    end = threading.Event()
    with left_behind() as acts, ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        threading.Thread(target=end.wait, daemon=True).start()
        threading.Thread(target=int).start()
    end.set()
    assert acts == []
