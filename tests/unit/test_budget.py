"""Budget: exact counts, and a refusal for everything that is out of bounds."""

from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from poisonbench.errors import BudgetError, ValidationError
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import ThreatModel

DIRTY, CLEAN = ThreatModel(), ThreatModel(clean_label=True)


@given(digits=st.integers(1, 10_000), places=st.integers(0, 6), n=st.integers(1, 1_000_000))
def test_the_count_is_the_decimal_floor(digits: int, places: int, n: int) -> None:
    """⌊εn⌋ of ε as it is written, not of the double nearest to it: 0.29 · 100 is 29, though 0.29 * 100 < 29."""
    literal = Decimal(digits).scaleb(-places)
    assume(0 < literal <= 1)
    expected = int((literal * n).to_integral_value(ROUND_FLOOR))
    if expected == 0:
        with pytest.raises(BudgetError, match="less than one point"):
            Budget(float(literal), n, 2, DIRTY)
        return
    budget = Budget(float(literal), n, 2, DIRTY)
    assert budget.n_poison == expected
    assert budget.n_poison <= n


@pytest.mark.parametrize("n", [100, 1000, 42_000, 60_000])
def test_the_count_where_it_comes_out_even(n: int) -> None:
    """Every per cent: where ε · n is a whole number, the double product is often just below it."""
    assert [Budget(k / 100, n, 2, DIRTY).n_poison for k in range(1, 101)] == [k * n // 100 for k in range(1, 101)]


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 1.01, 3.0, float("nan"), float("inf")])
def test_fractions_outside_0_to_1_are_refused(epsilon: float) -> None:
    with pytest.raises(BudgetError, match=r"epsilon: expected a number in \(0, 1\]"):
        Budget(epsilon, 100, 2, DIRTY)


def test_a_budget_of_no_point_says_what_would_fit() -> None:
    with pytest.raises(BudgetError, match=r"smallest epsilon that fits a point is 0\.02"):
        Budget(0.01, 50, 2, DIRTY)


def rows(n: int = 20) -> Samples:
    x = torch.rand(n, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return Samples(x, torch.arange(n) % 3, torch.arange(n))


def poison(n: int = 4) -> PoisonSet:
    train = rows()
    return PoisonSet(train.x[:n].clone(), train.y[:n].clone(), torch.arange(n))


def bad_pixel(value: float) -> torch.Tensor:
    x = poison().x
    x[2, 0, 1, 1] = value
    return x


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other image shape": ({"x": torch.zeros(4, 1, 2, 3)}, r"has shapes x \(4, 1, 2, 3\)"),
    "flat images": ({"x": torch.zeros(4, 4)}, "has shapes"),
    "too few labels": ({"y": torch.zeros(3, dtype=torch.int64)}, "has shapes"),
    "one-hot labels": ({"y": torch.zeros(4, 3, dtype=torch.int64)}, "has shapes"),
    "too few sources": ({"source": torch.zeros(3, dtype=torch.int64)}, "has shapes"),
    "double pixels": ({"x": poison().x.double()}, r"has dtypes x torch\.float64"),
    "int32 labels": ({"y": poison().y.int()}, "has dtypes"),
    "float sources": ({"source": torch.arange(4.0)}, "has dtypes"),
    "nan": ({"x": bad_pixel(float("nan"))}, "1 pixel that is NaN or infinite"),
    "infinite": ({"x": bad_pixel(float("-inf"))}, "NaN or infinite"),
    "below the box": ({"x": bad_pixel(-0.01)}, r"leaves the box: pixels in \[-0\.01"),
    "above the box": ({"x": bad_pixel(1.0001)}, "leaves the box"),
    "label too large": ({"y": torch.tensor([0, 1, 2, 3])}, r"labels outside 0\.\.2"),
    "label negative": ({"y": torch.tensor([0, 1, 2, -1])}, "labels outside"),
    "source beyond D_tr": ({"source": torch.tensor([0, 1, 2, 20])}, "source rows outside D_tr"),
    "source below -1": ({"source": torch.tensor([0, 1, 2, -2])}, "source rows outside D_tr"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_out_of_bounds(what: str) -> None:
    change, match = REFUSED[what]
    with pytest.raises(ValidationError, match=match) as error:
        Budget(0.2, 20, 3, DIRTY).verify(replace(poison(), **change), rows(), "TGDA")
    assert str(error.value).startswith("TGDA's poison set")
    assert "\n" not in str(error.value)


def test_the_number_of_rows() -> None:
    budget = Budget(0.2, 20, 3, DIRTY)
    with pytest.raises(ValidationError, match=r"5 rows, between 1 and 4 allowed \(epsilon = 0\.2, n_train = 20\)"):
        budget.verify(poison(5), rows(), "TGDA")
    with pytest.raises(ValidationError, match="0 rows, between 1 and 4"):
        budget.verify(poison(0), rows(), "TGDA")
    assert budget.verify(poison(3), rows(), "TGDA")["n_poison"] == 3


def test_clean_label() -> None:
    flipped = replace(poison(), y=torch.tensor([0, 1, 2, 1]))
    made_up = replace(poison(), source=torch.tensor([0, 1, 2, -1]))
    assert Budget(0.2, 20, 3, DIRTY).verify(flipped, rows(), "x")["relabelled"] == 1
    assert Budget(0.2, 20, 3, CLEAN).verify(poison(), rows(), "x")["relabelled"] == 0
    for bad in (flipped, made_up):
        with pytest.raises(ValidationError, match="declared clean-label"):
            Budget(0.2, 20, 3, CLEAN).verify(bad, rows(), "x")


def test_radius() -> None:
    x = rows().x[:4] * 0.5 + 0.25  # inside the box, and moved by at most 0.25
    moved, distance = replace(poison(), x=x), float((x - rows().x[:4]).abs().max())
    assert Budget(0.2, 20, 3, DIRTY, distance).verify(moved, rows(), "x")["linf_max"] == pytest.approx(distance)
    with pytest.raises(ValidationError, match=r"breaks its radius: L∞ distance .* > "):
        Budget(0.2, 20, 3, DIRTY, distance - 1e-4).verify(moved, rows(), "x")
    with pytest.raises(ValidationError, match="a radius needs one for each"):
        Budget(0.2, 20, 3, DIRTY, 1.0).verify(replace(moved, source=torch.full((4,), -1)), rows(), "x")


def test_without_a_box() -> None:
    """Only the box is gone: a radius, finite values and everything else hold as before."""
    free = ThreatModel(box=False)
    far = replace(poison(), x=rows().x[:4] + 1.5)
    assert Budget(0.2, 20, 3, free).verify(far, rows(), "x")["linf_max"] == pytest.approx(1.5)
    with pytest.raises(ValidationError, match="leaves the box"):
        Budget(0.2, 20, 3, DIRTY).verify(far, rows(), "x")
    with pytest.raises(ValidationError, match="NaN or infinite"):
        Budget(0.2, 20, 3, free).verify(replace(poison(), x=bad_pixel(float("inf"))), rows(), "x")
    near = Budget(0.2, 20, 3, free, 1.25).project(far.x, rows().x[:4])
    assert torch.allclose(near, rows().x[:4] + 1.25)
    assert torch.equal(Budget(0.2, 20, 3, free).project(far.x, rows().x[:4]), far.x)
    assert float(Budget(0.2, 20, 3, DIRTY).project(far.x, rows().x[:4]).max()) == 1.0


def test_what_was_seen() -> None:
    twins = PoisonSet(rows().x[[0, 0, 0, 1]], torch.tensor([0, 0, 1, 1]), torch.full((4,), -1))
    seen = Budget(0.2, 20, 3, DIRTY).verify(twins, rows(), "x")
    assert seen == {"n_poison": 4, "linf_max": 0.0, "duplicates": 1, "relabelled": 0}  # labels tell twins apart
