"""Templates to pages. Every value is escaped; what is not is made here or is a drawing of ours."""

from __future__ import annotations

import re

from jinja2 import Environment
from markupsafe import Markup, escape

from poisonbench.counted import counted
from poisonbench.leaderboard.badges import NOTE, Badge, Tier, signed
from poisonbench.leaderboard.conditions import Kind
from poisonbench.leaderboard.methods import NO_DEFENSE
from poisonbench.leaderboard.pages import pages
from poisonbench.leaderboard.site import numbers
from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.leaderboard.site.links import repository
from poisonbench.leaderboard.trust import Trust


def environment(catalogue: Catalogue) -> Environment:
    """Templates that know the catalogue, the numbers' formats and where pages are."""
    found = pages("poisonbench.leaderboard.site")
    found.filters |= {
        "rows": numbers.rows,
        "points": numbers.points,
        "mean": numbers.mean,
        "half": numbers.half,
        "ends": numbers.ends,
        "seconds": numbers.seconds,
        "mebibytes": numbers.mebibytes,
        "size": numbers.size,
        "exact": numbers.exact,
        "some": some,
        "ticked": ticked,
        "counted": counted,
        "signed": signed,
    }
    found.globals |= {
        "catalogue": catalogue,
        "repository": repository("poisonbench"),
        "board_slug": catalogue.board_slugs.__getitem__,
        "record_page": catalogue.record_page,
        "method_slug": lambda kind, name: catalogue.method_slugs[kind, name],
        "Badge": Badge,
        "Kind": Kind,
        "note": NOTE,
        "Tier": Tier,
        "Trust": Trust,
    }
    return found


def ticked(text: str) -> Markup:
    """A docstring's text, with what is between backticks set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped before)


def some(names: tuple[str, ...], most: int = 3) -> str:
    """The first of some names, and how many more there are; the defense that is called none is told from no name."""
    names = tuple(f"“{name}”" if name == NO_DEFENSE else name for name in names)
    if len(names) <= most:
        return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "none"
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"
