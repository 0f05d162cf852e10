"""A deposit's files and the main columns of its records in Croissant 1.0, the JSON-LD by which datasets are found and
loaded (https://docs.mlcommons.org/croissant/docs/croissant-spec.html)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poisonbench import __version__
from poisonbench.leaderboard.frame import COLUMNS
from poisonbench.submission.deposit_about import About

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""As the specification has it."""

MAIN = {
    "record_id": "The record's name: the start of the SHA-256 of its content.",
    "status": "ok, failed, timeout or oom.",
    "ranked": "Whether it was made under the released protocol, word for word.",
    "protocol": "The rules, with their version.",
    "dataset": "Dataset.",
    "model": "Target model.",
    "surrogate": "The model that the attack crafted on, if another.",
    "attack": "Attack.",
    "attack_version": "Version of its numbers.",
    "defense": "Defense.",
    "defense_version": "Version of its numbers; of a composed one each part's.",
    "mode": "addition of rows, or perturbation of the training rows.",
    "epsilon": "Poison fraction, n_poison / n_train.",
    "n_poison": "Poisoned rows.",
    "seed": "Seed of the run.",
    "acc1": "Test accuracy without attack and defense, percent.",
    "acc2": "Test accuracy with both, percent.",
    "drop": "acc1 − acc2, points.",
    "acc2_undefended": "Test accuracy with the attack alone, percent.",
    "acc1_defended": "Test accuracy with the defense alone, percent.",
    "clean_cost": "What the defense costs without an attack, points.",
    "attack_s": "Seconds that the attack took.",
    "defense_s": "Seconds that the defense took.",
    "total_s": "Seconds that the cell took.",
}
"""Columns that are described, of those that the table has."""

_BRACES = str.maketrans("", "", "{}")

_TYPES = {"string": "sc:Text", "Int64": "sc:Integer", "float64": "sc:Float", "boolean": "sc:Boolean"}


@dataclass(frozen=True)
class File:
    """A file of the deposit.

    Attributes:
        name: of it.
        what: one sentence.
        format: MIME type of its content.
        bytes: its size.
        sha256: of its bytes.
    """

    name: str
    what: str
    format: str
    bytes: int
    sha256: str


def croissant(about: About, description: str, day: str, files: Sequence[File], table: str) -> dict[str, Any]:
    """The document.

    Args:
        about: what its author says.
        description: plain text.
        day: of publication, YYYY-MM-DD.
        files: of the deposit.
        table: which of them has the columns.
    """
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"records/{name}",
            "name": name,
            "description": what,
            "dataType": _TYPES[COLUMNS[name][0]],
            "source": {"fileObject": {"@id": table}, "extract": {"column": name}},
        }
        for name, what in MAIN.items()
    ]
    people = [
        {"@type": "sc:Person", "name": one.name}
        | ({"sameAs": f"https://orcid.org/{one.orcid}"} if one.orcid else {})
        | ({"affiliation": {"@type": "sc:Organization", "name": one.affiliation}} if one.affiliation else {})
        for one in about.creators
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about.title,
        "description": description,
        "citeAs": _bibtex(about, day[:4]),
        "license": f"https://spdx.org/licenses/{about.license}",
        "url": about.url or about.place("README.md"),
        "creator": people,
        "datePublished": day,
        "version": __version__,
        "isLiveDataset": False,
        "distribution": [_file_object(about, file) for file in files],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "records",
                "name": "records",
                "description": "One row a result: an attack against a defense, with one seed.",
                "key": {"@id": "records/record_id"},
                "field": fields,
            }
        ],
    }


def _bibtex(about: About, year: str) -> str:
    fields = {"title": about.title, "author": " and ".join(one.name for one in about.creators), "year": year}
    if about.doi:
        fields |= {"publisher": "Zenodo"} if about.on_zenodo else {}
        fields |= {"doi": about.doi}
    inner = ", ".join(f"{key} = {{{value.translate(_BRACES)}}}" for key, value in fields.items())
    return f"@misc{{poisonbench_results_{year}, {inner}}}"


def _file_object(about: About, file: File) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "description": file.what,
        "contentUrl": about.place(file.name),
        "contentSize": f"{file.bytes} B",
        "encodingFormat": file.format,
        "sha256": file.sha256,
    }
