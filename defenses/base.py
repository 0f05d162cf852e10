"""What a defense is, and the families: selections remove suspicious rows, filters among them by one score a row;
training defenses train in another way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from torch import Tensor

from poisonbench.defenses.quotas import Quotas
from poisonbench.errors import ConfigError, ValidationError
from poisonbench.plugins.registry import name_of
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.samples import Weights
from poisonbench.problem.views import Defended, DefenderView, Train
from poisonbench.stages.stage import Stage

if TYPE_CHECKING:
    from poisonbench.models.base import Model


@dataclass(frozen=True)
class Defense(ABC):
    """A defense. Subclasses are frozen dataclasses registered with `@register("name")`; their fields are stored in
    every record.

    Class attributes:
        version: raised whenever the numbers can change: records of two versions are never compared.
        paper: key of the method's entry in bibliography.yaml; None for a plugin that has none.
        cost: one line on time and memory.
        target_models: that it is made for: any, or those by name.
        presets: sets of field values under a name, such as another paper's, for `--defense name:preset`.
    """

    kind: ClassVar[str] = "defense"
    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    cost: ClassVar[str] = ""
    target_models: ClassVar[str] = "any"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @property
    def name(self) -> str:
        """The name that it is run under."""
        return name_of(type(self))

    @property
    def trusted_data(self) -> bool:
        """Whether it uses clean rows. The view of a defense that does not say so has none."""
        return False

    @property
    def oracle(self) -> bool:
        """Whether it is told which rows are poison: a bound on what defenses can do, never ranked among them."""
        return False

    def ready_for(self, model: Model) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse, before any work, a target model that it cannot train. Those that `target_models` does not name are
        refused already.

        Raises:
            ConfigError: saying why.
        """

    @abstractmethod
    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """Return a model trained on what the view holds, or on a part of it.

        Args:
            view: one training set, poison unmarked, and clean rows if declared; must not be changed.
            train: trains the target model from scratch on any rows, always with the protocol's recipe and seed stream.
            stage: random stream, device, progress, checkpoint, deadline.
        """

    def transform(self, x: Tensor) -> Tensor:
        """What the predictor is shown in the place of test images x (n, channels, height, width) in [0, 1]: as many of
        the same shape, each made of its own image alone and of nothing random."""
        return x

    def certify(self, votes: Tensor, classes: int, rows: int) -> Tensor | None:
        """How many rows anyone may add to the training set or take from it (to change one is both) without changing the
        answer to an image: a proof, not an estimate. None for a defense that has none.

        Args:
            votes: label that each model of the predictor gives each image, (models, n), int64.
            classes: number of classes.
            rows: size of the training set.
        Returns:
            (n,), int64, ≥ 0.
        """
        return None


def known_to(defense: Defense, view: DefenderView) -> DefenderView:
    """The view that the defense is handed: without trusted rows, unless it declares that it uses them, and without a
    word on which rows are poison, unless it declares to be an oracle."""
    trusted = view.trusted if defense.trusted_data else view.trusted.none()
    return replace(view, trusted=trusted, poison=view.poison if defense.oracle else None)


@dataclass(frozen=True)
class Scores:
    """The suspicion that each row is under.

    Attributes:
        values: (n,), higher is more suspicious.
        stats: evidence to keep in the record: JSON scalars by name.
    """

    values: Tensor
    stats: Mapping[str, float | int | str | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """The rows that are left to train on.

    Attributes:
        kept: rows of the training set, (n,), bool.
        scores: (n,), those of the last round that a row took part in.
        stats: of the last round.
    """

    kept: Tensor
    scores: Tensor
    stats: Mapping[str, float | int | str | bool]


@dataclass(frozen=True)
class SelectionDefense(Defense):
    """Select rows, and train from scratch on these alone."""

    @abstractmethod
    def select(self, view: DefenderView, train: Train, stage: Stage) -> Selection:
        """Select the rows to train on; arguments as of `defend`.

        Raises:
            ValidationError: if a class loses all of its rows.
        """

    @final
    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense."""
        selection = self.select(view, train, stage)
        weights = train(view.train.rows(selection.kept))
        return Defended(weights, selection.kept, selection.scores, selection.stats)


@dataclass(frozen=True)
class FilterDefense(SelectionDefense):
    """Score every row, drop the most suspicious, train from scratch on the others.

    Fields:
        fraction: part of the training set dropped in a round; the paper removes 3 %.
        rounds: how often; each round scores what the last one kept.
        balanced: whether that part of every class goes, rather than of all rows together.
    """

    fraction: float = 0.03
    rounds: int = 1
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1 or not 0 < self.fraction * self.rounds < 1:
            raise ConfigError("defense.fraction · defense.rounds: expected a number in (0, 1).")

    @property
    def uses_model(self) -> bool:
        """Whether scores come from a model that was trained on the rows; one that looks at pixels alone saves the
        training."""
        return True

    @abstractmethod
    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        """Score how suspicious each row of `view.train` is.

        Args:
            view: the rows that are left, and clean rows if declared.
            weights: a model trained on those rows; empty if not `uses_model`.
            stage: random stream, device, progress, checkpoint, deadline.
        """

    @final
    def select(self, view: DefenderView, train: Train, stage: Stage) -> Selection:
        """See SelectionDefense.

        Raises:
            ValidationError: for scores that are none, or if a class loses all of its rows.
        """
        rows = torch.arange(len(view.train), device=view.train.y.device)
        scores = torch.zeros(len(rows), device=rows.device)
        quotas = Quotas.of(self.fraction, view.train.y, self.balanced)
        for _ in range(self.rounds):
            part = view if len(rows) == len(scores) else view.rows(rows)
            scored = self.score(part, train(part.train) if self.uses_model else {}, stage)
            refuse_unsound_scores(self.name, scored.values, len(rows))
            scores[rows] = scored.values.to(scores.dtype)
            rows = rows[quotas.left(scored.values, part.train.y)]
        kept = torch.zeros(len(scores), dtype=torch.bool, device=rows.device)
        kept[rows] = True
        refuse_lost_classes(self.name, view.train.y, kept)
        return Selection(kept, scores, scored.stats)


@dataclass(frozen=True)
class TrainingDefense(Defense):
    """Keep every row, and train in another way."""

    @abstractmethod
    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        """How the training on `view.train` departs from plain training; arguments as of `defend`."""

    @final
    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense."""
        everything = torch.ones(len(view.train), dtype=torch.bool, device=view.train.y.device)
        return Defended(train(view.train, self.procedure(view, train, stage)), everything)


def refuse_unsound_scores(author: str, scores: Tensor, rows: int) -> None:
    """Refuse what is not one finite score a row.

    Raises:
        ValidationError: in the name of the author.
    """
    if scores.shape != (rows,) or not bool(torch.isfinite(scores).all()):
        raise ValidationError(f"{author} must give one finite score a row.")


def refuse_unsound_kept(defense: Defense, y: Tensor, kept: Tensor) -> None:
    """Refuse what a defense kept if a class is gone. One that uses trusted rows may keep no row at all: its model is
    then of those rows alone.

    Args:
        defense: whose `kept` it is.
        y: labels, (n,).
        kept: which rows the model was trained on, (n,), bool.
    Raises:
        ValidationError: names the first class that is gone.
    """
    if bool(kept.any()) or not defense.trusted_data:
        refuse_lost_classes(defense.name, y, kept)


def refuse_lost_classes(author: str, y: Tensor, kept: Tensor) -> None:
    """Refuse a filter that leaves no row of a class.

    Args:
        author: the defense's name, for messages.
        y: labels, (n,).
        kept: which rows are left, (n,), bool.
    Raises:
        ValidationError: names the first such class.
    """
    lost = sorted(set(y.unique().tolist()) - set(y[kept].unique().tolist()))
    if lost:
        raise ValidationError(
            f"{author} removed every row of class {lost[0]}: nothing would be left to learn it from. Lower "
            f"defense.fraction, or set defense.balanced=true."
        )
