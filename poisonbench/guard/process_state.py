"""What a method may change in the process it runs in, so that it can be put back: modes, generators, threads, folders.

None of this belongs to a method. Left as a method leaves it, the next training would compute in another precision or
draw other numbers, and the store would keep the result under the name of the honest one.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._C import _len_torch_function_stack
from torch.overrides import _pop_mode
from torch.utils._python_dispatch import _pop_mode as _pop_dispatch_mode

_AUTOCAST = ("cpu", "cuda")
_GUARDS: list[object] = []
"""Guards that must not be collected: an inference mode ends with the object that began it."""

_CUDNN = ("enabled", "benchmark", "deterministic", "allow_tf32")


@dataclass(frozen=True)
class ProcessState:
    """The state of this process, and of PyTorch in this thread, at one moment.

    Attributes:
        values: by the name of what is kept.
    """

    values: dict[str, Any]

    @classmethod
    def now(cls, names: Iterable[str] | None = None) -> ProcessState:
        """As it is: all of it, in about 0.1 ms, or what goes by those names."""
        return cls({name: _KEPT[name][0]() for name in (_KEPT if names is None else names)})

    def restore(self) -> None:
        """Put back what is otherwise now."""
        for name, kept in self.values.items():
            read, write = _KEPT[name]
            if not _same(read(), kept):
                write(kept)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Run code in this state, and go back to that of its caller."""
        outside = ProcessState.now(self.values)
        self.restore()
        try:
            yield
        finally:
            outside.restore()


@contextmanager
def process_kept(but: Collection[str] = ()) -> Iterator[ProcessState]:
    """Run code that may do anything to the process, and leave the process as it was. Gives the state that it was in.

    Args:
        but: names of what may change.
    """
    before = ProcessState.now(name for name in _KEPT if name not in but)
    try:
        yield before
    finally:
        before.restore()


def _same(first: Any, second: Any) -> bool:
    try:
        return bool(first == second)
    except (ValueError, RuntimeError):  # arrays and tensors among them
        pairs = zip(first, second, strict=True) if isinstance(first, list | tuple) else [(first, second)]
        return all(np.array_equal(one, other) for one, other in pairs)


def _leave_modes(kept: tuple[int, int]) -> None:
    """Take off modes that were put on (torch.set_default_device is one); what was taken off is lost."""
    while _len_torch_function_stack() > kept[0]:
        _pop_mode()
    while torch._C._len_torch_dispatch_stack() > kept[1]:
        _pop_dispatch_mode()


def _set_autocast(kept: list[tuple[bool, torch.dtype]]) -> None:
    for device, (enabled, dtype) in zip(_AUTOCAST, kept, strict=True):
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)
    torch.clear_autocast_cache()


def _set_inference_mode(kept: bool) -> None:
    guard = torch.inference_mode(kept)
    guard.__enter__()
    _GUARDS.append(guard)


def _set_cudnn(kept: list[bool]) -> None:
    for name, value in zip(_CUDNN, kept, strict=True):
        setattr(torch.backends.cudnn, name, value)


def _set_warnings(kept: list[Any]) -> None:
    warnings.filters = kept


def _set_environment(kept: dict[str, str]) -> None:
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update(kept)


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _set_handlers(kept: dict[int, Any]) -> None:
    for number, handler in kept.items():
        signal.signal(number, handler)


def _handlers() -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    return {number: handler for number, handler in found.items() if handler is not None}


_KEPT: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    # Of this thread; modes first, since they change what the calls below them do.
    "modes": (lambda: (_len_torch_function_stack(), torch._C._len_torch_dispatch_stack()), _leave_modes),
    "inference mode": (torch.is_inference_mode_enabled, _set_inference_mode),
    "gradients": (torch.is_grad_enabled, torch._C._set_grad_enabled),
    "autocast": (
        lambda: [(torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in _AUTOCAST],
        _set_autocast,
    ),
    "anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    # Of PyTorch.
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1]),
    ),
    "matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "oneDNN": (
        lambda: torch._C._get_mkldnn_enabled(),
        lambda kept: torch._C._set_mkldnn_enabled(kept),
    ),
    "cuDNN": (lambda: [getattr(torch.backends.cudnn, name) for name in _CUDNN], _set_cudnn),
    # Generators that nobody here draws from, but plugins that are tested beside each other may.
    "torch's generator": (torch.get_rng_state, torch.set_rng_state),
    "CUDA's generators": (
        lambda: torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        torch.cuda.set_rng_state_all,
    ),
    "NumPy's generator": (np.random.get_state, np.random.set_state),
    "Python's generator": (random.getstate, random.setstate),
    # Of the process.
    "environment": (lambda: dict(sorted(os.environ.items())), _set_environment),
    "folder": (_folder, lambda kept: None if kept is None else os.chdir(kept)),
    "import path": (lambda: list(sys.path), lambda kept: sys.path.__setitem__(slice(None), kept)),
    "warnings": (lambda: list(warnings.filters), _set_warnings),
    "floating-point errors": (np.geterr, lambda kept: np.seterr(**kept)),
    "garbage collection": (gc.isenabled, lambda kept: gc.enable() if kept else gc.disable()),
    "recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "signals": (_handlers, _set_handlers),
}
"""Name → how it is read, and how it is set."""

COMPUTING = ("modes", "inference mode", "gradients", "autocast", "default dtype", "threads", "deterministic algorithms")
"""What decides how the next operation computes: cheap enough to be looked at in every step."""
