"""Back-gradient optimisation: ascend the validation loss that T steps of training on the poison points end in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.back_gradient.poisoned_descent import PoisonedDescent, rounds
from poisonbench.attacks.base import Attack
from poisonbench.attacks.evaluation import accuracy
from poisonbench.attacks.label_flip import LabelFlip
from poisonbench.attacks.pixel_direction import Step, direction
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("back-gradient")
@dataclass(frozen=True)
class BackGradient(Attack):
    """Mislabelled points whose pixels ascend the validation loss through T steps of training, by its exact gradient.

    D_p = {(x_i, ȳ_i)}: copies of random rows of D_tr whose labels are flipped once and whose pixels then ascend

        x ← Π[x + α ∇_x L(D_v, w_T(x))],    w_{t+1} = w_t − η ∇_w f(D_tr ∪ D_p, w_t),  t < T,

    with Π the projection onto the box, and the ball if there is one. The gradient is that of the T steps, exactly; the
    outer loss is the training loss of D_v, so any error counts, as in the paper's error-generic attack.

    Departures from the released code: every inner step takes a batch of D_tr, not all of it, and the recipe's η; its
    momentum and weight decay are not followed. All points move at once, from one gradient, not one after the other.
    Training goes on from where the last outer step left it, as in equations 10–11 of Lu, Kamath & Yu, TMLR 2022. Models
    with batch statistics use those of the batch, of D_tr's and D_p's rows apart, in training and on D_v.

    `--preset released` is the released code for logistic regression: full-batch descent from w = 0, points one by one;
    `--preset released-mlp` that for networks, which start at one draw of the weights. Both still keep the weights of
    the T steps instead of reversing them step by step, which is inexact; points start as rows of D_tr, not of D_v, so
    that a radius means something; there is no early stop at a gain below 1e-6; images are normalised; two classes have
    two outputs, on whose difference a step is twice as long as on one. The model is the protocol's: the released
    network has 10 tanh units.

    The points fit D_v: where it has few rows, their loss rises far more than that of unseen ones. T, iterations and
    start were therefore chosen on one half of D_v with points crafted on the other, after retraining: for the same
    T · iterations, more outer steps of fewer inner ones do more.

    Fields:
        T: inner steps.
        eta: inner step size η; 0 takes the recipe's learning rate.
        alpha: outer step size α.
        iterations: outer steps; of each point, if greedy.
        step: `normalised` divides each point's gradient by its L2 norm, so that α is a distance in pixels, as the
            released code does; `sign` takes signs; `raw` takes the gradient as it is, about 1/(N + n) in size.
        start: where the T steps start: `carried` at the last outer step's w_T, the first at the clean weights; `clean`
            always there; `scratch` at fresh weights every time, `drawn` at the same fresh weights, `zero` at w = 0 of a
            linear model, all three of which need T as large as training does.
        flip: how labels are flipped, see label-flip.
        descent: whether an inner step takes a minibatch of D_tr, or all of it.
        batch_size: rows of a minibatch; 0 takes the recipe's.
        poison_batch_size: rows of D_p an inner step; 0 takes all, more work but the gradient of every point at every
            step.
        greedy: one point after the other, each trained beside the finished ones: n times the work.
    """

    threat = ThreatModel()
    paper = "munoz2017towards"
    formulation = "non-zero-sum"
    cost = "iterations · T steps of about 4 gradients of a batch and the poison rows, n times that if greedy"
    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "released": {
                "T": 100,
                "eta": 0.1,
                "alpha": 1.0,
                "iterations": 300,
                "start": "zero",
                "descent": "full-batch",
                "greedy": True,
            },
            "released-mlp": {
                "T": 200,
                "eta": 0.1,
                "alpha": 0.2,
                "iterations": 200,
                "start": "drawn",
                "descent": "full-batch",
                "greedy": True,
            },
        }
    )
    later_fields: ClassVar[frozenset[str]] = frozenset({"descent"})

    T: int = 25
    eta: float = 0.0
    alpha: float = 1.0
    iterations: int = 40
    step: Step = "normalised"
    start: Literal["carried", "clean", "scratch", "drawn", "zero"] = "carried"
    flip: Literal["rule", "random", "worst"] = "random"
    batch_size: int = 0
    poison_batch_size: int = 0
    greedy: bool = False
    descent: Literal["minibatch", "full-batch"] = "minibatch"

    def __post_init__(self) -> None:
        check_integers(self, T=1, iterations=1, batch_size=0, poison_batch_size=0)
        check_numbers(self, "> 0", "alpha")
        check_numbers(self, "≥ 0", "eta")
        if self.batch_size and self.descent == "full-batch":
            raise ConfigError("attack.batch_size belongs to attack.descent=minibatch.")

    def ready_for(self, model: Model) -> None:
        """See Attack."""
        if self.start == "zero" and not model.linear:
            raise ConfigError("attack.start: zero needs a linear model, since networks stay there; take drawn.")

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        self.ready_for(view.model)
        flipped = LabelFlip(flip=self.flip).craft(view, budget, stage)
        z, held_out_z = view.model.normalise(view.train.x), view.model.normalise(view.validation.x)
        block = 1 if self.greedy else len(flipped)
        state = {"x": flipped.x, "losses": torch.zeros(2, dtype=torch.float64)}
        state |= {f"weights/{name}": value for name, value in view.weights.items()}
        drawn = self._fresh(view, stage) if self.start == "drawn" else {}
        steps = self.iterations * (len(flipped) // block)
        for step in stage.steps("back-gradient", steps, state):
            first = step // self.iterations * block
            moving, present = slice(first, first + block), first + block
            poison = Samples(state["x"][:present], flipped.y[:present], flipped.source[:present])
            batches, shares = (draw.to(stage.device) for draw in self._draws(view, present, stage))
            descent = PoisonedDescent(
                view.model,
                self.eta or view.recipe.lr,
                z,
                view.train.y,
                held_out_z,
                view.validation.y,
                batches,
                shares,
            )
            ascent, loss, w_T = descent.back_gradient(poison, self._start(view, state, drawn, stage))
            if not (math.isfinite(loss) and bool(torch.isfinite(ascent).all())):
                raise DivergedError(
                    f"back-gradient diverged: validation loss {loss} at step {step + 1}. Lower attack.eta or attack.T."
                )
            moved = state["x"][moving] + self.alpha * direction(ascent[moving], self.step)
            x = state["x"].clone()
            x[moving] = budget.project(moved, flipped.x[moving])
            losses = torch.tensor([loss if step == 0 else float(state["losses"][0]), loss], dtype=torch.float64)
            state |= {"x": x, "losses": losses} | {f"weights/{name}": value for name, value in w_T.items()}
            stage.report(validation_loss=loss)
            if stage.traced(step, steps):
                stage.report(accuracy=accuracy(view.model, w_T, view.validation))
        before, after = state["losses"].tolist()
        evidence = {"validation_loss_first": before, "validation_loss_last": after}
        return PoisonSet(state["x"], flipped.y, flipped.source, evidence)

    def _draws(self, view: AttackerView, present: int, stage: Stage) -> tuple[Tensor, Tensor]:
        """The rows of D_tr, (T, batch), and of D_p, (T, share), that each inner step takes."""
        n = len(view.train)
        if self.descent == "full-batch":
            batches = torch.arange(n).expand(self.T, -1)
        else:
            size = min(n, self.batch_size or view.recipe.batch_size)
            batches = rounds(n, size, self.T, stage.generator)
        if not 0 < self.poison_batch_size < present:
            return batches, torch.arange(present).expand(self.T, -1)
        return batches, rounds(present, self.poison_batch_size, self.T, stage.generator)

    def _start(self, view: AttackerView, state: dict[str, Tensor], drawn: Weights, stage: Stage) -> Weights:
        match self.start:
            case "carried":
                return {name: state[f"weights/{name}"] for name in view.weights}
            case "clean":
                return view.weights
            case "scratch":
                return self._fresh(view, stage)
            case "drawn":
                return drawn
            case "zero":
                return {name: torch.zeros_like(value) for name, value in view.weights.items()}

    @staticmethod
    def _fresh(view: AttackerView, stage: Stage) -> Weights:
        return {name: value.to(stage.device) for name, value in view.model.init(stage.generator).items()}
