"""Defenses in a row, as in `--defense loss+maxup`: filters, then one way to train on what they leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from poisonbench.defenses.base import Defense, SelectionDefense, TrainingDefense, known_to, refuse_lost_classes
from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.problem.views import Defended, DefenderView, Train
from poisonbench.stages.stage import Stage


@final
@dataclass(frozen=True)
class Composed(Defense):
    """Filters in the order given, each on what the one before it kept, then training defense or plain training.

    The filters score with models trained plainly, so the first removes the rows that it removes alone; the scores of a
    row are those of the last filter that saw it.

    Fields:
        parts: at least two; all but the last are filters.
    """

    parts: tuple[Defense, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigError(f"--defense {self.name}: expected different defenses joined by +, such as loss+maxup.")
        for part in self.parts[:-1]:
            if not isinstance(part, SelectionDefense):
                raise ConfigError(
                    f"--defense {self.name}: {part.name} removes no rows, so nothing can come after it. Filters first, "
                    f"then at most one training defense, such as loss+maxup."
                )
        if not isinstance(self.parts[-1], SelectionDefense | TrainingDefense):
            raise ConfigError(f"--defense {self.name}: {names[-1]} is no filter and no training defense; run it alone.")

    @property
    def trusted_data(self) -> bool:
        """Whether a part uses trusted rows; only that part is handed them."""
        return any(part.trusted_data for part in self.parts)

    @property
    def oracle(self) -> bool:
        """Whether a part is one."""
        return any(part.oracle for part in self.parts)

    @property
    def name(self) -> str:
        """The parts' names, joined by +."""
        return "+".join(part.name for part in self.parts)

    def ready_for(self, model: Model) -> None:
        """See Defense."""
        for part in self.parts:
            part.ready_for(model)

    def transform(self, x: Tensor) -> Tensor:
        """The parts' transforms, in their order."""
        for part in self.parts:
            x = part.transform(x)
        return x

    def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
        """See Defense."""
        rows = torch.arange(len(view.train), device=view.train.y.device)
        scores = torch.zeros(len(rows), device=rows.device)
        stats: dict[str, float | int | str | bool] = {}
        procedure = None
        for part in self.parts:
            left = known_to(part, view.rows(rows))
            if isinstance(part, SelectionDefense):
                selection = part.select(left, train, stage)
                scores[rows] = selection.scores
                rows = rows[selection.kept]
                stats |= _prefixed(part.name, selection.stats)
            elif isinstance(part, TrainingDefense):
                procedure = part.procedure(left, train, stage)
        kept = torch.zeros(len(scores), dtype=torch.bool, device=rows.device)
        kept[rows] = True
        refuse_lost_classes(self.name, view.train.y, kept)
        return Defended(train(view.train.rows(rows), procedure), kept, scores, stats)


def _prefixed(name: str, stats: Mapping[str, float | int | str | bool]) -> dict[str, float | int | str | bool]:
    return {f"{name}.{key}": value for key, value in stats.items()}
