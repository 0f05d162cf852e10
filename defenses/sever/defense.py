"""Sever: drop the rows whose gradients stand out along the direction in which gradients vary most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from poisonbench.defenses.base import FilterDefense, Scores
from poisonbench.defenses.gradients.operator import GradientOperator
from poisonbench.defenses.sever.spectral import Component, leading_component
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_numbers
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView
from poisonbench.stages.stage import Stage


@register("sever")
@dataclass(frozen=True)
class Sever(FilterDefense):
    """Score = ⟨∇ℓᵢ − mean, v⟩², with v the top right singular vector of the centred per-sample gradients.

    v is the unit vector that maximises σ₁² = ‖Gv‖², row i of G being ∇ℓᵢ(w) − 1/n Σⱼ ∇ℓⱼ(w) at the trained weights w;
    a score is what its row adds to σ₁². `GradientOperator` multiplies with G, `leading_component` finds v.

    As in the authors' code for classification, each class is centred, decomposed and cut on its own, and the defender
    trains and filters in turn. The paper's regression drops p = ε/2 of the rows in each of 4 rounds, 2ε in all: more
    than there is poison, as some of what goes is clean. The defaults are that for ε = 0.03, the fraction that the
    other filters here take for granted too; with another ε set defense.fraction to its half. The code's SVMs have 2
    rounds, in each of which every class loses ε/2 · n / n_y of its rows, n_y those of one of the two classes, so in all
    as many as if that class had all of the poison; of ten equal classes that were 15 % of each in a round. In
    Algorithm 1 the rounds go on until nothing is dropped, and its filter (Algorithm 2) drops nothing if Σᵢ scoreᵢ is
    below a bound that one must know, and otherwise each row whose score exceeds a threshold drawn uniformly between 0
    and the highest; the paper's experiments set a fraction and a number of rounds instead.

    The preset `pooled` is Lu, Kamath & Yu's setting: 3 % of all rows at once, by one direction for all classes. On the
    digits it takes away clean rows rather than poison.

    Departures from the authors' code: it leaves the bias out of the gradient, in which it stays here; it drops every
    row that ties with the quantile, where here exactly the quota goes, ⌊fraction · n⌋ of the n rows that a class has
    before the first round. A class of fewer than 1 / fraction rows loses none.

    Fields:
        fraction: part dropped in a round.
        rounds: train, score and drop this often.
        balanced: whether that part of every class goes, rather than of all rows together.
        per_class: whether each class's gradients are centred and decomposed on their own. Scores of different classes
            then count along different directions, hence balanced.
        tol: largest residual ‖GᵀGv − σ₁²v‖ / σ₁².
    """

    version: ClassVar[int] = 1
    paper = "diakonikolas2019sever"
    cost = "rounds + 1 training runs; a round goes 5 to 20 times over per-sample gradients, of which 1.25 GiB are kept"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "pooled": {"fraction": 0.03, "rounds": 1, "balanced": False, "per_class": False}
    }

    fraction: float = 0.015
    rounds: int = 4
    balanced: bool = True
    per_class: bool = True
    tol: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, "in (0, 1)", "tol")

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
