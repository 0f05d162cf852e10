"""What `poisonbench plot` is asked for: files, and the records that fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poisonbench.cli.figure_file import format_of
from poisonbench.cli.reading import reading
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment import protocol
from poisonbench.leaderboard.experiments import Entries
from poisonbench.leaderboard.gathered import gathered
from poisonbench.leaderboard.methods import NO_DEFENSE
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
        with reading(self.store) as store:
            found = gathered(store, self.filters, self.published)
            for axis, names in self.filters.items():
                self._check(store, axis, set(names) - {_FIELDS[axis](record) for record in found})
            return found, store.entries()

    def _check(self, store: Store, axis: str, names: Iterable[Any]) -> None:
        """Every name is one that can be run or that a record has; a slip would otherwise be passed over in silence."""
        installed = set(_installed(axis))
        unseen = [name for name in names if not set(str(name).split("+")) <= installed]
        if unseen:
            recorded = {_FIELDS[axis](record) for record in gathered(store, {}, self.published)}
            for name in unseen:
                if name not in recorded:
                    raise UnknownNameError(unknown(axis, str(name), sorted(map(str, recorded | installed))))


def _installed(axis: str) -> Collection[str]:
    if axis == "protocol":
        return protocol.names()
    kind = {"surrogate": "model"}.get(axis, axis)
    return entries(kind) if kind in GROUPS else ()
