"""The hash of a cell: of everything that its result depends on, told from a cell before it runs or from its record.

Of code that is on record it holds the declared version, of any other the code itself: a refactored attack keeps its
cells, an edited plugin does not. Device and threads are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from poisonbench.errors import ValidationError
from poisonbench.experiment import protocol as protocols
from poisonbench.experiment.protocol import Protocol
from poisonbench.identity.versions import identity
from poisonbench.store.canonical import content_hash
from poisonbench.store.record import Record
from poisonbench.store.record_setup import KNOWS, MethodInfo

Identity = dict[str, Any]
"""What tells one thing that makes numbers from another: name, version, code unless that is on record, fields."""

_LATER = frozenset({"trusted", "padded"})
"""Rules that the first protocols do not have: their cells are hashed without."""


@dataclass(frozen=True)
class Makers:
    """Who makes a cell's numbers.

    Attributes:
        engine: everything that has no name of its own.
        dataset: the protocol's.
        model: the target.
        surrogate: the model that the attack crafts on; the target itself unless another was asked for.
        attack: one.
        defense: one, or those that are joined.
    """

    engine: Identity
    dataset: Identity
    model: Identity
    surrogate: Identity
    attack: Sequence[Identity]
    defense: Sequence[Identity]


def crafting_hash(rules: Protocol, makers: Makers, seed: int) -> str:
    """SHA-256 of what decides the poison set, in hex: cells that share it craft but one."""
    return content_hash(_crafting(rules, makers, seed))


def cell_hash(rules: Protocol, released: bool, makers: Makers, seed: int) -> str:
    """SHA-256 of everything that the result depends on, in hex; the order of settings is not in it.

    Args:
        rules: the protocol with the cell's ε and settings in it.
        released: whether it is one that ships.
        makers: of the numbers.
        seed: of the run.
    """
    target = makers.model | _own_recipe(rules, makers.model)
    return content_hash(
        _crafting(rules, makers, seed) | {"released": released, "model": target, "defense": list(makers.defense)}
    )


def recorded_cell_hash(record: Record) -> str | None:
    """The hash of the cell that a record says it is of. None where a record does not say enough: of rules that are none
    of a released protocol, or were made before versions were declared, or of a surrogate of unknown code."""
    claimed = record.protocol
    if claimed.hash != protocols.shipped_hash(claimed.name) or claimed.deviations or record.engine.version == 0:
        return None
    if record.surrogate is not None and record.surrogate_code is None:
        return None
    released = protocols.load(claimed.name)
    threat = released.threat.model_copy(update={"epsilon": record.threat.epsilon})
    target = _known("model", record.model.name, record.model.version, record.model.code_hash)
    crafted_on = record.surrogate and _known(
        "model", record.surrogate, record.surrogate_version or 0, record.surrogate_code
    )
    makers = Makers(
        engine=_known("engine", "engine", record.engine.version, record.engine.code_hash),
        dataset=_known("dataset", record.dataset.name, record.dataset.version, record.dataset.code_hash),
        model=target,
        surrogate=crafted_on or target,
        attack=list(_parts("attack", record.attack)),
        defense=list(_parts("defense", record.defense)),
    )
    return cell_hash(released.model_copy(update={"threat": threat}), claimed.locked, makers, record.seeds.run)


def refuse_another_cell(record: Record) -> None:
    """Raises ValidationError if the record names another cell than the one that its own fields say."""
    expected = recorded_cell_hash(record)
    if expected is not None and record.cell_hash != expected:
        own = record.cell_hash[:16]
        raise ValidationError(f"its cell_hash is {own}…, but what it says it ran has {expected[:16]}….")


def _crafting(rules: Protocol, makers: Makers, seed: int) -> dict[str, Any]:
    informed = any(KNOWS in one["params"] for one in makers.attack)
    own = rules.model_dump(mode="json", exclude={"summary", "seeds", "models", "recipes"})
    return {
        "protocol": {key: value for key, value in own.items() if key not in _LATER or value},
        "dataset": makers.dataset,
        "surrogate": makers.surrogate | _own_recipe(rules, makers.surrogate),
        "attack": list(makers.attack),
        "engine": makers.engine,
        "seed": seed,
    } | ({"knows": list(makers.defense)} if informed else {})


def _own_recipe(rules: Protocol, model: Identity) -> dict[str, Any]:
    """Its recipe, if the protocol has another one for it than for the rest."""
    name = model["name"]
    return {"recipe": rules.recipe_of(name)} if name in rules.recipes else {}


def _parts(kind: str, info: MethodInfo) -> Iterator[Identity]:
    """The identity of a recorded method, or of each that is joined in it, whose fields carry its name."""
    names = info.name.split("+")
    for name, version, code in zip(names, info.version.split("+"), info.code_hash.split("+"), strict=False):
        prefix = "" if len(names) == 1 else f"{name}."
        params = {key[len(prefix) :]: value for key, value in info.params.items() if key.startswith(prefix)}
        yield _known(kind, name, int(version), code) | {"params": params}


def _known(kind: str, name: str, version: int, code: str | None) -> dict[str, Any]:
    """An identity; code that a record does not have passes for the one on record."""
    return {"name": name, "version": version} if code is None else dict(identity(kind, name, version, code))
