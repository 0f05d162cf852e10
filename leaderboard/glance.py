"""Experiments at a glance: a row each, as text, with accuracies before and after and their drop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from poisonbench.counted import counted
from poisonbench.leaderboard.badges import signed
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.statistics.summaries import summary
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record

_SHOWN = ("acc1", "acc2", "drop")


def glance(experiment: Experiment[Record]) -> dict[str, str]:
    """An experiment's conditions, and mean ± std over its seeds that count of what is shown; of one that failed its
    status."""
    conditions = experiment.conditions
    row = {
        "experiment": experiment.label,
        "protocol": conditions.protocol,
        "model": conditions.model,
        "ε": f"{conditions.epsilon:g}",
        "seeds": str(len(experiment.seeds_that_count)),
    }
    return row | {name: _spread(name, experiment) for name in _SHOWN}


def left_out(found: Iterable[Experiment[Record]]) -> Iterator[str]:
    """What those rows do not count, in a line."""
    if number := sum(one.other_seeds for one in found):
        yield f"Left out of the means: {counted(number, 'record')} of seeds that are not the protocol's."


def _spread(name: str, experiment: Experiment[Record]) -> str:
    if not experiment.records:
        return experiment.first.status
    shown = VALUES[name]
    found = summary(list(experiment.by_counted_seed(shown.of).values()))
    mean = f"{found.mean:.{shown.decimals}f}"
    spread = mean if found.std is None else f"{mean} ± {found.std:.{shown.decimals}f}"
    return signed(spread, experiment.mixed_code)
