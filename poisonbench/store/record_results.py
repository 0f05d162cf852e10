"""What was measured: accuracies and the images they are made of, what a defense removed, time, memory, solves."""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from poisonbench.store.record_fields import (
    Amount,
    Bits,
    Count,
    Flag,
    Fraction,
    Json,
    Percent,
    Points,
    Section,
    in_one_line,
)


class PerClass(Section):
    """Accuracy by class before (acc1) and after (acc2), percent, in the order of the labels."""

    acc1: tuple[Percent, ...]
    acc2: tuple[Percent, ...]

    @model_validator(mode="after")
    def _same_classes(self) -> Self:
        if len(self.acc1) != len(self.acc2):
            raise ValueError(f"acc1 has {len(self.acc1)} classes, acc2 has {len(self.acc2)}")
        return self


class Answers(Section):
    """Which test images were right before (clean) and after attack and defense (attacked): a bit for each, the first
    image in the highest bit of the first byte (numpy.packbits), in base64."""

    clean: Bits
    attacked: Bits


class Trajectories(Section):
    """Test accuracy during training, percent: of the clean run, and of the poisoned one without a defense.

    Attributes:
        epochs: after which epochs.
        clean: then, on D_tr.
        poisoned: then, on the poisoned set.
    """

    epochs: tuple[Count, ...]
    clean: tuple[Percent, ...]
    poisoned: tuple[Percent, ...]

    @model_validator(mode="after")
    def _same_epochs(self) -> Self:
        if not len(self.epochs) == len(self.clean) == len(self.poisoned):
            raise ValueError(f"{len(self.epochs)} epochs, {len(self.clean)} and {len(self.poisoned)} accuracies")
        return self


class Certified(Section):
    """Accuracy that is proven, percent: the part of the test images that the defense answers right without poison, and
    would answer so whatever rows are added to the training set or taken from it.

    Attributes:
        rows: numbers of such rows, from 0, at which the curve falls.
        accuracy: from each on.
    """

    rows: tuple[Count, ...]
    accuracy: tuple[Percent, ...]

    @model_validator(mode="after")
    def _is_a_falling_curve(self) -> Self:
        if len(self.rows) != len(self.accuracy) or self.rows[:1] != (0,):
            raise ValueError(f"{len(self.rows)} numbers of rows from 0, {len(self.accuracy)} accuracies")
        if any(b <= a for a, b in pairwise(self.rows)) or any(b >= a for a, b in pairwise(self.accuracy)):
            raise ValueError("rows must rise and accuracy fall")
        return self

    def at(self, rows: int) -> float:
        """The accuracy that is proven against so many rows."""
        return self.accuracy[bisect_right(self.rows, rows) - 1]


class Metrics(Section):
    """Test accuracy with and without attack and defense, percent.

    acc1 is clean and undefended, acc2 attacked and defended; acc2_undefended is attacked; acc1_defended has the defense
    and nothing to defend against, acc1_padded the same rows and no defense. drop = acc1 − acc2, and
    clean_cost = acc1_padded − acc1_defended, in points. `certified` is what a defense proves of acc1_defended.
    """

    acc1: Percent
    acc2: Percent
    drop: Points
    acc2_undefended: Percent | None = None
    acc1_defended: Percent | None = None
    acc1_padded: Percent | None = None
    clean_cost: Points | None = None
    per_class: PerClass | None = None
    answers: Answers | None = None
    certified: Certified | None = None

    @classmethod
    def of(
        cls,
        acc1: float,
        acc2: float,
        acc2_undefended: float | None = None,
        acc1_defended: float | None = None,
        acc1_padded: float | None = None,
        per_class: tuple[Sequence[float], Sequence[float]] | None = None,
        answers: Answers | None = None,
        certified: Certified | None = None,
    ) -> Self:
        """Build metrics; drop and clean cost are computed here and nowhere else.

        Args:
            acc1: test accuracy without attack or defense, percent.
            acc2: with both.
            acc2_undefended: with the attack alone.
            acc1_defended: with the defense alone.
            acc1_padded: with neither, on the rows that the defense alone was given; None for acc1.
            per_class: acc1 and acc2 by class.
            answers: which test images acc1 and acc2 are made of.
            certified: what the defense proves.
        Raises:
            ValidationError: if a number is not a percentage.
        """
        base = acc1 if acc1_padded is None else acc1_padded
        with in_one_line("metrics"):
            return cls.model_validate(
                {
                    "acc1": acc1,
                    "acc2": acc2,
                    "drop": acc1 - acc2,
                    "acc2_undefended": acc2_undefended,
                    "acc1_defended": acc1_defended,
                    "acc1_padded": None if acc1_defended is None else base,
                    "clean_cost": None if acc1_defended is None else base - acc1_defended,
                    "per_class": None if per_class is None else {"acc1": per_class[0], "acc2": per_class[1]},
                    "answers": answers,
                    "certified": certified,
                }
            )

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A record of a defense that proves nothing is written, and named, as before there were proofs."""
        document: dict[str, Any] = written(self)
        if self.certified is None:
            document.pop("certified", None)
        return document

    @model_validator(mode="after")
    def _differences_are_computed(self) -> Self:
        # Exact on purpose: JSON keeps every bit of a double, and IEEE subtraction is the same in every language.
        if self.drop != self.acc1 - self.acc2:
            raise ValueError(f"drop is {self.drop}, but acc1 − acc2 = {self.acc1 - self.acc2}")
        if (self.acc1_defended is None) != (self.acc1_padded is None):
            raise ValueError("acc1_defended and acc1_padded are numbers together, or null together")
        if self.acc1_defended is not None and self.acc1_padded is not None:
            cost = self.acc1_padded - self.acc1_defended
            if self.clean_cost != cost:
                raise ValueError(f"clean_cost is {self.clean_cost}, but acc1_padded − acc1_defended = {cost}")
        if self.certified is not None and self.certified.accuracy[0] != self.acc1_defended:
            raise ValueError(f"certified accuracy is {self.certified.accuracy[0]}, acc1_defended {self.acc1_defended}")
        return self


class DefenseDetail(Section):
    """What the defense removed, and how right it was: precision and recall are fractions, null where undefined.
    `trusted` is how many clean rows it was shown."""

    removed: Count | None = None
    precision: Fraction | None = None
    recall: Fraction | None = None
    trusted: Count | None = None
    stats: Json = Field(default_factory=dict)


class PoisonCheck(Section):
    """What `Budget.verify` saw in the poison set as read back from disk."""

    n_poison: Count
    linf_max: Amount
    duplicates: Count
    relabelled: Count


class Timing(Section):
    """Seconds; null for a stage that was not reached."""

    pretrain_s: Amount | None = None
    attack_s: Amount | None = None
    defense_s: Amount | None = None
    retrain_s: Amount | None = None
    total_s: Amount


class Memory(Section):
    """Peak memory, MiB: of the whole cell, and while the defense was at work, its trainings included."""

    rss_peak_mb: Amount | None = None
    cuda_peak_mb: Amount | None = None
    defense_rss_peak_mb: Amount | None = None
    defense_cuda_peak_mb: Amount | None = None


class SolverInfo(Section):
    """The evidence of the attack's linear solves: a benchmark does not take convergence on trust."""

    steps: Count
    residual: Amount
    converged: Flag


def refuse_other_answers(metrics: Metrics, answers: Answers, n_test: int) -> None:
    """ValueError unless the answers are those of so many test images and make the accuracies."""
    for name, text, accuracy in (
        ("clean", answers.clean, metrics.acc1),
        ("attacked", answers.attacked, metrics.acc2),
    ):
        right = right_images(text, n_test)
        if right is None:
            raise ValueError(f"answers.{name} are not those of {n_test} images")
        if abs(100.0 * right.bit_count() / max(1, n_test) - accuracy) > 1e-9:
            raise ValueError(f"answers.{name} say {right.bit_count()} of {n_test} images, the accuracy is {accuracy}")


def right_images(text: str, n: int) -> int | None:
    """The bits of n images as one integer, the last image lowest; None if the text is not base64 of so many."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    spare = 8 * len(data) - n
    bits = int.from_bytes(data, "big")
    return bits >> spare if 0 <= spare < 8 and not bits & ((1 << spare) - 1) else None
