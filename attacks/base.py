"""What an attack is: fields that are its hyper-parameters, a threat model, a paper, and `craft`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage

if TYPE_CHECKING:
    from poisonbench.models.base import Model


@dataclass(frozen=True)
class Attack(ABC):
    """A poisoning attack. Subclasses are frozen dataclasses registered with `@register("name")`; their fields are the
    paper's symbols, are checked in `__post_init__` (raise `ConfigError`), and are stored in every record.

    Class attributes:
        version: raised whenever the numbers can change: records of two versions are never compared.
        paper: key of the method's entry in bibliography.yaml; None for a plugin that has none.
        cost: one line on time and memory.
        formulation: of the attacker's problem, in the words of Lu, Kamath & Yu, section 3 and appendices A and B;
            several by comma.
        models: that it is made for: any, or those by name.
        presets: sets of field values under a name, such as the paper's own, for `--preset`.
        later_fields: fields that came after results of this version were published, whose defaults leave its numbers as
            they were. A record leaves such a default out.
        places: fields that say where something lies whose content another field tells. No record has them, and they
            tell no cell from another.
    """

    kind: ClassVar[str] = "attack"
    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None
    cost: ClassVar[str] = ""
    formulation: ClassVar[str] = ""
    models: ClassVar[str] = "any"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    later_fields: ClassVar[frozenset[str]] = frozenset()
    places: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def threat(self) -> ThreatModel:
        """What the attacker knows and may do. A plain class attribute will do: `threat = ThreatModel(...)`."""

    def ready(self) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse what can be refused before any work, such as a file that is not there.

        Raises:
            ConfigError: saying what is missing.
        """

    def ready_for(self, model: Model) -> None:  # noqa: B027 - as above
        """Refuse, before any work, fields that do not go with the model that it is to be crafted on, or with the number
        of its classes. Models that `models` does not name are refused already.

        Raises:
            ConfigError: saying what to take instead.
        """

    @abstractmethod
    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """Craft a poison set within the budget.

        Args:
            view: all that the attacker knows; its tensors are on `stage.device` and must not be changed.
            budget: how many points, which box, how far; the runner verifies the stored set against it.
            stage: random stream, device, progress, checkpoint, deadline. Run long loops through `stage.steps`.
        """
