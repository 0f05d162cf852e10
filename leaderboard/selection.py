"""What a person names, to experiments that can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, product

from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.leaderboard.conditions import Conditions, newest
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.methods import INFORMED, NO_DEFENSE, Method
from poisonbench.plugins.registry import entries
from poisonbench.store.record import Record

Operand = str | Record

_OPERAND = re.compile(r"([^\s(/]+)(?: ?\((.+?)\))?(?:/([^\s(/]+)(?: ?\((.+)\))?)?")
"""attack (settings)/defense (settings)"""

_BETWEEN_SETTINGS = re.compile(r", ?(?=[\w.]+=|on )")
_RECORD_ID = re.compile(r"[0-9a-f]{1,16}")


def select(found: Sequence[Experiment[Record]], operands: Sequence[Operand]) -> list[Experiment[Record]]:
    """The experiments that the operands name, under the one set of conditions that all of them have met.

    Args:
        found: to choose from.
        operands: each "attack" (against no defense) or "attack/defense", of ranked experiments, with settings as a
            board prints them where there are several, such as "tgda (alpha=0.02)"; or a record, for its experiment.
    Raises:
        UnknownNameError: for an attack or a defense that there is none of.
        ConfigError: if there is no such experiment, if it is several, or if these are no comparison; says what differs.
    """
    matching = [_matching(found, operand) for operand in operands]
    conditions = [list(dict.fromkeys(one.conditions for one in several)) for several in matching]
    common = newest((one for one in conditions[0] if all(one in others for others in conditions)), lambda one: one)
    if not common:
        raise ConfigError(_apart(operands, conditions))
    if len(common) > 1:
        raise ConfigError(
            f"{' and '.join(map(_name, operands))} have records under {_listed(map(str, common))}. Choose with "
            "--protocol, --model and --epsilon."
        )
    chosen = [
        _only(operand, [one for one in several if one.conditions == common[0]])
        for operand, several in zip(operands, matching, strict=True)
    ]
    for a, b in combinations(chosen, 2):
        if a is b:
            raise ConfigError(f"{a.label} is named twice; name another experiment to compare it with.")
    return chosen


def names_a_record(operand: str) -> bool:
    """Whether it is the start of a record's id, and not the name of an attack that looks like one."""
    return _RECORD_ID.fullmatch(operand) is not None and operand not in entries("attack")


def _matching(found: Sequence[Experiment[Record]], operand: Operand) -> list[Experiment[Record]]:
    if isinstance(operand, Record):
        same = [one for one in found if one.records and one.holds(operand)]
        if not same:
            reason = operand.error or "it is left out by --protocol, --model or --epsilon."
            raise ConfigError(f"Record {operand.record_id} cannot be compared: {reason}")
        return same
    parts = _OPERAND.fullmatch(operand)
    if parts is None:
        raise ConfigError(f"{operand!r}: expected an attack, attack/defense or a record's id, such as tgda/sever.")
    attack, attack_settings, defense, defense_settings = parts.groups()
    defense = defense or NO_DEFENSE
    _check_name("attack", attack, {one.attack.name for one in found})
    _check_name("defense", defense, {one.defense.name for one in found})
    own = [one for one in found if one.ranked and (one.attack.name, one.defense.name) == (attack, defense)]
    if not own:
        raise ConfigError(
            f"No ranked record of {attack} against {defense} under the conditions asked for. Make some: poisonbench "
            f"run --attack {attack} --defense {defense}. An unranked one is named by its record id."
        )
    fitting = [one for one in own if _has(one.attack, attack_settings) and _has(one.defense, defense_settings)]
    if not fitting:
        raise ConfigError(f"No {operand}; there is {_listed(one.label for one in own)}.")
    return fitting


def _check_name(kind: str, name: str, recorded: Collection[str]) -> None:
    known = {*recorded, *entries(kind)}
    if name not in known and not set(name.split("+")) <= known:
        raise UnknownNameError(unknown(kind, name, sorted(known)))


def _has(method: Method, settings: str | None) -> bool:
    """Whether the method has each of the settings, spelled as in a label."""
    own = {f"{key}={value}" for key, value in json.loads(method.params).items()} | {f"on {method.surrogate}"}
    own |= {f"version={method.version}", f"surrogate_version={method.surrogate_version}"}
    own |= {INFORMED} if method.informed else set()
    return settings is None or set(_BETWEEN_SETTINGS.split(settings)) <= own


def _only(operand: Operand, several: Sequence[Experiment[Record]]) -> Experiment[Record]:
    """The one experiment; of several, the one whose label it is in full ("tgda", where "tgda (on nn)" is there too)."""
    exact = [one for one in several if one.label == operand]
    if len(exact or several) > 1:
        raise ConfigError(
            f"{_name(operand)} is {len(several)} experiments: {_listed(one.label for one in several)}. Name one of "
            "them, in quotes."
        )
    return (exact or several)[0]


def _apart(operands: Sequence[Operand], conditions: Sequence[Sequence[Conditions]]) -> str:
    """What the first two that never met differ in, at the least."""
    for (a, under_a), (b, under_b) in combinations(zip(operands, conditions, strict=True), 2):
        if not set(under_a) & set(under_b):
            least = min((one.differences(two) for one, two in product(under_a, under_b)), key=len)
            return f"{_name(a)} and {_name(b)} are no comparison; they differ in {'; '.join(least)}."
    return f"{' and '.join(map(_name, operands))} never met under the same protocol, model and ε."


def _name(operand: Operand) -> str:
    return operand if isinstance(operand, str) else operand.record_id


def _listed(texts: Iterable[str], most: int = 6) -> str:
    found = sorted(set(texts))
    return "; ".join(found[:most]) + (f"; and {len(found) - most} more" if len(found) > most else "")
