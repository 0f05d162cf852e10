"""Certified accuracy: a curve that falls, what is shown of it, and what of a submitted one is believed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poisonbench.errors import ValidationError
from poisonbench.experiment.certificate import changed_rows, curve
from poisonbench.problem.threat import Mode
from poisonbench.store.record_results import Certified, Metrics
from poisonbench.submission.reexecution import differences


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=40))
def test_the_curve_is_the_part_that_is_right_and_proven_for_so_many_rows(images: list[tuple[int, bool]]) -> None:
    radius, right = (torch.tensor(part) for part in zip(*images, strict=True))
    found = curve(radius, right)
    for rows in range(33):
        expected = 100.0 * sum(ok and proven >= rows for proven, ok in images) / len(images)
        assert found.at(rows) == expected
    assert found.at(10**9) == 0


def metrics(certified: Certified | None, accuracy: float = 90.0) -> Metrics:
    return Metrics.of(95.0, 85.0, acc1_defended=accuracy, certified=certified)


@pytest.mark.parametrize(
    ("rows", "accuracy", "message"),
    [
        ((1, 2), (90.0, 0.0), "from 0"),
        ((0, 1), (90.0,), "2 numbers of rows from 0, 1 accuracies"),
        ((0, 2, 2), (90.0, 50.0, 0.0), "rows must rise and accuracy fall"),
        ((0, 1), (90.0, 90.0), "rows must rise and accuracy fall"),
        ((0, 1), (91.0, 0.0), "certified accuracy is 91.0, acc1_defended 90.0"),
    ],
)
def test_what_is_no_such_curve_is_refused(rows: tuple[int, ...], accuracy: tuple[float, ...], message: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=message):
        metrics(Certified(rows=rows, accuracy=accuracy))


def test_how_many_rows_an_attack_changes() -> None:
    """What is changed in its place is taken and added; so is a copy that makes room for poison."""
    assert changed_rows(Mode.ADDITION, padded=False, n_poison=7) == 7
    assert changed_rows(Mode.ADDITION, padded=True, n_poison=7) == 14
    assert changed_rows(Mode.PERTURBATION, padded=False, n_poison=7) == 14


CURVE = Certified(rows=(0, 3, 9), accuracy=(90.0, 40.0, 0.0))


@pytest.mark.parametrize(
    ("claimed", "found", "agrees"),
    [
        (CURVE, CURVE, True),
        (Certified(rows=(0, 3, 9), accuracy=(90.0, 41.0, 0.0)), CURVE, True),
        (Certified(rows=(0, 3, 9), accuracy=(90.0, 60.0, 0.0)), CURVE, False),
        (Certified(rows=(0, 30), accuracy=(90.0, 0.0)), CURVE, False),
        (CURVE, None, False),
        (None, CURVE, False),
    ],
)
def test_a_certificate_is_compared_where_it_differs_most(
    claimed: Certified | None, found: Certified | None, agrees: bool
) -> None:
    last = list(differences(metrics(claimed), metrics(found), 500))[-1]
    assert last.name == "certified"
    assert last.within is agrees
