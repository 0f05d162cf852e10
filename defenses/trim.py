"""TRIM: the exact minimiser on the rows of least loss, until these stand still.

Jagielski, Oprea, Biggio, Liu, Nita-Rotaru & Li, "Manipulating Machine Learning: Poisoning Attacks and Countermeasures
for Regression Learning", IEEE S&P 2018, Algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poisonbench.defenses.alternation import Alternation, Fit
from poisonbench.defenses.base import Scores
from poisonbench.defenses.quotas import Quotas
from poisonbench.errors import ConfigError
from poisonbench.models.linear import is_affine
from poisonbench.models.linear_losses import has_hinge
from poisonbench.models.linear_risk import Risk, layer
from poisonbench.models.smooth_hinge import smoothed
from poisonbench.plugins.registry import register
from poisonbench.problem.effective_decay import effective_decay
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.views import DefenderView, Train
from poisonbench.stages.stage import Stage


@register("trim")
@dataclass(frozen=True)
class Trim(Alternation):
    """Alternate between θ = argmin mean of ℓ(θ) over S + λ/2 ‖θ‖² and S = all rows but the ⌊fraction · n⌋ of highest ℓ.

    S begins as a random subset of that size. Neither step raises the trimmed risk, so it ends at a local minimum, in a
    finite number of rounds. The model is then trained on S with the recipe.

    The paper is on linear regression, where ℓ is the squared residual. Here ℓ is the model's own loss, cross entropy
    for `lr` and the multi-class hinge for `svm`: what the residual is to a response, that is to a label. The hinge is
    minimised by its smooth bound (smooth_hinge.py), which ranks the rows too, that both steps may be of one loss.

    Departures: λ is the recipe's weight decay plus 1 / Σ learning rates, momentum counted (effective_decay.py), so that
    θ is about what the recipe would end at; the paper's comes of cross-validation. It ends when S stands still, where
    the paper looks at the risk. The authors' code begins with all rows; neither it nor the paper starts twice.

    Fields:
        fraction: part of the training set that is dropped.
        rounds: how often at most; the 400 of the authors' code.
        balanced: whether that part of every class goes, rather than of all rows together.
        decay: λ, or null for the recipe's.
        tolerance: the largest entry of the scaled gradient (linear_risk.py) at which θ counts as the minimiser.
        max_steps: of L-BFGS after which it does anyway; the record's `gradient` says what was left.
        temperature: T of the hinge's smooth bound.
    """

    version: ClassVar[int] = 1
    paper = "jagielski2018manipulating"
    target_models = "lr, svm"
    cost = "one training run; a round goes some ten times over the rows"

    rounds: int = 400
    decay: float | None = None
    tolerance: float = 1e-4
    max_steps: int = 200
    temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, max_steps=1)
        check_numbers(self, "> 0", "decay", "tolerance", "temperature")

    def first(self, view: DefenderView, quotas: Quotas, stage: Stage) -> Tensor:
        """See Alternation."""
        drawn = torch.rand(len(view.train), generator=stage.generator)
        return quotas.left(drawn.to(stage.device), view.train.y)

    def fit(self, view: DefenderView, train: Train, stage: Stage) -> Fit:
        """See Alternation.

        Raises:
            ConfigError: for a model that is not one linear layer with cross entropy or the multi-class hinge.
        """
        model, rows = view.model, view.train
        if not is_affine(model):
            raise ConfigError("trim is for convex models, one linear layer. Use --model lr or svm.")
        hinge = has_hinge(model, "trim")
        decay = effective_decay(view.recipe, len(rows), momentum=True) if self.decay is None else self.decay
        theta = rows.x.new_zeros(model.classes, rows.x[0].numel() + 1)
        risk = Risk.of(model, layer(theta), rows, decay, self.temperature if hinge else None)
        ranking, none = smoothed(model, self.temperature), rows.none()

        def losses(kept: Tensor) -> Scores:
            nonlocal theta
            with stage.counted("trimmed minimum") as tick:
                theta, left = risk.on(rows.rows(kept)).minimum(theta, none.x, none.y, self.tolerance, self.max_steps)
                stage.report(gradient=left)
                tick()
            return Scores(ranking.losses(model.predict(layer(theta), rows.x), rows.y), {"gradient": left})

        return losses
