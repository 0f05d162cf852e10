"""Fields of methods are checked, and a refusal says what was expected and what came."""

from dataclasses import dataclass

import pytest

from poisonbench.attacks.base import Attack
from poisonbench.attacks.gradient_canceling.attack import GradientCanceling
from poisonbench.defenses.squeezing import Squeezing
from poisonbench.errors import ConfigError
from poisonbench.plugins.registry import configure
from poisonbench.problem.field_checks import check_integers, check_numbers


@dataclass(frozen=True)
class Fields(Attack):
    rate: float = 0.5
    radius: float | None = None
    steps: int = 3


Fields.__abstractmethods__ = frozenset()


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        ("> 0", (1e-9, 7.0), (0.0, -1.0)),
        ("≥ 0", (0.0, 7.0), (-1e-9,)),
        ("in (0, 1)", (1e-9, 0.9), (0.0, 1.0)),
        ("in (0, 1]", (1e-9, 1.0), (0.0, 1.1)),
        ("in [0, 1]", (0.0, 1.0), (-0.1, 1.1)),
        ("in [0, 1)", (0.0, 0.9), (1.0, -0.1)),
    ],
)
def test_ranges(expected: str, good: tuple[float, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        check_numbers(Fields(rate=value), expected, "rate")
    for value in (*bad, float("nan"), float("inf")):
        with pytest.raises(ConfigError) as refusal:
            check_numbers(Fields(rate=value), expected, "rate")
        assert str(refusal.value) == f"attack.rate: expected a number {expected}, got {value}."


def test_null_is_for_fields_whose_default_it_is() -> None:
    check_numbers(Fields(), "> 0", "radius")
    with pytest.raises(ConfigError, match=r"attack\.radius: expected a number > 0 or null, got -1"):
        check_numbers(Fields(radius=-1.0), "> 0", "radius")


def test_integers() -> None:
    check_integers(Fields(), steps=3)
    with pytest.raises(ConfigError, match=r"attack\.steps: expected an integer ≥ 4, got 3\."):
        check_integers(Fields(), steps=4)


@pytest.mark.parametrize("value", [1, 100])
def test_integers_between_two(value: int) -> None:
    assert Squeezing(quality=value).quality == value
    with pytest.raises(ConfigError, match=r"defense\.quality: expected an integer from 1 to 100, got 101\."):
        Squeezing(quality=101)
    with pytest.raises(ConfigError, match=r"defense\.bits: expected an integer from 1 to 8, got 0\."):
        Squeezing(bits=0)


def test_a_choice_is_checked_where_settings_are_read() -> None:
    with pytest.raises(ConfigError, match=r"attack\.bound: .*'reach' or 'l2', got 'l1'"):
        configure(GradientCanceling, {"bound": "l1"}, "attack")
