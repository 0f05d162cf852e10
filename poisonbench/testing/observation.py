"""One run of a method on a tiny game: what it returns, and everything it does besides."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import numpy as np
import torch

from poisonbench.attacks.base import Attack
from poisonbench.data.base import DataOptions, data_files
from poisonbench.defenses.base import Defense, known_to
from poisonbench.guard.audit import FORKED, copies_end, noticed
from poisonbench.guard.left_behind import left_behind
from poisonbench.identity.tensors import tensor_hash
from poisonbench.problem.predictor import models_of
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.views import AttackerView, Defended, DefenderView
from poisonbench.seeding import child_generator
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Progress, Silent, Stage
from poisonbench.testing.game import CPU, Game

Method = Attack | Defense
View = AttackerView | DefenderView
Result = PoisonSet | Defended


@dataclass(frozen=True)
class Observation:
    """What one run of a method showed.

    Attributes:
        result: what came back.
        changed: whether a tensor of the view is another than before.
        drew: whether a global random generator moved.
        acts: what it reached for besides its view; see audit.noticed.
        left: what it left behind in the process; see left_behind, and a copy of the process.
        printed: on standard output and standard error.
    """

    result: Result
    changed: bool
    drew: bool
    acts: tuple[str, ...]
    left: tuple[str, ...]
    printed: str


def stage_of(
    method: Method, progress: Progress | None = None, at: Checkpoint | None = None, device: torch.device = CPU
) -> Stage:
    """A stage with the random stream that the method has in every game."""
    stream = child_generator(0, "attack" if isinstance(method, Attack) else "defense")
    return Stage(stream, device, progress=progress or Silent(), checkpoint=at or Checkpoint(None))


def view_of(method: Method, game: Game, device: torch.device = CPU) -> View:
    """The view that the method has of a game."""
    if isinstance(method, Attack):
        return game.attacker(method.threat, device)
    return known_to(method, game.defender(device))


def run_method(method: Method, game: Game, stage: Stage, view: View | None = None) -> Result:
    """Let the method craft or defend, on the stage's device.

    Raises:
        TypeError: if it returns something else than it should.
    """
    seen = view or view_of(method, game, stage.device)
    expected: type[Result] = PoisonSet if isinstance(method, Attack) else Defended
    result: object
    with copies_end():
        if isinstance(method, Attack):
            assert isinstance(seen, AttackerView)
            result = method.craft(seen, game.budget(method.threat), stage)
        else:
            assert isinstance(seen, DefenderView)
            result = method.defend(seen, game.fit, stage)
    if not isinstance(result, expected):
        raise TypeError(f"it returned {type(result).__name__}, expected {expected.__name__}.")
    return result


def observe(method: Method, game: Game) -> Observation:
    """Run the method and record what it returns, changes, draws, opens and prints."""
    view, printed, data = view_of(method, game), io.StringIO(), data_files(DataOptions())
    with global_seed(3), noticed(data.folders, data.names) as noted, left_behind() as left:
        before, state = _view_hash(view), global_state()
        with redirect_stdout(printed), redirect_stderr(printed):
            result = run_method(method, game, stage_of(method), view)
        drew = global_state() != state
        changed = _view_hash(view) != before
    acts = tuple(act for act in noted if act != FORKED)
    copies = [FORKED] if FORKED in noted else []
    return Observation(result, changed, drew, acts, (*copies, *left), printed.getvalue())


def fingerprint(result: Result) -> str:
    """A hash of every byte of a result."""
    if isinstance(result, PoisonSet):
        return tensor_hash(result.x, result.y, result.source)
    scores = [] if result.scores is None else [result.scores]
    models = models_of(result.predictor)
    return tensor_hash(*(weights[name] for weights in models for name in sorted(weights)), result.kept, *scores)


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back where they were at the end."""
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])
        random.setstate(state[2])


def _view_hash(view: View) -> str:
    """A hash of every tensor of a view, and of whether it requires gradients."""
    held_out = view.validation if isinstance(view, AttackerView) else view.trusted
    tensors = [value for part in (view.train, held_out) for value in (part.x, part.y, part.ids)]
    if isinstance(view, AttackerView):
        tensors += [view.weights[name] for name in sorted(view.weights)]
    return tensor_hash(*tensors) + str([tensor.requires_grad for tensor in tensors])


def global_state() -> tuple[object, ...]:
    """The state of every global random generator."""
    return torch.get_rng_state().tolist(), str(np.random.get_state(legacy=False)), random.getstate()
