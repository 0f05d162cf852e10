"""The site's folder data/: records as CSV, as JSON and as the rows of a table, boards as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from poisonbench.leaderboard import frame
from poisonbench.leaderboard.attack_standings import AttackStanding
from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.defense_standings import DefenseFamily, DefenseStanding
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.leaderboard.statistics.ranking import Ranking
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.leaderboard.statistics.two_way import TwoWay
from poisonbench.leaderboard.tables.sheet_csv import csv_text
from poisonbench.store.record import Record

COLUMNS = (
    "record_id", "status", "ranked", "protocol", "version", "dataset", "model", "surrogate", "attack", "attack_params",
    "defense", "defense_params", "epsilon", "seed", "acc1", "acc2", "drop", "acc2_undefended", "acc1_defended",
    "clean_cost", "trusted", "precision", "recall", "removed", "attack_s", "defense_s", "total_s", "source",
    "verified_by", "submitted_drop", "deviations", "error", "finished_at",
)  # fmt: skip
"""Headings of the CSV; accuracies in percent, differences in points."""

_NAMED = {"version": "protocol_version"}
"""Where a column of the frame has another name."""


TABLE_COLUMNS = (
    "record", "status", "protocol", "model", "ε", "attack", "defense", "seed", "acc1", "acc2", "drop", "clean cost",
    "seconds", "finished",
)  # fmt: skip
"""Headings of the table of all records; each row ends with the slugs of its board, attack and defense, which are not
shown."""


def as_csv(records: Sequence[Record]) -> str:
    """A CSV with a row for each record, in full precision."""
    paths = [frame.COLUMNS[_NAMED.get(name, name)][1] for name in COLUMNS]
    return csv_text(COLUMNS, ([frame.at(record, path) for path in paths] for record in records))


def as_list(boards: Iterable[Board]) -> str:
    """A JSON list of whole documents, one a line; those of an experiment stand together, for they have much in common
    that need not be kept twice."""
    lines = ",\n".join(record.model_dump_json() for board in boards for record in board.records)
    return f"[\n{lines}\n]\n"


def as_json(catalogue: Catalogue) -> str:
    """All boards as JSON: ranks, means and intervals, and the numbers of each seed."""
    found = [_board(board, catalogue.board_slugs[board.conditions]) for board in catalogue.boards]
    return (
        json.dumps(
            {"latest_record": catalogue.date, "order": catalogue.order, "boards": found}, indent=1, ensure_ascii=False
        )
        + "\n"
    )


def as_rows(catalogue: Catalogue) -> list[list[Any]]:
    """The rows of the table of all records, latest first: 20,000 rows of HTML would take a browser seconds, and rows of
    data do not."""
    return [_table_row(record, catalogue) for record in reversed(catalogue.records)]


def _table_row(record: Record, catalogue: Catalogue) -> list[Any]:
    seat, metrics = catalogue.seats[record.record_id], record.metrics
    accuracies = [metrics.acc1, metrics.acc2, metrics.drop] if metrics else [None] * 3
    cost = metrics.clean_cost if metrics else None
    return [
        record.record_id,
        record.status if record.status != "ok" else "ranked" if record.ranked else "unranked",
        record.protocol.name,
        record.model.name,
        record.threat.epsilon,
        seat.experiment.attack_label,
        seat.experiment.defense_label,
        record.seeds.run,
        *(None if value is None else round(value, 2) + 0.0 for value in (*accuracies, cost)),
        round(record.timing.total_s, 2),
        record.finished_at[:10],
        catalogue.board_slugs[seat.board.conditions],
        catalogue.method_slugs["attack", record.attack.name],
        catalogue.method_slugs["defense", record.defense.name],
    ]


def _board(board: Board, slug: str) -> dict[str, Any]:
    key = board.conditions
    return {
        "name": slug,
        "kind": key.kind,
        "protocol": key.protocol,
        "version": key.version,
        "dataset": key.dataset,
        "model": key.model,
        "epsilon": key.epsilon,
        "yardstick": board.yardstick,
        "seeds": board.seeds,
        "attacks": [_attack(standing, board.attack_ranking) for standing in board.attacks],
        "defenses": [_defense(standing, family) for family in board.families for standing in family.standings],
        "places": [_experiment(one) for one in board.experiments],
    }


def _attack(standing: AttackStanding, ranking: Ranking) -> dict[str, Any]:
    one, seconds = standing.experiment, _summary(standing.seconds)
    numbers = {"rank": standing.rank, "attack": one.attack_label, "drop": _summary(standing.drop), "attack_s": seconds}
    tests = {"p_behind_first": _behind(one.attack_label, standing.rank, ranking), "p_drop": _p(standing.test)}
    return numbers | tests | _notes(one) | {"badges": standing.badges}


def _behind(label: str, rank: int | None, ranking: Ranking) -> float | None:
    """p that the first is not ahead of it, adjusted for the family."""
    return None if rank is None else ranking.p.get(label)


def _p(found: TwoWay | None) -> float | None:
    return None if found is None else found.p


def _defense(standing: DefenseStanding, family: DefenseFamily) -> dict[str, Any]:
    worst = {"attack": standing.worst.attack, "drop": _summary(standing.worst.drop)} if standing.worst else None
    return {
        "rank": standing.rank,
        "family": family.trust,
        "defense": standing.defense,
        "trusted": standing.trusted,
        "residual": _summary(standing.residual),
        "p_behind_first": _behind(standing.defense, standing.rank, family.ranking),
        "p_against_none": _p(standing.against_none),
        "by_seed": {str(seed): value for seed, value in standing.residuals.items()},
        "worst": worst,
        "clean_cost": _summary(standing.clean_cost),
        "removed": standing.removed,
        "missing": standing.missing,
        "efficient": standing.efficient,
        "badges": standing.badges,
    }


def _experiment(one: Experiment[Record]) -> dict[str, Any]:
    records = {str(seed): record.record_id for seed, record in (*one.records.items(), *one.failures.items())}
    return {
        "attack": one.attack_label,
        "defense": one.defense_label,
        "drop": _summary(one.drop),
        "by_seed": {str(seed): drop for seed, drop in one.drops.items()},
        "records": records,
    } | _notes(one)


def _notes(one: Experiment[Record]) -> dict[str, Any]:
    return {"tier": one.tier, "badges": one.badges, "deviations": one.conditions.deviations}


def _summary(found: Summary | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"n": found.n, "mean": found.mean, "std": found.std, "interval": found.interval}
