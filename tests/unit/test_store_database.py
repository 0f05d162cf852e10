"""The database: adding, finding, sharing between processes, and saying in one line what cannot be done."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import insert, inspect

from poisonbench.errors import StoreError, UnknownNameError, UsageError
from poisonbench.stages.checkpoint import Checkpoint, Saved
from poisonbench.store import connections
from poisonbench.store.canonical import canonical_json
from poisonbench.store.database import Store
from poisonbench.store.location import default_home, locate
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact
from poisonbench.store.record_results import Metrics
from poisonbench.store.tables import RECORDS, Entry, columns_of

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")
MERGED = Entry(False, "")


KEPT: list[Artifact] = []
"""What the store of a test has, and its records name."""


def make(seed: int = 0, **changes: Any) -> Record:
    fields = json.loads(FIXTURE.read_text("utf-8")) | {"artifacts": KEPT}
    fields.pop("record_id")
    return Record.create(**{**fields, "seeds": {**fields["seeds"], "run": seed}, **changes})


@pytest.fixture
def store(tmp_path: Path, evidence: Callable[[Store], list[Artifact]]) -> Iterator[Store]:
    with Store.open(str(tmp_path / "home")) as store:
        KEPT[:] = evidence(store)
        yield store


def one_line(error: pytest.ExceptionInfo[Any]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_record_comes_back_as_it_was(store: Store) -> None:
    record = make(3)
    assert store.add(record)
    assert not store.add(record)
    assert store.records() == [record]
    assert store.record(record.record_id) == record
    with Store.open(str(store.home)) as again:
        assert again.records() == [record]


def test_rows_carry_the_columns_of_the_record(store: Store) -> None:
    record = make(7, status="failed", error="boom", metrics=None)
    store.add_all([record, make(8)])
    (row,) = store.rows(status="failed")
    expected = columns_of(record, Entry(False, row.added_at))
    assert row._asdict() == {key: expected[key] for key in row._fields}
    assert row.drop is None
    assert store.rows(seed=8)[0].drop == make(8).metrics.drop


def test_filters_combine_and_take_lists(store: Store) -> None:
    store.add_all(make(seed) for seed in range(6))
    assert {record.seeds.run for record in store.records(seed=(1, 4), status="ok")} == {1, 4}
    assert {row.seed for row in store.rows(seed=[1, 4, 9], attack="tgda")} == {1, 4}
    assert store.rows(attack="label-flip") == []
    assert store.rows(seed=[]) == []
    with pytest.raises(UnknownNameError, match=r"'atack'.*Did you mean 'attack'"):
        store.rows(atack="tgda")


def test_records_are_found_by_unique_prefix(store: Store) -> None:
    records = [make(seed) for seed in range(40)]
    store.add_all(records)
    first = records[0]
    assert store.record(first.record_id[:10].upper()) == first
    crowded = next(c for c in "0123456789abcdef" if sum(r.record_id.startswith(c) for r in records) > 1)
    with pytest.raises(UnknownNameError, match=r"begins several records"):
        store.record(crowded)
    typo = first.record_id[:-1] + ("0" if first.record_id[-1] != "0" else "1")
    with pytest.raises(UnknownNameError, match=rf"Did you mean '{first.record_id}'"):
        store.record(typo)
    # Sixteen digits that share half with some record by chance are no slip of the finger.
    with pytest.raises(UnknownNameError) as strange:
        store.record("".join("0123456789abcdef"[(int(digit, 16) + 5) % 16] for digit in first.record_id))
    assert "Did you mean" not in str(strange.value)
    for nothing in ("", "%", "_" * 16, "zz'; DROP TABLE records; --"):
        with pytest.raises(UnknownNameError, match=r"No record"):
            store.record(nothing)
    assert len(store.rows()) == 40


def test_answers_are_read_without_their_records(store: Store) -> None:
    whole = make(0)
    fields = {key: part for key, part in make(1).document().items() if key != "record_id"}
    without = Record.create(**{**fields, "metrics": {**fields["metrics"], "answers": None}})
    store.add_all([whole, without])
    assert whole.metrics is not None
    assert whole.metrics.answers is not None
    bits = (whole.metrics.answers.clean, whole.metrics.answers.attacked)
    assert store.answers([whole.record_id, without.record_id, "0" * 16]) == {whole.record_id: bits}
    assert store.answers([]) == {}


def test_the_latest_ok_record_answers_for_a_cell(store: Store) -> None:
    cell = "ab" * 32
    old = make(0, cell_hash=cell, finished_at="2026-01-01T00:00:00Z")
    new = make(0, cell_hash=cell, finished_at="2026-01-02T00:00:00Z")
    failed = make(
        0, cell_hash=cell, finished_at="2026-01-03T00:00:00Z", status="failed", error="boom", metrics=Metrics.of(90, 80)
    )
    assert store.for_cell(cell) is None
    store.add_all([new, failed, old], computed=True)
    assert store.for_cell(cell) == new
    assert store.for_cell("cd" * 32) is None


def failed(cell: str, status: str, day: int, seed: int = 0) -> Record:
    when = f"2026-01-{day:02d}T00:00:00Z"
    return make(seed, cell_hash=cell, finished_at=when, status=status, error="boom", metrics=None)


def test_a_cell_is_what_its_latest_record_says_unless_one_is_good(store: Store) -> None:
    good, mended, worse, unknown = ("ab" * 32, "cd" * 32, "ef" * 32, "01" * 32)
    day = {n: f"2026-01-{n:02d}T00:00:00Z" for n in (1, 2)}
    store.add_all(
        [make(0, cell_hash=good, finished_at=day[1]), failed(good, "failed", 2), failed(good, "oom", 3)], computed=True
    )
    store.add_all([make(0, cell_hash=mended, finished_at=day[2]), failed(mended, "timeout", 1)], computed=True)
    store.add_all([failed(worse, "oom", 2), failed(worse, "failed", 3), failed(worse, "timeout", 1)], computed=True)
    assert store.statuses([good, mended, worse, unknown]) == {good: "ok", mended: "ok", worse: "failed"}
    assert store.statuses([worse, worse]) == {worse: "failed"}
    assert store.statuses(cell for cell in (mended,)) == {mended: "ok"}
    assert store.statuses([unknown]) == store.statuses([]) == {}


def test_what_was_merged_answers_for_no_cell_unless_it_ships(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = "ab" * 32
    merged = make(0, cell_hash=cell, finished_at="2026-01-02T00:00:00Z")
    own = make(0, cell_hash=cell, finished_at="2026-01-01T00:00:00Z")
    store.add_all([merged])
    assert store.for_cell(cell) is None
    assert store.statuses([cell]) == {}
    store.add(own)
    assert store.for_cell(cell) == own
    assert store.statuses([cell]) == {cell: "ok"}
    monkeypatch.setattr("poisonbench.store.tables.shipped_ids", lambda: {merged.record_id})
    assert store.for_cell(cell) == merged


def test_the_statuses_of_more_cells_than_one_query_takes(store: Store) -> None:
    # Written without the schema's checks, which are not what is tested. SQLite takes 32,766 values in a query.
    row, names = columns_of(make(), Entry(True, "")), [f"{n:064x}" for n in range(35_001)]
    known = {n: ("ok", "failed")[n % 2] for n in range(35_001) if n % 500 in (0, 499)}
    with store._write("write to") as connection:
        rows = [
            row | {"record_id": f"{n:016x}", "cell_hash": names[n], "status": status} for n, status in known.items()
        ]
        connection.execute(insert(RECORDS), rows)
    assert store.statuses(names) == {names[n]: status for n, status in known.items()}


def test_the_latest_records_come_latest_first(store: Store) -> None:
    days = [3, 1, 4, 2, 5]
    made = {day: make(day, finished_at=f"2026-01-{day:02d}T00:00:00Z", status="ok") for day in days}
    store.add_all([*made.values(), failed("ab" * 32, "oom", 6)])
    assert [record.seeds.run for record in store.latest(3, status="ok")] == [5, 4, 3]
    assert [record.status for record in store.latest(2)] == ["oom", "ok"]
    assert store.latest(99, seed=[1, 4], status="ok") == [made[4], made[1]]
    assert store.latest(0) == []
    assert store.latest(99, protocol={"digits-v1"}, attack="label-flip") == []
    with pytest.raises(UnknownNameError, match=r"'atack'.*Did you mean 'attack'"):
        store.latest(1, atack="tgda")


def test_the_latest_of_records_of_one_moment_are_always_the_same(store: Store) -> None:
    records = [make(seed) for seed in range(20)]
    store.add_all(records)
    expected = sorted(records, key=lambda record: record.record_id)[::-1]
    assert store.latest(7) == expected[:7]


def test_stages_are_kept_and_replaced(store: Store) -> None:
    assert store.stage("k") is None
    store.put_stage("k", "attack", {"seconds": 1.5, "artifact": "x"})
    store.put_stage("k", "attack", {"seconds": 2.5})
    store.put_stage("other", "pretrain", {})
    assert store.stage("k") == {"seconds": 2.5}
    assert store.stage("other") == {}


HOLD = """
import sys, time
from poisonbench.store.database import Store
with Store.open(sys.argv[1]) as store, store.lock("stage"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_excludes_and_a_killed_process_holds_nothing(store: Store) -> None:
    holder = subprocess.Popen([sys.executable, "-P", "-c", HOLD, str(store.home)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=r"another process works on 'stage'"), store.lock("stage", timeout=0.2):
            pass
        with store.lock("another stage", timeout=0.2):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with store.lock("stage", timeout=10):
        pass
    with store.lock("stage", timeout=0.2):
        pass


def test_a_busy_store_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0)
    blocker = sqlite3.connect(store.home / "store.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with Store.open(str(store.home)) as other:
            assert other.rows() == []
            with pytest.raises(StoreError, match=r"database is locked. Another process") as caught:
                other.add(make())
            one_line(caught)
    finally:
        blocker.close()


def test_sqlite_waits_and_survives_power_cuts(store: Store) -> None:
    with store._read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_a_writer_takes_the_write_lock_before_it_reads(store: Store) -> None:
    rival = sqlite3.connect(store.home / "store.db", isolation_level=None, timeout=0)
    try:
        with store._read() as connection:
            connection.exec_driver_sql("SELECT 1")
            rival.execute("BEGIN IMMEDIATE")
            rival.execute("ROLLBACK")
        with store._write("write to"), pytest.raises(sqlite3.OperationalError, match="locked"):
            rival.execute("BEGIN IMMEDIATE")
    finally:
        rival.close()


def test_a_failed_write_leaves_nothing(store: Store) -> None:
    def half() -> Iterator[Record]:
        yield make(1)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.add_all(half())

    def killed() -> None:
        with store._write("write to") as connection:
            connection.execute(insert(RECORDS).values(columns_of(make(1), MERGED)))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        killed()
    assert store.rows() == []
    assert store.add(make(1))


def test_a_read_only_store_is_read_and_said_before_any_work(store: Store) -> None:
    store.add(make())
    file = store.home / "store.db"
    with Store.open(f"sqlite:///file:{file}?mode=ro&uri=true") as frozen:
        assert frozen.records() == [make()]
        for attempt in (frozen.writable, lambda: frozen.add(make(1)), lambda: frozen.put_stage("k", "kind", {})):
            with pytest.raises(StoreError, match=r"readonly") as caught:
                attempt()
            assert str(file) in one_line(caught)
            assert "--store PATH" in str(caught.value)
        assert "readonly" in frozen.check()["writable"]
    assert len(store.rows()) == 1


def test_a_store_in_a_read_only_folder_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the folder's refusal is played: no -wal or -shm file can be made there.
    store.add(make())
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with Store.open(str(store.home)) as frozen:
        assert frozen.records() == [make()]
        assert not list(store.home.glob("store.db-*"))
        with pytest.raises(StoreError, match=r"readonly"):
            frozen.writable()


def test_a_writable_store_is_left_as_it_was(store: Store) -> None:
    before = sorted((store.home / "artifacts").iterdir())
    store.writable()
    assert store.check()["stages"] == 0
    assert sorted((store.home / "artifacts").iterdir()) == before


def test_artifacts_that_cannot_be_written_stop_the_work(store: Store) -> None:
    shutil.rmtree(store.home / "artifacts")
    (store.home / "artifacts").write_text("in the way")
    with pytest.raises(StoreError, match=r"Cannot write to .*artifacts") as caught:
        store.writable()
    one_line(caught)


def test_a_full_disk_stops_the_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(StoreError, match=r"has 1 MiB left, at least 64 are needed"):
        store.writable()


def test_a_full_database_is_one_line(store: Store) -> None:
    def overflow() -> None:
        with store._write("write to") as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            connection.execute(insert(RECORDS), [columns_of(make(seed), MERGED) for seed in range(100)])

    with pytest.raises(StoreError, match=r"database or disk is full. Free some space") as caught:
        overflow()
    one_line(caught)


def test_a_store_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"Cannot make the store's folder .*/file/deep") as caught:
        Store.open(str(tmp_path / "file" / "deep"))
    one_line(caught)


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("these are my notes, " * 100)
    with pytest.raises(StoreError, match=r"file is not a database. It is no poisonbench store") as caught:
        Store.open(str(text))
    one_line(caught)
    assert text.read_text() == "these are my notes, " * 100

    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE photos (id)")
    other.close()
    with pytest.raises(StoreError, match=r"a database of something else"):
        Store.open(str(tmp_path / "other.db"))


def test_check_reports_what_is_damaged_and_missing(store: Store) -> None:
    sha256 = "c" * 64
    artifact = {"kind": "poison", "path": f"artifacts/cc/{sha256}.safetensors", "sha256": sha256, "bytes": 9}
    record = make(1, artifacts=[artifact])
    store.add_all([record, make(2)])
    store.put_stage("k", "attack", {"artifacts": [artifact]})
    report = store.check()
    assert report["missing_artifacts"] == [sha256]
    assert (report["records"], report["stages"], report["artifacts"], report["writable"]) == (2, 1, len(KEPT), True)
    assert (report["integrity"], report["damaged"]) == ("ok", [])

    with store._write("write to") as connection:
        connection.exec_driver_sql("UPDATE records SET document = replace(document, 'a cpu', 'b cpu')")
    assert store.check()["damaged"] == sorted([record.record_id, make(2).record_id])
    assert store.records() == []
    assert {name: reason[-14:] for name, reason in store.unreadable.items()} == dict.fromkeys(
        [record.record_id, make(2).record_id], "it was changed"
    )
    with pytest.raises(StoreError, match=r"is damaged: .*it was changed") as caught:
        store.record(record.record_id)
    one_line(caught)


FAULTS = ("damaged", "set_aside", "damaged_stages", "lost_artifacts", "damaged_artifacts")

DAMAGE = {
    "damaged": "UPDATE records SET document = '{' WHERE record_id = '{id}'",
    "damaged ": "UPDATE records SET acc2 = 1.0 WHERE record_id = '{id}'",
    "damaged  ": "UPDATE records SET document = replace(document, '\"schema_version\":5', '\"schema_version\":99')",
    "damaged_stages": "UPDATE stages SET document = '{'",
    "damaged_stages ": "UPDATE stages SET document = '[]'",
    "damaged_stages  ": "UPDATE stages SET document = replace(document, 'seconds', 'minutes')",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_check_names_what_was_changed_in_the_database(store: Store, kind: str) -> None:
    record = make(1, artifacts=[])
    store.add(record)
    artifact = store.artifacts.put({"x": torch.zeros(2)}, "poison")
    store.put_stage("k", "poison", {"facts": {}, "artifact": artifact.model_dump(mode="json"), "seconds": 1})
    assert not any(store.check()[fault] for fault in FAULTS)
    with store._write("write to") as connection:
        connection.exec_driver_sql(DAMAGE[kind].replace("{id}", record.record_id))
    report = store.check()
    expected = {"damaged": [record.record_id], "damaged_stages": ["k"]}[kind.strip()]
    assert {fault: report[fault] for fault in FAULTS if report[fault]} == {kind.strip(): expected}


def test_check_tells_artifacts_that_were_lost_from_those_that_were_never_here(store: Store) -> None:
    made, merged = (store.artifacts.put({"x": torch.full((2,), value)}, "poison") for value in (1.0, 2.0))
    store.add(make(1, artifacts=[made]))
    store.add_all([make(2, artifacts=[merged])])
    whole, gone = (store.home / artifact.path for artifact in (made, merged))
    gone.unlink()
    report = store.check()
    assert (report["missing_artifacts"], report["lost_artifacts"]) == ([merged.sha256], [])
    whole.write_bytes(whole.read_bytes() + b"x")
    assert store.check()["damaged_artifacts"] == [str(whole)]
    whole.unlink()
    report = store.check()
    assert report["lost_artifacts"] == [made.sha256]
    assert report["missing_artifacts"] == sorted([made.sha256, merged.sha256])


def test_one_record_that_cannot_be_read_keeps_no_other_back(store: Store) -> None:
    good, bad = make(1), make(2)
    for record in (good, bad):
        store.add(record)
    with store._write("write to") as connection:
        connection.exec_driver_sql(f"UPDATE records SET document = 'no JSON' WHERE record_id = '{bad.record_id}'")
    assert store.records() == [good]
    assert store.latest(10) == [good]
    assert store.answers([good.record_id, bad.record_id]).keys() == store.answers([good.record_id]).keys()
    assert store.for_cell(bad.cell_hash) == good  # the cell of both
    assert set(store.unreadable) == {bad.record_id}


def test_an_upgrade_sets_aside_what_it_cannot_read(store: Store) -> None:
    good, bad = make(1), make(2)
    store.add_all([good, bad])
    with store._write("write to") as connection:
        connection.exec_driver_sql(f"UPDATE records SET document = 'no JSON' WHERE record_id = '{bad.record_id}'")
        connection.exec_driver_sql("ALTER TABLE records DROP COLUMN engine_version")
    for _ in range(2):
        with Store.open(store.home) as upgraded:
            assert upgraded.records() == [good]
            assert upgraded.check()["set_aside"] == [bad.record_id]


@pytest.mark.parametrize("layout", ["ADD COLUMN mood VARCHAR", "DROP COLUMN engine_version"])
def test_a_newer_store_is_refused_and_left_alone(store: Store, layout: str) -> None:
    """What it holds would be unreadable, hence set aside, and the next newer command would find an empty table."""
    store.add_all([make(1), make(2)])
    with store._write("write to") as connection:
        connection.exec_driver_sql(f"ALTER TABLE records {layout}")
        connection.exec_driver_sql("UPDATE records SET schema_version = 6")
    with pytest.raises(StoreError, match=r"store\.db was written by a newer poisonbench\. Upgrade this one") as caught:
        Store.open(store.home)
    one_line(caught)
    with store._read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM records").scalar() == 2


def test_a_store_is_one_store_however_it_is_reached(store: Store, tmp_path: Path, monkeypatch: Any) -> None:
    artifact = store.artifacts.put({"x": torch.zeros(2)}, "poison")
    store.add(make(1, artifacts=[artifact]))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine.db").symlink_to("../home/store.db")
    (tmp_path / "links" / "folder").symlink_to("../home")
    (tmp_path / "links" / "folder.db").symlink_to("../home")
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "links" / "mine.db"
    ways = ["home", "home/store.db", "links/mine.db", "links/folder", "links/folder/store.db", "links/folder.db", link]
    for way in [*ways, f"sqlite:///{link}", f"sqlite:///file:{link}?mode=ro&uri=true", "links/../home"]:
        with Store.open(way) as again:
            assert (again.home, again.location.file) == (store.home, store.location.file), way
            assert again.artifacts.get(artifact.sha256)["x"].tolist() == [0.0, 0.0]
            assert again.check()["missing_artifacts"] == []


def test_a_link_to_a_store_that_is_yet_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "later.db").symlink_to("a/store.db")
    with Store.open(tmp_path / "later.db") as store:
        store.writable()
        assert store.home == tmp_path / "a"
    assert sorted(path.name for path in (tmp_path / "a").glob("*") if path.is_dir()) == [
        "artifacts", "checkpoints", "locks",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-has-this-name/x", "a\0b"], ids=["long", "home", "zero"])
def test_what_cannot_be_a_path_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate(name)
    assert str(caught.value).startswith("--store ")
    assert not str(caught.value).endswith("..")
    assert len(str(caught.value).splitlines()) == 1


def test_no_name_is_no_store() -> None:
    with pytest.raises(UsageError, match=r"--store ''"):
        Store.open("")


@pytest.mark.parametrize("part", ["artifacts", "checkpoints", "locks"])
def test_what_cannot_be_kept_is_said_before_any_work(store: Store, part: str) -> None:
    folder = store.home / part
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("a file")
    with pytest.raises(StoreError, match=rf"Cannot write to .*{part}"):
        store.writable()
    assert part in store.check()["writable"]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_files_are_for_whom_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with Store.open(tmp_path) as store, closing(sqlite3.connect(tmp_path / "store.db")) as reader:
            reader.execute("SELECT * FROM records")
            store.add(make())
            store.artifacts.put({"x": torch.zeros(2)}, "poison")
            Checkpoint(store.home / "checkpoints" / "k").save(
                "loop", Saved(1, 0.0, {"x": torch.zeros(2)}, torch.zeros(2, dtype=torch.uint8), {})
            )
            with store.lock("k"):
                files = [path for path in tmp_path.rglob("*") if path.is_file()]
                modes = {path.name: path.stat().st_mode & 0o777 for path in files}
    finally:
        os.umask(before)
    assert {"store.db", "store.db-wal", "store.db-shm", "loop.safetensors"} <= set(modes)
    assert modes == dict.fromkeys(modes, mode)


def test_check_survives_a_damaged_file(store: Store) -> None:
    store.add_all(make(seed) for seed in range(50))
    file = store.home / "store.db"
    size = file.stat().st_size
    with file.open("rb+") as raw:
        raw.seek(size // 2)
        raw.write(b"\xff" * (size // 4))
    assert store.check()["integrity"] != "ok"


def test_records_of_an_older_schema_are_upgraded_on_opening(store: Store) -> None:
    old = json.loads(FIXTURE.with_name("test_store_record_v1.json").read_text("utf-8"))
    new = Record.read(old)
    row = columns_of(new, MERGED) | {
        "record_id": old["record_id"],
        "schema_version": 1,
        "document": canonical_json(old),
    }
    with store._write("write to") as connection:
        connection.execute(insert(RECORDS).values(row))
    with Store.open(str(store.home)) as upgraded:
        assert upgraded.records() == [new]
        assert upgraded.record(new.record_id) == new
        assert [row.record_id for row in upgraded.rows()] == [new.record_id]
        assert new.record_id != old["record_id"]


def test_a_store_of_an_older_layout_is_laid_anew_on_opening(store: Store) -> None:
    kept, merged = make(0), make(1)
    store.add(kept)
    store.add_all([merged])
    with store._write("write to") as connection:
        connection.exec_driver_sql("ALTER TABLE records DROP COLUMN engine_version")
    with Store.open(str(store.home)) as upgraded:
        assert {record.record_id for record in upgraded.records()} == {kept.record_id, merged.record_id}
        assert [row.engine_version for row in upgraded.rows()] == [1, 1]
        assert upgraded.for_cell(kept.cell_hash) == kept
        with upgraded._read() as connection:
            names = inspect(connection).get_table_names()
            assert {index["name"] for index in inspect(connection).get_indexes("records")} == {
                "records_by_cell",
                "records_by_schema",
            }
        assert sorted(names) == ["records", "stages"]


def test_where_a_store_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path / "chosen"))
    assert locate(None).file == tmp_path / "chosen" / "store.db"
    assert locate(str(tmp_path / "folder")).file == tmp_path / "folder" / "store.db"
    assert locate(str(tmp_path / "a.db")).file == tmp_path / "a.db"
    assert locate(f"sqlite:///{tmp_path}/b.db").home == tmp_path
    server = locate("postgresql://me:secret@host/name")
    assert (server.url.drivername, server.home, server.file) == ("postgresql+psycopg", tmp_path / "chosen", None)
    assert "secret" not in str(server)
    monkeypatch.delenv("POISONBENCH_HOME")
    assert default_home().name == "poisonbench"
    assert (
        str(locate("postgresql://me@/name?host=/run/pg&passwort=secret"))
        == "postgresql+psycopg://me@/name?host=%2Frun%2Fpg"
    )
    with pytest.raises(UsageError, match=r"write an @ in the URL's password as %40") as caught:
        locate("postgresql://me:sec@ret@host/name")
    assert "ret" not in one_line(caught)
    for wrong in ("mysql://host/name", "sqlite://", "sqlite:///:memory:", "://"):
        with pytest.raises(UsageError, match=r"--store") as caught:
            locate(wrong)
        one_line(caught)


def test_a_server_that_is_not_there_is_one_line() -> None:
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in one_line(caught)


@pytest.mark.slow
def test_100_000_records_are_listed_in_two_seconds(store: Store) -> None:
    # Written without the schema's checks, which are not what is timed: a minute otherwise.
    row = columns_of(make(), MERGED)
    with store._write("write to") as connection:
        connection.execute(
            insert(RECORDS),
            [row | {"record_id": f"{n:016x}", "seed": n, "attack": f"a{n % 10}"} for n in range(100_000)],
        )
    start = time.perf_counter()
    rows = store.rows()
    assert time.perf_counter() - start < 2
    assert len(rows) == 100_000
    start = time.perf_counter()
    assert len(store.rows(attack="a3")) == 10_000
    assert time.perf_counter() - start < 2
