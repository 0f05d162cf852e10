"""The record: everything that is known about one cell of one seed, in a schema that refuses what is not.

A record is named by its own content (`record_id`), so a file that was edited by hand no longer matches its name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from poisonbench.errors import ValidationError
from poisonbench.store.canonical import content_hash, hash_of_itself, parse_json, record_id_of, record_id_of_dump
from poisonbench.store.record_fields import VOUCHED, Instant, Json, Name, Section, Sha256, Text, Version, in_one_line
from poisonbench.store.record_origin import Artifact, Environment, Provenance, Submitted, Verification
from poisonbench.store.record_results import (
    DefenseDetail,
    Memory,
    Metrics,
    PoisonCheck,
    SolverInfo,
    Timing,
    Trajectories,
    refuse_other_answers,
)
from poisonbench.store.record_setup import (
    KNOWS,
    DatasetInfo,
    EngineInfo,
    Made,
    MethodInfo,
    ModelInfo,
    ProtocolInfo,
    Seeds,
    ThreatInfo,
    methods,
)
from poisonbench.store.signatures import UNSIGNED, is_signed, public_key, signature_of
from poisonbench.store.trusted_keys import verifier
from poisonbench.store.upgrades import SCHEMA_VERSION, upgrade

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class RecordContent(Section):
    """A record without its name."""

    schema_version: Literal[5] = SCHEMA_VERSION
    cell_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}\Z")]
    status: Literal["ok", "failed", "timeout", "oom"]
    error: Text | None = None
    protocol: ProtocolInfo
    engine: EngineInfo
    dataset: DatasetInfo
    model: ModelInfo
    surrogate: Name | None = None
    surrogate_version: Version | None = None
    surrogate_code: Sha256 | None = None
    attack: MethodInfo
    defense: MethodInfo
    threat: ThreatInfo
    seeds: Seeds
    metrics: Metrics | None = None
    trajectories: Trajectories | None = None
    defense_detail: DefenseDetail | None = None
    poison_check: PoisonCheck | None = None
    timing: Timing
    memory: Memory = Memory()
    solver: SolverInfo | None = None
    attack_stats: Json = Field(default_factory=dict)
    environment: Environment
    artifacts: tuple[Artifact, ...] = ()
    started_at: Instant
    finished_at: Instant
    provenance: Provenance = Provenance(source="run")

    @model_validator(mode="after")
    def _status_fits(self) -> Self:
        if self.status == "ok" and self.metrics is None:
            raise ValueError("status is ok, but there are no metrics")
        if self.metrics is not None and self.metrics.answers is not None:
            refuse_other_answers(self.metrics, self.metrics.answers, self.dataset.n_test)
        if (self.surrogate is None) != (self.surrogate_version is None):
            raise ValueError(f"surrogate is {self.surrogate!r}, but its version is {self.surrogate_version}")
        known = self.attack.params.get(KNOWS, self.defense.name)
        if known != self.defense.name:
            raise ValueError(f"the attack knows the defense {str(known)[:80]!r}, but meets {self.defense.name}")
        if (self.status == "ok") != (self.error is None):
            raise ValueError(f"status is {self.status}, but error is {self.error!r}")
        return self

    @property
    def ranked(self) -> bool:
        """Whether it was made under the locked protocol, word for word."""
        return self.protocol.locked and not self.protocol.deviations

    @property
    def made_by(self) -> tuple[Made, ...]:
        """Everything that made its numbers, with the version that it declared."""
        surrogate = self.surrogate and ("model", self.surrogate, self.surrogate_version or 0)
        return (
            ("engine", "engine", self.engine.version),
            ("dataset", self.dataset.name, self.dataset.version),
            ("model", self.model.name, self.model.version),
            *((surrogate,) if surrogate else ()),
            *methods("attack", self.attack.name, self.attack.version),
            *methods("defense", self.defense.name, self.defense.version),
        )

    @property
    def whole_set(self) -> bool:
        """Whether the attack perturbed the whole training set: unlearnable examples, which have boards of their own."""
        return self.threat.mode == "perturbation" and self.threat.n_poison >= self.threat.denominator


class Record(RecordContent):
    """One cell of one seed, named by its content. Make one with `Record.create`, read one with `Record.read`."""

    record_id: str

    @model_validator(mode="after")
    def _names_itself(self, info: ValidationInfo) -> Self:
        if info.context == VOUCHED:
            return self
        expected = record_id_of_dump(self.model_dump(mode="json", exclude={"record_id"}))
        if self.record_id != expected:
            raise ValueError(f"record_id is {self.record_id[:80]!r}, but the content's is {expected}: it was changed")
        return self

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        """No record has a signature that is not its own: wherever one is read, such a one is refused."""
        found = self.provenance.verification
        if found is not None and not is_signed(self.model_dump(mode="json"), found.key, found.signature):
            raise ValueError(f"the signature is not that of key {found.key[:16]} over this record")
        return self

    @property
    def verified_by(self) -> str | None:
        """Who verified it, if it is somebody whose word counts."""
        found = self.provenance.verification
        return verifier(found.key if found else None, self.record_id)

    @classmethod
    def create(cls, **fields: Any) -> Self:
        """Build a record from its fields (models, or mappings of the same shape) and name it.

        Raises:
            ValidationError: naming the first field that does not fit; NaN and infinities never do.
        """
        with in_one_line("record"):
            content = RecordContent.model_validate(fields).model_dump(mode="json")
            return cls.model_validate({**content, "record_id": record_id_of(content)})

    def signed(self, key: Ed25519PrivateKey, submitted: Submitted) -> Self:
        """The same record, verified: signed with a key, beside what was submitted; under an id of its own."""
        verification = Verification(key=public_key(key), signature=UNSIGNED, submitted=submitted)
        provenance = Provenance(source="submission", verification=verification)
        content = {**self.document(), "provenance": provenance.model_dump(mode="json")}
        del content["record_id"]
        content["provenance"]["verification"]["signature"] = signature_of(content, key)
        return type(self).create(**content)

    @property
    def content_hash(self) -> str:
        """SHA-256 of what `record_id` is the beginning of, in hex."""
        return content_hash(self.model_dump(mode="json", exclude={"record_id"}))

    @classmethod
    def read(cls, document: object) -> Self:
        """A record from its JSON document, of this schema version or an older one.

        Raises:
            ValidationError: if it breaks the schema, or if its content is not the one its record_id names.
        """
        if not isinstance(document, dict):
            raise ValidationError(f"A record is a JSON object, not a {type(document).__name__}.")
        with in_one_line("record"):
            return cls.model_validate(upgrade(document))

    @classmethod
    def read_shipped(cls, text: bytes) -> Self:
        """A record from the canonical text that ships with this package. Where its hash is its name, nobody has touched
        it since it was read strictly and written: it is not written out again to be compared.

        Raises:
            CorruptFileError, ValidationError: if it is no record, or not the one its record_id names.
        Cost: 0.2 ms; `read` of `parse_json` takes four times as long.
        """
        if hash_of_itself(text, SCHEMA_VERSION) is None:
            return cls.read(parse_json(text))
        with in_one_line("record"):
            return cls.model_validate(json.loads(text), context=VOUCHED)

    def document(self) -> dict[str, Any]:
        """The JSON document, `record_id` included."""
        return self.model_dump(mode="json")
