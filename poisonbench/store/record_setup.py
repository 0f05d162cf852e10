"""What was run: a record's rules, data, model, methods, threat and seeds, each with its version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from poisonbench.store.record_fields import Amount, Count, Flag, Fraction, Json, Name, Section, Sha256, Text, Version

Made = tuple[str, str, int]
"""Kind, name and version."""

KNOWS = "knows defense"
"""Among the fields of an attack, none of which can have a space in its name: the defense that it knows, which is the
record's."""


class ProtocolInfo(Section):
    """Under which rules. `locked` and no `deviations` make a record ranked."""

    name: Name
    version: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    hash: Sha256
    locked: Flag
    deviations: tuple[Text, ...] = ()


class EngineInfo(Section):
    """Which engine: its declared version, 0 before there were any, and its code."""

    version: Version
    code_hash: Sha256 | None = None


class DatasetInfo(Section):
    """Which data, its declared version and code, and how many rows of D_tr, D_v, the defender's own clean rows (0 if it
    trusts D_v) and the test set."""

    name: Name
    version: Version
    code_hash: Sha256 | None = None
    sha256: Sha256
    n_train: Count
    n_val: Count
    n_trusted: Count
    n_test: Count


class ModelInfo(Section):
    """The target model and its declared version."""

    name: Name
    version: Version
    code_hash: Sha256 | None = None
    n_params: Count


class MethodInfo(Section):
    """An attack or a defense: its declared version, who ships it, which code it was and its paper's symbols.

    A composed defense has the versions and code hashes of its parts, joined by + as their names are. `release` is the
    version of the distribution that brought the method.
    """

    name: Name
    version: Annotated[str, Field(pattern=r"^\d{1,9}(\+\d{1,9})*\Z", max_length=100)]
    distribution: Text
    release: Text
    code_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}(\+[0-9a-f]{64})*\Z", max_length=1000)]
    params: Json = Field(default_factory=dict)

    @model_validator(mode="after")
    def _a_version_for_each_part(self) -> Self:
        if self.name.count("+") != self.version.count("+"):
            raise ValueError(f"version {self.version} is not that of {self.name}: expected one for each part")
        return self


class ThreatInfo(Section):
    """What the attacker was allowed, besides pixels in [0, 1], or anywhere if a deviation says so. `denominator` is the
    number of rows that ε is a fraction of (|D_tr|)."""

    knowledge: Literal["training-data-only", "training-only"]
    mode: Literal["addition", "perturbation"]
    clean_label: Flag
    epsilon: Fraction
    n_poison: Count
    denominator: Count
    norm_bound: Amount | None = None


class Seeds(Section):
    """The seed that was asked for (`run`) and the streams that came of it."""

    run: Count
    split: Count
    train: Count
    attack: Count
    defense: Count


def methods(kind: str, names: str, versions: str) -> Iterator[Made]:
    """Of a composed defense each part, else the method itself."""
    for name, version in zip(names.split("+"), versions.split("+"), strict=True):
        yield kind, name, int(version)
