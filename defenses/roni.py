"""Reject on negative impact: drop the rows that make models of trusted rows answer worse.

Nelson et al., "Exploiting Machine Learning to Subvert Your Spam Filter", LEET 2008; Barreno, Nelson, Joseph & Tygar,
"The Security of Machine Learning", Machine Learning 81, 2010.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.base import Selection, SelectionDefense, refuse_lost_classes
from poisonbench.defenses.retraining import Retraining
from poisonbench.errors import ConfigError
from poisonbench.models.linear import is_affine
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import Samples
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage

CHUNK = 128
"""Candidates at a time."""


@register("roni")
@dataclass(frozen=True)
class RONI(SelectionDefense):
    """Drop each row q whose mean impact is below μ − κσ, the mean and standard deviation over clean calibration rows.

        impact(q) = mean over trials t of  accuracy of (T_t ∪ {q}) on V_t − accuracy of T_t on V_t

    Small training sets T_t and quiz sets V_t are drawn from the trusted rows; what is trained is the target model, by
    the recipe, on |T_t| + 1 rows (retraining.py). The calibration rows are trusted too, drawn once, and in no T_t or
    V_t. The model is then trained on the rows that are left with the recipe, trusted ones not among them.

    The 2008 paper has 20 mails in T, 50 in V and five trials, for two classes: 10 and 25 a class here. It finds a
    threshold by eye; the calibrated one, with κ = 3, is of Nelson's thesis (UCB/EECS-2010-140, section 4.4). Candidates
    are single rows, as there: a batch is as good as its worst row, and goes as a whole. Where trusted rows are fewer
    than all three parts ask for, these shrink alike; the dozen that the digits have measures next to nothing.

    Linear models alone: every row costs as many trainings as there are trials.

    Fields:
        training: rows of T, by class.
        quiz: rows of V, by class.
        calibration: rows of the calibration set, by class.
        trials: draws of T and V.
        deviations: κ.
    """

    version: ClassVar[int] = 1
    paper = "nelson2008exploiting"
    target_models = "lr, svm"
    cost = "one training run, and n · trials of some hundred rows, batched: MNIST's 43,000 rows in minutes, in 20 MiB"
    trusted_data = True

    training: int = 10
    quiz: int = 25
    calibration: int = 25
    trials: int = 5
    deviations: float = 3.0

    def __post_init__(self) -> None:
        check_integers(self, training=1, quiz=1, calibration=1, trials=1)
        check_numbers(self, "≥ 0", "deviations")

    def select(self, view: DefenderView, train: Train, stage: Stage) -> Selection:
        """See SelectionDefense; the scores are minus the impacts.

        Raises:
            ConfigError: for a model that is not linear, or fewer than four trusted rows.
        """
        if not is_affine(view.model):
            raise ConfigError("roni is for linear models. Use --model lr or svm.")
        if len(view.trusted) < 4:
            raise ConfigError(f"roni needs four trusted rows or more, and has {len(view.trusted)}.")
        n_training, n_quiz, n_calibration = self.sizes(len(view.trusted), view.classes)
        order = self._drawn(len(view.trusted), stage)
        calibration, pool = (view.trusted.rows(part) for part in (order[:n_calibration], order[n_calibration:]))
        weights = {name: value.to(stage.device) for name, value in view.model.init(stage.generator).items()}
        found, normal = (torch.zeros(len(part), device=stage.device) for part in (view.train, calibration))
        with stage.counted("retraining") as tick:
            for _ in range(self.trials):
                drawn = self._drawn(len(pool), stage)
                rows, quiz = pool.rows(drawn[:n_training]), pool.rows(drawn[n_training : n_training + n_quiz])
                retraining = Retraining(view.model, weights, view.recipe, rows, quiz.x, self.name)
                found += impacts(retraining, view.train, quiz.y, tick) / self.trials
                normal += impacts(retraining, calibration, quiz.y, tick) / self.trials
        limit = float(normal.mean() - self.deviations * normal.std(correction=0))
        kept = found >= limit
        refuse_lost_classes(self.name, view.train.y, kept)
        stats = {"limit": limit, "training": n_training, "quiz": n_quiz, "calibration": n_calibration}
        return Selection(kept, -found, stats)

    def sizes(self, trusted: int, classes: int) -> tuple[int, int, int]:
        """How many of so many trusted rows train, quiz and calibrate: what the fields ask for, or as large a part of it
        as there are rows for, at least one each."""
        wanted = [size * classes for size in (self.training, self.quiz, self.calibration)]
        part = min(1.0, trusted / sum(wanted))
        n_training, n_quiz, n_calibration = (max(1, int(part * size + 1e-9)) for size in wanted)
        return n_training, n_quiz, n_calibration

    @staticmethod
    def _drawn(n: int, stage: Stage) -> Tensor:
        return torch.randperm(n, generator=stage.generator).to(stage.device)


def impacts(retraining: Retraining, candidates: Samples, y: Tensor, tick: Callable[[], None]) -> Tensor:
    """How much the accuracy on quiz labels y, (m,), rises with each candidate, (n,); ticks once a CHUNK."""
    before, after = accuracy(retraining.without()[None], y), []
    for part in zip(candidates.x.split(CHUNK), candidates.y.split(CHUNK), strict=True):
        after.append(accuracy(retraining.scores(*part), y))
        tick()
    return torch.cat(after) - before


def accuracy(scores: Tensor, y: Tensor) -> Tensor:
    """The part of labels y, (m,), that each of b models' scores, (b, C, m), gets right, (b,)."""
    return (scores.argmax(1) == y).float().mean(1)
