"""What a deposit says of itself, in the words of Zenodo's deposit API (`metadata.json`)."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import metadata
from typing import Any

from poisonbench import __version__
from poisonbench.counted import counted
from poisonbench.errors import ConfigError
from poisonbench.store.record import Record

PAPER = "arXiv:2204.09092"
"""The paper whose protocol poisonbench implements, as in CITATION.cff."""

_ORCID = re.compile(r"(\d{4}-){3}\d{3}[\dX]")
_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:A-Za-z0-9]+")
_ZENODO = re.compile(r"10\.5281/zenodo\.(\d+)")


@dataclass(frozen=True)
class Creator:
    """Somebody whose work it is.

    Attributes:
        name: as it is to be cited: Family, Given.
        orcid: or None.
        affiliation: or None.
    """

    name: str
    orcid: str | None = None
    affiliation: str | None = None

    @classmethod
    def parse(cls, text: str) -> Creator:
        """`Name; ORCID; affiliation`, of which the last two may be empty or left out.

        Raises:
            ConfigError: for more parts, no name, or an ORCID whose last digit does not fit the others.
        """
        name, *rest = (part.strip() for part in text.split(";"))
        if not name or len(rest) > 2:
            raise ConfigError(f"--creator {text!r}: expected 'Name; ORCID; affiliation'.")
        orcid, affiliation = (*rest, "", "")[:2]
        orcid = orcid.removeprefix("https://orcid.org/")
        if orcid and not _is_orcid(orcid):
            raise ConfigError(f"--creator {text!r}: {orcid!r} is not an ORCID, such as 0000-0002-1825-0097.")
        return cls(name, orcid or None, affiliation or None)


@dataclass(frozen=True)
class About:
    """What its author says of a deposit.

    Attributes:
        title: of it.
        creators: in their order.
        description: plain text; None for one that is made of its records.
        license: SPDX identifier; that of poisonbench if none is given.
        doi: that is reserved for it, or None.
    """

    title: str
    creators: tuple[Creator, ...]
    description: str | None = None
    license: str = metadata("poisonbench")["License-Expression"]
    doi: str | None = None

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ConfigError("--title: expected a title.")
        if not self.creators:
            raise ConfigError("--creator: expected 'Name; ORCID; affiliation', once for each.")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", self.license):
            raise ConfigError(f"--license {self.license!r}: expected an SPDX identifier, such as CC-BY-4.0.")
        if self.doi is not None and not _DOI.fullmatch(self.doi):
            raise ConfigError(f"--doi {self.doi!r}: expected a DOI, such as 10.5281/zenodo.1234567.")

    @property
    def url(self) -> str | None:
        """Where the DOI leads."""
        return None if self.doi is None else f"https://doi.org/{self.doi}"

    @property
    def on_zenodo(self) -> str | None:
        """The number of its record there, if the DOI is one of Zenodo's."""
        found = _ZENODO.fullmatch(self.doi or "")
        return found[1] if found else None

    def place(self, file: str) -> str:
        """Where a file of it will be: on Zenodo, or beside what names it."""
        return f"https://zenodo.org/records/{self.on_zenodo}/files/{file}" if self.on_zenodo else file


def described(about: About, records: Sequence[Record], artifacts: int) -> str:
    """The description: the author's, or what the records are, in two sentences."""
    if about.description is not None:
        return about.description
    attacks, defenses = ({getattr(one, kind).name for one in records} for kind in ("attack", "defense"))
    protocols = sorted({one.protocol.name for one in records})
    what = f"{counted(len(attacks), 'attack')} against {counted(len(defenses), 'defense')} under {', '.join(protocols)}"
    return (
        f"{counted(len(records), 'result')} of indiscriminate data poisoning, made with poisonbench {__version__}: "
        f"{what}, each with its settings, seeds, accuracies, runtime and environment. "
        f"With them {counted(artifacts, 'tensor file')}: poison sets, predictions and models, named by their SHA-256."
    )


def zenodo(about: About, description: str) -> dict[str, Any]:
    """The body that Zenodo's deposit API takes; version, keywords and related works are those of poisonbench."""
    keywords = metadata("poisonbench")["Keywords"].split(",")
    creators = [
        {"name": one.name}
        | ({"orcid": one.orcid} if one.orcid else {})
        | ({"affiliation": one.affiliation} if one.affiliation else {})
        for one in about.creators
    ]
    paragraphs = [part for part in description.split("\n\n") if part.strip()]
    document: dict[str, Any] = {
        "title": about.title,
        "upload_type": "dataset",
        "description": "".join(f"<p>{html.escape(part.strip())}</p>" for part in paragraphs),
        "creators": creators,
        "access_right": "open",
        "license": about.license.lower(),
        "keywords": keywords,
        "version": __version__,
        "language": "eng",
        "related_identifiers": [
            {"identifier": PAPER, "relation": "isDerivedFrom", "resource_type": "publication-article"}
        ],
    }
    return {"metadata": document | ({"doi": about.doi} if about.doi else {})}


def _is_orcid(text: str) -> bool:
    """Whether its check digit fits: ISO 7064, MOD 11-2."""
    if not _ORCID.fullmatch(text):
        return False
    digits, total = text.replace("-", ""), 0
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2
    check = (12 - total % 11) % 11
    return digits[-1] == ("X" if check == 10 else str(check))
