"""The contract of defenses: what a result must be, and how a method must behave."""

from __future__ import annotations

from unittest import SkipTest

import torch

from poisonbench.defenses.base import Defense, refuse_unsound_kept
from poisonbench.errors import ValidationError
from poisonbench.experiment.kept import Trainings
from poisonbench.problem.predictor import models_of
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import Defended, DefenderView
from poisonbench.seeding import child_generator
from poisonbench.store.canonical import plain
from poisonbench.testing.behaviour import Behaviour
from poisonbench.testing.contract import Contract, fix
from poisonbench.testing.defense_answers import DefenseAnswers
from poisonbench.testing.observation import Result, stage_of, view_of


class _WellFormed(Contract):
    """The tests that the result is one that the runner accepts."""

    defense: Defense

    @property
    def method(self) -> Defense:
        """The defense under test."""
        return self.defense

    def _defended(self) -> Defended:
        defended = self.observed().result
        assert isinstance(defended, Defended)
        return defended

    @fix("Return what train(rows) gave, or weights of view.model with the same names, shapes and dtypes.")
    def test_weights_are_those_of_the_model(self) -> None:
        """Weights: those of the target model."""
        expected = self.game.target().init(child_generator(0, "init"))
        for weights in models_of(self._defended().predictor):
            found = {name: (value.shape, value.dtype) for name, value in weights.items()}
            assert found == {name: (value.shape, value.dtype) for name, value in expected.items()}, (
                "the weights are not those of the target model."
            )

    @fix("Look for a division by zero, or a training that diverged.")
    def test_weights_are_finite(self) -> None:
        """Finite: no weight is NaN or infinite."""
        for weights in models_of(self._defended().predictor):
            for name, value in weights.items():
                assert bool(torch.isfinite(value).all()), f"weight {name} is not finite."

    @fix("kept says for each row of view.train, in its order, whether the model was trained on it.")
    def test_kept_is_one_boolean_a_row(self) -> None:
        """Kept: one boolean a row."""
        kept, n = self._defended().kept, len(self.game.defender().train)
        assert kept.shape == (n,), f"kept has shape {tuple(kept.shape)}, expected ({n},)."
        assert kept.dtype == torch.bool, f"kept is {kept.dtype}, expected bool."

    @fix("kept names the rows of view.train that the training whose weights are returned was given.")
    def test_kept_is_what_was_trained_on(self) -> None:
        """Kept: the rows that the model was trained on."""
        kept, view = self._defended().kept, view_of(self.defense, self.game)
        assert isinstance(view, DefenderView)
        if kept.shape != view.train.y.shape or kept.dtype != torch.bool:
            raise SkipTest("kept is not one boolean a row.")
        trainings = Trainings(view.train.copy(), view.trusted.copy())

        def fit(samples: Samples, procedure: Procedure | None = None) -> Weights:
            weights = self.game.fit(samples, procedure)
            trainings.add(samples, weights)
            return weights

        try:
            why = trainings.check(self.name, self.defense.defend(view, fit, stage_of(self.defense)))
        except ValidationError as error:
            raise AssertionError(str(error)) from error
        if why is not None:
            raise SkipTest(f"{why}.")

    @fix("Remove a smaller fraction, or the same one of each class (balanced).")
    def test_every_class_keeps_a_row(self) -> None:
        """Every class keeps a row, or trusted rows stand for all."""
        kept, y = self._defended().kept, self.game.defender().train.y
        if kept.shape != y.shape or kept.dtype != torch.bool:
            raise SkipTest("kept is not one boolean a row.")
        try:
            refuse_unsound_kept(self.defense, y, kept)
        except ValidationError as error:
            raise AssertionError(str(error)) from error

    @fix("scores are finite, one a row of view.train, higher is more suspicious; None if there are none.")
    def test_scores_are_finite(self) -> None:
        """Scores: one finite number a row, if any."""
        scores, n = self._defended().scores, len(self.game.defender().train)
        if scores is None:
            raise SkipTest("it gives no scores.")
        assert scores.shape == (n,), f"scores have shape {tuple(scores.shape)}, expected ({n},)."
        assert bool(torch.isfinite(scores).all()), "a score is not finite."

    @fix("Return finite numbers, strings and booleans in stats.")
    def test_evidence_is_plain(self) -> None:
        """Evidence in stats is plain JSON."""
        plain(dict(self._defended().stats), "stats")


class DefenseContract(Behaviour, DefenseAnswers, _WellFormed):
    """The contract that every defense must keep. Subclass it in your test suite, under a name that pytest collects.

    Attributes:
        defense: the defense under test, an instance.
        game: the game; change it if the defense needs colour images or a network.
    """

    def agreement(self, here: Result, there: Result) -> float:
        """See Behaviour."""
        assert isinstance(here, Defended)
        assert isinstance(there, Defended)
        assert there.kept.device.type == "cuda", "kept is not on stage.device."
        return float((here.kept == there.kept.cpu()).float().mean())
