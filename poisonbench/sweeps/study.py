"""Tables and figures of the paper as grids of places: what each place shows, and what the paper prints there.

They are YAML files in protocols/paper/; studies of our own are in protocols/studies/. A study has rows, columns and,
for curves, values of x; each names what it changes of an experiment, and a profile says under which protocol and with
which settings all of them are run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment.settings import METHOD_SECTIONS
from poisonbench.leaderboard.values import VALUES
from poisonbench.plugins import defense_names
from poisonbench.store.strict_yaml import read_yaml

if TYPE_CHECKING:
    from poisonbench.experiment.cell import Cell


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(_Section):
    """What a row, a column or a profile sets of an experiment; what is left out is left as it was.

    Attributes:
        note: what the reader must know, such as fewer epochs than the paper's; shown below.
    """

    protocol: str | None = None
    model: str | None = None
    attack: str | None = None
    surrogate: str | None = None
    preset: str | None = None
    defense: str | None = None
    epsilon: float | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    note: str | None = None


class Across(_Section):
    """The x axis of curves.

    Attributes:
        axis: epsilon, or the key of a setting.
        label: with its unit.
        values: in ascending order.
        percent: whether the axis is drawn in percent.
        rounds: by column, over how many rounds of its method a value is shared out.
    """

    axis: str
    label: str
    values: Annotated[tuple[float, ...], Field(min_length=1)]
    percent: bool = False
    rounds: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)


class Profile(_Section):
    """How much of a study is run.

    Attributes:
        note: what a reader must know about it.
        stands_in: data that it takes in the place of the paper's, by the name in title and rows, which say so then.
        base: holds for every experiment; rows and columns change it.
        rows: further changes by row, which win over the row's own; null leaves the row out.
        columns: the same by column.
        x: other values of x.
    """

    note: str
    stands_in: dict[str, str] = Field(default_factory=dict)
    base: Change
    rows: dict[str, Change | None] = Field(default_factory=dict)
    columns: dict[str, Change | None] = Field(default_factory=dict)
    x: tuple[float, ...] | None = None


class Study(_Section):
    """One table or figure.

    Attributes:
        name: table2, figure4, …
        title: what it shows.
        kind: table; curves, a panel each row and a line each column; removal, curves of filters, drawn
            against the part of the rows that they removed; images, a strip of poison points each.
        shows: values of a record, by their names in leaderboard.values.
        rows: by label.
        columns: by label.
        left_out: by row, the columns that it does not have.
        x: of curves.
        clean: accuracy before the attack as the paper prints it, percent, by row.
        printed: the paper's other numbers as printed, by row, column and name: acc2 (percent), drop and drop-std
            (points), attack-hours. They need not agree: the paper's drops are not all acc1 − acc2.
        remark: what differs between paper and benchmark, whatever the profile.
        profiles: by name.
    """

    name: str
    title: str
    kind: Literal["table", "curves", "removal", "images"] = "table"
    shows: Annotated[tuple[str, ...], Field(min_length=1)] = ("drop",)
    rows: Annotated[dict[str, Change], Field(min_length=1)]
    columns: Annotated[dict[str, Change], Field(min_length=1)]
    left_out: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    x: Across | None = None
    clean: dict[str, float] = Field(default_factory=dict)
    printed: dict[str, dict[str, dict[Literal["acc2", "drop", "drop-std", "attack-hours"], float]]] = Field(
        default_factory=dict
    )
    remark: str = ""
    profiles: Annotated[dict[str, Profile], Field(min_length=1)]


@dataclass(frozen=True)
class Place:
    """What one place of a study shows; nothing of it is looked up before its cells are asked for.

    Attributes:
        study: the name of its study.
        row: its label.
        column: its label.
        x: on the x axis, or None.
        axes: as a grid has them, each with one value, `set` with a tuple of one by key; what is left out is the
            protocol's.
        notes: of the row, the column and the profile's changes to them.
    """

    study: str
    row: str
    column: str
    x: float | None
    axes: Mapping[str, Any]
    notes: tuple[str, ...]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """What is run for it, a cell each seed.

        Raises:
            UsageError: for a name or value that is wrong.
        """
        from poisonbench.sweeps.grid import (  # brings every method and torch; what is printed is read without them
            cells,
            grid,
        )

        label = _file(self.study)
        return tuple(cells(grid(self.axes, label), label))


@cache
def names() -> tuple[str, ...]:
    """The studies of the paper: tables, then figures, by number."""
    return tuple(sorted(_in("paper"), key=lambda name: (name.rstrip("0123456789") != "table", len(name), name)))


@cache
def own() -> tuple[str, ...]:
    """The studies that are the benchmark's own, by name."""
    return tuple(sorted(_in("studies")))


def _in(folder: str) -> list[str]:
    found = files("poisonbench.protocols").joinpath(folder).iterdir()
    return [item.name[:-5] for item in found if item.name.endswith(".yaml")]


@cache
def load(name: str) -> Study:
    """The study of that name.

    Raises:
        UnknownNameError: if there is none.
        ConfigError: for a file that is wrong; names file and key.
    """
    known = [*names(), *own()]
    if name not in known:
        raise UnknownNameError(unknown("table, figure or study", name, known))
    label = _file(name)
    path = Path(str(files("poisonbench.protocols").joinpath(*label.split("/")[1:])))
    try:
        study = Study.model_validate_json(to_json(read_yaml(path, label)), strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{label}: {key}: {first['msg']}, got {str(first['input'])[:80]!r}.") from None
    _check(study, label)
    return study


def profile_of(study: Study, name: str) -> Profile:
    """A profile of a study.

    Raises:
        UnknownNameError: if it has none of that name.
    """
    if name not in study.profiles:
        raise UnknownNameError(unknown(f"profile of {study.name}", name, list(study.profiles)))
    return study.profiles[name]


def places(study: Study, name: str) -> list[Place]:
    """Every place of a study under a profile, row by row.

    Raises:
        UnknownNameError: if it has no profile of that name.
    """
    profile, found = profile_of(study, name), []
    for row, row_change in _kept(study.rows, profile.rows):
        for column, column_change in _kept(study.columns, profile.columns):
            if column in study.left_out.get(row, ()):
                continue
            changes = [profile.base, row_change, column_change, profile.rows.get(row), profile.columns.get(column)]
            notes = tuple(dict.fromkeys(change.note for change in changes if change and change.note))
            for x in _values(study, profile):
                axes = {key: value for key, value in _merged(changes, study, column, x).items() if value is not None}
                found.append(Place(study.name, row, column, x, axes, notes))
    return found


def renamed(text: str, profile: Profile) -> str:
    """A title or label with the names of the data that a profile really takes."""
    for name in sorted(profile.stands_in, key=len, reverse=True):
        text = text.replace(name, profile.stands_in[name])
    return text


def _file(name: str) -> str:
    """Where a study is written, as errors name it."""
    return f"protocols/{'studies' if name in own() else 'paper'}/{name}.yaml"


def _kept(own: Mapping[str, Change], changes: Mapping[str, Change | None]) -> Iterator[tuple[str, Change]]:
    return ((label, change) for label, change in own.items() if changes.get(label, change) is not None)


def _values(study: Study, profile: Profile) -> tuple[float | None, ...]:
    return (None,) if study.x is None else profile.x or study.x.values


def _merged(changes: list[Change | None], study: Study, column: str, x: float | None) -> dict[str, Any]:
    """The axes of a place: later changes over earlier ones, settings key by key."""
    axes: dict[str, Any] = {"set": {}}
    for change in changes:
        if change is not None:
            said = change.model_dump(exclude_unset=True, exclude={"set", "note"})
            axes |= said
            axes["set"] |= {key: (value,) for key, value in change.set.items()}
    axes["set"] = {key: value for key, value in axes["set"].items() if _concerns(key, axes)}
    if study.x is not None and x is not None:
        if study.x.axis == "epsilon":
            axes["epsilon"] = x
        else:
            part = x / study.x.rounds.get(column, 1)
            axes["set"][study.x.axis] = (int(part) if part.is_integer() else part,)
    return axes


def _concerns(key: str, axes: Mapping[str, Any]) -> bool:
    """Whether a setting is for this place: attack.tgda.epochs is for TGDA's alone."""
    section, _, rest = key.partition(".")
    owner, dot, _ = rest.rpartition(".")
    return (
        section not in METHOD_SECTIONS
        or not dot
        or owner in (part.name for part in defense_names.parts(axes.get(section, "none")))
    )


def _check(study: Study, label: str) -> None:
    for value in study.shows:
        if value not in VALUES:
            raise ConfigError(f"{label}: shows: {unknown('value', value, list(VALUES))}")
    if (study.kind in ("curves", "removal")) != (study.x is not None):
        raise ConfigError(f"{label}: x: curves need it, and nothing else has it.")
    for name, profile in study.profiles.items():
        for section, known in (("rows", study.rows), ("columns", study.columns)):
            for key in getattr(profile, section):
                if key not in known:
                    raise ConfigError(f"{label}: profiles.{name}.{section}: {unknown(section[:-1], key, list(known))}")
    for section, by_row in (("printed", study.printed), ("left_out", study.left_out)):
        for row, columns in by_row.items():
            for column in columns:
                if row not in study.rows or column not in study.columns:
                    raise ConfigError(f"{label}: {section}.{row}.{column}: there is no such row or column.")
    for column in study.x.rounds if study.x else ():
        if column not in study.columns:
            raise ConfigError(f"{label}: x.rounds: {unknown('column', column, list(study.columns))}")
    for row in study.clean:
        if row not in study.rows:
            raise ConfigError(f"{label}: clean: {unknown('row', row, list(study.rows))}")
