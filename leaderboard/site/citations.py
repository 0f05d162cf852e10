"""BibTeX of the methods and of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import yaml

from poisonbench import __version__
from poisonbench.leaderboard.site.declarations import declaration

BENCHMARK = (
    "@software{poisonbench,\n"
    "  title   = {poisonbench: a benchmark and leaderboard for indiscriminate data poisoning},\n"
    "  author  = {{The poisonbench maintainers}},\n"
    f"  version = {{{__version__}}}\n"
    "}"
)
"""As in CITATION.cff."""


@cache
def citations(kind: str, name: str) -> tuple[str, ...]:
    """The entries of a method's papers, several if it is several joined by +; none if it has none."""
    keys = dict.fromkeys(declaration(kind, part).paper for part in name.split("+"))
    return tuple(_entries()[key].strip() for key in keys if key in _entries())


@cache
def _entries() -> Mapping[str | None, str]:
    text = files("poisonbench").joinpath("bibliography.yaml").read_text(encoding="utf-8")
    found: dict[str | None, str] = yaml.safe_load(text)
    return found
