"""Sever: drop the rows whose gradients stand out along the direction in which gradients vary most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from poisonbench.defenses.base import FilterDefense, Scores
from poisonbench.defenses.gradients.operator import GradientOperator
from poisonbench.defenses.sever.spectral import Component, leading_component
from poisonbench.errors import ConfigError
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.stages.stage import Stage


@register("sever")
@dataclass(frozen=True)
class Sever(FilterDefense):
    """Score = ⟨∇ℓᵢ − mean, v⟩², with v the top right singular vector of the centred per-sample gradients.

    v is the unit vector that maximises σ₁² = ‖Gv‖², row i of G being ∇ℓᵢ(w) − 1/n Σⱼ ∇ℓⱼ(w) at the trained weights w;
    a score is what its row adds to σ₁². `GradientOperator` multiplies with G, `leading_component` finds v.

    Lu, Kamath & Yu drop the 3 % of highest score, once, and so do the defaults. Diakonikolas et al. train and filter in
    turn until nothing is dropped (their Algorithm 1), and their filter (Algorithm 2) drops nothing if Σᵢ scoreᵢ is
    below a bound that one must know, and otherwise each row whose score exceeds a threshold drawn uniformly between 0
    and the highest. Their own experiments set a fraction and a number of rounds instead, as here. For classification
    their code centres, decomposes and cuts each class on its own (per_class=true, balanced=true) and leaves the bias
    out of the gradient, in which it stays here; it goes on to drop every row that ties with the quantile, where
    here exactly the quota goes.

    Fields:
        fraction: part dropped in a round; the paper removes 3 %.
        rounds: train, score and drop this often. The paper's setting is one.
        balanced: whether that part of every class goes, rather than of all rows together.
        per_class: whether each class's gradients are centred and decomposed on their own. Scores of different classes
            then count along different directions.
        tol: largest residual ‖GᵀGv − σ₁²v‖ / σ₁².
    """

    version: ClassVar[int] = 1
    paper = "diakonikolas2019sever"
    cost = "rounds + 1 training runs; a round goes 5 to 20 times over per-sample gradients, of which 1.25 GiB are kept"

    per_class: bool = False
    tol: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tol < 1:
            raise ConfigError(f"defense.tol: expected a number in (0, 1), got {self.tol}.")

    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        """See FilterDefense."""
        y = view.train.y
        groups = [y == label for label in y.unique()] if self.per_class else [slice(None)]
        scores = view.train.x.new_empty(len(y))
        found = []
        for rows in groups:
            found.append(self._component(view, weights, view.train.rows(rows), stage))
            scores[rows] = found[-1].projections.square()
        return Scores(scores, _evidence(found))

    def _component(self, view: DefenderView, weights: Weights, samples: Samples, stage: Stage) -> Component:
        G = GradientOperator(view.model, weights, samples)
        with stage.counted("singular vector") as tick:

            def watch(residual: float) -> None:
                stage.report(residual=residual)
                tick()

            return leading_component(G, stage.generator, self.tol, watch)


def _evidence(components: list[Component]) -> dict[str, float | int | str | bool]:
    """The evidence of one component, or the extremes of several."""
    return {
        "singular_value": max(component.value for component in components),
        "gap": min(1 - component.second / component.value if component.value else 0.0 for component in components),
        "residual": max(component.residual for component in components),
        "products": sum(component.products for component in components),
    }
