"""Deposits: one folder for a DOI, the same each time, which gives back what went in."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import pytest
import torch
import yaml
from typer.testing import CliRunner

from poisonbench.cli.main import app
from poisonbench.errors import ConfigError, StoreError
from poisonbench.leaderboard.frame import COLUMNS
from poisonbench.store import exchange
from poisonbench.store.artifact_sources import opened
from poisonbench.store.artifacts import KINDS
from poisonbench.store.database import Store
from poisonbench.store.fetching import fetch
from poisonbench.store.record import Record
from poisonbench.submission import deposit
from poisonbench.submission.croissant import MAIN
from poisonbench.submission.deposit_about import About, Creator

ADA = Creator("Lovelace, Ada", "0000-0002-1825-0097", "Analytical Engines")
ABOUT = About("Results & more", (ADA, Creator("Babbage, Charles")))
FILES = {
    "records.jsonl.xz", "records.csv.gz", "artifacts.zip", "metadata.json", "croissant.json", "README.md", "SHA256SUMS",
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, planted: Callable[..., Record]) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        for seed in range(3):
            poison = store.artifacts.put({"x": torch.full((2, 2), float(seed))}, "poison")
            labels = store.artifacts.put({"labels": torch.arange(4)}, "clean-predictions")
            store.add(planted("tgda", float(seed), seed, artifacts=[poison, labels]))
        store.add(planted("emn", None))
        yield store


def write(store: Store, folder: Path, about: About = ABOUT, **options: Any) -> deposit.DepositReport:
    records = options.pop("records", None) or store.records()
    return deposit.write(store, records, folder, about, options.pop("kinds", KINDS), **options)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def document(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def test_what_went_in_comes_out(store: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = write(store, tmp_path / "out", seen=lambda *numbers: seen.append(numbers))
    assert content(tmp_path / "out").keys() == FILES
    assert (report.records, report.artifacts, report.refused) == (4, 4, ())
    assert report.bytes == sum(map(len, content(tmp_path / "out").values()))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]
    with Store.open(tmp_path / "other") as other:
        merged = exchange.merge(other, [tmp_path / "out" / "records.jsonl.xz"], lambda record: None)
        assert (len(merged.added), merged.refused) == (4, ())
        with opened(str(tmp_path / "out"), lambda line: None) as source:
            assert len(fetch(other, other.records(), source, KINDS).fetched) == 4
        assert other.records() == store.records()
        assert other.artifacts.names() == store.artifacts.names()
        assert other.check()["damaged_artifacts"] == []


def test_its_folder_is_merged_and_what_tells_of_it_is_not_read(store: Store, tmp_path: Path) -> None:
    """Elsewhere a file of such a name is one like any other."""
    write(store, tmp_path / "mine" / "out")
    with Store.open(tmp_path / "other") as other:
        merged = exchange.merge(other, [tmp_path / "mine"], lambda record: None)
        assert (len(merged.added), merged.refused) == (4, ())
        assert other.records() == store.records()
        stray = tmp_path / "mine" / "metadata.json"
        stray.write_text("{}")
        merged = exchange.merge(other, [tmp_path / "mine"], lambda record: None)
        assert len(merged.already_there) == 4
        assert [path for path, _ in merged.refused] == [stray]


def test_the_same_records_give_the_same_bytes(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, tmp_path / "one")
    monkeypatch.setattr("time.time", lambda: 2e9)
    write(store, tmp_path / "two", records=store.records()[::-1])
    assert content(tmp_path / "one") == content(tmp_path / "two")
    write(store, tmp_path / "one")  # the very same: as after a kill at its end
    with pytest.raises(StoreError, match=r"is there already\. Choose a new folder"):
        write(store, tmp_path / "one", records=store.records()[:1])
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_archive_is_plain(store: Store, tmp_path: Path) -> None:
    write(store, tmp_path / "out")
    with ZipFile(tmp_path / "out" / "artifacts.zip") as archive:
        members = archive.infolist()
        assert [one.filename for one in members] == sorted(one.filename for one in members)
        assert {(one.date_time, one.compress_type, one.external_attr >> 16) for one in members} == {
            ((1980, 1, 1, 0, 0, 0), ZIP_STORED, 0o100644)
        }
        for one in members:
            assert hashlib.sha256(archive.read(one)).hexdigest() == Path(one.filename).stem


def test_sums_are_of_every_other_file(store: Store, tmp_path: Path) -> None:
    write(store, tmp_path / "out")
    lines = (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()
    said = {name: sha256 for sha256, name in (line.split("  ") for line in lines)}
    assert said.keys() == FILES - {"SHA256SUMS"}
    for name, sha256 in said.items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == sha256


def test_the_table_has_a_row_a_record(store: Store, tmp_path: Path) -> None:
    write(store, tmp_path / "out")
    text = gzip.decompress((tmp_path / "out" / "records.csv.gz").read_bytes()).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == list(COLUMNS)
    by_id = {record.record_id: record for record in store.records()}
    assert {row["record_id"] for row in rows} == set(by_id)
    for row in rows:
        metrics = by_id[row["record_id"]].metrics
        assert row["drop"] == ("" if metrics is None else str(metrics.drop))


def test_metadata_are_zenodos(store: Store, tmp_path: Path) -> None:
    write(
        store, tmp_path / "out", About("Results <1>", (ADA,), "One & two.\n\nThree.", "CC-BY-4.0", "10.5281/zenodo.7")
    )
    found = document(tmp_path / "out", "metadata.json")["metadata"]
    assert found["upload_type"] == "dataset"
    assert (found["title"], found["description"]) == ("Results <1>", "<p>One &amp; two.</p><p>Three.</p>")
    assert found["creators"] == [
        {"name": "Lovelace, Ada", "orcid": "0000-0002-1825-0097", "affiliation": "Analytical Engines"}
    ]
    assert (found["license"], found["access_right"], found["doi"]) == ("cc-by-4.0", "open", "10.5281/zenodo.7")
    assert "zenodo.org/records/7/files/artifacts.zip" in (tmp_path / "out" / "README.md").read_text()


def test_what_it_says_of_poisonbench_is_what_its_citation_says(store: Store, tmp_path: Path) -> None:
    citation = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text("utf-8"))
    write(store, tmp_path / "out")
    found = document(tmp_path / "out", "metadata.json")["metadata"]
    assert (found["version"], found["license"]) == (citation["version"], citation["license"].lower())
    assert found["keywords"] == citation["keywords"]
    assert [one["identifier"] for one in found["related_identifiers"]] == [
        one["value"] for one in citation["preferred-citation"]["identifiers"]
    ]
    assert citation["preferred-citation"]["title"] in (tmp_path / "out" / "README.md").read_text()


def test_croissant_names_files_and_columns_that_are_there(store: Store, tmp_path: Path) -> None:
    """What the specification asks for, https://docs.mlcommons.org/croissant/docs/croissant-spec.html."""
    out = tmp_path / "out"
    write(store, out)
    found = document(out, "croissant.json")
    assert (found["@type"], found["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    for required in ("name", "description", "license", "url", "creator", "datePublished"):
        assert found[required], required
    used = {key for key in _keys({key: part for key, part in found.items() if key != "@context"}) if key[0] != "@"}
    schema_org = {
        "name", "description", "license", "url", "creator", "datePublished", "version", "distribution", "contentUrl",
        "contentSize", "encodingFormat", "sha256", "sameAs", "affiliation",
    }  # fmt: skip
    assert used <= {*found["@context"], *schema_org}
    files = {one["@id"]: one for one in found["distribution"]}
    for name, one in files.items():
        data = (out / name).read_bytes()
        assert (one["@type"], one["contentSize"]) == ("cr:FileObject", f"{len(data)} B")
        assert one["sha256"] == hashlib.sha256(data).hexdigest()
    (records,) = found["recordSet"]
    fields = {one["@id"]: one for one in records["field"]}
    assert records["key"]["@id"] in fields
    assert [one["source"]["extract"]["column"] for one in fields.values()] == list(MAIN)
    assert {one["source"]["fileObject"]["@id"] for one in fields.values()} == {"records.csv.gz"} < set(files)
    assert set(MAIN) <= set(COLUMNS)
    assert {one["dataType"] for one in fields.values()} == {"sc:Text", "sc:Integer", "sc:Float", "sc:Boolean"}


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(part)


@pytest.mark.filterwarnings("ignore")
def test_croissant_is_read_by_its_own_library(store: Store, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    write(store, tmp_path / "out")
    dataset = mlcroissant.Dataset(str(tmp_path / "out" / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert (set(issues.errors), set(issues.warnings)) == (set(), set())
    rows = list(dataset.records("records"))
    assert {row["records/record_id"].decode() for row in rows} == {one.record_id for one in store.records()}


def test_a_record_that_is_not_whole_is_left_out(store: Store, tmp_path: Path) -> None:
    first, second, *_ = sorted(store.records(), key=lambda one: (one.metrics is None, one.seeds.run))
    (store.home / first.artifacts[0].path).unlink()
    (store.home / second.artifacts[0].path).write_bytes(b"x")
    report = write(store, tmp_path / "out")
    reasons = dict(report.refused)
    assert "is missing" in reasons[first.record_id]
    assert "is damaged" in reasons[second.record_id]
    assert (report.records, report.artifacts) == (2, 2)
    assert write(store, tmp_path / "bare", kinds=("clean-predictions",)).records == 4
    with pytest.raises(ConfigError, match="There is no record to deposit"):
        write(store, tmp_path / "none", records=[first])
    assert not (tmp_path / "none").exists()


def test_an_error_midway_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deposit, "zenodo", full)
    with pytest.raises(StoreError, match="No space left"):
        write(store, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_creators() -> None:
    assert Creator.parse(" Lovelace, Ada ;0000-0002-1825-0097; Analytical Engines") == ADA
    assert Creator.parse("Lovelace, Ada; https://orcid.org/0000-0002-1825-0097") == Creator(*[ADA.name, ADA.orcid])
    assert Creator.parse("Ada;;Somewhere") == Creator("Ada", None, "Somewhere")
    assert Creator.parse("Ada; 0000-0002-1694-233X").orcid == "0000-0002-1694-233X"
    for wrong in ("", ";0000-0002-1825-0097", "Ada; 0000-0002-1825-0098", "Ada; 12", "Ada;;;"):
        with pytest.raises(ConfigError, match="--creator"):
            Creator.parse(wrong)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": " "}, "--title"),
        ({"creators": ()}, "--creator"),
        ({"license": "any I like"}, "--license 'any I like'"),
        ({"doi": "zenodo.7"}, "--doi 'zenodo.7'"),
    ],
)
def test_what_is_said_is_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        About(**{"title": "Results", "creators": (ADA,), **fields})


def test_the_command(store: Store, tmp_path: Path) -> None:
    words = ["results", "deposit", "-o", str(tmp_path / "out"), "--title", "Results", "--store", str(store.home)]
    done = CliRunner().invoke(app, [*words, "--creator", "Ada", "--creator", "Charles"], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "Wrote 4 records and 4 artifacts, 0.0 MiB, to" in done.stderr
    creators = document(tmp_path / "out", "metadata.json")["metadata"]["creators"]
    assert creators == [{"name": "Ada"}, {"name": "Charles"}]
    (store.home / store.records()[0].artifacts[0].path).unlink()
    words[3] = str(tmp_path / "less")
    done = CliRunner().invoke(app, [*words, "--creator", "Ada", "-q"], catch_exceptions=False)
    assert done.exit_code == 4
    assert "Left out record " in done.stderr
