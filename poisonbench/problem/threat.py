"""What an attack assumes: knowledge, mode, labels. Imports nothing heavy: protocols are read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Knowledge(StrEnum):
    """The knowledge of an attacker (the paper, section 2.2)."""

    TRAINING_DATA_ONLY = "training-data-only"
    TRAINING_ONLY = "training-only"


class Mode(StrEnum):
    """The change that an attacker may make to the training set."""

    ADDITION = "addition"
    PERTURBATION = "perturbation"


@dataclass(frozen=True)
class ThreatModel:
    """The threat model that an attack assumes.

    Attributes:
        knowledge: training-only sees D_tr, D_v, the model, the recipe and the clean weights; training-data-only sees
            D_tr alone.
        mode: addition trains on D_tr ∪ D_p; perturbation replaces rows of D_tr.
        clean_label: whether every poisoned row keeps the label of the row it was made from.
        radius: largest L∞ distance of a poisoned row from the row it was made from that the attack allows itself, in
            [0, 1] units; None for no bound of its own.
        box: whether pixels stay in [0, 1]. Without it no protocol's threat is kept, and the record is unranked.
    """

    knowledge: Knowledge = Knowledge.TRAINING_ONLY
    mode: Mode = Mode.ADDITION
    clean_label: bool = False
    radius: float | None = None
    box: bool = True
