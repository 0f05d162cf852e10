"""What the paper's tables print, by setup. Read from protocols/paper/ without any method, hence without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from poisonbench.experiment import protocol
from poisonbench.leaderboard.declarations import declaration
from poisonbench.leaderboard.site.printed import PaperSetup, Printed
from poisonbench.plugins import defense_names
from poisonbench.plugins.defense_names import NamedDefense
from poisonbench.store.canonical import canonical_json
from poisonbench.sweeps import study


def printed_drops() -> dict[PaperSetup, Printed]:
    """The drop of every setup that a table has one of; of several tables the first."""
    found: dict[PaperSetup, Printed] = {}
    for name in study.names():
        table = study.load(name)
        for place in study.places(table, "paper") if "paper" in table.profiles else ():
            drop = table.printed.get(place.row, {}).get(place.column, {}).get("drop")
            if drop is not None:
                source = name.replace("table", "Table ").replace("figure", "Figure ")
                found.setdefault(_setup(place.axes), Printed(drop, source))
    return found


def _setup(axes: Mapping[str, Any]) -> PaperSetup:
    rules = protocol.load(axes["protocol"])
    model, surrogate = axes.get("model", rules.models[0]), axes.get("surrogate")
    parts = defense_names.parts(axes.get("defense", "none"))
    defense = "+".join(part.name for part in parts)
    return PaperSetup(
        protocol=rules.name,
        model=model,
        epsilon=axes.get("epsilon", rules.threat.epsilon),
        surrogate=None if surrogate == model else surrogate,
        attack=axes["attack"],
        attack_settings=_settings(
            "attack", axes["attack"], axes["set"], _of_preset("attack", axes["attack"], axes.get("preset"))
        ),
        defense=defense,
        defense_settings=_settings("defense", defense, axes["set"], _of_presets(parts)),
    )


def _of_preset(kind: str, name: str, preset: str | None) -> dict[str, Any]:
    """The fields that a preset gives."""
    return {} if preset is None else dict(declaration(kind, name).defaults["presets"][preset])


def _of_presets(parts: Sequence[NamedDefense]) -> dict[str, Any]:
    """The fields that presets give, as a record has them: those of several defenses with their names."""
    found: dict[str, Any] = {}
    for name, preset in parts:
        fields = _of_preset("defense", name, preset)
        found |= {f"{name}.{key}" if len(parts) > 1 else key: value for key, value in fields.items()}
    return found


def _settings(kind: str, name: str, settings: Mapping[str, tuple[Any]], preset: Mapping[str, Any] | None = None) -> str:
    """Those of a method as a record has them, over its preset's: attack.tgda.first and attack.first are both its
    first."""
    own = dict(preset or {})
    for key, (value,) in settings.items():
        section, _, rest = key.partition(".")
        owner, _, field = rest.rpartition(".")
        if section == kind:
            own[f"{owner}.{field}" if "+" in name else field] = value
    return canonical_json(own)
