"""Checks of an attack's fields, for `__post_init__`: what was expected, and what came."""

from __future__ import annotations

import math
from typing import Literal

from poisonbench.attacks.base import Attack
from poisonbench.errors import ConfigError

Range = Literal["> 0", "≥ 0", "in (0, 1]", "in [0, 1)"]


def check_integers(attack: Attack, **least: int) -> None:
    """Check that each of these fields is at least the number given for it, or None where None is its default.

    Raises:
        ConfigError: for the first that is not.
    """
    for name, bound in least.items():
        value, optional = getattr(attack, name), getattr(type(attack), name, 0) is None
        if not (value is None and optional) and value < bound:
            null = " or null" if optional else ""
            raise ConfigError(f"attack.{name}: expected an integer ≥ {bound}{null}, got {value}.")


def check_numbers(attack: Attack, expected: Range, *names: str) -> None:
    """Check that each of these fields is finite and in that range, or None where None is its default.

    Raises:
        ConfigError: for the first that is not.
    """
    for name in names:
        value, optional = getattr(attack, name), getattr(type(attack), name, 0) is None
        if not (value is None and optional) and not (math.isfinite(value) and _inside(value, expected)):
            null = " or null" if optional else ""
            raise ConfigError(f"attack.{name}: expected a number {expected}{null}, got {value}.")


def _inside(value: float, expected: Range) -> bool:
    match expected:
        case "> 0":
            return value > 0
        case "≥ 0":
            return value >= 0
        case "in (0, 1]":
            return 0 < value <= 1
        case "in [0, 1)":
            return 0 <= value < 1
