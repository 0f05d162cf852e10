"""`poisonbench gallery`: a record's poisoned points as images that a person can look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.options import Data, StoreOption, group_options
from poisonbench.counted import counted
from poisonbench.errors import ConfigError, UnknownNameError, unknown

if TYPE_CHECKING:
    from poisonbench.store.record import Record

MOST = 100
"""More than this is a figure that nobody looks at, and larger than some viewers open."""


@group_options
def gallery(
    record_id: Annotated[str, typer.Argument(metavar="RECORD", help="A record, by its id or the start of it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .png, .pdf or .svg.")],
    data: Data,
    count: Annotated[int, typer.Option(help="How many points, at most 100.")] = 10,
    order: Annotated[
        str,
        typer.Option(
            help="first: the attack's own order; linf: largest L∞ distance first; median: around the median distance."
        ),
    ] = "first",
    store: StoreOption = None,
) -> None:
    """Draw a record's poisoned points: clean source, poisoned image, amplified difference."""
    from poisonbench.cli.figure_file import format_of, write
    from poisonbench.cli.poison_images import ORDERS, load
    from poisonbench.leaderboard.images.gallery import draw
    from poisonbench.store.database import Store
    from poisonbench.store.location import refuse_missing

    if order not in ORDERS:
        raise UnknownNameError(unknown("order", order, list(ORDERS)))
    if not 1 <= count <= MOST:
        raise ConfigError(f"--count: expected 1 to {MOST} points, got {count}.")
    format_ = format_of(output)
    refuse_missing(store)
    with Store.open(store) as opened:
        record = opened.record(record_id)
        images = load(opened, record, data.options())
    chosen = images.exhibits(order, count)
    notes = [f"{len(chosen)} of {counted(len(images), 'point')}, {ORDERS[order]}"]
    if record.threat.norm_bound is not None:
        notes.append(f"L∞ ≤ {record.threat.norm_bound:.3g}")
    write(output, draw(chosen, _title(record), notes, format_))


def _title(record: Record) -> list[str]:
    crafted_on = [f"crafted on {record.surrogate}"] if record.surrogate else []
    setting = [f"ε = {record.threat.epsilon:g}", f"seed {record.seeds.run}"]
    return [record.attack.name, record.protocol.name, record.model.name, *crafted_on, *setting]
