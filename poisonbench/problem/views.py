"""What attacker and defender are shown, and what a defense returns: views that enforce the threat model by type.

An `AttackerView` has no test data in it and no way to ask for it; a `DefenderView` has one training set in it and no
way to ask which of its rows are poison, unless it is declared to be an oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from poisonbench.errors import UndeclaredKnowledgeError
from poisonbench.problem.predictor import Predictor
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights

if TYPE_CHECKING:
    from poisonbench.models.base import Model
    from poisonbench.stages.stage import Stage


@dataclass(frozen=True)
class Rehearsed:
    """What a known defense makes of a training set, as an attacker rehearses it.

    Attributes:
        predictor: as of Defended.
        kept: which of the rows it was trained on, in the order in which they were given, (n,), bool.
        answers: images, (n, channels, height, width), in [0, 1] ↦ the labels that the predictor gives them, (n,),
            int64, with whatever the defense does to images at test time.
    """

    predictor: Predictor
    kept: Tensor
    answers: Callable[[Tensor], Tensor]


class Rehearse(Protocol):
    """Defends a training set as the defender will, as far as an attacker can know: with draws of its own, and rows of
    D_v in the place of trusted ones."""

    def __call__(self, rows: Samples, stage: Stage, task: str) -> Rehearsed:
        """Return what the defense makes of those rows.

        Args:
            rows: to be trained on.
            stage: of the attack; one draw is taken from its stream.
            task: the rehearsal's name, different for each of a stage: on bars and in checkpoints.
        """


@dataclass(frozen=True)
class AttackerView:
    """The view of a training-only attacker: all that it knows. A training-data-only attacker is handed the same type
    with `validation` empty, no weights in it, and neither model nor recipe: to touch one is an error. No test data
    exists in either.

    Attributes:
        train: D_tr.
        validation: D_v.
        model: the model the attacker crafts on: the target, or a surrogate.
        recipe: how the defender will train.
        weights: the clean weights, trained on D_tr with the recipe.
        classes: number of classes.
        rehearse: the defense, to an attacker that knows it; None to every other.
    """

    train: Samples
    validation: Samples
    model: Model
    recipe: Recipe
    weights: Weights
    classes: int
    rehearse: Rehearse | None = None


class Withheld:
    """What stands in a view in the place of something that its holder must not know. To ask it for anything raises
    UndeclaredKnowledgeError."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python asks of any object: copy, pickle, repr
            raise AttributeError(name)
        raise UndeclaredKnowledgeError(
            f"A training-data-only attacker knows no {self._what}. Declare Knowledge.TRAINING_ONLY in `threat`."
        )

    def __repr__(self) -> str:
        return f"<{self._what}: withheld>"


def data_only(view: AttackerView) -> AttackerView:
    """What a training-data-only attacker sees of a view: D_tr and the number of classes."""
    withheld: Any = {name: Withheld(name) for name in ("model", "recipe")}
    return replace(view, validation=view.validation.none(), weights={}, rehearse=None, **withheld)


class Train(Protocol):
    """Trains the target model from scratch with the protocol's recipe; the same seed stream every time."""

    def __call__(self, samples: Samples, procedure: Procedure | None = None) -> Weights:
        """Return weights trained on those rows, plainly or as `procedure` has it."""


@dataclass(frozen=True)
class DefenderView:
    """The view of a defender, all that it knows: one training set, rows in no telling order, and, if the defense
    declares that it uses trusted data, a few clean rows.

    Attributes:
        train: what is to be trained on, poison included, unmarked.
        trusted: clean rows that no attacker can touch; empty for a defense that declares nothing. Which and how many is
            the protocol's: rows of the defender's own, or D_v, which the attacker optimises against.
        model: the target model.
        recipe: how it is trained.
        classes: number of classes.
        poison: which rows of `train` are poison, (n,), bool: for an oracle, which is a bound and no defense. None for
            every other.
    """

    train: Samples
    trusted: Samples
    model: Model
    recipe: Recipe
    classes: int
    poison: Tensor | None = None

    def rows(self, index: Tensor) -> DefenderView:
        """The view of some rows of the training set."""
        poison = None if self.poison is None else self.poison[index]
        return replace(self, train=self.train.rows(index), poison=poison)


@dataclass(frozen=True)
class Defended:
    """The result of a defense.

    Attributes:
        predictor: what is tested: the weights of a model, or several that vote.
        kept: which rows of the training set it was trained on, (n,), bool. None of a class is refused; none at all says
            that it was trained on trusted rows alone, which the defense must declare to use.
        scores: one suspicion score a row (higher is more suspicious), (n,), or None if the defense has none.
        stats: evidence to keep in the record: JSON scalars by name.
    """

    predictor: Predictor
    kept: Tensor
    scores: Tensor | None = None
    stats: Mapping[str, float | int | str | bool] = field(default_factory=dict)
