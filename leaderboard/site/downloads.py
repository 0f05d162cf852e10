"""The numbers behind the site, to take away: records as CSV and JSON lines, boards as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from poisonbench.leaderboard import frame
from poisonbench.leaderboard.boards import AttackStanding, Board, DefenseStanding
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.leaderboard.tables.sheet_csv import csv_text
from poisonbench.store.record import Record

COLUMNS = (
    "record_id", "status", "ranked", "protocol", "version", "dataset", "model", "surrogate", "attack", "attack_params",
    "defense", "defense_params", "epsilon", "seed", "acc1", "acc2", "drop", "acc2_undefended", "acc1_defended",
    "clean_cost", "precision", "recall", "removed", "attack_s", "defense_s", "total_s", "source", "verified_by",
    "deviations", "error", "finished_at",
)  # fmt: skip
"""Of the CSV; accuracies in percent, differences in points."""

_NAMED = {"version": "protocol_version"}
"""Where a column of the frame has another name."""


def as_csv(records: Sequence[Record]) -> str:
    """A row for each record; full precision."""
    paths = [frame.COLUMNS[_NAMED.get(name, name)][1] for name in COLUMNS]
    return csv_text(COLUMNS, ([frame.at(record, path) for path in paths] for record in records))


def as_json_lines(records: Sequence[Record]) -> str:
    """A record's whole document a line."""
    return "".join(f"{record.model_dump_json()}\n" for record in records)


def as_json(catalogue: Catalogue) -> str:
    """Boards: ranks, means, intervals, by seed as well."""
    found = [_board(board, catalogue.board_slugs[board.conditions]) for board in catalogue.boards]
    return json.dumps({"latest_record": catalogue.date, "boards": found}, indent=1, ensure_ascii=False) + "\n"


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
        "attacks": [_attack(standing) for standing in board.attacks],
        "defenses": [_defense(standing) for standing in board.defenses],
        "places": [_experiment(one) for one in board.experiments],
    }


def _attack(standing: AttackStanding) -> dict[str, Any]:
    one, seconds = standing.experiment, _summary(standing.seconds)
    numbers = {"rank": standing.rank, "attack": one.attack_label, "drop": _summary(one.drop), "attack_s": seconds}
    return numbers | _notes(one)


def _defense(standing: DefenseStanding) -> dict[str, Any]:
    worst = {"attack": standing.worst[0], "drop": standing.worst[1]} if standing.worst else None
    return {
        "rank": standing.rank,
        "defense": standing.defense,
        "residual": _summary(standing.residual),
        "by_seed": {str(seed): value for seed, value in standing.residuals.items()},
        "worst": worst,
        "clean_cost": _summary(standing.clean_cost),
        "missing": standing.missing,
        "efficient": standing.efficient,
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
