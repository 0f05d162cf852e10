"""`poisonbench compare`: experiments against each other, with intervals and tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from poisonbench.errors import ConfigError, DataError, UsageError
from poisonbench.leaderboard.comparison import Answers, Comparison, compare
from poisonbench.leaderboard.experiments import Conditions, Experiment, experiments
from poisonbench.leaderboard.selection import names_a_record, select
from poisonbench.leaderboard.statistics.correctness import SIGNED_KINDS, Labels, correct
from poisonbench.leaderboard.statistics.summaries import LEVEL
from poisonbench.leaderboard.statistics.verdicts import p_value, verdict
from poisonbench.leaderboard.values import value
from poisonbench.store.database import Store
from poisonbench.terminal.consoles import console, note


def show(
    store: str | None,
    operands: Sequence[str],
    filters: dict[str, Any],
    name: str,
    data_dir: Path | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Compare every pair of the experiments that are named; print a table and a sentence a pair, or JSON.

    Raises:
        UsageError: for a value or an experiment that there is none of, and for what is no comparison.
        DataError: if a file of stored predictions is damaged.
        ValidationError: if stored predictions are not those of their record.
    """
    value(name)
    if len(operands) < 2:
        raise ConfigError("Name two experiments or more, such as: poisonbench compare tgda label-flip.")
    with Store.open(store) as opened:
        found = experiments(opened.records(status="ok", **filters))
        named = [opened.record(operand) if names_a_record(operand) else operand for operand in operands]
        chosen = select(found, named)
        compared = compare(chosen, name, _answers(opened, chosen, name, data_dir, offline))
    for experiment in chosen:
        _note_mixed_code(experiment)
    if as_json:
        sys.stdout.write(json.dumps(_document(chosen, compared, name), indent=2) + "\n")
        return
    console.print(f"[bold]{chosen[0].conditions} · {value(name).heading}", highlight=False)
    console.print(_table(compared, value(name).decimals))
    for pair in compared:
        console.print(f"\n{verdict(pair, name)}", markup=False, highlight=False)


def _answers(store: Store, chosen: Sequence[Experiment], name: str, data_dir: Path | None, offline: bool) -> Answers:
    """Which test images each record got right; nothing, and a note, if labels or predictions are not here."""
    if name not in SIGNED_KINDS:
        return {}
    labels = _labels(chosen[0].conditions, data_dir, offline)
    if labels is None:
        return {}
    records = [record for experiment in chosen for record in experiment.records.values()]
    found = {record.record_id: correct(record, labels, store.artifacts) for record in records}
    missing = [record_id for record_id, answers in found.items() if answers is None]
    if missing:
        note(f"No test over images where predictions are not kept here: records {', '.join(missing)}.")
    return {record_id: answers for record_id, answers in found.items() if answers is not None}


def _labels(conditions: Conditions, data_dir: Path | None, offline: bool) -> Labels | None:
    from poisonbench.data.base import DataOptions, default_cache_dir, prepare  # here: needs torch, the rest does not

    try:
        dataset = prepare(conditions.dataset, DataOptions(default_cache_dir(), data_dir, offline, note))
    except (DataError, UsageError) as error:
        note(f"No test over images: {error}")
        return None
    if dataset.sha256 != conditions.dataset_sha256:
        note(f"No test over images: the {conditions.dataset} here is not the one that the records were made on.")
        return None
    labels: Labels = dataset.test.y.numpy()
    return labels


def _note_mixed_code(experiment: Experiment) -> None:
    versions = {(record.attack.code_hash, record.defense.code_hash) for record in experiment.records.values()}
    if len(versions) > 1:
        note(f"{experiment.label}: its seeds were run with {len(versions)} versions of its code; run them again.")


def _table(compared: Sequence[Comparison], decimals: int) -> Table:
    family = len(compared) > 1
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("A", "B"):
        table.add_column(heading, overflow="fold")
    for heading in ("n", "A − B ± 95 %", "p seeds", *["Holm"] * family, "p images"):
        table.add_column(heading, justify="right")
    for pair in compared:
        across, images = pair.across_seeds, pair.over_images
        mean, interval = across.difference.mean, across.difference.interval
        half = "" if interval is None else f" ± {interval[1] - mean:.{decimals}f}"
        table.add_row(
            _wrapped(pair.a),
            _wrapped(pair.b),
            str(across.difference.n),
            f"{mean:.{decimals}f}{half}",
            p_value(across.p),
            *[p_value(across.holm)] * family,
            p_value(images.p if images else None),
        )
    return table


def _wrapped(label: str) -> Text:
    return Text(label.replace("/", "/\n").replace(" (", "\n("))


def _document(chosen: Sequence[Experiment], compared: Sequence[Comparison], name: str) -> dict[str, Any]:
    return {
        "value": name,
        "heading": value(name).heading,
        "level": LEVEL,
        "conditions": asdict(chosen[0].conditions),
        "experiments": [
            {
                "label": one.label,
                "ranked": one.ranked,
                "runs": [
                    {"seed": seed, "record_id": record.record_id, name: value(name).of(record)}
                    for seed, record in one.records.items()
                ],
            }
            for one in chosen
        ],
        "comparisons": [
            {
                **asdict(pair),
                "mcnemar": [{"seed": seed, **asdict(test)} for seed, test in pair.mcnemar.items()],
                "verdict": verdict(pair, name),
            }
            for pair in compared
        ],
    }
