"""Load, validate, lock and hash a protocol.

A protocol fixes everything that acc1 − acc2 depends on besides attack, defense, model, ε and seed. Settings come from
the protocol's YAML, then `--config`, then `--set` and flags; a setting that differs from the released protocol is a
deviation, and a record with deviations is unranked: it never sits silently beside records it cannot be compared with.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)
from pydantic_core import to_json

from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment.settings import METHOD_SECTIONS, Setting, flatten
from poisonbench.plugins.registry import entries
from poisonbench.problem.epsilon import poison_fraction
from poisonbench.problem.threat import Knowledge, Mode
from poisonbench.store.canonical import content_hash
from poisonbench.store.strict_yaml import read_yaml

_AXES = frozenset({"seeds", "threat.epsilon"})
"""What may vary inside one protocol: the axes that boards are drawn over."""

ORACLE = "defense: an oracle, told which rows are poison"
"""The deviation of every cell whose defense is one."""

UNBOUNDED = "threat.box: [0, 1] → none"
"""The deviation of every cell whose attack lets pixels leave the box."""

DEFAULT_DATASET = "digits"
"""Whose newest protocol holds where neither a protocol nor a dataset is named: it needs no download."""

_OWN = re.compile(r"recipes\.[^.]+\.[^.]+")
"""A key of one model's recipe."""

_NAME = re.compile(r"(?P<family>.+)-v(?P<version>\d+)")


Epsilon = Annotated[float, AfterValidator(poison_fraction)]
Name = Annotated[str, Field(min_length=1)]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is given twice")
    return values


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecipeSection(_Section):
    """How the target is trained, before and after the attack; see training.Recipe."""

    optimizer: Literal["sgd", "adam"]
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    batch_size: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    schedule: Literal["constant", "cosine"]
    augmentation: Literal["none", "flips-and-crops"] = "none"

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The first protocols know no augmentation: without one, theirs is the text."""
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if key != "augmentation" or value != "none"}


class RecipeChanges(_Section):
    """What a model's recipe has otherwise than the protocol's; see RecipeSection."""

    optimizer: Literal["sgd", "adam"] | None = None
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    schedule: Literal["constant", "cosine"] | None = None
    augmentation: Literal["none", "flips-and-crops"] | None = None

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is left out is not written either."""
        written: dict[str, Any] = write(self)
        return {key: value for key, value in written.items() if value is not None}

    @field_validator("*", mode="before")
    @classmethod
    def _said(cls, value: object) -> object:
        if value is None:
            raise ValueError("expected a value; leave the key out where the model has the protocol's")
        return value


class ThreatSection(_Section):
    """What an attacker may know and do at most: `epsilon` is n_poison / n_train, `radius` an L∞ bound in [0, 1] units
    or null."""

    knowledge: Knowledge
    mode: Mode
    epsilon: Epsilon
    radius: Annotated[float, Field(gt=0, le=1)] | None


class Protocol(_Section):
    """One protocol.

    Attributes:
        name: as on the command line.
        version: counts up when a protocol supersedes another.
        summary: one sentence.
        dataset: registered dataset.
        models: registered models it has boards for; the first is the default.
        validation: |D_v| as a part of the training pool.
        trusted: the clean rows of the defender alone, as a part of the training pool; null if it trusts D_v, which an
            informed attacker optimises against.
        padded: whether the run in which a defense meets no poison has as many rows as the one in which it does, copies
            of clean rows in the place of the poison: else a defense could tell them apart by counting.
        train_rows: |D_tr|, if it is to be smaller than what D_v leaves; its rows are then a random part.
        recipe: training.
        recipes: what is otherwise for a model, by its name.
        threat: budget.
        seeds: the seeds a ranked entry runs.
    """

    name: Name
    version: Annotated[int, Field(ge=1)]
    summary: Name
    dataset: Name
    models: Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_distinct)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    trusted: Annotated[float, Field(gt=0, lt=1)] | None = None
    padded: bool = False
    train_rows: Annotated[int, Field(ge=1)] | None = None
    recipe: RecipeSection
    recipes: dict[str, RecipeChanges] = Field(default_factory=dict)
    threat: ThreatSection
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_distinct)]

    def recipe_of(self, model: str) -> dict[str, Any]:
        """The recipe that a model is trained with."""
        own = self.recipes[model].model_dump() if model in self.recipes else {}
        return self.recipe.model_dump() | own


@dataclass(frozen=True)
class Resolved:
    """A protocol with a run's settings in it.

    Attributes:
        protocol: what holds.
        hash: SHA-256 of the released document that it began as.
        released: whether that document ships with poisonbench (a user's own file is never ranked).
        deviations: "key: released → now", for every locked key that differs.
        methods: settings for `attack` and `defense`, by section, as given.
    """

    protocol: Protocol
    hash: str
    released: bool
    deviations: tuple[str, ...]
    methods: Mapping[str, Mapping[str, Any]]


@cache
def names() -> tuple[str, ...]:
    """The protocols that ship with poisonbench, by family and version."""
    found = [item.name[:-5] for item in files("poisonbench.protocols").iterdir() if item.name.endswith(".yaml")]
    return tuple(sorted(found, key=_family_and_version))


@cache
def load(name: str) -> Protocol:
    """The protocol called `name`, or the YAML file at that path.

    Raises:
        UnknownNameError: if there is neither.
        ConfigError: for a file that does not parse or validate; names file and key.
    """
    return resolve(name, ()).protocol


@cache
def shipped_hash(name: str) -> str | None:
    """The hash of the released protocol of that name; None if none ships."""
    return resolve(name, ()).hash if name in names() else None


def choose(name: str | None = None, dataset: str | None = None) -> str:
    """The protocol that is meant: the one of that name, else the newest of the dataset, else the newest of the digits.

    A family's name, such as digits, is its newest version; a file of that name needs its suffix or `./` before it. The
    name is not looked up here.

    Raises:
        UnknownNameError: for a dataset that has no protocol, if no name is given.
    """
    if name is None:
        return for_dataset(DEFAULT_DATASET if dataset is None else dataset)
    return next((one for one in reversed(names()) if _family_and_version(one)[0] == name), name)


def for_dataset(dataset: str) -> str:
    """The newest shipped protocol of a dataset that adds points: of the family of the dataset's own name, if it has
    one.

    Raises:
        UnknownNameError: if it has none.
    """
    adding = [name for name in names() if load(name).threat.mode is Mode.ADDITION]
    known = sorted({load(name).dataset for name in adding})
    if dataset in entries("dataset") and dataset not in known:
        raise UnknownNameError(
            f"No protocol is about dataset {dataset!r}. Say whose rules it shall have: --protocol {DEFAULT_DATASET}, "
            f"or a YAML file."
        )
    if dataset not in known:
        raise UnknownNameError(
            unknown("dataset", dataset, known) + " A dataset without a protocol needs --protocol FILE."
        )

    def rank(name: str) -> tuple[bool, int]:
        family, version = _family_and_version(name)
        return family == dataset, version

    return max((name for name in adding if load(name).dataset == dataset), key=rank)


def _family_and_version(name: str) -> tuple[str, int]:
    parts = _NAME.fullmatch(name)
    return (parts["family"], int(parts["version"])) if parts else (name, 0)


def resolve(name: str, settings: tuple[Setting, ...]) -> Resolved:
    """A protocol with settings laid over it, the later over the earlier.

    Args:
        name: as in `choose`.
        settings: from the weakest to the strongest.
    Raises:
        UnknownNameError: if there is no such protocol.
        ConfigError: for an unknown key or a bad value; names where it came from and the key.
    """
    name = choose(name)
    released = name in names()
    path = Path(str(files("poisonbench.protocols").joinpath(f"{name}.yaml"))) if released else Path(name)
    if not released and not path.is_file():
        raise UnknownNameError(unknown("protocol", name, list(names())))
    label = f"protocols/{path.name}" if released else str(path)
    base = flatten(read_yaml(path, label), label)

    origins = {setting.key: setting.origin for setting in base}
    values = {setting.key: setting.value for setting in base}
    methods: dict[str, dict[str, Any]] = {section: {} for section in METHOD_SECTIONS}
    for setting in _in_order(settings):
        section, _, rest = setting.key.partition(".")
        if section in methods and rest:
            methods[section] = _without_own(methods[section], rest) | {rest: setting.value}
            continue
        if section == "recipe" and rest:  # it is for every model
            values = {key: value for key, value in values.items() if not _OWN.fullmatch(key) or _last(key) != rest}
        values[setting.key], origins[setting.key] = setting.value, setting.origin
    released_values = {setting.key: setting.value for setting in base}
    protocol = _validate(values, origins, label)
    if not released:
        _refuse_shipped_name(protocol.name, label)
    now = {key: values[f"recipe.{_last(key)}"] for key in released_values if key not in values} | values
    deviations = tuple(
        f"{key}: {released_values.get(key)!r} → {now[key]!r}"
        for key in sorted(now)
        if key not in _AXES and now[key] != released_values.get(key)
    )
    return Resolved(protocol, content_hash(_nested(released_values)), released, deviations, methods)


def _in_order(settings: tuple[Setting, ...]) -> Iterator[Setting]:
    """From the weakest to the strongest: of one origin those for one method or model alone come last, however they
    were typed."""
    for _, group in itertools.groupby(settings, key=lambda setting: setting.origin):
        yield from sorted(group, key=lambda setting: setting.key.startswith("recipes.") or setting.key.count(".") > 1)


def _without_own(fields: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Fields of methods, less what a setting for all methods takes the place of."""
    return {own: value for own, value in fields.items() if "." in key or "." not in own or _last(own) != key}


def _refuse_shipped_name(name: str, label: str) -> None:
    """A file of one's own never goes by a released protocol's name."""
    taken = {*names(), *(_family_and_version(one)[0] for one in names())}
    if name in taken:
        raise ConfigError(f"{label}: name: {name} ships with poisonbench; give rules of your own another name.")


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".", 2 if _OWN.fullmatch(key) else 1)
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return document


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _validate(values: Mapping[str, Any], origins: Mapping[str, str], label: str) -> Protocol:
    _refuse_unknown_keys(values, origins)
    try:
        return Protocol.model_validate_json(to_json(_nested(values), inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        where = next((origins[path] for path in (key, key.rpartition(".")[0]) if path in origins), label)
        if first["type"] == "missing":
            raise ConfigError(f"{where}: {key}: missing.") from None
        message = first["msg"].removeprefix("Value error, ")
        got = "" if "got" in message else f", got {first['input']!r}."
        raise ConfigError(f"{where}: {key}: {message}{got}") from None


def _refuse_unknown_keys(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    sections: dict[str, type[_Section]] = {"recipe": RecipeSection, "threat": ThreatSection}
    known = [key for key in Protocol.model_fields if key not in (*sections, "recipes")]
    known += [f"{name}.{key}" for name, section in sections.items() for key in section.model_fields]
    known += [f"recipes.{model}.{key}" for model in _own_models(values) for key in RecipeChanges.model_fields]
    for key in values:
        if key not in known:
            raise ConfigError(f"{origins[key]}: {unknown('key', key, known)}")


def _own_models(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The protocol's models, which may have recipes of their own."""
    models = values.get("models")
    return tuple(map(str, models)) if isinstance(models, list | tuple) else ()
