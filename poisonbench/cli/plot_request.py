"""What `poisonbench plot` is asked for: files, and the records that fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poisonbench.cli.figure_file import format_of
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment import protocol
from poisonbench.leaderboard.boards import NONE
from poisonbench.leaderboard.published import published
from poisonbench.plugins.registry import entries
from poisonbench.store.database import Store
from poisonbench.store.record import Record

_FIELDS: Mapping[str, Callable[[Record], Any]] = {
    "protocol": lambda record: record.protocol.name,
    "model": lambda record: record.model.name,
    "attack": lambda record: record.attack.name,
    "defense": lambda record: record.defense.name,
    "dataset": lambda record: record.dataset.name,
    "epsilon": lambda record: record.threat.epsilon,
}


@dataclass(frozen=True)
class Request:
    """What is to be drawn of which records, and where to.

    Attributes:
        outputs: files, each in the format of its suffix.
        filters: by axis, the names or numbers as given; no entry or an empty one is everything.
        store: folder, file or URL; None is the user's data folder.
        published: whether the records that ship with poisonbench count as well.
    """

    outputs: tuple[Path, ...]
    filters: Mapping[str, Sequence[str]]
    store: str | None = None
    published: bool = False

    @property
    def defenses(self) -> Sequence[str]:
        """Those asked for, or none at all."""
        return self.filters.get("defense") or (NONE,)

    def records(self) -> list[Record]:
        """Those of the store that fit, and the published ones that do."""
        formats = [format_of(output) for output in self.outputs]
        if not formats:
            raise ConfigError("--output: expected a file.")
        wanted = {axis: _known(axis, given) for axis, given in self.filters.items() if given}
        shipped = published(protocol.names()) if self.published else []
        with Store.open(self.store) as store:
            _check(store, shipped, wanted)
            stored = store.records(**wanted)
        fitting = [
            record for record in shipped if all(_FIELDS[axis](record) in names for axis, names in wanted.items())
        ]
        return list({record.record_id: record for record in [*fitting, *stored]}.values())


def _known(axis: str, given: Sequence[str]) -> list[str] | list[float]:
    if axis != "epsilon":
        return list(given)
    try:
        return [float(text) for text in given]
    except ValueError:
        raise ConfigError(f"--epsilon: expected numbers in (0, 1] by comma, got {','.join(given)!r}.") from None


def _check(store: Store, shipped: Sequence[Record], wanted: Mapping[str, Collection[Any]]) -> None:
    """Every name is one that can be run or that a record has; a slip would otherwise be passed over in silence."""
    for axis, names in wanted.items():
        installed = protocol.names() if axis == "protocol" else {} if axis == "epsilon" else entries(axis)
        for name in names:
            if not set(str(name).split("+")) <= set(installed) and not store.rows(**{axis: name}):
                recorded = {_FIELDS[axis](record) for record in shipped} | {getattr(row, axis) for row in store.rows()}
                if name not in recorded:
                    raise UnknownNameError(unknown(axis, str(name), sorted(map(str, {*recorded, *installed}))))
