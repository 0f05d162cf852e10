"""`poisonbench describe`."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from importlib.resources import files
from typing import Annotated, Any

import typer
from rich.text import Text

from poisonbench.cli.options import PluginOption
from poisonbench.errors import UnknownNameError, unknown
from poisonbench.terminal.consoles import console
from poisonbench.terminal.fitted import Column, Fitted


def describe(
    name: Annotated[str, typer.Argument(help="An attack, defense, model, dataset or protocol.")],
    plugin: PluginOption = None,
) -> None:
    """Show what a method computes, its fields with their defaults, and its paper's BibTeX entry."""
    import yaml

    from poisonbench.experiment import protocol
    from poisonbench.plugins.registry import GROUPS, entries, load

    if name in protocol.names():
        document = protocol.load(name).model_dump(mode="json")
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        console.print(text, soft_wrap=True)
        return
    kinds = [kind for kind in GROUPS if name in entries(kind)]
    if not kinds:
        known = [other for kind in GROUPS for other in entries(kind)] + list(protocol.names())
        raise UnknownNameError(unknown("name", name, known))
    for kind in kinds:
        _show_class(kind, name, load(kind, name))


def bibtex(key: str | None) -> str | None:
    """The BibTeX entry of that key in bibliography.yaml, or None."""
    from poisonbench.store.strict_yaml import parse_yaml

    text = files("poisonbench").joinpath("bibliography.yaml").read_text(encoding="utf-8")
    entry: str | None = parse_yaml(text).get(key)
    return entry


def _show_class(kind: str, name: str, cls: type) -> None:
    from poisonbench.plugins.registry import entries, version_of
    from poisonbench.problem.threat import Knowledge

    entry = entries(kind)[name]
    source = f", {kind} of {entry.distribution} {entry.release} ({entry.target}), "
    console.print(Text.assemble((name, "bold"), source, f"version {version_of(cls)} of its numbers\n"))
    for paragraph in (inspect.getdoc(cls) or entry.summary).split("\n\n"):
        set_apart = any(line.startswith(" ") for line in paragraph.splitlines())  # a formula or a list
        text = paragraph if set_apart else " ".join(paragraph.splitlines())
        console.print(f"{text}\n", soft_wrap=set_apart)
    threat = getattr(_default(cls), "threat", None)
    if threat is not None:
        label = "clean label" if threat.clean_label else "dirty label"
        bound = "" if threat.radius is None else f", L∞ ≤ {threat.radius:.3g}"
        knows = "D_tr alone" if threat.knowledge is Knowledge.TRAINING_DATA_ONLY else "data, model and recipe"
        console.print(
            f"\nThreat model: {threat.knowledge.value} (it knows {knows}), {threat.mode.value}, {label}{bound}."
        )
    if kind == "attack" and (formulation := getattr(cls, "formulation", "")):
        console.print(f"Problem: {formulation}. Models: {getattr(cls, 'models', 'any')}.")
    if kind == "defense":
        trusted = " and the protocol's trusted rows" if getattr(_default(cls), "trusted_data", False) else ""
        console.print(f"\nSees the training set{trusted}; never which rows are poison.")
        console.print(f"Models: {getattr(cls, 'target_models', 'any')}.")
    if cost := getattr(cls, "cost", ""):
        console.print(f"Cost: {cost}.")
    if kind in ("attack", "defense") and is_dataclass(cls) and fields(cls):
        rows = []
        for item in fields(cls):
            shown = item.default.value if isinstance(item.default, Enum) else item.default
            default = "" if shown is MISSING else repr(shown)
            rows.append([Text(f"{kind}.{item.name}", style="bold"), Text(str(item.type)), Text(default)])
        console.print()
        console.print(Fitted([Column("field"), Column("type", prose=True), Column("default", prose=True)], rows))
    for preset, values in getattr(cls, "presets", {}).items():
        shown = ", ".join(f"{key}={value}" for key, value in values.items())
        flag = f"--defense {name}:{preset}" if kind == "defense" else f"--preset {preset}"
        console.print(Text.assemble("\n", (flag, "bold"), f": {shown}"))
    entry_text = bibtex(getattr(cls, "paper", None))
    if entry_text:
        console.print()
        console.print(entry_text, soft_wrap=True)


def _default(cls: type) -> Any:
    try:
        return cls()
    except TypeError:  # a model or dataset that needs arguments has no threat model to show
        return None
