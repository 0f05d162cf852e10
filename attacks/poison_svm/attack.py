"""PoisonSVM: flipped copies that ascend the validation hinge loss of the support vector machine trained with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.flips import flipped_by_rule
from poisonbench.attacks.poison_svm.dual import first_working_set, fit
from poisonbench.attacks.poison_svm.gradient import hinge_gradient, hinge_loss
from poisonbench.errors import BudgetError, ConfigError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

ATTACKED = {"both": (0, 1), "zero": (0,), "one": (1,)}


@register("poison-svm")
@dataclass(frozen=True)
class PoisonSVM(Attack):
    """Mislabelled points that ascend a linear SVM's validation hinge loss by its KKT conditions; for two classes.

    D_p = {(x_c, ȳ_c)}: copies of random rows of D_tr whose labels are flipped once and whose pixels then ascend

        x_c ← Π[x_c + t ∇_c L / ‖∇_c L‖],    L = mean over D_v of max(0, 1 − s (w·x + b)),

    with (w, b) the soft-margin SVM of D_tr ∪ D_p, s = ±1 its labels, and Π the projection onto the box, and the ball if
    there is one. At every step the SVM is solved exactly (svm_dual) and ∇L is exact (svm_gradient). Nearly every copy
    starts on the wrong side of the boundary, hence as a support vector; one that no longer is has gradient 0 and stays.

    The SVM sees pixels in [0, 1], as the original's does, so that C means the same. The victim sees (x − μ)/σ: an SVM
    with a free bias is blind to the shift, and C there is C/σ² here, 4C for σ = 0.5.

    Departures from the paper: all points move at once, from one KKT system, and points are copies of either class:
    `greedy` and `attacked` are the original's. There are `iterations` steps, no stop at a small gain. The kernel is
    linear, as the victim's scores are.

    Crafted on one half of D_v and measured on the other, 30 points for 1,000 rows of mnist-17 raise the SVM's error
    from 0.5 to 9.9 %; in the original's order, 30 steps a point, to 9.5 %, in nine times the time. 273 points for all
    9,105 rows raise it from 0.3 to 1.1 %, and from 0.5 to 5.2 % on the half they were crafted on: larger sets are
    harder to poison (Figure 1 of Lu, Kamath & Yu, TMLR 2022), and points fit the few rows of D_v inside the margin.

    Fields:
        C: the SVM's, the largest α of a point. The protocol's victim has none, but stops early: points crafted with 0.1
            do more to it on mnist-17, and with 1 on digits-17.
        t: step size, an L2 distance in pixels. After a large one a point may be no support vector, which stops it.
        iterations: steps; of each point, if greedy.
        attacked: the class whose rows are copied and mislabelled: 0, 1, or both by chance.
        greedy: one point after the other, each trained beside the finished ones: n times the work.
    """

    threat = ThreatModel()
    paper = "biggio2012poisoning"
    formulation = "non-zero-sum"
    models = "svm, two classes"
    cost = "iterations · one SVM of the rows near the margin, which libsvm solves on one core; n times that if greedy"
    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"paper": {"attacked": "one", "greedy": True}}
    )

    C: float = 1.0
    t: float = 0.1
    iterations: int = 60
    attacked: Literal["both", "zero", "one"] = "both"
    greedy: bool = False

    def __post_init__(self) -> None:
        check_numbers(self, "> 0", "C", "t")
        check_integers(self, iterations=1)

    def ready_for(self, model: Model) -> None:
        """See Attack."""
        _refuse_more_than_two(model.classes)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack."""
        start = self._start(view, budget, stage)
        clean, s = _flat(view.train.x), _signs(torch.cat([view.train.y, start.y]))
        held_out = _flat(view.validation.x), _signs(view.validation.y)
        n, block = len(clean), 1 if self.greedy else len(start)
        state = {"x": start.x, "working": first_working_set(s), "first_loss": s.new_zeros(())}
        for step in stage.steps("poison-svm", self.iterations * (len(start) // block), state):
            first = step // self.iterations * block
            moving, present = slice(first, first + block), first + block
            x, working = state["x"].clone(), state["working"].clone()
            z = torch.cat([clean, _flat(x[:present])])
            svm = fit(z, s[: len(z)], self.C, working[: len(z)])
            loss = hinge_loss(svm, *held_out)
            gradient = hinge_gradient(svm, z, slice(n + first, n + present), *held_out)
            x[moving] = budget.project(x[moving] + self.t * _unit(gradient).view_as(x[moving]), start.x[moving])
            working[: len(z)] = svm.near
            state |= {"x": x, "working": working, "first_loss": state["first_loss"] if step else loss}
            stage.report(validation_hinge=float(loss))
        svm = fit(torch.cat([clean, _flat(state["x"])]), s, self.C, state["working"])
        evidence = {
            "validation_hinge_first": float(state["first_loss"]),
            "validation_hinge_last": float(hinge_loss(svm, *held_out)),
            "poison_support_vectors": int((svm.beta[n:] != 0).sum()),
            "margin_support_vectors": int(svm.margin.sum()),
            "kkt_tolerance": svm.tolerance,
        }
        return PoisonSet(state["x"], start.y, start.source, evidence)

    def _start(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """Random rows of the attacked class, mislabelled."""
        _refuse_more_than_two(view.classes)
        eligible = torch.nonzero(torch.isin(view.train.y.cpu(), torch.tensor(ATTACKED[self.attacked]))).flatten()
        if len(eligible) < budget.n_poison:
            raise BudgetError(
                f"poison-svm: class {self.attacked} has {len(eligible)} rows to copy, {budget.n_poison} are wanted. "
                f"Use attack.attacked=both."
            )
        chosen = eligible[torch.randperm(len(eligible), generator=stage.generator)[: budget.n_poison]].to(stage.device)
        rows = view.train.rows(chosen)
        return PoisonSet(rows.x, flipped_by_rule(rows.y, view.classes), chosen)


def _refuse_more_than_two(classes: int) -> None:
    if classes != 2:
        raise ConfigError(
            f"poison-svm needs two classes, this dataset has {classes}. Use --dataset digits-17 or mnist-17."
        )


def _flat(x: Tensor) -> Tensor:
    """The images as rows of pixels, (n, d), float64."""
    return x.flatten(1).double()


def _signs(y: Tensor) -> Tensor:
    """The labels as signs, (n,), float64: class 0 is −1, class 1 is +1."""
    return y.double() * 2 - 1


def _unit(gradient: Tensor) -> Tensor:
    """The rows, each divided by its L2 norm; 0 stays 0."""
    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    unit: Tensor = gradient / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    return unit.float()
