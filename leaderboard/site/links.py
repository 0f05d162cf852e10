"""Where things are outside of the site: a package's repository, a method's code, its paper."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from urllib.parse import quote_plus

_NAMES = ("repository", "source", "source code", "github", "homepage")
"""Labels of the address in a package's metadata, the best first."""


@cache
def repository(distribution: str) -> str:
    """The https address of an installed package's repository as it declares it; empty if it declares none."""
    try:
        declared = metadata(distribution).get_all("Project-URL") or []
    except (PackageNotFoundError, ValueError):
        return ""
    found = {label.strip().lower(): url.strip() for label, _, url in (one.partition(",") for one in declared)}
    chosen = next((found[name] for name in _NAMES if name in found), "")
    return chosen if re.fullmatch(r"https://[\w./~-]+", chosen, re.ASCII) else ""


def code(target: str) -> str:
    """Where a method is defined, in words: its class, and its module."""
    module, _, name = target.partition(":")
    return f"{name} in {module}"


def paper(bibtex: str) -> tuple[str, str] | None:
    """What to call the link to an entry's paper, and its address: the entry's own, else a search for its title."""
    fields = dict(re.findall(r"(\w+)\s*=\s*\{(.*?)\},?\s*(?=\n)", bibtex))
    preprint = re.search(r"arXiv:(\d{4}\.\d{4,5})", bibtex)
    if "doi" in fields:
        return "Paper", f"https://doi.org/{quote_plus(fields['doi'], safe='/')}"
    if preprint:
        return "Paper", f"https://arxiv.org/abs/{preprint[1]}"
    title = re.sub(r"[{}\\]", "", fields.get("title", ""))
    return ("Find the paper", f"https://scholar.google.com/scholar?q={quote_plus(title)}") if title else None
