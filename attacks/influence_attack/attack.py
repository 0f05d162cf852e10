"""The influence attack: mislabelled points that climb the validation loss, retrained between steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from poisonbench.attacks.base import Attack
from poisonbench.attacks.evaluation import accuracy
from poisonbench.attacks.influence_attack.feasible import Sanitized
from poisonbench.attacks.influence_attack.lower_problem import LowerProblem
from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.attacks.pixel_direction import Step, direction
from poisonbench.bilevel.hvp import flatten
from poisonbench.bilevel.solvers import solver
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.smooth_hinge import smoothed
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.effective_decay import effective_decay
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

ROWS = 10_000
"""Of D_tr in a network's curvature; a linear model's looks at all."""


@register("influence-attack")
@dataclass(frozen=True)
class InfluenceAttack(Attack):
    """Mislabelled points whose pixels ascend the validation loss of the model that is trained to its end on them.

    D_p = {(x_i, ȳ_i)}: copies of random rows of D_tr whose labels are flipped once; then, `steps` times,

        w ← argmin_w f(w) = L(D_tr ∪ D_p; w) + (λ / 2) ‖w − w₀‖²,
        x_i ← Π[x_i + α · dir(∇_{x_i})],   ∇_{x_i} = −1/(N + n) · ∇_x⟨H⁻¹ ∇L(D_v; w), ∇_w ℓ(w; x_i, ȳ_i)⟩,   H = ∇²f(w),

    equations 20–22 of Lu, Kamath & Yu: the gradient of L(D_v; w*) by the implicit function theorem, with Π the
    projection onto the feasible set. Koh & Liang move one point, Koh, Steinhardt & Liang all at once or a few distinct
    ones that are repeated, within what sanitisers let through: `points` and `feasible`.

    Departures. (1) λ stands for what keeps the defender's training from going on for ever: the recipe's weight decay,
    and the end of training, which acts like a decay of (1 − momentum) / Σ learning rates. It pulls a linear model to
    w₀ = 0 and a network to its clean weights: to 0, it would take all layers there at once. (2) Training goes on from
    the last step's weights, by L-BFGS: a network is at no minimum, and its H is the Gauss–Newton part of the Hessian,
    positive semi-definite. Influence functions of networks are inaccurate, as the paper says too. (3) A hinge has no
    curvature: an SVM is given the smooth hinge that Koh & Liang take, for training as well, with several classes.
    (4) Labels are flipped at random among all other classes; they have two. (5) A solve starts at the last one's
    solution, so few products are enough.

    The points fit D_v. Steps, their size, λ, w₀ and the smoothing were chosen on one half of D_v with points crafted on
    the other, after retraining with the recipe, on six splits of the digits that no protocol has. For lr at ε = 0.03
    all of alpha 0.3 to 3, 25 to 100 steps, signs, ten points and worst labels lie within 4.1 to 5.2 points (standard
    errors 0.4 to 0.8), so little hangs on them; for nn, λ without momentum does 1.9 and with it 3.1 (0.5, 0.7).

    Fields:
        points: number of distinct points, each repeated as often as it takes; 0 makes all of them distinct.
        steps: of all points, with a retraining before each.
        alpha: their size α, which falls to 0 along a cosine.
        step: `normalised` divides each point's gradient by its L2 norm, so that α is a distance in pixels; `sign` takes
            signs, as Koh & Liang do; `raw` takes the gradient as it is, about 1/(N + n) in size.
        flip: how labels are flipped, see label-flip.
        feasible: `box`; `sphere`, its part within r_y of the centroid of the point's class; `slab`, that within s_y of
            it along the line to the other classes; or `sphere-slab`. Where a radius leaves nothing of it, the radius is
            kept.
        removed: part of each class of D_tr that sphere and slab each leave outside.
        retraining: L-BFGS's steps a retraining.
        decay: λ; null takes the recipe's weight decay plus (1 − momentum) / Σ learning rates.
        rows: rows of D_tr that H looks at; 0 takes all; null takes all for a linear model and 10,000 for a network.
        max_steps: most steps of conjugate gradients a solve.
        rtol: residual at which they stop.
        smoothing: temperature of an SVM's smooth hinge.
    """

    threat = ThreatModel()
    version: ClassVar[int] = 1
    paper = "koh2022stronger"
    formulation = "non-zero-sum"
    cost = "steps · (1.25 retraining + 1.5 max_steps + 1) gradients of D_tr, at most; memory O(D_tr)"

    points: int = 0
    steps: int = 50
    alpha: float = 1.0
    step: Step = "normalised"
    flip: Literal["rule", "random", "worst"] = "random"
    feasible: Literal["box", "sphere", "slab", "sphere-slab"] = "box"
    removed: float = 0.05
    retraining: int = 10
    decay: float | None = None
    rows: int | None = None
    max_steps: int = 10
    rtol: float = 1e-2
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        check_integers(self, points=0, steps=1, retraining=1, rows=0, max_steps=1)
        check_numbers(self, "> 0", "alpha", "decay", "smoothing")
        check_numbers(self, "in [0, 1)", "removed")
        check_numbers(self, "in (0, 1]", "rtol")

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack.

        Raises:
            ConfigError: if there are to be more distinct points than points.
        """
        if self.points > budget.n_poison:
            raise ConfigError(f"attack.points: the budget is {budget.n_poison} points, got {self.points}.")
        flipped = LabelFlip(flip=self.flip).craft(view, budget, stage)
        source, y = flipped.source[: self.points or None], flipped.y[: self.points or None]
        copies = torch.arange(budget.n_poison, device=stage.device) % len(y)
        clean = view.train.x[source]
        feasible = self._feasible(view)
        model = smoothed(view.model, self.smoothing)
        decay = effective_decay(view.recipe, len(view.train), momentum=True) if self.decay is None else self.decay
        trained = flatten(list(model.parameters(view.weights).values()))
        origin = torch.zeros_like(trained) if model.linear else trained
        problem = LowerProblem(model, model.normalise(view.train.x), view.train, decay, origin)
        solve = solver("cg", decay, self.max_steps, self.rtol)
        rows = (0 if model.linear else ROWS) if self.rows is None else self.rows
        x = budget.project(flipped.x[: len(y)], clean)
        state = {
            "x": x if feasible is None else feasible.project(x, y, clean, budget),
            "solution": torch.zeros_like(trained),
            "evidence": torch.zeros(4, dtype=torch.float64),  # first loss, last loss, gradient left, residual
        } | {f"weights/{name}": value for name, value in view.weights.items()}
        for index in stage.steps("influence-attack", self.steps, state):
            poison = Samples(state["x"][copies], y[copies], source[copies])
            start = {name: state[f"weights/{name}"] for name in view.weights}
            w, left = problem.solved(poison, start, self.retraining)
            slope, solution = problem.ascent(poison, w, view.validation, rows, solve, state["solution"])
            with torch.no_grad():
                loss = float(model.loss(model.predict(w, view.validation.x), view.validation.y))
            if not (math.isfinite(loss) and bool(torch.isfinite(slope).all())):
                raise DivergedError(f"influence-attack diverged: loss {loss} at step {index + 1}. Lower attack.alpha.")
            ascent = torch.zeros_like(state["x"]).index_add_(0, copies, slope)
            rate = self.alpha * (1 + math.cos(math.pi * index / self.steps)) / 2
            moved = state["x"] + rate * direction(ascent, self.step)
            if feasible is None:
                state["x"] = budget.project(moved, clean)
            else:
                state["x"] = feasible.project(moved, y, clean, budget)
            first = loss if index == 0 else float(state["evidence"][0])
            state["evidence"] = torch.tensor([first, loss, left, solution.residual], dtype=torch.float64)
            state["solution"] = solution.x
            state |= {f"weights/{name}": value for name, value in w.items()}
            stage.report(validation_loss=loss, gradient=left, residual=solution.residual)
            if stage.traced(index, self.steps):
                stage.report(accuracy=accuracy(model, w, view.validation))
        names = ("validation_loss_first", "validation_loss_last", "gradient_left", "solver_residual")
        stats = dict(zip(names, state["evidence"].tolist(), strict=True))
        return PoisonSet(state["x"][copies], y[copies], source[copies], stats)

    def _feasible(self, view: AttackerView) -> Sanitized | None:
        """What the sanitisers let through; None for the box."""
        if self.feasible == "box":
            return None
        sphere, slab = self.feasible != "slab", self.feasible != "sphere"
        return Sanitized.of(view.train, view.classes, self.removed, sphere, slab)
