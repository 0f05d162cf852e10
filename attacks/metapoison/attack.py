"""MetaPoison: poison points crafted through two unrolled training steps of an ensemble of half-trained models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.metapoison.ensemble import ensemble_gradient, gradient, stagger, train_staggered
from poisonbench.attacks.pixel_adam import adam_descend, pixel_state
from poisonbench.errors import DivergedError
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage
from poisonbench.training import minimise


@register("metapoison")
@dataclass(frozen=True)
class MetaPoison(Attack):
    """Images near training points that raise an ensemble's validation loss through K unrolled training steps.

    Labels are kept, and

        max_x  1/(MK) Σ_m Σ_{k ≤ K} ℓ_v(w_m^k),   w^k = w^{k−1} − α ∇_w f(w^{k−1}; x),   |x − D_tr[0 : εN]| ≤ radius

    with ℓ_v the mean loss on a minibatch of D_v and f that of training. Model m starts ⌊m · E / M⌋ epochs into a
    training run of E epochs; after each craft step all models train on, and one that reaches epoch E starts afresh.

    The indiscriminate form is the paper's: −ℓ_v stands for the loss on a target image, and there is no recolouring. Of
    the original's algorithm and code this further changes: D_p is added to its clean rows, not put in their place; a
    minibatch of f is one of D_tr and all of D_p, each with its share of D_tr ∪ D_p in the loss, where the code draws
    D_p's rows like any others, differentiates them in the first step alone and sums a whole epoch's gradients; x
    starts at the clean images, not at random ones; it is clipped to the box; all models see the same minibatches and
    train at a constant rate, which the code warms up over five epochs; ℓ_v is the training loss, where the code's
    default is a margin. Batch statistics are those of D_tr's and D_p's rows apart, since D_p has far more rows in a
    minibatch of f than its share. `--preset released` has the code's steps, minibatches and rates.

    Fields:
        K: unrolled training steps.
        steps: craft steps (outer steps).
        M: inner models.
        epochs: E; 0 takes the recipe's. The released code has E = M.
        lr: step size of the inner models and α of the unrolled steps; 0 takes the recipe's.
        batch_size: rows of D_tr, and of D_v, a minibatch; 0 takes the recipe's.
        advance: part of an epoch that the inner models train after a craft step.
        trajectory: what they train on then: `clean`, D_tr, or `poisoned`, D_tr ∪ D_p as it stands.
        craft_rate: Adam's step size on the pixels; the released code's 200 of 255 levels.
        warmup: craft steps s < warmup have ((s + 1) / warmup)² of it.
        drop_every: craft steps after which it is divided by 10, twice at most.
        radius: largest change of a pixel.
    """

    version: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"released": {"steps": 61, "lr": 0.1, "batch_size": 125, "warmup": 5}}
    )
    later_fields: ClassVar[frozenset[str]] = frozenset({"warmup"})
    paper = "huang2020metapoison"
    formulation = "non-zero-sum"
    cost = (
        "M · (about E/2 + advance · steps) epochs of training, and steps · M · K second-order gradients of all of D_p"
    )

    K: int = 2
    steps: int = 60
    M: int = 24
    epochs: int = 24
    lr: float = 0.0
    batch_size: int = 0
    advance: float = 1.0
    trajectory: Literal["clean", "poisoned"] = "clean"
    craft_rate: float = 200 / 255
    warmup: int = 0
    drop_every: int = 20
    radius: float = 8 / 255

    def __post_init__(self) -> None:
        check_integers(self, K=1, steps=1, M=1, epochs=0, batch_size=0, warmup=0, drop_every=1)
        check_numbers(self, "> 0", "craft_rate")
        check_numbers(self, "≥ 0", "lr")
        check_numbers(self, "in (0, 1]", "advance", "radius")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: labels are kept, pixels move by `radius` at most."""
        return ThreatModel(clean_label=True, radius=self.radius)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack; Algorithm 1 of Huang et al."""
        model, n, n_poison = view.model, len(view.train), budget.n_poison
        start = view.train.rows(torch.arange(n_poison, device=stage.device))
        held_out = Samples(model.normalise(view.validation.x), view.validation.y, view.validation.ids)
        union = view.train.plus(start)
        z, y = model.normalise(union.x), union.y
        epochs, recipe = self.epochs or view.recipe.epochs, self._recipe(view.recipe)

        def batch_gradient(stack: Weights, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
            return gradient(model, stack, z.index_select(0, rows), y[rows])

        starts = stagger(self.M, epochs)
        models = train_staggered(model, starts, batch_gradient, n, recipe, stage)
        state = {f"models/{name}": value for name, value in models.items()} | pixel_state(start.x)
        state |= {"epochs": torch.tensor(starts, dtype=torch.float64), "loss": torch.zeros((), dtype=torch.float64)}
        size = recipe.batch_size
        for step in stage.steps("metapoison", self.steps, state):
            models = {name: state[f"models/{name}"] for name in models}
            batches = [torch.randperm(n, generator=stage.generator)[:size].to(stage.device) for _ in range(self.K)]
            clean = [Samples(z.index_select(0, rows), y[rows], rows) for rows in batches]
            held = held_out.rows(torch.randperm(len(held_out), generator=stage.generator)[:size].to(stage.device))
            poison = Samples(state["x"], start.y, start.ids)
            ascent, loss = ensemble_gradient(model, models, poison, clean, held, recipe.lr, n_poison / len(union))
            if not (math.isfinite(loss) and bool(torch.isfinite(ascent).all())):
                raise DivergedError(f"metapoison diverged: validation loss {loss} at step {step + 1}. Lower attack.lr.")
            # A gradient for D_tr ∪ D_p's sum of losses, not their mean: Adam's 1e-8 must stay small beside it.
            adam_descend(state, -len(union) * ascent, self._rate(step), step)
            state["x"] = budget.project(state["x"], start.x)
            state["loss"] = torch.tensor(loss, dtype=torch.float64)
            stage.report(validation_loss=loss)

            z[n:] = model.normalise(state["x"])
            among = n if self.trajectory == "clean" else len(union)
            some = torch.randperm(among, generator=stage.generator)[: math.ceil(self.advance * among)].to(stage.device)

            def batch_among(stack: Weights, rows: Tensor, some: Tensor = some) -> tuple[Tensor, list[Tensor]]:
                return batch_gradient(stack, some[rows])

            quiet = Stage(stage.generator, stage.device)  # a craft step is saved as a whole
            once = replace(recipe, epochs=1)
            models = minimise(batch_among, models, model.buffers, len(some), once, quiet, "inner models")
            state["epochs"] = state["epochs"] + self.advance
            for m in torch.nonzero(state["epochs"] > epochs - 1e-9).flatten().tolist():
                for name, value in model.init(stage.generator).items():
                    models[name][m] = value
                state["epochs"][m] = 0.0
            state |= {f"models/{name}": value for name, value in models.items()}
        x, source = state["x"], torch.arange(n_poison, device=stage.device)
        return PoisonSet(x, start.y.clone(), source, {"ensemble_validation_loss": float(state["loss"])})

    def _recipe(self, recipe: Recipe) -> Recipe:
        lr, batch_size = self.lr or recipe.lr, self.batch_size or recipe.batch_size
        return replace(recipe, lr=lr, batch_size=batch_size, schedule="constant")

    def _rate(self, step: int) -> float:
        warm = min((step + 1) / self.warmup, 1.0) ** 2 if self.warmup else 1.0
        return self.craft_rate * warm * 0.1 ** min(step // self.drop_every, 2)
