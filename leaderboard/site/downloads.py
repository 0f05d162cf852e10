"""The numbers behind the site, to take away: records as CSV and JSON lines, boards as JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from poisonbench.leaderboard.boards import AttackStanding, Board, DefenseStanding, Place
from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.leaderboard.statistics.summaries import Summary
from poisonbench.store.record import Record

COLUMNS = (
    "record_id", "status", "ranked", "protocol", "version", "dataset", "model", "surrogate", "attack", "attack_params",
    "defense", "defense_params", "epsilon", "seed", "acc1", "acc2", "drop", "acc2_undefended", "acc1_defended",
    "clean_cost", "precision", "recall", "removed", "attack_s", "defense_s", "total_s", "source", "verified_by",
    "deviations", "error", "finished_at",
)  # fmt: skip
"""Of the CSV; accuracies in percent, differences in points."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def cell(value: object) -> str:
    """A CSV cell. What a spreadsheet would run as a formula gets an apostrophe before it; numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def as_csv(records: Sequence[Record]) -> str:
    """A row for each record; full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        writer.writerow(map(cell, _row(record)))
    return file.getvalue()


def as_json_lines(records: Sequence[Record]) -> str:
    """A record's whole document a line."""
    return "".join(f"{record.model_dump_json()}\n" for record in records)


def as_json(catalogue: Catalogue) -> str:
    """Boards: ranks, means, intervals, by seed as well."""
    found = [_board(board, catalogue.board_slugs[board.key]) for board in catalogue.boards]
    return json.dumps({"latest_record": catalogue.date, "boards": found}, indent=1, ensure_ascii=False) + "\n"


def _row(record: Record) -> Iterator[object]:
    metrics, detail, timing = record.metrics, record.defense_detail, record.timing
    yield from (record.record_id, record.status, record.ranked, record.protocol.name, record.protocol.version)
    yield from (record.dataset.name, record.model.name, record.surrogate)
    for method in (record.attack, record.defense):
        yield from (method.name, json.dumps(method.params, sort_keys=True, separators=(",", ":")))
    yield from (record.threat.epsilon, record.seeds.run)
    for name in ("acc1", "acc2", "drop", "acc2_undefended", "acc1_defended", "clean_cost"):
        yield getattr(metrics, name) if metrics else None
    for name in ("precision", "recall", "removed"):
        yield getattr(detail, name) if detail else None
    yield from (timing.attack_s, timing.defense_s, timing.total_s)
    yield from (record.provenance.source, record.provenance.verified_by)
    yield from ("; ".join(record.protocol.deviations), record.error, record.finished_at)


def _board(board: Board, slug: str) -> dict[str, Any]:
    key = board.key
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
        "places": [_place(place) for place in board.places],
    }


def _attack(standing: AttackStanding) -> dict[str, Any]:
    place = standing.place
    times = _summary(place.attack_seconds)
    return {"rank": standing.rank, "attack": place.attack, "drop": _summary(place.drop), "attack_s": times} | _notes(
        place
    )


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


def _place(place: Place) -> dict[str, Any]:
    records = {str(seed): record.record_id for seed, record in (*place.records.items(), *place.failures.items())}
    drops = {str(seed): drop for seed, drop in place.drops.items()}
    return {
        "attack": place.attack,
        "defense": place.defense,
        "drop": _summary(place.drop),
        "by_seed": drops,
        "records": records,
    } | _notes(place)


def _notes(place: Place) -> dict[str, Any]:
    return {"tier": place.tier, "badges": place.badges, "deviations": place.deviations}


def _summary(found: Summary | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"n": found.n, "mean": found.mean, "std": found.std, "interval": found.interval}
