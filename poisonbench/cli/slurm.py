"""Options of a sweep that is computed in shares, by tasks of Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from poisonbench.errors import ConfigError

_PANEL = "Slurm"


@dataclass(frozen=True)
class Shares:
    """Which process computes what."""

    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="KEY=VALUE",
            rich_help_panel=_PANEL,
            help="Run as an array job: tasks=100 at most, at-once=20, and sbatch's own, such as partition=gpu, "
            "time=2:00:00, cpus-per-task=4, gres=gpu:1; several times.",
        ),
    ] = None
    detach: Annotated[
        bool, typer.Option("--detach", rich_help_panel=_PANEL, help="Submit the array, and do not wait for it.")
    ] = False
    share: Annotated[
        str | None,
        typer.Option("--share", metavar="I/N", rich_help_panel=_PANEL, help="Run this part of the cells alone."),
    ] = None

    def refuse_contradictions(self, ray: str | None) -> None:
        """Refuse what says nothing beside another.

        Raises:
            ConfigError: naming both.
        """
        if self.detach and not self.slurm:
            raise ConfigError("--detach says nothing without --slurm.")
        for flag, value in (("--ray", ray), ("--share", self.share)):
            if self.slurm and value is not None:
                raise ConfigError(f"--slurm and {flag} exclude each other; give one of the two.")


def without_slurm(arguments: Sequence[str]) -> list[str]:
    """A command line less what makes it an array job: what each task runs."""
    found, rest = list[str](), iter(arguments)
    for argument in rest:
        if argument == "--slurm":
            next(rest, None)
        elif argument != "--detach" and not argument.startswith("--slurm="):
            found.append(argument)
    return found
