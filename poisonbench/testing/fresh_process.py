"""A method run once more in a fresh process, in which nothing else ran, with another hash seed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from poisonbench.guard.method_errors import told
from poisonbench.plugins.child_process import listen
from poisonbench.plugins.parameters import parameters, places
from poisonbench.plugins.registry import configure
from poisonbench.testing.game import Game
from poisonbench.testing.observation import Method, fingerprint, run_method, stage_of


def fingerprint_elsewhere(method: Method, game: Game, limit: float) -> str:
    """The hash of what the method returns in a fresh process.

    Raises:
        AssertionError: if it raises, hangs or dies there.
    """
    cls = type(method)
    request = {
        "module": cls.__module__,
        "class": cls.__qualname__,
        "fields": parameters(method) | places(method),
        "game": asdict(game),
        "threads": torch.get_num_threads(),
    }
    try:
        (found,) = listen(_answer, request, limit)
    except TimeoutError:
        raise AssertionError(f"in a fresh process it did not end within {limit:g} s.") from None
    except ChildProcessError as error:
        raise AssertionError(f"in a fresh process it ended the process ({error}).") from None
    if "raised" in found:
        raise AssertionError(f"in a fresh process it raised {found['raised']}")
    fingerprint: str = found["fingerprint"]
    return fingerprint


def _answer(send: Callable[[Any], None], request: dict[str, Any]) -> None:
    torch.set_num_threads(request["threads"])
    try:
        cls: Any = importlib.import_module(request["module"])
        for part in request["class"].split("."):
            cls = getattr(cls, part)
        game = configure(Game, request["game"], "game")
        method = configure(cls, request["fields"], "method")
        send({"fingerprint": fingerprint(run_method(method, game, stage_of(method)))})
    except Exception as error:
        send({"raised": told(error)})
