"""What `poisonbench plot` is asked for: files, and the records that fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poisonbench.cli.figure_file import format_of
from poisonbench.cli.reading import reading
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment import protocol
from poisonbench.leaderboard.experiments import Entries
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.published import published
from poisonbench.plugins.registry import GROUPS, entries
from poisonbench.store.database import Store
from poisonbench.store.record import Record

_FIELDS: Mapping[str, Callable[[Record], Any]] = {
    "protocol": lambda record: record.protocol.name,
    "model": lambda record: record.model.name,
    "attack": lambda record: record.attack.name,
    "defense": lambda record: record.defense.name,
    "dataset": lambda record: record.dataset.name,
    "surrogate": lambda record: record.surrogate,
    "epsilon": lambda record: record.threat.epsilon,
    "seed": lambda record: record.seeds.run,
}
"""By column of a record."""


@dataclass(frozen=True)
class Request:
    """What is to be drawn of which records, and where to.

    Attributes:
        outputs: files, each in the format of its suffix.
        filters: by column of a record, the values of which it must have one; no entry is everything.
        store: folder, file or URL; None is the user's data folder.
        published: whether the records that ship with poisonbench count as well.
    """

    outputs: tuple[Path, ...]
    filters: Mapping[str, Sequence[Any]]
    store: str | None = None
    published: bool = False

    @property
    def defenses(self) -> Sequence[str]:
        """Those asked for, or none at all."""
        return self.filters.get("defense") or (NO_DEFENSE,)

    def records(self) -> tuple[list[Record], Entries]:
        """Those of the store that fit, and the published ones that do; and how the store's came into it."""
        formats = [format_of(output) for output in self.outputs]
        if not formats:
            raise ConfigError("--output: expected a file.")
        shipped = published(protocol.names()) if self.published else []
        with reading(self.store) as store:
            _check(store, shipped, self.filters)
            stored, entries = store.records(**self.filters), store.entries()
        fitting = [
            record for record in shipped if all(_FIELDS[axis](record) in names for axis, names in self.filters.items())
        ]
        return list({record.record_id: record for record in [*fitting, *stored]}.values()), entries


def _check(store: Store, shipped: Sequence[Record], wanted: Mapping[str, Collection[Any]]) -> None:
    """Every name is one that can be run or that a record has; a slip would otherwise be passed over in silence."""
    for axis, names in wanted.items():
        installed = _installed(axis)
        for name in names:
            if not set(str(name).split("+")) <= set(installed) and not store.rows(**{axis: [name]}):
                recorded = {_FIELDS[axis](record) for record in shipped} | {getattr(row, axis) for row in store.rows()}
                if name not in recorded:
                    raise UnknownNameError(unknown(axis, str(name), sorted(map(str, {*recorded, *installed}))))


def _installed(axis: str) -> Collection[str]:
    if axis == "protocol":
        return protocol.names()
    kind = {"surrogate": "model"}.get(axis, axis)
    return entries(kind) if kind in GROUPS else ()
