"""Whether `kept` names the rows that the model of a defense was trained on, as far as the harness trained it."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

from torch import Tensor

from poisonbench.counted import counted
from poisonbench.errors import ValidationError
from poisonbench.identity.tensors import tensor_hash
from poisonbench.problem.predictor import models_of
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import Defended

_Rows = Counter[bytes]
"""Rows by their content: what a training makes of a row does not depend on where it came from."""

UNCHECKED = "kept_unchecked"
"""Evidence of a defense whose `kept` cannot be compared with a training: why."""


class Trainings:
    """The trainings that a defense asked for, each by the weights that came of it.

    Args:
        rows: the training set, as it was before the defense saw it.
        trusted: the clean rows that the defense was shown.
    """

    def __init__(self, rows: Samples, trusted: Samples) -> None:
        self._rows, self._trusted = rows, trusted
        self._given: dict[str, _Rows] = {}

    def add(self, samples: Samples, weights: Weights) -> None:
        """Remember what a training was given. Cost: a hash of every row."""
        self._given[_name(weights)] = Counter(_contents(samples))

    def check(self, author: str, defended: Defended) -> str | None:
        """Compare `kept` with the training whose weights were returned, or with those of all models of a vote; why that
        is not possible, or None if they agree.

        Rows of the same content are told apart by their number alone. A row that was kept whenever it occurs may be
        given more often than that, to weigh more, as may every row of a vote, whose models may share rows.

        Raises:
            ValidationError: if that training had rows that count as removed, or lacked some that count as kept.
        """
        models = models_of(defended.predictor)
        known = [self._given[name] for name in map(_name, models) if name in self._given]
        if len(known) < len(models):
            return "its weights come of no training that was asked for"
        given = sum(known, Counter[bytes]())
        contents = _contents(self._rows)
        every, trusted = Counter(contents), Counter(_contents(self._trusted))
        kept = Counter(key for key, is_kept in zip(contents, defended.kept.tolist(), strict=True) if is_kept)
        if changed := sum(number for key, number in given.items() if key not in every and key not in trusted):
            rows = counted(changed, "row that is", "rows that are")
            return f"its model was trained on {rows} neither of the training set nor trusted"
        lacking = sum((kept - given).values())
        part = [key for key in every if kept[key] < every[key] and (len(models) == 1 or not kept[key])]
        more = {key: given[key] - kept[key] - trusted[key] for key in part}
        removed = sum(number for number in more.values() if number > 0)
        if lacking or removed:
            rows = counted(lacking, "row that it kept was", "rows that it kept were")
            raise ValidationError(
                f"{author}'s `kept` is not what its model was trained on: {rows} not in that training, and {removed} "
                f"that it removed {'was' if removed == 1 else 'were'}."
            )
        return None


def _name(weights: Weights) -> str:
    return tensor_hash(*(weights[name] for name in sorted(weights)))


def _contents(samples: Samples) -> list[bytes]:
    """A hash of the image and label of every row."""
    images, labels = _bytes(samples.x), _bytes(samples.y)
    return [blake2b(image + label, digest_size=16).digest() for image, label in zip(images, labels, strict=True)]


def _bytes(tensor: Tensor) -> list[bytes]:
    """The bytes of each row."""
    return [row.tobytes() for row in tensor.detach().cpu().contiguous().numpy()]
