"""Influence defense: drop the rows that raise the validation loss most, by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from poisonbench.bilevel.cg import cg
from poisonbench.bilevel.hvp import Operator
from poisonbench.defenses.base import FilterDefense, Scores
from poisonbench.defenses.gradients.norms import squared_gradient_norms
from poisonbench.defenses.gradients.operator import GradientOperator
from poisonbench.defenses.influence.self_influence import DENSE, dense_self_influence, low_rank_self_influence
from poisonbench.models.base import Model, n_params
from poisonbench.models.curvature import Curvature
from poisonbench.models.linear import is_affine
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.stages.stage import Stage


@register("influence")
@dataclass(frozen=True)
class Influence(FilterDefense):
    """Score = −∇L_v·(H + λI)⁻¹∇ℓᵢ: how fast the validation loss grows with row i's weight; the 3 % highest go.

    Raising row i's weight in the mean training loss by ε moves its minimum by −ε H⁻¹∇ℓᵢ, hence the validation loss by
    ε · score. Removing the row is ε = −1/n and changes it by −score / n: a row of score > 0 is harmful. One solve on
    all rows gives (H + λI)⁻¹∇L_v, and one pass its product with every row's gradient.

    The paper drops the rows of highest influence and names no sign, damping or curvature. Here the harmful rows go. The
    product without its minus sign is highest for the most helpful rows; and as the products sum to about zero, a cut by
    absolute value spends half of its quota on those.

    A trained network is at no minimum: its Hessian has directions of negative curvature, where a solve must stop, on
    MNIST after 6 steps with a residual near 1. The Gauss–Newton matrix has none, is the Hessian for linear models, and
    is what influence functions of networks are found to describe (Bae et al., NeurIPS 2022).

    λ has the recipe's weight decay added to it. 1 / (step size · steps) is a damping with which (H + λI)⁻¹ does about
    what gradient descent has done by then: 0.01 on the digits, 0.002 on MNIST. A hinge loss has no curvature: an SVM's
    score is −∇L_v·∇ℓᵢ / λ, and no λ changes the order.

    Fields:
        fraction: part dropped in a round; the paper removes 3 %.
        rounds: train, score and drop this often. The paper's setting is one.
        balanced: whether that part of every class goes, rather than of all rows together.
        influence: signed, as above; absolute, |score|; self, ∇ℓᵢ·(H + λI)⁻¹∇ℓᵢ, which needs no validation set.
        curvature: H: gauss-newton or hessian.
        damping: λ > 0.
        max_steps: most steps of conjugate gradients.
        rtol: residual at which they stop.
        rank: of self-influence, dimension of the subspace outside of which H counts as zero. Linear models of up to
            10,000 parameters are solved exactly instead.
    """

    version: ClassVar[int] = 1
    paper = "koh2017understanding"
    cost = "two training runs; for NN on MNIST 76 products with the curvature, 1.5 gradients of the whole set each"

    influence: Literal["signed", "absolute", "self"] = "signed"
    curvature: Literal["gauss-newton", "hessian"] = "gauss-newton"
    damping: float = 0.01
    max_steps: int = 200
    rtol: float = 1e-3
    rank: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, max_steps=1, rank=1)
        check_numbers(self, "> 0", "damping")
        check_numbers(self, "in (0, 1)", "rtol")

    @property
    def trusted_data(self) -> bool:
        """Whether scores are about the loss on trusted rows."""
        return self.influence != "self"

    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        """See FilterDefense."""
        damping = self.damping + view.recipe.weight_decay
        with stage.counted("influence") as tick:
            if self.influence == "self":
                return self._on_itself(view, weights, damping, stage, tick)
            return self._on_validation(view, weights, damping, stage, tick)

    def _on_validation(
        self, view: DefenderView, weights: Weights, damping: float, stage: Stage, tick: Callable[[], None]
    ) -> Scores:
        trusted, n = _gradients(view.model, weights, view.trusted), len(view.trusted)
        gradient = trusted.transposed_times(view.trusted.x.new_full((n,), 1 / n))
        solution = cg(self._curvature(view, weights, tick), gradient, damping, self.max_steps, self.rtol)
        stage.report(residual=solution.residual)
        tick()
        scores = -_gradients(view.model, weights, view.train).times(solution.x)
        evidence = _evidence(solution.steps, solution.residual, solution.converged)
        return Scores(scores.abs() if self.influence == "absolute" else scores, evidence)

    def _on_itself(
        self, view: DefenderView, weights: Weights, damping: float, stage: Stage, tick: Callable[[], None]
    ) -> Scores:
        if is_affine(view.model) and n_params(weights) <= DENSE:
            return Scores(dense_self_influence(view.model, weights, view.train, damping, tick), _evidence(1, 0.0, True))
        norms = squared_gradient_norms(view.model, weights, view.train)
        G = _gradients(view.model, weights, view.train)
        H = self._curvature(view, weights, tick)
        scores, steps, outside = low_rank_self_influence(H, G, norms, damping, self.rank, stage.generator)
        return Scores(scores, _evidence(steps, outside, outside <= self.rtol))

    def _curvature(self, view: DefenderView, weights: Weights, tick: Callable[[], None]) -> Operator:
        H = Curvature(view.model, weights, view.train, self.curvature)

        def product(v: Tensor) -> Tensor:
            Hv = H(v)
            tick()
            return Hv

        return product


def _gradients(model: Model, weights: Weights, samples: Samples) -> GradientOperator:
    """The gradients of all rows, as an operator for one product."""
    return GradientOperator(model, weights, samples, centred=False, kept_bytes=0)


def _evidence(steps: int, residual: float, converged: bool) -> dict[str, float | int | str | bool]:
    return {"solver_steps": steps, "solver_residual": residual, "solver_converged": converged}
