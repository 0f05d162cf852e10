"""How a method's time and memory scale with N and ε."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil

from poisonbench.process.environment import PeakMemory
from poisonbench.testing.game import CPU, Game
from poisonbench.testing.observation import Method, run_method, stage_of, view_of

LONG_S = 0.25
"""CPU seconds from which a measurement tells more than the overhead of calls."""

SHORT_S = 0.01
"""CPU seconds below which a measurement tells nothing."""

_REPEATS = 3
_DOUBLINGS = 4


@dataclass(frozen=True)
class ScalingCost:
    """The cost of one run.

    Attributes:
        size: N or ε.
        seconds: of CPU, all threads, the best of three.
        mib: by which it raised the peak of resident memory.
    """

    size: float
    seconds: float
    mib: float


def scaling_in_n(method: Method, game: Game) -> list[ScalingCost]:
    """The costs as D_tr and D_v double, until a run is long enough to be measured: four times at most."""
    costs = []
    for factor in (2**k for k in range(_DOUBLINGS + 1)):
        larger = replace(game, n_train=factor * game.n_train, n_validation=factor * game.n_validation)
        costs.append(_cost(method, larger, larger.n_train))
        if factor > 2 and costs[-1].seconds > LONG_S:
            break
    return costs


def scaling_in_epsilon(method: Method, game: Game) -> list[ScalingCost]:
    """The costs as ε doubles twice, up to the game's or, where there is room, from it."""
    return [_cost(method, replace(game, epsilon=epsilon), epsilon) for epsilon in _fractions(game)]


def exponent(costs: list[ScalingCost], doublings: int = 1) -> float:
    """The p of time ∝ size^p, over the last doublings."""
    last, earlier = costs[-1], costs[-1 - doublings]
    return math.log2(max(last.seconds, 1e-6) / max(earlier.seconds, 1e-6)) / doublings


def described(symbol: str, costs: list[ScalingCost]) -> str:
    """One line that says how time and memory scale."""
    first, last = costs[0], costs[-1]
    sizes = f"{symbol} = {first.size:g} to {last.size:g}: "
    if last.seconds < SHORT_S:
        return f"{sizes}less than {SHORT_S:g} CPU s"
    memory = f"; peak memory +{first.mib:.0f} to +{last.mib:.0f} MiB" if last.mib >= 1 else ""
    power = f"time ∝ {symbol}^{exponent(costs):.1f} at the end"
    return f"{sizes}{first.seconds:.2g} to {last.seconds:.2g} CPU s, {power}{memory}"


def _fractions(game: Game) -> Iterator[float]:
    first = game.epsilon if game.epsilon <= 0.25 else game.epsilon / 4
    yield from (first, 2 * first, 4 * first)


def _cost(method: Method, game: Game, size: float) -> ScalingCost:
    view, best, most = view_of(method, game), math.inf, 0.0
    before = psutil.Process().memory_info().rss / (1 << 20)
    memory = PeakMemory(CPU)
    for _ in range(_REPEATS):
        began = time.process_time()
        with memory.part() as peak:
            run_method(method, game, stage_of(method), view)
        seconds = time.process_time() - began
        best, most = min(best, seconds), max(most, (peak["rss_peak_mb"] or 0.0) - before)
        if seconds > 4 * LONG_S:
            break
    return ScalingCost(size, best, max(0.0, most))
