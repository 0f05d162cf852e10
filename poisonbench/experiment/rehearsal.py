"""The defense as an attacker that knows it rehearses it: the same code and fields, other draws, no trusted rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from poisonbench.defenses.base import Defense, known_to
from poisonbench.experiment.checked_procedure import CheckedProcedure
from poisonbench.models.base import Model
from poisonbench.problem.predictor import Predictor, models_of, winners
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView, Rehearsed
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.training import train


@dataclass(frozen=True)
class Rehearsal:
    """A defense in an attacker's hands; see problem.views.Rehearse.

    Attributes:
        defense: as it is configured in the cell.
        model: that the attacker crafts on.
        recipe: how it is trained.
        classes: number of classes.
        stand_ins: rows of D_v in the place of the defender's trusted rows, which no attacker sees.
    """

    defense: Defense
    model: Model
    recipe: Recipe
    classes: int
    stand_ins: Samples

    def __call__(self, rows: Samples, stage: Stage, task: str) -> Rehearsed:
        """See Rehearse. The rows are defended in random order, and every training has the same stream, as the
        defender's have."""
        seed, calls = int(torch.randint(2**63 - 1, (), generator=stage.generator)), 0
        order = torch.randperm(len(rows), generator=child_generator(seed, "order")).to(rows.y.device)
        shuffled = rows.rows(order)
        everything = DefenderView(
            replace(shuffled, ids=torch.arange(len(rows), device=rows.y.device)),
            self.stand_ins.copy(),
            self.model,
            self.recipe,
            self.classes,
        )

        def fit(samples: Samples, procedure: Procedure | None = None) -> Weights:
            nonlocal calls
            calls += 1
            checked = None if procedure is None else CheckedProcedure(procedure, self.defense.name, self.classes)
            name = f"training {calls}"
            own = stage.within(task, child_generator(seed, "train"))
            return train(self.model, samples, self.recipe, own, name, checked)

        defended = self.defense.defend(
            known_to(self.defense, everything), fit, stage.within(task, child_generator(seed, "defense"))
        )
        kept = torch.empty_like(defended.kept)
        kept[order] = defended.kept
        return Rehearsed(defended.predictor, kept, lambda x: self._answers(defended.predictor, x))

    def _answers(self, predictor: Predictor, x: Tensor) -> Tensor:
        shown = self.defense.transform(x.clone())
        votes = [self.model.predict(weights, shown).argmax(1) for weights in models_of(predictor)]
        return winners(torch.stack(votes), self.classes)
