"""A paper in one line, from its BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

ALL_NAMED = 3
"""Authors that are all named; of more, the first."""

ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303"}
"""Unicode's combining marks, by LaTeX's."""


def reference(bibtex: str) -> str:
    """The paper as Markdown: family names, title in italics, year.

    Args:
        bibtex: an entry with author, title and year, each between braces; several authors by "and", family names first.
    """
    authors = [name.partition(",")[0].strip() for name in re.split(r"\s+and\s+", _field(bibtex, "author"))]
    return f"{_named(authors)}, *{_field(bibtex, 'title')}*, {_field(bibtex, 'year')}"


def _named(authors: Sequence[str]) -> str:
    *others, last = authors
    if len(authors) > ALL_NAMED:
        return f"{authors[0]} et al."
    return f"{', '.join(others)} & {last}" if others else last


def _field(bibtex: str, name: str) -> str:
    found = re.search(rf"\b{name}\s*=\s*\{{(.*?)\}},?\s*(?=\n\s*\w+\s*=|\n\}}|$)", bibtex, re.S)
    if found is None:
        raise ValueError(f"no {name} in {bibtex!r}")
    accented = re.sub(r"\\(['`^\"~])\{?(\w)\}?", lambda mark: mark[2] + ACCENTS[mark[1]], found[1])
    return unicodedata.normalize("NFC", " ".join(re.sub(r"[{}]", "", accented).split()))
