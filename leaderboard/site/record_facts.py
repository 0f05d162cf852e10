"""What a record says besides its numbers, in tables of names and values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from html import escape
from typing import Any

from markupsafe import Markup

from poisonbench.leaderboard.site import numbers
from poisonbench.store.record import Record
from poisonbench.store.record_setup import KNOWS
from poisonbench.visible import visible

Rows = tuple[tuple[str, str], ...]


def setting(value: Any) -> str:
    """A setting or a statistic: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shortened(value: Any) -> Any:
    """A value whose fractions, however deep, have five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [shortened(part) for part in value]
    return {key: shortened(part) for key, part in value.items()} if isinstance(value, dict) else value


def _statistics(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a method reports, in five digits; a trace is drawn, for which a table is no place."""
    for key, value in found.items():
        if key != "trace" or not isinstance(value, dict):
            yield key, setting(shortened(value))


@lru_cache(maxsize=4096)  # many records have the same threat model, data and environment
def table(title: str, rows: Rows) -> Markup:
    """The rows of a table as HTML. Written out here, for a template takes five times as long, and a record has ten of
    these."""
    lines = [
        f"<tr><th scope=row>{escape(visible(name))}</th><td>{escape(visible(value))}</td></tr>\n"
        for name, value in rows
    ]
    return Markup(  # noqa: S704 (escaped in the line above, and the title below)
        f"<section><h2>{escape(title)}</h2>\n<table><caption class=hidden>{escape(title)}</caption><tbody>\n"
        f"{''.join(lines)}</tbody></table></section>\n"
    )


def classes(record: Record) -> Markup:
    """A table of the accuracy by class, a column each; empty if the record has none."""
    found = record.metrics.per_class if record.metrics else None
    if found is None:
        return Markup()
    head = "".join(f"<th scope=col class=number>{label}</th>" for label in range(len(found.acc1)))
    rows = [
        f"<tr><th scope=row>{name}</th>{''.join(f'<td class=number>{one:.1f}</td>' for one in values)}</tr>\n"
        for name, values in (("acc1", found.acc1), ("acc2", found.acc2))
    ]
    return Markup(  # noqa: S704 (numbers and nothing else)
        '<h2>By class</h2>\n<div class=scroll tabindex=0 role=region aria-label="Accuracy by class">\n'
        "<table class=narrow><caption>Test accuracy by class, percent</caption>"
        f"<thead><tr><th scope=col>class</th>{head}</tr></thead>\n<tbody>{''.join(rows)}</tbody></table></div>\n"
    )


def facts(record: Record) -> Iterable[tuple[str, Rows]]:
    """The title and rows of each table, of those without rows too."""
    threat, timing, memory, ran = record.threat, record.timing, record.memory, record.environment
    detail, check, solver = record.defense_detail, record.poison_check, record.solver
    label = "clean labels" if threat.clean_label else "labels may change"
    yield (
        "Threat model",
        _known(
            ("knowledge", threat.knowledge),
            ("knows the defense", record.defense.name if KNOWS in record.attack.params else None),
            ("mode", threat.mode),
            ("labels", label),
            ("ε", f"{threat.epsilon:g}: {threat.n_poison} of {threat.denominator} rows"),
            ("pixels", "in [0, 1]"),
            ("L∞ bound", None if threat.norm_bound is None else f"{threat.norm_bound:.4g}"),
        ),
    )
    yield (
        "Poison set",
        _known(
            ("points", str(check.n_poison)),
            ("largest L∞ distance", f"{check.linf_max:.4g}"),
            ("duplicates", str(check.duplicates)),
            ("relabelled", str(check.relabelled)),
        )
        if check
        else (),
    )
    yield (
        "Defense at work",
        _known(
            ("trusted rows that it was shown", _count(detail.trusted)),
            ("removed rows", _count(detail.removed)),
            ("precision", None if detail.precision is None else f"{detail.precision:.3f}"),
            ("recall", None if detail.recall is None else f"{detail.recall:.3f}"),
            *_statistics(detail.stats),
        )
        if detail
        else (),
    )
    yield "Attack at work", _known(*_statistics(record.attack_stats))
    yield (
        "Solver",
        _known(
            ("steps", str(solver.steps)),
            ("residual", f"{solver.residual:.3g}"),
            ("converged", "yes" if solver.converged else "no"),
        )
        if solver
        else (),
    )
    yield (
        "Time",
        _known(
            *(
                (name, numbers.seconds(value))
                for name, value in (
                    ("pretraining", timing.pretrain_s),
                    ("attack", timing.attack_s),
                    ("defense", timing.defense_s),
                    ("retraining", timing.retrain_s),
                    ("in all", timing.total_s),
                )
                if value is not None
            )
        ),
    )
    yield (
        "Peak memory",
        _known(
            ("cell", _mebibytes(memory.rss_peak_mb)),
            ("cell, GPU", _mebibytes(memory.cuda_peak_mb)),
            ("defense", _mebibytes(memory.defense_rss_peak_mb)),
            ("defense, GPU", _mebibytes(memory.defense_cuda_peak_mb)),
        ),
    )
    yield (
        "Environment",
        _known(
            ("Python", ran.python),
            ("torch", ran.torch),
            ("CPU", ran.cpu),
            ("GPU", ran.gpu),
            ("threads", str(ran.threads)),
            ("git", ran.git),
        ),
    )
    yield (
        "Data and model",
        _known(
            ("protocol", f"{record.protocol.name}, {record.protocol.hash[:16]}…"),
            ("dataset", f"{record.dataset.name}, {record.dataset.sha256[:16]}…"),
            ("D_tr, D_v, test", f"{record.dataset.n_train}, {record.dataset.n_val}, {record.dataset.n_test}"),
            ("the defender's own rows", _count(record.dataset.n_trusted or None)),
            ("model", f"{record.model.name}, {record.model.n_params} parameters"),
            ("crafted on", record.surrogate),
        ),
    )
    yield "Seeds", tuple((name, str(value)) for name, value in record.seeds)
    yield (
        "Provenance",
        _known(
            ("source", record.provenance.source),
            ("verified by", record.verified_by),
            ("started", record.started_at),
            ("finished", record.finished_at),
            ("attack code", record.attack.code_hash[:16] + "…"),
            ("defense code", record.defense.code_hash[:16] + "…"),
            ("cell", record.cell_hash[:16] + "…"),
        ),
    )
    yield "Submitted", tuple(_submitted(record))
    yield (
        "Files by SHA-256",
        tuple((one.kind, f"{one.sha256} ({numbers.size(one.bytes)})") for one in record.artifacts),
    )


def _submitted(record: Record) -> Iterator[tuple[str, str]]:
    """What the submitter said; every other number on the page but the attack's own is what the verifier measured."""
    found = record.provenance.verification
    if found is None:
        return
    said = found.submitted
    yield "measured and signed by", record.verified_by or f"a key that is not trusted, {found.key[:16]}…"
    yield "submitted acc1, acc2", f"{said.metrics.acc1:.2f} %, {said.metrics.acc2:.2f} %"
    yield "submitted drop", f"{said.metrics.drop:.2f}"
    yield "submitted as", said.record_id
    yield "the attack's time, taken on", ", ".join(filter(None, (said.environment.cpu, said.environment.gpu)))


def _known(*rows: tuple[str, str | None]) -> Rows:
    return tuple((name, value) for name, value in rows if value is not None)


def _count(value: int | None) -> str | None:
    return None if value is None else str(value)


def _mebibytes(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f} MiB"
