"""The table of all records as one script: 20,000 rows of HTML would take a browser seconds, and rows of data do not."""

from __future__ import annotations

from typing import Any

from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.leaderboard.site.rendering import script_json
from poisonbench.store.record import Record

COLUMNS = (
    "record", "status", "protocol", "model", "ε", "attack", "defense", "seed", "acc1", "acc2", "drop", "clean cost",
    "seconds", "finished",
)  # fmt: skip
"""Headings; each row ends with the slugs of its board, attack and defense, which are not shown."""


def script(catalogue: Catalogue) -> str:
    """Defines window.poisonbenchRecords, latest first."""
    rows = [_row(record, catalogue) for record in reversed(catalogue.records)]
    return f"window.poisonbenchRecords = {script_json(rows)};\n"


def _row(record: Record, catalogue: Catalogue) -> list[Any]:
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
