"""A cell: protocol × model × attack × defense × ε × seed, checked and ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from typing import Any

from poisonbench.attacks.base import Attack
from poisonbench.defenses.base import Defense
from poisonbench.defenses.composed import Composed
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.experiment.cell_hash import Identity, Makers, cell_hash, crafting_hash
from poisonbench.experiment.made_for import refuse_other_surrogates, refuse_other_targets
from poisonbench.experiment.protocol import ORACLE, UNBOUNDED, Protocol, Resolved
from poisonbench.identity import versions
from poisonbench.models.base import Model
from poisonbench.plugins import defense_names
from poisonbench.plugins.parameters import parameters
from poisonbench.plugins.registry import code_hash_of, configure, entries, load, name_of, version_of
from poisonbench.problem.epsilon import rounded
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.threat import Knowledge, ThreatModel
from poisonbench.store.record_setup import KNOWS

SAME = "same"
"""The defense that the attack meets, whichever it is."""


@dataclass(frozen=True)
class Cell:
    """One experiment. Building one checks every name and every setting; nothing is computed yet.

    Attributes:
        settings: the protocol with this run's settings in it; `threat.epsilon` is this cell's ε.
        model: class of the target model.
        surrogate: class of the model that the attack crafts on; the target's unless another was asked for.
        attack: the attack with its fields filled in.
        defense: the defense with its fields filled in.
        seed: the run's seed.
        knows: whether the attacker knows the defense.
    """

    settings: Resolved
    model: type[Model]
    surrogate: type[Model]
    attack: Attack
    defense: Defense
    seed: int
    knows: bool = False

    @cached_property
    def threat(self) -> ThreatModel:
        """The attack's threat model, asked for once: what the runner enforces is what the record says."""
        return self.attack.threat

    @property
    def recipe(self) -> Recipe:
        """How the target is trained."""
        return self.recipe_of(self.model)

    def recipe_of(self, model: type[Model]) -> Recipe:
        """How a model is trained: the target, or a surrogate."""
        return Recipe(**self.settings.protocol.recipe_of(name_of(model)))

    @property
    def deviations(self) -> tuple[str, ...]:
        """Everything that makes this cell's record unranked."""
        protocol = self.settings.protocol
        others = {f"recipes.{one}." for one in protocol.models} - {
            f"recipes.{name_of(one)}." for one in (self.model, self.surrogate)
        }
        found = [one for one in self.settings.deviations if not one.startswith(tuple(others))]
        if name_of(self.model) not in protocol.models:
            found.append(f"model: {name_of(self.model)} is not one of {', '.join(protocol.models)}")
        informed = self.threat.knowledge is Knowledge.TRAINING_ONLY
        if informed and protocol.threat.knowledge is not Knowledge.TRAINING_ONLY:
            found.append(f"threat.knowledge: {protocol.threat.knowledge.value!r} → {Knowledge.TRAINING_ONLY.value!r}")
        if self.defense.oracle:
            found.append(ORACLE)
        if self.threat.mode != protocol.threat.mode:
            found.append(f"threat.mode: {protocol.threat.mode.value!r} → {self.threat.mode.value!r}")
        if not self.threat.box:
            found.append(UNBOUNDED)
        return tuple(found)

    @property
    def transfer(self) -> str | None:
        """The surrogate's name, where it is not the target."""
        return None if self.surrogate is self.model else name_of(self.surrogate)

    @property
    def title(self) -> str:
        """The cell in a line, for people."""
        crafted = f" on {self.transfer}" if self.transfer else ""
        crafted += f" (knows {self.defense.name})" if self.knows else ""
        protocol = self.settings.protocol
        return (
            f"{protocol.name} · {name_of(self.model)} · {name_of(type(self.attack))}{crafted} · {self.defense.name} · "
            f"ε = {protocol.threat.epsilon:g} · seed {self.seed}"
        )

    @property
    def plugins(self) -> Mapping[str, str]:
        """Its parts that are not built in, such as "attack my-own", each with the hash of its code."""
        parts: list[tuple[str, type]] = [
            ("dataset", load("dataset", self.settings.protocol.dataset)),
            *(("model", one) for one in (self.model, self.surrogate)),
            *(("attack", one) for one in _classes(self.attack)),
            *(("defense", one) for one in _classes(self.defense)),
        ]
        return {f"{kind} {name_of(cls)}": code_hash_of(cls) for kind, cls in parts if not _built_in(cls)}

    def hash(self) -> str:
        """See cell_hash."""
        return cell_hash(self.settings.protocol, self.settings.released, self._makers(), self.seed)

    def crafting_hash(self) -> str:
        """See cell_hash."""
        return crafting_hash(self.settings.protocol, self._makers(), self.seed)

    @property
    def attack_method(self) -> dict[str, Any]:
        """The record's `attack`: of one that knows the defense its name is among the fields."""
        told = method("attack", self.attack)
        return told | {"params": {**told["params"], **self._knowledge}}

    @property
    def _knowledge(self) -> dict[str, str]:
        return {KNOWS: self.defense.name} if self.knows else {}

    def _makers(self) -> Makers:
        return Makers(
            engine=versions.engine_identity(),
            dataset=_identity("dataset", load("dataset", self.settings.protocol.dataset)),
            model=_identity("model", self.model),
            surrogate=_identity("model", self.surrogate),
            attack=[
                one | {"params": {**one["params"], **self._knowledge}} for one in _identities("attack", self.attack)
            ],
            defense=_identities("defense", self.defense),
        )


def build(
    settings: Resolved,
    attack: str,
    defense: str,
    epsilon: float,
    seed: int,
    model: str | None = None,
    surrogate: str | None = None,
    preset: str | None = None,
    knows: str | None = None,
) -> Cell:
    """Look up every name and fill in every field.

    Args:
        knows: the defense that the attacker knows: the one that it meets, by name, or SAME; None if it knows none.

    Raises:
        UnknownNameError, ConfigError, PluginError: for what is wrong with them.
    """
    protocol = settings.protocol
    threat = protocol.threat.model_copy(update={"epsilon": rounded(epsilon)})
    settings = replace(settings, protocol=protocol.model_copy(update={"threat": threat}))
    target: type[Model] = load("model", model or protocol.models[0])
    cell = Cell(
        settings=settings,
        model=target,
        surrogate=load("model", surrogate) if surrogate else target,
        attack=_configured(
            "attack",
            attack,
            Attack,
            _mode(attack, protocol) | _preset("attack", attack, preset) | own_settings("attack", attack, settings),
        ),
        defense=build_defense(defense, settings),
        seed=seed,
    )
    cell = replace(cell, knows=_known(cell, knows))
    refuse_other_surrogates(cell.attack, cell.surrogate)
    for trained in {cell.model, cell.surrogate} if cell.knows else {cell.model}:
        refuse_other_targets(cell.defense, trained)
    return cell


def _known(cell: Cell, knows: str | None) -> bool:
    """Whether the attacker knows the cell's defense.

    Raises:
        ConfigError: for one that it does not meet, or that it could not know.
    """
    defense, attack = cell.defense.name, name_of(type(cell.attack))
    if knows is None or (knows == SAME and defense == "none"):
        return False
    if knows not in (SAME, defense):
        raise ConfigError(f"--knows {knows}: the defense that {attack} meets is {defense}. Expected it, or {SAME}.")
    if defense == "none":
        raise ConfigError("--knows none: no defense is nothing to know. Name one: --defense loss --knows loss.")
    if cell.defense.oracle:
        raise ConfigError(f"--knows {defense}: it is told which rows are poison; nobody can rehearse that.")
    if cell.threat.knowledge is Knowledge.TRAINING_DATA_ONLY:
        raise ConfigError(f"--knows {defense}: {attack} is declared to know the training data alone, so no defense.")
    return True


def own_settings(kind: str, name: str, settings: Resolved) -> dict[str, Any]:
    """The fields that settings give a method: `fraction` is for every method of its kind, `loss.fraction` for loss
    alone.

    Raises:
        UnknownNameError: if a setting is for a method that does not exist.
    """
    for_all, own = {}, {}
    for key, value in settings.methods[kind].items():
        owner, dot, field = key.rpartition(".")
        if dot and owner not in entries(kind):
            raise UnknownNameError(unknown(kind, owner, list(entries(kind))))
        if not dot:
            for_all[field] = value
        elif owner == name:
            own[field] = value
    return for_all | own


def method(kind: str, instance: Attack | Defense) -> dict[str, Any]:
    """The record's `attack` or `defense`: who ships it, its version, its code and its fields."""
    if not isinstance(instance, Composed):
        return describe(kind, type(instance), parameters(instance))
    parts = [method(kind, part) for part in instance.parts]
    return {
        "name": instance.name,
        "version": "+".join(part["version"] for part in parts),
        "release": "+".join(dict.fromkeys(part["release"] for part in parts)),
        "distribution": "+".join(dict.fromkeys(part["distribution"] for part in parts)),
        "code_hash": "+".join(part["code_hash"] for part in parts),
        "params": {f"{part['name']}.{key}": value for part in parts for key, value in part["params"].items()},
    }


def describe(kind: str, cls: type, params: Mapping[str, Any]) -> dict[str, Any]:
    """Name, version, distribution, code hash and parameters of a registered class."""
    entry = entries(kind)[name_of(cls)]
    return {
        "name": entry.name,
        "version": str(version_of(cls)),
        "release": entry.release,
        "distribution": entry.distribution,
        "code_hash": code_hash_of(cls),
        "params": dict(params),
    }


def _identity(kind: str, cls: type) -> Identity:
    return dict(versions.identity(kind, name_of(cls), version_of(cls), code_hash_of(cls)))


def code_of(instance: Attack | Defense | Model) -> list[dict[str, Any]]:
    """What a stage that a method or model works in is cached under: of each of its parts the code, which may be that of
    several, the name and the fields."""
    parts = instance.parts if isinstance(instance, Composed) else (instance,)
    return [
        {"code": code_hash_of(type(part)), "name": name_of(type(part)), "fields": parameters(part)} for part in parts
    ]


def _classes(instance: Attack | Defense) -> list[type]:
    return [type(part) for part in (instance.parts if isinstance(instance, Composed) else (instance,))]


def _built_in(cls: type) -> bool:
    return cls.__module__.startswith("poisonbench.") and not cls.__module__.startswith("poisonbench.plugged.")


def _identities(kind: str, instance: Attack | Defense) -> list[Identity]:
    """What tells a method's numbers from another's: of each of its parts the version, or the code, and the fields."""
    parts = instance.parts if isinstance(instance, Composed) else (instance,)
    return [_identity(kind, type(part)) | {"params": parameters(part)} for part in parts]


def _mode(attack: str, protocol: Protocol) -> dict[str, Any]:
    """An attack that has both modes plays the protocol's, unless it is told otherwise."""
    cls = load("attack", attack)
    both = is_dataclass(cls) and "mode" in {item.name for item in fields(cls)}
    return {"mode": protocol.threat.mode} if both else {}


def _preset(kind: str, name: str, preset: str | None) -> dict[str, Any]:
    if preset is None:
        return {}
    presets = getattr(load(kind, name), "presets", {})
    if preset not in presets:
        raise UnknownNameError(unknown(f"preset of {name}", preset, list(presets)))
    return dict(presets[preset])


def build_defense(text: str, settings: Resolved) -> Defense:
    """One defense, or several joined by +, each with the fields of a preset if one follows its name: sever:pooled."""
    parts = [
        _configured(
            "defense", name, Defense, _preset("defense", name, preset) | own_settings("defense", name, settings)
        )
        for name, preset in defense_names.parts(text)
    ]
    return parts[0] if len(parts) == 1 else Composed(tuple(parts))


def _configured(kind: str, name: str, base: type, settings: Mapping[str, Any]) -> Any:
    cls = load(kind, name)
    if not issubclass(cls, base):
        raise ConfigError(f"The {kind} {name!r} is not a subclass of poisonbench's {base.__name__}.")
    return _instance(kind, cls, _Settings(repr(sorted(settings.items())), settings))


@dataclass(frozen=True)
class _Settings:
    """Settings that a cache can look up, by their text: 1, 1.0 and true are told apart."""

    text: str
    values: Mapping[str, Any] = field(compare=False)


@cache
def _instance(kind: str, cls: type, settings: _Settings) -> Any:
    """A method with those fields, the same object for all cells: to check them takes 10 ms."""
    return configure(cls, settings.values, kind)
