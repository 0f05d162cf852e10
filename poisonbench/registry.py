"""Name → lazy "module:Class". Built-ins and third-party plugins come through the same door: Python entry points.

Listing names never imports the code behind them (nor torch); a plugin that does not import is listed as broken and
breaks nothing else.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from poisonbench.errors import ConfigError, PluginError, UnknownNameError, unknown

GROUPS = {
    "attack": "poisonbench.attacks",
    "defense": "poisonbench.defenses",
    "model": "poisonbench.models",
    "dataset": "poisonbench.datasets",
}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_registered: dict[type, str] = {}

T = TypeVar("T")


def register(name: str) -> Callable[[type[T]], type[T]]:
    """Class decorator that gives a method the name it is run under: lower case, digits and single hyphens."""
    if not _NAME.fullmatch(name):
        raise PluginError(f"{name!r} is not a method name: use lower-case letters, digits and single hyphens.")

    def decorate(cls: type[T]) -> type[T]:
        _registered[cls] = name
        return cls

    return decorate


def name_of(cls: type) -> str:
    """The name a class was registered under.

    Raises:
        PluginError: if it never was.
    """
    try:
        return _registered[cls]
    except KeyError:
        raise PluginError(
            f"{cls.__module__}.{cls.__qualname__} has no name; decorate it with @register(...)."
        ) from None


@dataclass(frozen=True)
class Entry:
    """One row of the registry.

    Attributes:
        kind: attack, defense, model or dataset.
        name: what users type.
        target: "module:Class".
        distribution: the installed package that brings it.
        version: of that package.
        summary: first sentence of the class's docstring, read without importing the module.
        broken: why it cannot be used, or None.
    """

    kind: str
    name: str
    target: str
    distribution: str
    version: str
    summary: str
    broken: str | None = None


@cache
def entries(kind: str) -> dict[str, Entry]:
    """Everything registered under a kind, by name, in alphabetical order. Imports none of it."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUPS[kind]):
        found.setdefault(point.name, []).append(point)
    return {name: _entry(kind, name, points) for name, points in sorted(found.items())}


def load(kind: str, name: str) -> Any:
    """The class registered as `name`.

    Raises:
        UnknownNameError: if there is none; suggests the nearest.
        PluginError: if it does not import or two distributions claim the name.
    """
    known = entries(kind)
    if name not in known:
        raise UnknownNameError(unknown(kind, name, list(known)))
    entry = known[name]
    if entry.broken:
        raise PluginError(f"The {kind} {name!r} of {entry.distribution} is broken: {entry.broken}")
    module, _, attribute = entry.target.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise PluginError(
            f"The {kind} {name!r} of {entry.distribution} does not import: {type(error).__name__}: {error}"
        ) from error
    if name_of(cls) != name:
        raise PluginError(f"{entry.target} registers itself as {name_of(cls)!r}, its entry point says {name!r}.")
    return cls


def configure(cls: type[T], settings: Mapping[str, Any], where: str) -> T:
    """Build a method from its `--set` fields, each checked against the field's type.

    Args:
        cls: a frozen dataclass.
        settings: value by field name, as read from YAML.
        where: "attack" or "defense", for messages.
    Raises:
        UnknownNameError: for a field the method does not have; suggests the nearest.
        ConfigError: for a value of the wrong type, or from the method's own checks.
    """
    from pydantic import TypeAdapter, ValidationError

    if not is_dataclass(cls):
        raise PluginError(f"{cls.__module__}.{cls.__qualname__} must be a frozen dataclass.")
    known = [item.name for item in fields(cls)]
    for key in settings:
        if key not in known:
            raise UnknownNameError(unknown(f"field of {name_of(cls)}", key, known))
    try:
        return TypeAdapter(cls).validate_python(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}.{key}: {first['msg']}, got {first['input']!r}.") from None


def _entry(kind: str, name: str, points: list[EntryPoint]) -> Entry:
    point = points[0]
    distribution = point.dist.name if point.dist else "unknown"
    version = point.dist.version if point.dist else "unknown"
    if len({other.value for other in points}) > 1:
        owners = ", ".join(sorted(other.dist.name for other in points if other.dist))
        return Entry(kind, name, point.value, distribution, version, "", f"{owners} all register {name!r}; remove one.")
    try:
        summary = _summary(point.value)
    except Exception as error:  # a plugin's parent package may do anything when it is looked up
        return Entry(kind, name, point.value, distribution, version, "", f"{type(error).__name__}: {error}")
    return Entry(kind, name, point.value, distribution, version, summary)


def _summary(target: str) -> str:
    """First sentence of the class's docstring, or else of its module's."""
    module, _, attribute = target.partition(":")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(f"no module named {module!r}")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute]
    text = next((ast.get_docstring(node) for node in classes), None) or ast.get_docstring(tree) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]
