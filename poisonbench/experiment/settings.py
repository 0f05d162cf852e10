"""Settings from somewhere: `--set key=value`, the keys of a `--config` file, and where a user finds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poisonbench.errors import ConfigError
from poisonbench.store.strict_yaml import parse_yaml, read_yaml

METHOD_SECTIONS = ("attack", "defense")

_SECTIONS = ("recipe", "recipes", "threat", *METHOD_SECTIONS)
"""Keys whose values are keys and values again."""

_FLAGS = {
    **{
        name: f"--{name}"
        for name in ("protocol", "dataset", "model", "attack", "surrogate", "preset", "defense", "knows")
    },
    **{name: f"--{name}" for name in ("epsilon", "seeds", "store", "device", "threads", "timeout")},
    "threat.epsilon": "--epsilon",
    "models": "--model",
    "seed": "--seeds",
}
"""Keys that somebody may try as settings → the flag that is meant, in a sweep's file the axis of that name."""

_OF_A_FILE = ("name", "version", "summary")
"""Keys that say which protocol it is: a run under other rules than a released protocol's has a deviation, no name."""


@dataclass(frozen=True)
class Setting:
    """One value from somewhere: `origin` is how a user would find it (a file, `--set`, `--epsilon`)."""

    key: str
    value: Any
    origin: str


def parse_setting(text: str, flag: str = "--set") -> Setting:
    """A `--set key=value`; the value is read as YAML.

    Raises:
        ConfigError: if it is not of that form.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{flag} {text}: expected key=value, such as --set attack.alpha=0.02.")
    if not value.strip():
        raise ConfigError(f"{flag} {text}: there is no value; null is none, '\"\"' an empty text.")
    try:
        return Setting(key.strip(), parse_yaml(value), flag)
    except ConfigError as error:
        why = "not YAML" if str(error).startswith("not YAML") else str(error).rstrip(".")
        raise ConfigError(f"{flag} {text[:80]}: the value is {why}.") from None


def parse_settings(texts: Iterable[str], flag: str = "--set") -> dict[str, Any]:
    """Values by key of several of them.

    Raises:
        ConfigError: for one of another form, or a key that is given twice.
    """
    found: dict[str, Any] = {}
    for setting in (parse_setting(text, flag) for text in texts):
        if setting.key in found:
            raise ConfigError(f"{flag} {setting.key} is given twice; several values are a list, {setting.key}=[…, …].")
        found[setting.key] = setting.value
    return found


def read_settings(path: Path) -> list[Setting]:
    """The settings of a `--config` file: the sections of a protocol, and `attack` and `defense`.

    Raises:
        ConfigError: for a file that cannot be read or parsed, or a key that is no setting.
    """
    found = flatten(read_yaml(path, str(path)), str(path))
    refuse_what_has_a_flag(found)
    return found


def refuse_what_has_a_flag(settings: Iterable[Setting]) -> None:
    """What decides which cells there are, and what a protocol is called, is no setting of a cell.

    Raises:
        ConfigError: naming the flag.
    """
    for setting in settings:
        if setting.key in _OF_A_FILE:
            raise ConfigError(
                f"{setting.origin}: {setting.key} is no setting: it says which protocol it is. Rules of your own are a "
                "file: --protocol FILE."
            )
        if setting.key in _FLAGS:
            raise ConfigError(f"{setting.origin}: {setting.key} is no setting; it is given by {_FLAGS[setting.key]}.")


def flatten(document: Mapping[str, Any], origin: str, prefix: str = "") -> list[Setting]:
    """The keys of nested sections with dots between them.

    Raises:
        ConfigError: for a key that is there twice, once with a dot and once in its section, and for an empty section.
    """
    found: dict[str, Setting] = {}
    for key, value in document.items():
        path = f"{prefix}{key}"
        section = isinstance(value, dict) and path.partition(".")[0] in _SECTIONS
        if section and not value and path != "recipes":  # of which there may be none
            raise ConfigError(f"{origin}: {path}: expected keys and values, got none.")
        for setting in flatten(value, origin, f"{path}.") if section else [Setting(path, value, origin)]:
            if setting.key in found:
                raise ConfigError(f"{origin}: {setting.key} is there twice, with a dot and in its section; remove one.")
            found[setting.key] = setting
    return list(found.values())
