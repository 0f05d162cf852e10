"""Exchange: export → merge → export is byte for byte the same, and nothing that was sent is trusted."""

import hashlib
import json
import os
import pickle
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from poisonbench.errors import StoreError
from poisonbench.store import exchange
from poisonbench.store.artifacts import KINDS
from poisonbench.store.canonical import pretty_json, record_id_of
from poisonbench.store.database import Store
from poisonbench.store.exchange import MergeReport, export
from poisonbench.store.record import Record
from poisonbench.store.record_origin import artifact_path

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")


def anything(record: Record) -> None:
    """Refuses no record."""


def merge(store: Store, paths: list[Path]) -> MergeReport:
    return exchange.merge(store, paths, anything)


def make(seed: int = 0, **changes: Any) -> Record:
    fields = json.loads(FIXTURE.read_text("utf-8"))
    fields.pop("record_id")
    return Record.create(**{**fields, "seeds": {**fields["seeds"], "run": seed}, **changes})


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    with Store.open(str(tmp_path / "one")) as one, Store.open(str(tmp_path / "two")) as two:
        yield one, two


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[1]


def fill(store: Store) -> list[Record]:
    for seed in range(3):
        poison = store.artifacts.put({"x": torch.full((2, 2), float(seed))}, "poison")
        clean = store.artifacts.put({"labels": torch.arange(4)}, "clean-predictions")
        store.add(make(seed, artifacts=[poison, clean]))
    store.add(make(9, status="failed", metrics=None, error="CG stopped − residual 3e-2 > 1e-3"))
    return store.records()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(report: MergeReport) -> str:
    assert report.added == report.already_there == ()
    ((_, reason),) = report.refused
    assert "\n" not in reason
    return reason


@pytest.mark.parametrize("with_artifacts", [True, False])
def test_export_merge_export_is_byte_for_byte_equal(
    stores: tuple[Store, Store], tmp_path: Path, with_artifacts: bool
) -> None:
    one, two = stores
    records = fill(one)
    written = export(one, tmp_path / "a", records, KINDS if with_artifacts else ())
    assert [path.name for path in written.written] == [f"{record.record_id}.json" for record in records]
    report = merge(two, [tmp_path / "a"])
    assert set(report.added) == {record.record_id for record in records}
    assert report.refused == ()
    export(two, tmp_path / "b", two.records(), KINDS if with_artifacts else ())
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert len(content(tmp_path / "a")) == 4 + 4 * with_artifacts
    assert len(two.check()["missing_artifacts"]) == 4 * (not with_artifacts)


def test_exported_files_are_for_people_and_git(stores: tuple[Store, Store], tmp_path: Path) -> None:
    records = fill(stores[0])
    for path, record in zip(export(stores[0], tmp_path / "a", records).written, records, strict=True):
        text = path.read_text("utf-8")
        assert text == json.dumps(record.document(), sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert not (tmp_path / "a" / "artifacts").exists()
    assert [path for path in (tmp_path / "a").iterdir() if path.suffix != ".json"] == []


def test_merging_twice_changes_nothing_and_brings_artifacts_later(stores: tuple[Store, Store], tmp_path: Path) -> None:
    one, two = stores
    records = fill(one)
    files = export(one, tmp_path / "a", records).written
    merge(two, files)
    export(one, tmp_path / "a", records, KINDS)
    report = merge(two, [*files, tmp_path / "a"])
    assert report.added == ()
    assert set(report.already_there) == {record.record_id for record in records}
    assert two.check()["missing_artifacts"] == []
    assert len(two.rows()) == 4


def test_a_missing_artifact_keeps_its_record_back_and_no_other(stores: tuple[Store, Store], tmp_path: Path) -> None:
    records = fill(stores[0])
    bad = next(record for record in records if record.artifacts)
    (stores[0].home / bad.artifacts[0].path).unlink()
    report = export(stores[0], tmp_path / "b", records, KINDS)
    ((name, reason),) = report.refused
    assert (name, "is missing" in reason) == (bad.record_id, True)
    assert [path.stem for path in report.written] == [record.record_id for record in records if record != bad]


def test_an_export_that_cannot_be_written_is_one_line(stores: tuple[Store, Store], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"Cannot write to .*file/deep"):
        export(stores[0], tmp_path / "file" / "deep", fill(stores[0]))


def test_a_damaged_artifact_is_not_exported(stores: tuple[Store, Store], tmp_path: Path) -> None:
    records = fill(stores[0])
    bad = next(record for record in records if record.artifacts)
    (stores[0].home / bad.artifacts[0].path).write_bytes(b"x")
    report = export(stores[0], tmp_path / "a", records, KINDS)
    ((name, reason),) = report.refused
    assert (name, "damaged" in reason, len(report.written)) == (bad.record_id, True, 3)


@pytest.mark.parametrize("way", ["", "store.db"])
def test_another_store_is_merged_with_its_artifacts(stores: tuple[Store, Store], tmp_path: Path, way: str) -> None:
    one, two = stores
    records = fill(one)
    before = content(one.home)
    report = merge(two, [one.home / way])
    assert (set(report.added), report.refused) == ({record.record_id for record in records}, ())
    assert two.records() == records
    assert two.check()["missing_artifacts"] == []
    assert {name: data for name, data in content(one.home).items() if name in before} == before
    assert two.for_cell(records[0].cell_hash) is None  # nobody vouches for them


def test_a_store_with_a_bad_record_is_merged_but_for_that(stores: tuple[Store, Store]) -> None:
    one, two = stores
    records = fill(one)
    with one._write("write to") as connection:
        connection.exec_driver_sql(f"UPDATE records SET document = '[]' WHERE record_id = '{records[0].record_id}'")
    report = merge(two, [one.home])
    assert set(report.added) == {record.record_id for record in records[1:]}
    ((_, reason),) = report.refused
    assert reason == f"record {records[0].record_id}: A record is a JSON object, not a list."


def test_what_json_prints_is_merged(stores: tuple[Store, Store], tmp_path: Path) -> None:
    one, two = stores
    records = fill(one)
    documents = [record.document() for record in records]
    (tmp_path / "run.json").write_text(json.dumps(documents[:2], indent=2))
    (tmp_path / "sweep.json").write_text(json.dumps({"cells": 2, "ok": 1, "records": [*documents[2:], {"a": 1}]}))
    (tmp_path / "show.json").write_text(json.dumps(documents[0], indent=2))
    report = merge(two, [tmp_path / f"{name}.json" for name in ("run", "sweep", "show")])
    assert set(report.added) == {record.record_id for record in records}
    ((path, reason),) = report.refused
    assert (path.name, reason[:5]) == ("sweep.json", "[2]: ")


def test_a_database_that_is_no_store_is_refused(store: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "photos.db")
    other.execute("CREATE TABLE photos (id)")
    other.close()
    assert "no store" in refusal(merge(store, [tmp_path / "photos.db"]))


def test_a_refused_file_stops_no_other(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    good = make()
    (folder / "0.json").write_text("{")
    (folder / "1.json").write_text(pretty_json(good.document()))
    (folder / "2.json").write_text(pretty_json({**good.document(), "surrogate": "nn"}))
    (folder / "readme.txt").write_text("not looked at")
    report = merge(store, [folder, tmp_path / "nowhere.json"])
    assert report.added == (good.record_id,)
    assert [path.name for path, _ in report.refused] == ["0.json", "2.json", "nowhere.json"]
    assert [reason for _, reason in report.refused][2] == "No such file or directory"
    assert store.records() == [good]


NAN_ACC1 = FIXTURE.read_text("utf-8").replace('"acc1": 96.1', '"acc1": NaN')
TWO_ACC1 = FIXTURE.read_text("utf-8").replace('"acc1": 96.1', '"acc1": 99.9, "acc1": 96.1')


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps({"record": 1}), "not UTF-8"),
        (b"cos\nsystem\n(S'touch pwned'\ntR.", "not JSON"),
        (b"[" * 1_000_000, "nested deeper"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested deeper"),
        (NAN_ACC1.encode(), "NaN is not JSON"),
        (TWO_ACC1.encode(), "'acc1' occurs twice"),
        (b"[[]]", "a list"),
        (b"{}", "schema_version"),
        (b'{"schema_version": 99}', "newer than this poisonbench"),
        (b"", "not JSON"),
    ],
)
def test_hostile_files_are_refused(store: Store, tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    assert words in refusal(merge(store, [tmp_path / "a.json"]))
    assert store.rows() == []


def test_a_tampered_number_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    text = FIXTURE.read_text("utf-8")
    path.write_text(text.replace('"linf_max": 0.0', '"linf_max": 0.5'), "utf-8")
    assert "it was changed" in refusal(merge(store, [path]))
    forged = json.loads(text)
    forged["metrics"]["drop"] = 50.0
    path.write_text(pretty_json(forged | {"record_id": record_id_of(forged)}), "utf-8")
    assert "acc1 − acc2" in refusal(merge(store, [path]))


def test_a_huge_file_is_not_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(exchange.MAX_BYTES + 1)
    monkeypatch.setattr(exchange, "mmap", lambda *_, **__: nullcontext(b" " * (exchange.MAX_BYTES + 1)))
    monkeypatch.setattr(exchange, "parse_json", lambda data: pytest.fail("it was read"))
    assert "at most 4194304" in refusal(merge(store, [path]))


def test_links_and_special_files_are_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(FIXTURE.read_text("utf-8"), "utf-8")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link.json").symlink_to(tmp_path / "real.json")
    (tmp_path / "a" / "linked").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.json")
    report = merge(store, [tmp_path / "a"])
    assert {path.name for path, _ in report.refused} == {"link.json", "linked", "pipe.json"}
    assert store.rows() == []


@pytest.mark.parametrize("trick", ["bytes", "size", "link", "folder", "pickle"])
def test_a_wrong_artifact_refuses_its_record(stores: tuple[Store, Store], tmp_path: Path, trick: str) -> None:
    one, two = stores
    record = make(artifacts=[one.artifacts.put({"x": torch.zeros(4)}, "poison")])
    if trick == "pickle":
        data = pickle.dumps([1])
        sha256 = hashlib.sha256(data).hexdigest()
        pickled = {"kind": "poison", "sha256": sha256, "path": artifact_path(sha256), "bytes": len(data)}
        record = make(artifacts=[pickled])
        (one.home / artifact_path(sha256)).parent.mkdir(exist_ok=True)
        (one.home / artifact_path(sha256)).write_bytes(data)
    one.add(record)
    export(one, tmp_path / "a", [record], KINDS)
    path = tmp_path / "a" / record.artifacts[0].path
    good = path.read_bytes()
    if trick == "bytes":
        path.write_bytes(good[:-1] + b"\x01")
    elif trick == "size":
        path.write_bytes(good + b"\x00")
    elif trick == "link":
        (tmp_path / "elsewhere").write_bytes(good)
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere")
    elif trick == "folder":
        (tmp_path / "a" / "artifacts").rename(tmp_path / "moved")
        (tmp_path / "a" / "artifacts").symlink_to(tmp_path / "moved")
    words = {"bytes": "does not have the hash", "size": "the record says", "pickle": "not a safetensors file"}
    assert words.get(trick, "is a link or a special file") in refusal(merge(two, [tmp_path / "a"]))
    assert two.rows() == []
    assert two.artifacts.names() == []


def test_an_artifact_path_cannot_leave_the_folder(store: Store, tmp_path: Path) -> None:
    document = make().document()
    evil = {"kind": "poison", "path": "artifacts/../../../etc/passwd", "sha256": "a" * 64, "bytes": 1}
    document["artifacts"] = [evil]
    document["record_id"] = record_id_of(document)
    (tmp_path / "a.json").write_text(pretty_json(document), "utf-8")
    assert "record.artifacts.0.path" in refusal(merge(store, [tmp_path / "a.json"]))


def test_merging_into_a_folder_keeps_what_is_there_and_refuses_what_was_changed(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    one, _ = stores
    first, second, *_ = fill(one)
    there = tmp_path / "results"
    export(one, tmp_path / "new", [first])
    assert exchange.merge_into(there, [tmp_path / "new"], anything).added == (first.record_id,)
    export(one, tmp_path / "new", [second])
    (tmp_path / "new" / "bad.json").write_text("{}", "utf-8")
    report = exchange.merge_into(there, [tmp_path / "new"], anything)
    assert (report.added, report.already_there) == ((second.record_id,), (first.record_id,))
    assert [path.name for path, _ in report.refused] == ["bad.json"]
    before = {path: path.stat().st_mtime_ns for path in there.rglob("*.*")}
    assert exchange.merge_into(there, [tmp_path / "new"], anything).added == ()
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*.*")} == before
    assert sorted(merge(stores[1], [there]).added) == sorted((first.record_id, second.record_id))


def test_folders_within_folders_are_no_recursion(store: Store, tmp_path: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            Path("deep").mkdir()
            os.chdir("deep")
    finally:
        os.chdir(here)
    (tmp_path / "a.json").write_bytes(pretty_json(make().document()).encode())
    report = merge(store, [tmp_path])
    assert len(report.added) == 1
    subprocess.run(["rm", "-rf", str(tmp_path / "deep")], check=True)  # shutil's way is recursive


def test_records_of_a_list_are_read_one_by_one(store: Store, tmp_path: Path) -> None:
    good = json.dumps(make().document())
    (tmp_path / "a.json").write_text(f' [{good} , {{"x": "]}}"}}, [[1]], {json.dumps(make(1).document())}\n] ')
    report = merge(store, [tmp_path / "a.json"])
    assert len(report.added) == 2
    assert [reason.split(" ")[0] for _, reason in report.refused] == ["[1]:", "[2]:"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "expected a list of objects"),
        ("[{}{}]", "expected a list of objects"),
        ("[{},]", "expected a list of objects"),
        ("[,{}]", "expected a list of objects"),
        ('[{} "x" ,{}]', "expected a list of objects"),
        ("[{}", "expected a list of objects"),
        ("[{}}", "expected a list of objects"),
        ("[{}] x", "expected a list of objects"),
        ('[{"a": "' + r"\"" * 100_000, "expected a list of objects"),
        ('{"cells": 1, "records": [{}] }}', "expected a list of objects"),
        ("[" + "{}," * 5000 + "{}]", "the rest is not read"),
        ('[{"a":' + "1" * (exchange.MAX_BYTES + 1) + "}]", "an object of more than"),
        ("[{" + ",".join(f'"{key}":0' for key in range(100_001)) + "}]", "more than 100,000 values"),
        ("{" + ",".join(f'"{key}":0' for key in range(100_001)) + "}", "more than 100,000 values"),
    ],
)
def test_a_list_that_is_none_is_refused(store: Store, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.json").write_text(text)
    report = merge(store, [tmp_path / "a.json"])
    assert report.added == ()
    assert words in report.refused[-1][1]
    assert len(report.refused) <= exchange.MAX_REFUSED + 2


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW records AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS record_id, zeroblob(1000000) AS document, i AS rowid FROM n",
        "CREATE VIRTUAL TABLE records USING fts5(record_id, document)",
        "CREATE TABLE records (record_id, document AS (zeroblob(900000000)))",
        "CREATE TABLE records (record_id TEXT)",
        "CREATE TABLE records (record_id PRIMARY KEY, document) WITHOUT ROWID",
        "CREATE TABLE other (x)",
    ],
)
def test_a_strangers_schema_computes_nothing(store: Store, tmp_path: Path, schema: str) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection, connection:
        connection.execute(schema)
        if "document AS" in schema and "VIEW" not in schema:
            connection.execute("INSERT INTO records (record_id) VALUES (1)")
    assert "no store" in refusal(merge(store, [tmp_path / "x.db"]))


def test_a_strangers_rows_are_taken_one_by_one(store: Store, tmp_path: Path) -> None:
    good = make()
    rows: list[tuple[object, object]] = [
        ("a", "x" * (exchange.MAX_BYTES + 1)), ("b", "x" * (2 * exchange.MAX_BYTES)), (None, None), (b"\xff", b"\xff"),
        ("y" * (2 * exchange.MAX_BYTES), "{}"), (good.record_id, json.dumps(good.document())),
    ]  # fmt: skip
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection, connection:
        connection.execute("CREATE TABLE records (record_id, document)")
        connection.executemany("INSERT INTO records VALUES (?, ?)", rows)
        connection.execute("CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END")
    report = merge(store, [tmp_path / "x.db"])
    assert report.added == (good.record_id,)
    assert len(report.refused) == 5
    assert sum("more than 4194304 bytes" in reason for _, reason in report.refused) == 3
