"""Checks of the fields of attacks and defenses, for `__post_init__`: what was expected, and what came."""

from __future__ import annotations

import math
from typing import Literal, Protocol

from poisonbench.errors import ConfigError

Range = Literal["> 0", "≥ 0", "in (0, 1)", "in (0, 1]", "in [0, 1)", "in [0, 1]"]


class Method(Protocol):
    """An attack or a defense; `kind` begins the names of its fields in settings."""

    @property
    def kind(self) -> str:
        """`attack` or `defense`."""


def check_integers(method: Method, **bounds: int | tuple[int, int]) -> None:
    """Check that each of these fields is at least the number given for it, or within two, or None where None is its
    default.

    Raises:
        ConfigError: for the first that is not.
    """
    for name, bound in bounds.items():
        value, optional = getattr(method, name), getattr(type(method), name, 0) is None
        least, most = bound if isinstance(bound, tuple) else (bound, math.inf)
        if not (value is None and optional) and not least <= value <= most:
            null = " or null" if optional else ""
            expected = f"an integer from {least} to {most}" if isinstance(bound, tuple) else f"an integer ≥ {least}"
            raise ConfigError(f"{method.kind}.{name}: expected {expected}{null}, got {value}.")


def check_numbers(method: Method, expected: Range, *names: str) -> None:
    """Check that each of these fields is finite and in that range, or None where None is its default.

    Raises:
        ConfigError: for the first that is not.
    """
    for name in names:
        value, optional = getattr(method, name), getattr(type(method), name, 0) is None
        if not (value is None and optional) and not (math.isfinite(value) and _inside(value, expected)):
            null = " or null" if optional else ""
            raise ConfigError(f"{method.kind}.{name}: expected a number {expected}{null}, got {value}.")


def _inside(value: float, expected: Range) -> bool:
    match expected:
        case "> 0":
            return value > 0
        case "≥ 0":
            return value >= 0
        case "in (0, 1)":
            return 0 < value < 1
        case "in (0, 1]":
            return 0 < value <= 1
        case "in [0, 1)":
            return 0 <= value < 1
        case "in [0, 1]":
            return 0 <= value <= 1
