"""The record: everything that is known about one cell of one seed, in a schema that refuses what is not.

A record is named by its own content (`record_id`), so a file that was edited by hand no longer matches its name.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from poisonbench.errors import ValidationError
from poisonbench.store.canonical import plain, record_id_of, record_id_of_dump
from poisonbench.store.signatures import UNSIGNED, is_signed, public_key, signature_of
from poisonbench.store.trusted_keys import verifier
from poisonbench.store.upgrades import SCHEMA_VERSION, upgrade

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def _utc(value: object) -> object:
    """One spelling of an instant, so that text order is time order."""
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(instant, datetime):
        return value
    if instant.utcoffset() != timedelta(0):
        raise ValueError(f"{value} is not in UTC")
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    return plain(value)


# Scalars are strict: "5" and true are not numbers, whoever sent them. Sequences are not: a list is a tuple in JSON.
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Percent = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=100)]
Points = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-100, le=100)]
Fraction = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Version = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(max_length=20_000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]*\Z", max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\Z")]
Instant = Annotated[str, BeforeValidator(_utc)]
Bits = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9+/]*={0,2}\Z", max_length=400_000)]
Json = Annotated[dict[str, Any], BeforeValidator(_plain)]


Made = tuple[str, str, int]
"""Kind, name and version."""


class _Model(pydantic.BaseModel):
    # regex_engine: Rust's has no \Z, and Python's $ lets a trailing newline through.
    model_config = ConfigDict(frozen=True, extra="forbid", regex_engine="python-re", protected_namespaces=())


class ProtocolInfo(_Model):
    """Under which rules. `locked` and no `deviations` make a record ranked."""

    name: Name
    version: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    hash: Sha256
    locked: Flag
    deviations: tuple[Text, ...] = ()


class EngineInfo(_Model):
    """Which engine: its declared version, 0 before there were any, and its code."""

    version: Version
    code_hash: Sha256 | None = None


class DatasetInfo(_Model):
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


class ModelInfo(_Model):
    """The target model and its declared version."""

    name: Name
    version: Version
    code_hash: Sha256 | None = None
    n_params: Count


class MethodInfo(_Model):
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


class ThreatInfo(_Model):
    """What the attacker was allowed, besides pixels in [0, 1], or anywhere if a deviation says so. `denominator` is the
    number of rows that ε is a fraction of (|D_tr|)."""

    knowledge: Literal["training-data-only", "training-only"]
    mode: Literal["addition", "perturbation"]
    clean_label: Flag
    epsilon: Fraction
    n_poison: Count
    denominator: Count
    norm_bound: Amount | None = None


class Seeds(_Model):
    """The seed that was asked for (`run`) and the streams that came of it."""

    run: Count
    split: Count
    train: Count
    attack: Count
    defense: Count


class PerClass(_Model):
    """Accuracy by class before (acc1) and after (acc2), percent, in the order of the labels."""

    acc1: tuple[Percent, ...]
    acc2: tuple[Percent, ...]

    @model_validator(mode="after")
    def _same_classes(self) -> Self:
        if len(self.acc1) != len(self.acc2):
            raise ValueError(f"acc1 has {len(self.acc1)} classes, acc2 has {len(self.acc2)}")
        return self


class Answers(_Model):
    """Which test images were right before (clean) and after attack and defense (attacked): a bit for each, the first
    image in the highest bit of the first byte (numpy.packbits), in base64."""

    clean: Bits
    attacked: Bits


class Trajectories(_Model):
    """Test accuracy during training, percent: of the clean run, and of the poisoned one without a defense.

    Attributes:
        epochs: after which epochs.
        clean: then, on D_tr.
        poisoned: then, on the poisoned set.
    """

    epochs: tuple[Count, ...]
    clean: tuple[Percent, ...]
    poisoned: tuple[Percent, ...]

    @model_validator(mode="after")
    def _same_epochs(self) -> Self:
        if not len(self.epochs) == len(self.clean) == len(self.poisoned):
            raise ValueError(f"{len(self.epochs)} epochs, {len(self.clean)} and {len(self.poisoned)} accuracies")
        return self


class Metrics(_Model):
    """Test accuracy with and without attack and defense, percent.

    acc1 is clean and undefended, acc2 attacked and defended; acc2_undefended is attacked; acc1_defended has the defense
    and nothing to defend against, acc1_padded the same rows and no defense. drop = acc1 − acc2, and
    clean_cost = acc1_padded − acc1_defended, in points.
    """

    acc1: Percent
    acc2: Percent
    drop: Points
    acc2_undefended: Percent | None = None
    acc1_defended: Percent | None = None
    acc1_padded: Percent | None = None
    clean_cost: Points | None = None
    per_class: PerClass | None = None
    answers: Answers | None = None

    @classmethod
    def of(
        cls,
        acc1: float,
        acc2: float,
        acc2_undefended: float | None = None,
        acc1_defended: float | None = None,
        acc1_padded: float | None = None,
        per_class: tuple[Sequence[float], Sequence[float]] | None = None,
        answers: Answers | None = None,
    ) -> Self:
        """Build metrics; drop and clean cost are computed here and nowhere else.

        Args:
            acc1: test accuracy without attack or defense, percent.
            acc2: with both.
            acc2_undefended: with the attack alone.
            acc1_defended: with the defense alone.
            acc1_padded: with neither, on the rows that the defense alone was given; None for acc1.
            per_class: acc1 and acc2 by class.
            answers: which test images acc1 and acc2 are made of.
        Raises:
            ValidationError: if a number is not a percentage.
        """
        base = acc1 if acc1_padded is None else acc1_padded
        with _in_one_line("metrics"):
            return cls.model_validate(
                {
                    "acc1": acc1,
                    "acc2": acc2,
                    "drop": acc1 - acc2,
                    "acc2_undefended": acc2_undefended,
                    "acc1_defended": acc1_defended,
                    "acc1_padded": None if acc1_defended is None else base,
                    "clean_cost": None if acc1_defended is None else base - acc1_defended,
                    "per_class": None if per_class is None else {"acc1": per_class[0], "acc2": per_class[1]},
                    "answers": answers,
                }
            )

    @model_validator(mode="after")
    def _differences_are_computed(self) -> Self:
        # Exact on purpose: JSON keeps every bit of a double, and IEEE subtraction is the same in every language.
        if self.drop != self.acc1 - self.acc2:
            raise ValueError(f"drop is {self.drop}, but acc1 − acc2 = {self.acc1 - self.acc2}")
        if (self.acc1_defended is None) != (self.acc1_padded is None):
            raise ValueError("acc1_defended and acc1_padded are numbers together, or null together")
        if self.acc1_defended is not None and self.acc1_padded is not None:
            cost = self.acc1_padded - self.acc1_defended
            if self.clean_cost != cost:
                raise ValueError(f"clean_cost is {self.clean_cost}, but acc1_padded − acc1_defended = {cost}")
        return self


class DefenseDetail(_Model):
    """What the defense removed, and how right it was: precision and recall are fractions, null where undefined.
    `trusted` is how many clean rows it was shown."""

    removed: Count | None = None
    precision: Fraction | None = None
    recall: Fraction | None = None
    trusted: Count | None = None
    stats: Json = Field(default_factory=dict)


class PoisonCheck(_Model):
    """What `Budget.verify` saw in the poison set as read back from disk."""

    n_poison: Count
    linf_max: Amount
    duplicates: Count
    relabelled: Count


class Timing(_Model):
    """Seconds; null for a stage that was not reached."""

    pretrain_s: Amount | None = None
    attack_s: Amount | None = None
    defense_s: Amount | None = None
    retrain_s: Amount | None = None
    total_s: Amount


class Memory(_Model):
    """Peak memory, MiB: of the whole cell, and while the defense was at work, its trainings included."""

    rss_peak_mb: Amount | None = None
    cuda_peak_mb: Amount | None = None
    defense_rss_peak_mb: Amount | None = None
    defense_cuda_peak_mb: Amount | None = None


class SolverInfo(_Model):
    """The evidence of the attack's linear solves: a benchmark does not take convergence on trust."""

    steps: Count
    residual: Amount
    converged: Flag


class Environment(_Model):
    """Where it ran."""

    python: Text
    torch: Text
    cpu: Text
    gpu: Text | None = None
    threads: Count
    git: Text | None = None


class Artifact(_Model):
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


class Submitted(_Model):
    """What a submission said, and where its attack ran: the record itself holds what the verifier measured.

    Attributes:
        record_id: of the record as it was submitted.
        metrics: its accuracies, without those by class and without answers.
        environment: where the submitter ran it, hence where `timing.attack_s` was taken.
    """

    record_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}\Z")]
    metrics: Metrics
    environment: Environment


class Verification(_Model):
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


class Provenance(_Model):
    """Where the numbers come from, and who ran them again."""

    source: Literal["run", "submission"]
    verification: Verification | None = None


class RecordContent(_Model):
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
            _refuse_other_answers(self.metrics, self.metrics.answers, self.dataset.n_test)
        if (self.surrogate is None) != (self.surrogate_version is None):
            raise ValueError(f"surrogate is {self.surrogate!r}, but its version is {self.surrogate_version}")
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
            *_parts("attack", self.attack.name, self.attack.version),
            *_parts("defense", self.defense.name, self.defense.version),
        )

    @property
    def whole_set(self) -> bool:
        """Whether the attack perturbed the whole training set: unlearnable examples, which have boards of their own."""
        return self.threat.mode == "perturbation" and self.threat.n_poison >= self.threat.denominator


class Record(RecordContent):
    """One cell of one seed, named by its content. Make one with `Record.create`, read one with `Record.read`."""

    record_id: str

    @model_validator(mode="after")
    def _names_itself(self) -> Self:
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
        with _in_one_line("record"):
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

    @classmethod
    def read(cls, document: object) -> Self:
        """A record from its JSON document, of this schema version or an older one.

        Raises:
            ValidationError: if it breaks the schema, or if its content is not the one its record_id names.
        """
        if not isinstance(document, dict):
            raise ValidationError(f"A record is a JSON object, not a {type(document).__name__}.")
        with _in_one_line("record"):
            return cls.model_validate(upgrade(document))

    def document(self) -> dict[str, Any]:
        """The JSON document, `record_id` included."""
        return self.model_dump(mode="json")


def _refuse_other_answers(metrics: Metrics, answers: Answers, n_test: int) -> None:
    for name, text, accuracy in (
        ("clean", answers.clean, metrics.acc1),
        ("attacked", answers.attacked, metrics.acc2),
    ):
        right = right_images(text, n_test)
        if right is None:
            raise ValueError(f"answers.{name} are not those of {n_test} images")
        if abs(100.0 * right.bit_count() / max(1, n_test) - accuracy) > 1e-9:
            raise ValueError(f"answers.{name} say {right.bit_count()} of {n_test} images, the accuracy is {accuracy}")


def right_images(text: str, n: int) -> int | None:
    """The bits of n images as one integer, the last image lowest; None if the text is not base64 of so many."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    spare = 8 * len(data) - n
    bits = int.from_bytes(data, "big")
    return bits >> spare if 0 <= spare < 8 and not bits & ((1 << spare) - 1) else None


def _parts(kind: str, names: str, versions: str) -> Iterator[Made]:
    """Of a composed defense each part, else the method itself."""
    for name, version in zip(names.split("+"), versions.split("+"), strict=True):
        yield kind, name, int(version)


def artifact_path(sha256: str) -> str:
    """Where the artifact of that hash lies, relative to a store's home or to an exported record."""
    return f"artifacts/{sha256[:2]}/{sha256}.safetensors"


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    try:
        yield
    except pydantic.ValidationError as error:
        several = error.errors(include_url=False, include_input=False, include_context=False)
        first, more = several[0], len(several) - 1
        place = ".".join((what, *map(str, first["loc"])))[:200]
        message = " ".join(first["msg"].removeprefix("Value error, ").split())[:300]
        raise ValidationError(f"{place}: {message}{f' (and {more} more)' if more else ''}.") from None
