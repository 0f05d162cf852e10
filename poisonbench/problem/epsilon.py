"""The poison fraction ε as it enters: the one place where it is rounded. Imports nothing heavy."""

from __future__ import annotations

_DIGITS = 12
"""Significant ones that are kept. More are what arithmetic leaves over: 0.1 + 0.2 − 0.27 is 0.03, in a cell's hash, in
its record and on a board."""


def rounded(epsilon: float) -> float:
    """A fraction to twelve significant digits; every ε that is written with as many stays as it is."""
    return float(f"{epsilon:.{_DIGITS}g}")


def poison_fraction(epsilon: float) -> float:
    """ε = n_poison / n_train as a cell has it.

    Raises:
        ValueError: if it is not in (0, 1].
    """
    value = rounded(epsilon)
    if 0 < value <= 1:
        return value
    hint = f" Did you mean {value / 100:g}?" if 1 < value <= 100 else ""
    raise ValueError(f"expected a number in (0, 1], got {value:g}.{hint}")
