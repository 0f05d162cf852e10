"""What a board may show of a record, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from poisonbench.errors import UnknownNameError, unknown
from poisonbench.leaderboard.statistics.ranking import Better
from poisonbench.store.record import Record


@dataclass(frozen=True)
class Value:
    """One number of a record.

    Attributes:
        heading: what it is, with its unit.
        decimals: how many are shown.
        of: the number, or None where a record has none.
        column: of the store's table that holds the same number, or None: lists then need not parse records.
        attackers: which is the better attack's; None if it says nothing of one attack against another.
        defenders: which is the better defense's; None if it says nothing of one defense against another.
    """

    heading: str
    decimals: int
    of: Callable[[Record], float | None]
    column: str | None = None
    attackers: Better | None = None
    defenders: Better | None = None


def saved(record: Record) -> float | None:
    """acc2 with the defense less acc2 without it, points."""
    metrics = record.metrics
    if metrics is None or metrics.acc2_undefended is None:
        return None
    return metrics.acc2 - metrics.acc2_undefended


def undefended(record: Record) -> float | None:
    """acc1 less acc2 without the defense, points: the drop of the attack alone."""
    metrics = record.metrics
    return None if metrics is None or metrics.acc2_undefended is None else metrics.acc1 - metrics.acc2_undefended


def last_quarter(record: Record) -> float | None:
    """The drop of mean accuracies over the last quarter of training, without a defense, points: what is left if a
    victim's accuracy still moves up and down."""
    trained = record.trajectories
    if trained is None or not trained.epochs:
        return None
    first = next(index for index, epoch in enumerate(trained.epochs) if 4 * epoch > 3 * trained.epochs[-1])
    return fmean(trained.clean[first:]) - fmean(trained.poisoned[first:])


def best_epoch(record: Record) -> float | None:
    """The drop of best accuracies over training, without a defense, points: what is left if a victim stops early, at
    the epoch that is best on the test set, which favours the victim."""
    trained = record.trajectories
    return max(trained.clean) - max(trained.poisoned) if trained is not None and trained.epochs else None


def attacked_rows(record: Record) -> int:
    """How many rows the attack adds to D_tr or takes from it: a row that it perturbs is both."""
    return record.threat.n_poison * (1 if record.threat.mode == "addition" else 2)


def certified(record: Record) -> float | None:
    """The accuracy that the defense proves of what it makes of clean rows, whatever rows are added or taken, as many as
    the attack's, percent."""
    proof = record.metrics and record.metrics.certified
    return proof.at(attacked_rows(record)) if proof else None


VALUES = {
    "acc1": Value(
        "accuracy before the attack, percent", 2, lambda record: record.metrics.acc1 if record.metrics else None, "acc1"
    ),
    "acc2": Value(
        "accuracy after attack and defense, percent",
        2,
        lambda record: record.metrics.acc2 if record.metrics else None,
        "acc2",
        attackers="smallest",
        defenders="largest",
    ),
    "drop": Value(
        "accuracy drop in points",
        2,
        lambda record: record.metrics.drop if record.metrics else None,
        "drop",
        attackers="largest",
        defenders="smallest",
    ),
    "undefended": Value("accuracy drop without the defense in points", 2, undefended, attackers="largest"),
    "last-quarter": Value(
        "undefended drop in points, means of the last quarter of training", 2, last_quarter, attackers="largest"
    ),
    "best-epoch": Value("undefended drop in points, best epochs (early stopping)", 2, best_epoch, attackers="largest"),
    "saved": Value("points of accuracy that the defense saves", 2, saved, defenders="largest"),
    "clean-cost": Value(
        "clean cost in points: what the defense costs with no poison at all",
        2,
        lambda record: record.metrics.clean_cost if record.metrics else None,
        "clean_cost",
        defenders="smallest",
    ),
    "certified": Value(
        "accuracy that the defense proves against as many rows, added or taken, as the attack's, percent",
        2,
        certified,
        defenders="largest",
    ),
    "trusted": Value(
        "trusted rows: clean ones that the defense is shown",
        0,
        lambda record: record.defense_detail.trusted if record.defense_detail else None,
        "trusted",
    ),
    "precision": Value(
        "poison among the removed rows, fraction",
        2,
        lambda record: record.defense_detail.precision if record.defense_detail else None,
        defenders="largest",
    ),
    "recall": Value(
        "removed among the poison rows, fraction",
        2,
        lambda record: record.defense_detail.recall if record.defense_detail else None,
        defenders="largest",
    ),
    "removed": Value(
        "rows removed",
        0,
        lambda record: record.defense_detail.removed if record.defense_detail else None,
    ),
    "linf": Value(
        "largest L∞ distance of a poison point from its source, in [0, 1] units",
        3,
        lambda record: record.poison_check.linf_max if record.poison_check else None,
    ),
    "attack-time": Value("seconds of the attack", 1, lambda record: record.timing.attack_s, attackers="smallest"),
    "defense-time": Value(
        "seconds of the defense, trainings left out",
        1,
        lambda record: record.timing.defense_s,
        defenders="smallest",
    ),
    "defense-memory": Value(
        "peak memory of the defense with its trainings, MiB",
        0,
        lambda record: record.memory.defense_rss_peak_mb,
        defenders="smallest",
    ),
}


def value(name: str) -> Value:
    """The value of that name.

    Raises:
        UnknownNameError: if there is none; suggests the nearest.
    """
    if name not in VALUES:
        raise UnknownNameError(unknown("value", name, list(VALUES)))
    return VALUES[name]
