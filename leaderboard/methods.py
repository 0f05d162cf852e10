"""Attacks and defenses as boards name them: one method with two settings is two."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from poisonbench.store.canonical import canonical_json

NO_DEFENSE = "none"
"""The defense that does nothing."""

INFORMED = "knows the defense"
"""What the label of an attack ends with that does."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

Model = tuple[str | None, int | None]
"""Name and declared version; both None for no surrogate."""


class Method(NamedTuple):
    """An attack or a defense with its settings.

    Attributes:
        name: as registered.
        version: declared by the method; several joined by + have several.
        params: its parameters as canonical JSON.
        surrogate: the model that an attack is crafted on, None for the target itself.
        surrogate_version: declared by that model.
        informed: whether an attack knows the defense that it meets.
    """

    name: str
    version: str
    params: str
    surrogate: str | None = None
    surrogate_version: int | None = None
    informed: bool = False

    def made_by(self, kind: str) -> Iterator[tuple[str, str, int]]:
        """Kind, name and version of each of its parts, and of the surrogate."""
        for name, version in zip(self.name.split("+"), self.version.split("+"), strict=True):
            yield kind, name, int(version)
        if self.surrogate is not None:
            yield "model", self.surrogate, self.surrogate_version or 0

    def without(self, *keys: str) -> Method:
        """The method but for some of its parameters."""
        kept = {key: value for key, value in json.loads(self.params).items() if key not in keys}
        return self._replace(params=canonical_json(kept))


def labels(methods: Collection[Method]) -> dict[Method, str]:
    """A name for each: the plain one if it is run with one setting only, else with the fields that tell them apart."""
    namesakes: dict[str, list[Method]] = {}
    for method in methods:
        namesakes.setdefault(method.name, []).append(method)
    return {method: label for group in namesakes.values() for method, label in _labels(group).items()}


def model_labels(models: Iterable[tuple[Hashable, Model]]) -> dict[Model, str]:
    """A name for each model: its own, with the version where a later one of that name is in the same place.

    Args:
        models: place and model, any number of times; the place is whatever else tells what stands side by side.
    """
    found, latest = set(models), dict[tuple[Hashable, str | None], int]()
    for place, (name, version) in found:
        latest[place, name] = max(version or 0, latest.get((place, name), 0))
    older = {model for place, model in found if (model[1] or 0) < latest[place, model[0]]}
    return {model: f"{model[0]} (version={model[1]})" if model in older else str(model[0]) for _, model in found}


def _labels(namesakes: Sequence[Method]) -> dict[Method, str]:
    """Labels of methods of one name, by their parameters; a version is told where there is a later one."""
    if len(namesakes) == 1:  # what most are, so that no parameters need to be read
        (method,) = namesakes
        notes = [f"on {method.surrogate}"] if method.surrogate else []
        return {method: _noted(method, notes)}
    group: dict[Method, dict[str, Any]] = {method: json.loads(method.params) for method in namesakes}
    latest = max(_numbers(method.version) for method in group)
    surrogates = len({(method.surrogate, method.surrogate_version) for method in group}) > len(
        {method.surrogate for method in group}
    )
    keys = {key for params in group.values() for key in params}
    # As text: to Python 1, 1.0 and true are equal, as settings they are not.
    telling = sorted(key for key in keys if len({canonical_json(params.get(key)) for params in group.values()}) > 1)
    found = {}
    for method, params in group.items():
        notes = [f"{key}={_short(params[key])}" for key in telling if key in params]
        notes += [f"version={method.version}"] if _numbers(method.version) < latest else []
        notes += [f"on {method.surrogate}"] if method.surrogate else []
        notes += [f"surrogate_version={method.surrogate_version}"] if surrogates and method.surrogate else []
        found[method] = _noted(method, notes)
    return found


def _short(value: object) -> object:
    """A value as a label has it: of a SHA-256, such as that of a poison set of one's own, its first twelve digits."""
    return value[:12] if isinstance(value, str) and _SHA256.fullmatch(value) else value


def _noted(method: Method, notes: Sequence[str]) -> str:
    told = [*notes, *([INFORMED] if method.informed else [])]
    return f"{method.name} ({', '.join(told)})" if told else method.name


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("+")))
