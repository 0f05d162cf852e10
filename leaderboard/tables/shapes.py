"""The shape of a table: what is down, what is across, which values, and whose best is marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.leaderboard.statistics.ranking import Better
from poisonbench.leaderboard.tables.axes import AXES
from poisonbench.leaderboard.values import value

COMPETITORS = ("attack", "defense")
NOBODY = "none"


@dataclass(frozen=True)
class Shape:
    """What a table shows.

    Attributes:
        rows: axes down, the first one outermost.
        columns: axes across, the first one on top; none is a table of values alone.
        values: names in VALUES; of several each is a column below each entry of the columns.
        best: who competes for the marks, attack, defense or none; None is whom the value says something about, attacks
            before defenses.
    Raises:
        UnknownNameError: for an axis, a value or a competitor there is none of; suggests the nearest.
        ConfigError: for no rows or no values, something twice, or a competitor that is no axis.
    """

    rows: tuple[str, ...] = ("attack",)
    columns: tuple[str, ...] = ("defense",)
    values: tuple[str, ...] = ("drop",)
    best: str | None = None

    def __post_init__(self) -> None:
        for axis in self.axes:
            if axis not in AXES:
                raise UnknownNameError(unknown("axis", axis, list(AXES)))
        for name in self.values:
            value(name)
        if not self.rows or not self.values:
            known = f"an axis: {', '.join(AXES)}" if not self.rows else "a value, such as drop"
            raise ConfigError(f"{'--value' if self.rows else '--rows'}: expected {known}; got none.")
        _refuse_twice(self.axes, "axis", "--rows and --cols")
        _refuse_twice(self.values, "value", "--value")
        if self.best is not None and self.best not in (*COMPETITORS, NOBODY):
            raise UnknownNameError(unknown("competitor", self.best, [*COMPETITORS, NOBODY]))
        if self.best in COMPETITORS and self.best not in self.axes:
            raise ConfigError(f"--best {self.best}: expected {self.best} among --rows or --cols; got {self._given}.")

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes: those down, then those across."""
        return *self.rows, *self.columns

    def contest(self, name: str) -> tuple[str, Better] | None:
        """Whose entries compete for the best of a value, and which is better; None if nobody's do."""
        of = value(name)
        for competitor, better in (("attack", of.attackers), ("defense", of.defenders)):
            if better is not None and competitor in self.axes and self.best in (None, competitor):
                return competitor, better
        return None

    @property
    def _given(self) -> str:
        return f"--rows {','.join(self.rows)} --cols {','.join(self.columns) or repr('')}"


def _refuse_twice(names: Sequence[str], kind: str, where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"{where}: the {kind} {twice[0]} is there twice; name each once.")


PRESETS = {
    "table2": Shape(("model",), ("attack",), ("acc2", "drop", "attack-time")),
    "table9": Shape(("surrogate",), ("model",), ("drop",)),
    "table11": Shape(("model",), ("defense",), ("drop", "undefended", "clean-cost")),
    "attacks": Shape(("attack",), (), ("drop", "acc2", "attack-time")),
    "defenses": Shape(("defense",), (), ("drop", "clean-cost", "trusted", "precision", "recall", "defense-time")),
}
"""The paper's shapes by its tables' names, and two lists. What is no axis makes tables of its own; filters choose."""


def shape(
    preset: str | None,
    rows: Sequence[str] | None,
    columns: Sequence[str] | None,
    values: Sequence[str] | None,
    best: str | None,
) -> Shape:
    """A preset's shape, or the default one, but for what is given.

    Raises:
        UnknownNameError, ConfigError: as Shape does, and for a preset there is none of.
    """
    if preset is not None and preset not in PRESETS:
        raise UnknownNameError(unknown("preset", preset, list(PRESETS)))
    given = {"rows": rows, "columns": columns, "values": values}
    found = PRESETS[preset] if preset else Shape()
    return replace(found, best=best, **{name: tuple(names) for name, names in given.items() if names is not None})
