"""Where a record comes from: the machine, the files beside it, and who ran it again."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from poisonbench.store.record_fields import Count, Section, Sha256, Text
from poisonbench.store.record_results import Metrics


class Environment(Section):
    """Where it ran."""

    python: Text
    torch: Text
    cpu: Text
    gpu: Text | None = None
    threads: Count
    git: Text | None = None


class Artifact(Section):
    """One content-addressed file, by its path below the store's home (or beside an exported record)."""

    kind: Literal["poison", "predictions", "clean-predictions", "weights", "defense"]
    path: Annotated[str, Field(pattern=r"^artifacts/[0-9a-f]{2}/[0-9a-f]{64}\.safetensors\Z")]
    sha256: Sha256
    bytes: Count

    @model_validator(mode="after")
    def _path_is_hash(self) -> Self:
        if self.path != artifact_path(self.sha256):
            raise ValueError(f"path {self.path} is not that of sha256 {self.sha256}")
        return self


class Submitted(Section):
    """What a submission said, and where its attack ran: the record itself holds what the verifier measured.

    Attributes:
        record_id: of the record as it was submitted.
        metrics: its accuracies, without those by class and without answers.
        environment: where the submitter ran it, hence where `timing.attack_s` was taken.
    """

    record_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}\Z")]
    metrics: Metrics
    environment: Environment


class Verification(Section):
    """Somebody trained again on the poison set and signed what they measured. Whether their word counts is not for the
    record to say: see `trusted_keys`.

    Attributes:
        key: public key, Ed25519, hex.
        signature: over everything else of the record but its name; see `signatures`.
        submitted: what they were to verify.
    """

    key: Sha256
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}\Z")]
    submitted: Submitted


class Provenance(Section):
    """Where the numbers come from, and who ran them again."""

    source: Literal["run", "submission"]
    verification: Verification | None = None


def artifact_path(sha256: str) -> str:
    """Where the artifact of that hash lies, relative to a store's home or to an exported record."""
    return f"artifacts/{sha256[:2]}/{sha256}.safetensors"
