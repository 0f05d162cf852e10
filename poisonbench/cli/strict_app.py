"""Commands that take nothing in silence: an option given twice or without a value is an error.

Of an option that is there twice click takes the last, and an empty value, such as a shell variable that is not set, is
to it a value like others: the folder '' is the current one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from poisonbench.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])


class StrictCommand(TyperCommand):
    """A command that refuses what it would ignore."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            ConfigError: for an option given twice, or an empty value.
        """
        if not ctx.resilient_parsing:
            try:
                given, _, order = self.make_parser(ctx).parse_args(args=list(args))
            except Exception as error:  # click's NoSuchOption, of whichever click Typer uses
                _keep_near_names(error)
                raise
            for parameter, times in Counter(order).items():
                if times > 1 and not getattr(parameter, "multiple", False) and parameter.nargs == 1:
                    raise ConfigError(f"{_name(parameter)} is given twice; several values are a list by comma.")
            for parameter in self.params:
                for text in _texts(given.get(parameter.name or "")):
                    if not text.strip():
                        raise ConfigError(f"{_name(parameter)} {text!r}: expected a value, got an empty text.")
        return list(super().parse_args(ctx, args))


class StrictApp(typer.Typer):
    """A group of such commands."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Command], Command]:
        """Register a command."""
        return super().command(name, **{"cls": StrictCommand, **options})


def _keep_near_names(error: Any) -> None:
    """Of the options that click suggests for one that there is not, those whose names are near: it counts the hyphens
    before them too."""
    if suggested := getattr(error, "possibilities", None):
        by_name = {option.lstrip("-"): option for option in suggested}
        near = get_close_matches(error.option_name.lstrip("-"), by_name)
        error.possibilities = [by_name[name] for name in near]


def _texts(value: object) -> list[str]:
    """What was typed for a parameter."""
    return [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, str)]


def _name(parameter: Any) -> str:
    return str(parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar or parameter.name)
