"""`kept` is what the model was trained on, or the record says that nobody could look."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from poisonbench.errors import ValidationError
from poisonbench.experiment.kept import Trainings
from poisonbench.problem.samples import Samples
from poisonbench.problem.views import Defended

N = 6


def images(n: int, seed: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    return Samples(torch.rand(n, 1, 2, 2, generator=generator), torch.arange(n) % 3, torch.arange(n))


ROWS, TRUSTED = images(N, 0), images(3, 1)
FIRST = torch.arange(N) < 4
WEIGHTS = {"w": torch.arange(3.0)}


def changed(samples: Samples) -> Samples:
    return Samples(samples.x, (samples.y + 1) % 3, samples.ids)


def twice(samples: Samples) -> Samples:
    return samples.plus(samples)


def checked(given: Samples, kept: Tensor, rows: Samples = ROWS, trusted: Samples = TRUSTED) -> str | None:
    trainings = Trainings(rows, trusted)
    trainings.add(images(2, 9), {"w": torch.zeros(3)})  # an earlier one, whose weights were used and thrown away
    trainings.add(given, WEIGHTS)
    return trainings.check("mine", Defended({"w": torch.arange(3.0)}, kept))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (ROWS, torch.ones(N, dtype=torch.bool)),
        (ROWS.rows(FIRST), FIRST),
        (ROWS.rows(torch.tensor([3, 0, 2, 1])), FIRST),
        (Samples(ROWS.x[FIRST], ROWS.y[FIRST], torch.arange(4) + 100), FIRST),
        (TRUSTED, torch.zeros(N, dtype=torch.bool)),
        (ROWS.rows(FIRST).plus(TRUSTED), FIRST),
        (twice(ROWS.rows(FIRST)), FIRST),
    ],
    ids=["all", "some", "another order", "other ids", "trusted", "some and trusted", "some twice"],
)
def test_what_agrees(given: Samples, kept: Tensor) -> None:
    assert checked(given, kept) is None


@pytest.mark.parametrize(
    ("given", "kept", "lacking", "removed"),
    [
        (ROWS, FIRST, 0, 2),
        (ROWS.rows(FIRST), torch.ones(N, dtype=torch.bool), 2, 0),
        (ROWS.rows(FIRST), ~FIRST, 2, 4),
        (TRUSTED, FIRST, 4, 0),
        (ROWS.rows(FIRST), torch.zeros(N, dtype=torch.bool), 0, 4),
    ],
)
def test_a_lie_is_refused_either_way(given: Samples, kept: Tensor, lacking: int, removed: int) -> None:
    with pytest.raises(ValidationError) as error:
        checked(given, kept)
    assert str(error.value) == (
        f"mine's `kept` is not what its model was trained on: {lacking} rows that it kept were not in that training, "
        f"and {removed} that it removed were."
    )


def test_rows_of_one_content_are_told_apart_by_their_number() -> None:
    rows = ROWS.plus(ROWS.rows(FIRST))  # the attack added copies of clean rows
    kept = torch.arange(len(rows)) >= 4  # the copies are kept and their sources removed
    assert checked(rows.rows(kept), kept, rows) is None
    assert checked(ROWS, kept, rows) is None
    with pytest.raises(ValidationError, match="0 rows that it kept were not in that training, and 4 that it removed"):
        checked(rows, kept, rows)


def test_a_trusted_row_that_an_attack_copied_is_still_trusted() -> None:
    rows = ROWS.plus(TRUSTED)
    assert checked(TRUSTED, torch.zeros(len(rows), dtype=torch.bool), rows) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (changed, "its model was trained on 6 rows that are neither of the training set nor trusted"),
        (lambda rows: rows.plus(images(2, 5)), "its model was trained on 2 rows that are neither"),
    ],
)
def test_what_was_changed_cannot_be_checked(change: Callable[[Samples], Samples], why: str) -> None:
    assert str(checked(change(ROWS), FIRST)).startswith(why)


def test_weights_of_no_training_cannot_be_checked() -> None:
    found = Trainings(ROWS, TRUSTED).check("mine", Defended(WEIGHTS, FIRST))
    assert found == "its weights come of no training that was asked for"
