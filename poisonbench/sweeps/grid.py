"""A grid of cells: lists over any axis, less what is excluded, plus what is included."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from poisonbench.errors import ConfigError, UsageError, unknown
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell, build
from poisonbench.experiment.settings import METHOD_SECTIONS, Setting, refuse_what_has_a_flag
from poisonbench.plugins import defense_names
from poisonbench.plugins.registry import name_of
from poisonbench.problem.epsilon import rounded
from poisonbench.store.strict_yaml import read_yaml

Combination = dict[str, Any]
"""One combination: a value for each axis, `set` a mapping."""

MOST = 100_000
"""Combinations that are planned at once."""

POISON_KEY = "attack.replay.file"
"""The setting that `poison` is written for, with replay as the attack."""

_LARGEST_SEED = 2**63 - 1
"""That a record can hold."""


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """What has no value, or one twice, was meant otherwise."""
    if not values:
        raise ValueError("expected one value at least")
    seen = set()
    for value in values:
        if repr(value) in seen:  # 1, 1.0 and true are told apart
            raise ValueError(f"{value!r} is given twice")
        seen.add(repr(value))
    return values


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(rule.get("set", {}), dict):
        raise ValueError("set: expected keys and values")
    return rule


Value = TypeVar("Value")
Listed = Annotated[tuple[Value, ...], BeforeValidator(_listed), AfterValidator(_distinct)]
"""One value or a list of them."""

Name = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(strict=True, ge=0)]
Epsilon = Annotated[float, Field(strict=True), AfterValidator(rounded)]
Rules = tuple[Annotated[dict[str, Any], AfterValidator(_rule)], ...]


class Axes(BaseModel):
    """The axes of a grid, each one value or a list.

    Attributes:
        protocol: by name, by family for its newest version, or a YAML file; null is the dataset's newest that adds
            points.
        dataset: null is the protocol's; with a protocol it takes the place of the protocol's own, which is a deviation.
        model: target; null is the protocol's first.
        attack: attacks.
        surrogate: model to craft on; null is the target.
        preset: named settings of the attack; null for none.
        defense: defenses; a+b is one after the other, a:preset one with named settings.
        knows: the defense that the attacker knows, `same` for the one that it meets; null for none.
        epsilon: poison fraction; null is the protocol's.
        set: settings by key, such as attack.tgda.epochs. A list is an axis; a value that is a list itself is written as
            a list of one list.
        seeds: seeds; null is those of the protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Listed[Name | None] = (None,)
    dataset: Listed[Name | None] = (None,)
    model: Listed[Name | None] = (None,)
    attack: Listed[Name]
    surrogate: Listed[Name | None] = (None,)
    preset: Listed[Name | None] = (None,)
    defense: Listed[Name] = ("none",)
    knows: Listed[Name | None] = (None,)
    epsilon: Listed[Epsilon | None] = (None,)
    set: dict[str, Listed[Any]] = Field(default_factory=dict)
    seeds: Listed[Seed | None] = (None,)

    def points(self) -> Iterator[Combination]:
        """Every combination, protocols outermost, seeds innermost.

        Raises:
            UsageError: for a protocol or dataset that there is none of.
        """
        names = ("protocol", "dataset", "model", "attack", "surrogate", "preset", "defense", "knows", "epsilon")
        self._refuse_namesakes()
        for *values, chosen in itertools.product(
            *(getattr(self, name) for name in names), itertools.product(*self.set.values())
        ):
            point = {**dict(zip(names, values, strict=True)), "set": dict(zip(self.set, chosen, strict=True))}
            point["protocol"] = protocol.choose(point["protocol"], point["dataset"])
            for seed in self.seeds:
                for one in protocol.load(point["protocol"]).seeds if seed is None else (seed,):
                    yield {**point, "seeds": one}

    def size(self) -> int:
        """How many combinations there are; of more than MOST at least so many, where seeds are the protocol's.

        Raises:
            UsageError: for a protocol or dataset that there is none of.
        """
        others = self.model, self.attack, self.surrogate, self.preset, self.defense, self.knows, self.epsilon
        each = math.prod(map(len, (*others, *self.set.values())))
        least = each * len(self.protocol) * len(self.dataset) * len(self.seeds)
        if least > MOST or None not in self.seeds:
            return least
        own = len(self.seeds) - 1
        chosen = (protocol.choose(*pair) for pair in itertools.product(self.protocol, self.dataset))
        return each * sum(own + len(protocol.load(name).seeds) for name in chosen)

    def _refuse_namesakes(self) -> None:
        for dataset in self.dataset:
            given: dict[str, str | None] = {}
            for name in self.protocol:
                chosen = protocol.choose(name, dataset)
                if chosen in given:
                    raise ConfigError(
                        f"protocol: {_text(given[chosen])} and {_text(name)} are both {chosen}; leave one out."
                    )
                given[chosen] = name


Kind = TypeVar("Kind", bound=Axes)


class Grid(Axes):
    """A grid, as a sweep's file has it.

    Attributes:
        exclude: combinations to leave out: each names some axes, with one value or a list; what matches all of them is
            out.
        include: more axes; what one leaves out is as above. What was excluded may come in again here.
    """

    exclude: Rules = ()
    include: Rules = ()

    def points(self) -> Iterator[Combination]:
        """Every combination that is not excluded, then the inclusions; some may come twice."""
        yield from (point for point in super().points() if not any(_matches(rule, point) for rule in self.exclude))
        for axes in self.inclusions():
            yield from axes.points()

    def size(self) -> int:
        """How many combinations there are before any is excluded, the inclusions' among them; see Axes."""
        return super().size() + sum(axes.size() for axes in self.inclusions())

    def idle_rules(self) -> list[int]:
        """The numbers, from 1, of the exclusions that no combination matches."""
        points = list(super().points())
        return [
            number for number, rule in enumerate(self.exclude, 1) if not any(_matches(rule, point) for point in points)
        ]

    def inclusions(self, origin: str = "") -> list[Axes]:
        """The axes of every inclusion, complete; `origin` names the file in messages."""
        own = self.model_dump(exclude={"exclude", "include"}, exclude_unset=True)
        return [
            _validated(
                Axes,
                {**own, **more, "set": {**own.get("set", {}), **more.get("set", {})}},
                f"{origin}: include {number}",
            )
            for number, more in enumerate(self.include, 1)
        ]


def read(path: Path) -> Grid:
    """The grid of a YAML file.

    Raises:
        ConfigError: for a file that cannot be read, or a key or value that is wrong; names file and key.
    """
    return grid(read_yaml(path, str(path)), str(path))


def grid(document: Mapping[str, Any], origin: str) -> Grid:
    """The grid of a document; `origin` names it in messages.

    Poison sets that somebody made, `poison`, are the axis of the file that the attack replay reads.

    Raises:
        ConfigError: for a key or value that is wrong.
    """
    found = _validated(Grid, _replaying(document, origin), origin)
    known = [name for name in Axes.model_fields if name != "set"] + [f"set.{key}" for key in found.set]
    for rule in found.exclude:
        for key in _flat(rule):
            if key not in known:
                raise ConfigError(f"{origin}: exclude: {unknown('axis', key, known)}")
    found.inclusions(origin)
    return found


def cells(
    grid: Grid, origin: str, settings: Iterable[Setting] = (), replaced: Collection[str] = frozenset()
) -> list[Cell]:
    """Every cell of a grid, once.

    Args:
        grid: the axes.
        origin: the file that the grid is from, for messages; empty for flags.
        settings: those that hold for all cells; the grid's own win.
        replaced: axes of the file that flags took the place of: an exclusion that is about them may match nothing.
    Raises:
        UsageError: for any name or value that is wrong.
    """
    with _named(origin):
        if (size := grid.size()) > MOST:
            shown = f"{size:,}" if size < 10**15 else f"about 10^{int(math.log10(size))}"
            raise ConfigError(f"the grid has {shown} combinations, at most {MOST:,} are planned at once; split it.")
        _refuse_idle_rules(grid, replaced)
        return _cells(grid, origin, settings)


def _replaying(document: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
    """The same document with replay and its files in the place of `poison`."""
    if "poison" not in document:
        return document
    place, own = _place(origin, "poison"), document.get("set") or {}
    if document.get("attack") is not None:
        raise ConfigError(f"{place}: a poison set is in the place of an attack; leave out one of the two.")
    for key in ("attack.file", POISON_KEY):
        if isinstance(own, Mapping) and key in own:
            raise ConfigError(f"{place}: {key} is given as well; leave out one of the two.")
    rest = {key: value for key, value in document.items() if key != "poison"}
    files = _listed(document["poison"])
    if not all(isinstance(file, str) and file for file in files):
        raise ConfigError(f"{place}: expected files or folders, got {document['poison']!r}.")
    if document.get("seeds") is None:
        example = "seeds: 0" if origin else "--seeds 0"
        raise ConfigError(f"{place}: a poison set is made for one seed's split; say for which, such as {example}.")
    return rest | {"attack": "replay", "set": {**own, POISON_KEY: files} if isinstance(own, Mapping) else own}


def _refuse_idle_rules(grid: Grid, replaced: Collection[str]) -> None:
    for number in grid.idle_rules():
        rule = _flat(grid.exclude[number - 1])
        if not set(rule) & set(replaced):
            raise ConfigError(
                f"exclude {number}: no combination has {', '.join(f'{key} {rule[key]}' for key in rule)}."
            )


def _cells(grid: Grid, origin: str, settings: Iterable[Setting]) -> list[Cell]:
    common, points = tuple(settings), list(grid.points())
    if not points:
        raise ConfigError("every combination is excluded.")
    largest = max(point["seeds"] for point in points)
    if largest > _LARGEST_SEED:
        raise ConfigError(f"{_place(origin, 'seeds')}: expected integers below 2**63, got {largest}.")
    for name, epsilon in {(point["protocol"], point["epsilon"]) for point in points if point["epsilon"] is not None}:
        protocol.resolve(name, (Setting("threat.epsilon", epsilon, _place(origin, "epsilon")),))
    keys = dict.fromkeys(key for point in points for key in point["set"])
    refuse_what_has_a_flag(Setting(key, None, _place(origin, "set")) for key in keys)
    _refuse_strays(points, {setting.key for setting in common}, keys)
    resolved: dict[tuple[Any, ...], protocol.Resolved] = {}
    made: list[tuple[Combination, Cell]] = []
    for point in points:
        own = [] if point["dataset"] is None else [Setting("dataset", point["dataset"], _place(origin, "dataset"))]
        own += [Setting(key, value, _place(origin, "set")) for key, value in point["set"].items()]
        key = (point["protocol"], repr(own))
        if key not in resolved:
            resolved[key] = protocol.resolve(point["protocol"], (*common, *own))
        rules = resolved[key]
        cell = build(
            rules,
            attack=point["attack"],
            defense=point["defense"],
            epsilon=rules.protocol.threat.epsilon if point["epsilon"] is None else point["epsilon"],
            seed=point["seeds"],
            model=point["model"],
            surrogate=point["surrogate"],
            preset=point["preset"],
            knows=point["knows"],
        )
        made.append((point, cell))
    _refuse_strange_models([cell for _, cell in made], {setting.key for setting in common}, keys)
    _refuse_idle_values(made, origin)
    found: dict[str, Cell] = {}
    for _, cell in made:
        found.setdefault(cell.hash(), cell)
    return list(found.values())


def _place(origin: str, axis: str, *keys: str) -> str:
    """Where a user finds what was given for an axis: below a key of the file, or after a flag."""
    return f"{origin}: {'.'.join((axis, *keys))}" if origin else " ".join((f"--{axis}", *keys))


@contextmanager
def _named(origin: str) -> Iterator[None]:
    """An error that does not say which file it comes from says it."""
    try:
        yield
    except UsageError as error:
        if not origin or str(error).startswith(f"{origin}: "):
            raise
        raise type(error)(f"{origin}: {error}") from error


def _refuse_strays(points: Sequence[Combination], common: Collection[str], own: Collection[str]) -> None:
    """A setting such as defense.loss.fraction is for a method that runs, and defense.fraction for one at least that has
    no setting of its own in its place."""
    for kind in METHOD_SECTIONS:
        asked = dict.fromkeys(part.name for point in points for part in defense_names.parts(point[kind]))
        for key in sorted({*common, *own}):
            section, _, rest = key.partition(".")
            owner, dot, _ = rest.rpartition(".")
            if section == kind and dot and owner not in asked:
                raise ConfigError(f"{key}: no {kind} {owner!r} is run here, only {', '.join(asked)}.")
        for level in (common, own):
            _refuse_covered(kind, kind, asked, level)


def _refuse_strange_models(cells: Sequence[Cell], common: Collection[str], own: Collection[str]) -> None:
    """A setting such as recipes.nn.lr is for a model that is trained, recipe.lr for one at least without its own."""
    trained = dict.fromkeys(name_of(model) for cell in cells for model in (cell.model, cell.surrogate))
    for key in sorted({*common, *own}):
        section, _, rest = key.partition(".")
        if section == "recipes" and (model := rest.partition(".")[0]) not in trained:
            raise ConfigError(f"{key}: no model {model!r} is trained here, only {', '.join(trained)}.")
    for level in (common, own):
        _refuse_covered("recipe", "recipes", trained, level)


def _refuse_covered(general: str, special: str, owners: Iterable[str], keys: Collection[str]) -> None:
    """A setting for all owners is no setting if each of them has one of its own."""
    for key in keys:
        section, _, rest = key.partition(".")
        own = [f"{special}.{owner}.{rest}" for owner in owners]
        if section == general and "." not in rest and own and set(own) <= set(keys):
            raise ConfigError(f"{key}: nothing is left for it beside {', '.join(own)}.")


def _refuse_idle_values(made: Iterable[tuple[Combination, Cell]], origin: str) -> None:
    """Two values of an axis that give the same cells are one, or a setting that nothing obeys."""
    found: dict[str, dict[str, tuple[Any, set[str]]]] = {}
    for point, cell in made:
        name = cell.hash()
        for axis, value in _flat(point).items():
            found.setdefault(axis, {}).setdefault(repr(value), (value, set()))[1].add(name)
    for axis, values in found.items():
        given: dict[frozenset[str], Any] = {}
        for value, names in values.values():
            if (first := given.setdefault(frozenset(names), value)) is not value:
                place = _place(origin, *axis.split(".", 1))
                raise ConfigError(f"{place}: {_text(first)} and {_text(value)} give the same cells; leave one out.")


def _text(value: object) -> str:
    return "null" if value is None else str(value)


def _matches(rule: Mapping[str, Any], point: Combination) -> bool:
    values = _flat(point)
    return all(values.get(key) in _meant(key, _listed(wanted), point) for key, wanted in _flat(rule).items())


def _meant(key: str, wanted: Sequence[Any], point: Combination) -> Sequence[Any]:
    """A rule's values for a key as points have them: protocols with their version, ε rounded."""
    if key == "protocol":
        return [protocol.choose(name, point["dataset"]) for name in wanted]
    return [rounded(one) if isinstance(one, float) else one for one in wanted] if key == "epsilon" else wanted


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """With `set`'s keys beside the axes."""
    settings = values.get("set") or {}
    return {key: value for key, value in values.items() if key != "set"} | {
        f"set.{key}": value for key, value in settings.items()
    }


def _validated(kind: type[Kind], document: Mapping[str, Any], origin: str) -> Kind:
    known = list(kind.model_fields)
    for key in document:
        if key not in known:
            raise ConfigError(f"{origin}: {unknown('axis', str(key), known)}")
    try:
        return kind.model_validate(dict(document))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = _place(origin, *map(str, first["loc"]))
        message, came = first["msg"].removeprefix("Value error, "), repr(first["input"])
        if first["type"] == "missing":
            raise ConfigError(f"{key}: missing; name at least one, such as label-flip.") from None
        raise ConfigError(f"{key}: {message}, got {came[:80]}{'…' if len(came) > 80 else ''}.") from None
