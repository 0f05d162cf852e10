"""The conditions that a record was made under: what must be equal, besides the methods, for numbers to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

from poisonbench.identity.versions import outdated
from poisonbench.leaderboard.badges import Tier


class Kind(StrEnum):
    """What the attacker does: adds a few points, or perturbs the whole training set."""

    POISONING = "poisoning"
    UNLEARNABLE = "unlearnable examples"


@dataclass(frozen=True)
class Conditions:
    """What must be equal, besides the methods, for two numbers to be compared.

    Attributes:
        kind: what the attacker does.
        engine_version: declared by the engine, 0 before there were any; so are the other versions.
        protocol: its name.
        version: of the protocol.
        protocol_hash: SHA-256 of the released document.
        dataset: its name.
        dataset_version: declared by the dataset.
        dataset_sha256: of its content.
        test_images: how many rows the test set has.
        model: the target model.
        model_version: declared by the model.
        epsilon: poison fraction, n_poison / n_train.
        deviations: from the protocol; what has any is not ranked.
    """

    kind: Kind
    engine_version: int
    protocol: str
    version: int
    protocol_hash: str
    dataset: str
    dataset_version: int
    dataset_sha256: str
    test_images: int
    model: str
    model_version: int
    epsilon: float
    deviations: tuple[str, ...]

    def __str__(self) -> str:
        unranked = f" ({'; '.join(self.deviations)})" if self.deviations else ""
        return f"{self.protocol}{unranked} · {self.model} · ε = {self.epsilon:g}{self.tail}"

    @property
    def tail(self) -> str:
        """What a name ends with if it is of unlearnable examples or of earlier code, with a dot before it."""
        told = {self.kind: self.kind is Kind.UNLEARNABLE, Tier.EARLIER: self.earlier}
        return "".join(f" · {text}" for text, on in told.items() if on)

    @cached_property
    def earlier(self) -> bool:
        """Whether engine, dataset or model were of another version than what ships now."""
        made_by = ("engine", "engine", self.engine_version), ("dataset", self.dataset, self.dataset_version)
        return bool(outdated((*made_by, *((("model", self.model, self.model_version),) if self.model else ()))))

    @cached_property
    def of_any_code(self) -> Conditions:
        """The conditions but for versions of code."""
        return replace(self, engine_version=0, dataset_version=0, model_version=0)

    @cached_property
    def of_board(self) -> Conditions:
        """The conditions but for deviations: experiments that share them stand on one board."""
        return replace(self, deviations=())

    @cached_property
    def of_protocol(self) -> Conditions:
        """What the protocol fixes: the conditions but for model, ε and deviations."""
        return replace(self, model="", model_version=0, epsilon=0.0, deviations=())

    @cached_property
    def of_any_epsilon(self) -> Conditions:
        """The conditions but for ε."""
        return replace(self, epsilon=0.0)

    def differences(self, other: Conditions) -> list[str]:
        """One text for each field that differs, with both sides in it."""
        pairs = [
            (field.name, _text(getattr(self, field.name)), _text(getattr(other, field.name))) for field in fields(self)
        ]
        return [f"{name.replace('_', ' ')}: {a[:60]} / {b[:60]}" for name, a, b in pairs if a != b]


Thing = TypeVar("Thing")


def newest(found: Iterable[Thing], conditions: Callable[[Thing], Conditions]) -> list[Thing]:
    """What is left without those of earlier code that stand beside one of the code that ships, all else equal."""
    every = list(found)
    current = {conditions(one).of_any_code for one in every if not conditions(one).earlier}
    return [one for one in every if not conditions(one).earlier or conditions(one).of_any_code not in current]


def told_apart(found: Iterable[Conditions], name: Callable[[Conditions], str]) -> dict[Conditions, str]:
    """A name for each of the conditions: the plain one, and for namesakes with what tells them apart behind it.

    Args:
        found: conditions, any number of times.
        name: their plain name.
    """
    namesakes: dict[str, list[Conditions]] = {}
    for one in dict.fromkeys(found):
        namesakes.setdefault(name(one), []).append(one)
    names = {}
    for plain, group in namesakes.items():
        telling = [field.name for field in fields(Conditions) if len({getattr(one, field.name) for one in group}) > 1]
        for one in group:
            notes = [f"{key.replace('_', ' ')} {_short(getattr(one, key))}" for key in telling]
            names[one] = f"{plain} ({', '.join(notes)})" if notes else plain
    return names


def _text(value: object) -> str:
    return "; ".join(value) or "none" if isinstance(value, tuple) else str(value)


def _short(value: object) -> str:
    text = _text(value)
    return text[:8] if len(text) == 64 else text  # a hash
