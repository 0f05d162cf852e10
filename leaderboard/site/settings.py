"""Settings of attacks and defenses: those that somebody chose, and the command that makes a record again."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from poisonbench.errors import ConfigError
from poisonbench.leaderboard.declarations import declaration
from poisonbench.store.canonical import plain
from poisonbench.store.record import Record
from poisonbench.store.record_setup import KNOWS, MethodInfo
from poisonbench.store.strict_yaml import parse_yaml

REPLAY = "replay"
"""The attack that `--poison` runs."""

_CHANGE = re.compile(r"([a-z_]+(?:\.[a-z_]+)?): .* → (.*)")
"""A deviation that came of a setting: "recipe.epochs: 100 → 5"."""

_CONSEQUENCES = ("model", "threat.knowledge", "threat.mode", "threat.box")
"""Deviations that came of the model or the attack."""


def chosen(kind: str, method: MethodInfo, mode: str | None) -> dict[str, Any]:
    """The fields that differ from the method's defaults, or whose default is not known.

    Args:
        kind: attack or defense.
        method: several defenses joined by + have fields such as loss.fraction.
        mode: the protocol's, which a method with both plays unless it is told otherwise.
    """
    found = {}
    for key, value in method.params.items():
        owner, _, own = key.rpartition(".")
        defaults = declaration(kind, owner or method.name).defaults
        usual = mode if own == "mode" else defaults.get(own)
        known = own in defaults or (own == "mode" and mode is not None)
        if not known or json.dumps(usual) != json.dumps(value):  # as JSON, for 1, 1.0 and true are equal to Python
            found[key] = value
    return found


def mode_of(record: Record) -> str | None:
    """The mode of the record's protocol; None if the attack's own took its place."""
    own = any(deviation.startswith("threat.mode:") for deviation in record.protocol.deviations)
    return None if own else record.threat.mode


def command(record: Record) -> str:
    """The command line that makes the record's cell again."""
    mode = mode_of(record)
    words = ["--protocol", record.protocol.name, "--model", record.model.name]
    # Where a poison set of somebody's own lay is in no record; the SHA-256 among the flags below tells which it was.
    words += ["--poison", "FILE"] if record.attack.name == REPLAY else ["--attack", record.attack.name]
    words += ["--defense", record.defense.name]
    words += ["--surrogate", record.surrogate] if record.surrogate else []
    words += ["--knows", record.defense.name] if KNOWS in record.attack.params else []
    words += ["--epsilon", repr(record.threat.epsilon), "--seeds", str(record.seeds.run)]
    words += _flags("attack", record.attack.model_dump_json(), mode)
    words += _flags("defense", record.defense.model_dump_json(), mode)
    for key, value in _changed(record.protocol.deviations).items():
        words += ["--set", f"{key}={_yaml(value)}"]
    return "poisonbench run " + " ".join(shlex.quote(word) for word in words)


@cache
def _flags(kind: str, document: str, mode: str | None) -> tuple[str, ...]:
    method = MethodInfo.model_validate_json(document)
    pairs = (
        ("--set", f"{kind}.{key}={_yaml(value)}") for key, value in chosen(kind, method, mode).items() if key != KNOWS
    )
    return tuple(word for pair in pairs for word in pair)


def _changed(deviations: tuple[str, ...]) -> Mapping[str, Any]:
    found = {}
    for change in filter(None, map(_CHANGE.fullmatch, deviations)):
        if change[1] not in _CONSEQUENCES:
            try:
                found[change[1]] = plain(ast.literal_eval(change[2]))
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
    return found


def _yaml(value: Any) -> str:
    """A setting as --set reads it: bare where that means the same; a list in a list, for a list alone is an axis."""
    if isinstance(value, str):
        with suppress(ConfigError):
            if parse_yaml(value) == value:
                return value
    return json.dumps([value] if isinstance(value, list) else value, ensure_ascii=False)
