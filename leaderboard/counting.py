"""What counts on a board: which setting of each method, which seeds, and what is told of an entry that lacks some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from poisonbench.counted import counted
from poisonbench.experiment import protocol
from poisonbench.leaderboard.badges import Badge
from poisonbench.leaderboard.experiments import Experiment, Source
from poisonbench.leaderboard.methods import Method
from poisonbench.leaderboard.precedence import age
from poisonbench.leaderboard.statistics.ranking import Contributions, shared_seeds
from poisonbench.leaderboard.statistics.two_way import Table
from poisonbench.leaderboard.trust import Trust
from poisonbench.leaderboard.variants import ranked_settings


def settings_that_count(kind: str, ranked: Iterable[Experiment[Source]]) -> frozenset[Method]:
    """One setting of each attack or defense that has a ranked record among some experiments; of a defense one with
    trusted data and one without, if it has both."""
    groups: dict[Trust | None, dict[Method, tuple[int, str]]] = {}
    for one in ranked:
        method, group = (one.attack, None) if kind == "attack" else (one.defense, one.trust)
        ages = groups.setdefault(group, {})
        oldest = min(map(age, one.rows.values()))
        ages[method] = min(oldest, ages.get(method, oldest))
    return frozenset[Method]().union(*(ranked_settings(kind, ages) for ages in groups.values()))


def seeds_that_count(name: str, entries: Mapping[str, Contributions]) -> tuple[int, ...]:
    """The seeds of the protocol of that name; of one that is not released, those that all entries share."""
    return protocol.load(name).seeds if name in protocol.names() else shared_seeds(entries)


def stacked(parts: Contributions, seeds: Sequence[int]) -> Table | None:
    """The table of the seeds that count, (seeds, images); None if one is missing."""
    return np.stack([parts[seed] for seed in seeds]) if seeds and set(seeds) <= set(parts) else None


def notes(values: Mapping[int, float], parts: Contributions, seeds: Sequence[int], main: bool) -> tuple[str, ...]:
    """Why there is no rank, and what of the seeds counts.

    Args:
        values: by seed.
        parts: contributions by seed; of a seed without answers there is none.
        seeds: those that count.
        main: whether it is the setting that is ranked.
    """
    there = len(set(seeds) & set(values))
    told = {
        str(Badge.VARIANT): not main,
        f"{there} of {counted(len(seeds), 'seed')}": there < len(seeds),
        str(Badge.NO_ANSWERS): bool(set(seeds) & set(values) - set(parts)),
        f"{counted(len(values), 'seed')}, {there} of them {'counts' if there == 1 else 'count'}": len(values) > there,
    }
    return tuple(note for note, on in told.items() if on)
