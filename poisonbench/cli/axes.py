"""The axes of cells and records as options, the same for every command that runs the ones or looks at the others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from poisonbench.errors import ConfigError
from poisonbench.problem.epsilon import rounded


def commas(text: str, flag: str) -> tuple[str, ...]:
    """A list by comma.

    Raises:
        ConfigError: if there is nothing between two commas, or the same twice.
    """
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise ConfigError(f"{flag} {text!r}: expected values by comma, none of them empty.")
    refuse_twice(parts, flag)
    return parts


def refuse_twice(values: Iterable[Hashable], flag: str) -> None:
    """A value that is there twice was meant otherwise.

    Raises:
        ConfigError: naming it.
    """
    seen = set[Hashable]()
    for value in values:
        if value in seen:
            raise ConfigError(f"{flag}: {value!r} is given twice.")
        seen.add(value)


def _axis(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Axes, each one value or several by comma")


@dataclass(frozen=True)
class AxisFlags:
    """Which cells are run, or which records are looked at: values by comma, as typed."""

    protocol: Annotated[
        str | None,
        _axis("--protocol", help="By name, such as digits-v1; digits is its newest. To run, also a YAML file."),
    ] = None
    dataset: Annotated[
        str | None, _axis("--dataset", help="To run, each under its newest protocol. Default: digits.")
    ] = None
    model: Annotated[str | None, _axis("--model", help="Target models. To run, by default the protocol's first.")] = (
        None
    )
    attack: Annotated[str | None, _axis("--attack", "-a", help="Attacks.")] = None
    surrogate: Annotated[str | None, _axis("--surrogate", help="Models that attacks craft on; null is the target.")] = (
        None
    )
    defense: Annotated[
        str | None,
        _axis(
            "--defense",
            "-d",
            help="Defenses; loss+maxup is one after the other, sever:pooled one with named settings, below --set. To "
            "run, by default none.",
        ),
    ] = None
    epsilon: Annotated[str | None, _axis("--epsilon", help="Poison fractions n_poison / n_train, such as 0.03.")] = None
    seeds: Annotated[str | None, _axis("--seeds", help="Seeds. To run, by default the protocol's.")] = None

    def values(self) -> dict[str, tuple[Any, ...]]:
        """Those given, by axis: names, numbers of ε and of seeds, and None for null.

        Raises:
            ConfigError: for what is empty, twice there or no number.
        """
        return _values({field.name: getattr(self, field.name) for field in fields(self)})

    def filters(self) -> dict[str, tuple[Any, ...]]:
        """The same by column of a record; protocols with their version.

        Raises:
            ConfigError: as `values`, and for a defense's preset, which no record holds the name of.
        """
        from poisonbench.experiment import protocol  # here, as pydantic takes 0.1 s

        found = self.values()
        if "protocol" in found:
            found["protocol"] = tuple(name if name is None else protocol.choose(name) for name in found["protocol"])
            refuse_twice(found["protocol"], "--protocol")
        for name in found.get("defense", ()):
            if ":" in name:
                raise ConfigError(
                    f"--defense {name}: records are chosen by the defense's name alone, without a preset."
                )
        return {"seed" if axis == "seeds" else axis: values for axis, values in found.items()}


@dataclass(frozen=True)
class Settings:
    """What else makes a cell: poison sets of one's own, fields of methods and of the protocol, as typed."""

    poison: Annotated[
        str | None,
        _axis(
            "--poison",
            help="Poison sets that somebody made, in the place of --attack: .safetensors, .npz, or a folder of images "
            "with a CSV.",
        ),
    ] = None
    preset: Annotated[
        str | None, _axis("--preset", help="Named settings of the attack, such as paper; null is none. Below --set.")
    ] = None
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="key=value, such as attack.alpha=0.02 or recipe.lr=0.05; a list, [10, 20], is an axis."
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", rich_help_panel="Settings", help="YAML with settings of all cells, below --set in precedence."
        ),
    ] = None
    knows: Annotated[
        str | None,
        _axis(
            "--knows",
            help="The defense that the attacker knows: the one that it meets by name, or same; null is none.",
        ),
    ] = None

    def values(self) -> dict[str, tuple[Any, ...]]:
        """As those of AxisFlags."""
        return _values({"poison": self.poison, "preset": self.preset, "knows": self.knows})


def _values(given: Mapping[str, str | None]) -> dict[str, tuple[Any, ...]]:
    found = {
        axis: tuple(_value(axis, part) for part in commas(text, f"--{axis}"))
        for axis, text in given.items()
        if text is not None
    }
    for axis, values in found.items():
        refuse_twice(values, f"--{axis}")  # 0.03 and 3e-2
    return found


def _value(axis: str, text: str) -> str | float | None:
    if text == "null" and axis not in ("attack", "defense", "poison"):
        return None
    if axis == "seeds":
        if not text.isdecimal() or len(text) > 19:
            raise ConfigError(f"--seeds: expected integers ≥ 0 and below 2**63 by comma, got {text!r}.")
        return int(text)
    try:
        return rounded(float(text)) if axis == "epsilon" else text
    except ValueError:
        raise ConfigError(f"--{axis}: expected a number, got {text!r}.") from None
