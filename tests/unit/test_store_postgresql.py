"""A store on PostgreSQL, which several machines share."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import delete, func, select, update

from poisonbench.cli.main import main
from poisonbench.errors import CorruptFileError, StoreError
from poisonbench.store import connections
from poisonbench.store.database import Store
from poisonbench.store.location import locate
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact, artifact_path
from poisonbench.store.tables import CHUNKS, STAGES, Entry, columns_of

psycopg = pytest.importorskip("psycopg")

FIXTURE = Path(__file__).with_name("test_store_record_v5.json")
SECRET = "hunter2"


def make(seed: int = 0, **changes: Any) -> Record:
    fields = json.loads(FIXTURE.read_text("utf-8"))
    fields.pop("record_id")
    return Record.create(**{**fields, "seeds": {**fields["seeds"], "run": seed}, **changes})


@pytest.fixture
def url(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty database."""
    monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path / "home"))
    with server.database() as url:
        yield url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as store:
        yield store


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Store]]:
    """Opens the store as a machine of that name does, which has a home of its own."""
    with ExitStack() as opened:

        def at(name: str) -> Store:
            monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path / name))
            return opened.enter_context(Store.open(url))

        yield at


def at_once(*works: Callable[[], object]) -> list[BaseException]:
    """Run all of them at a time; what they raised."""
    raised = list[BaseException]()
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        ready.wait()
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_records_and_stages_come_back_as_they_were(store: Store) -> None:
    record, other = make(3), make(4, status="failed", error="boom", metrics=None)
    assert store.add(record)
    assert not store.add(record)
    assert store.add_all([record, other]) == {other.record_id}
    assert store.record(record.record_id[:12]) == record
    assert {row.seed for row in store.rows(status=["ok", "failed"])} == {3, 4}
    assert record.metrics is not None
    assert record.metrics.answers is not None
    assert store.answers([record.record_id, other.record_id]) == {
        record.record_id: (record.metrics.answers.clean, record.metrics.answers.attacked)
    }
    store.put_stage("k", "attack", {"seconds": 1.5})
    store.put_stage("k", "attack", {"seconds": 2.5})
    assert store.stage("k") == {"seconds": 2.5}
    assert store.stage("other") is None


def test_no_password_is_printed_wherever_it_stands(url: str, store: Store) -> None:
    text = f"{url}&password={SECRET}&sslpassword={SECRET}"
    with Store.open(text) as opened:
        assert locate(opened.location.name).url == locate(text).url
        assert SECRET not in str(opened.location) + opened.check()["store"]
        assert url.rpartition("=")[2].replace("/", "%2F") in str(opened.location)


def test_several_machines_make_one_store(server: Any, tmp_path: Path) -> None:
    """Each has a home of its own, hence file locks of its own."""
    for number in range(5):
        server.query(f"CREATE DATABASE first{number}")
        place = locate(f"postgresql+psycopg://me@/first{number}?host={server.folder}")
        machines = [Store(replace(place, home=tmp_path / name)) for name in "abcd"]
        assert at_once(*(machine._create for machine in machines)) == []
        assert all(machine._exists() for machine in machines)
        for machine in machines:
            machine.close()


def test_a_store_of_an_older_layout_is_laid_anew_once(store: Store, machine: Callable[[str], Store], url: str) -> None:
    kept = [make(seed) for seed in range(20)]
    store.add_all(kept, computed=True)
    with store._write("write to") as connection:
        connection.exec_driver_sql("ALTER TABLE records DROP COLUMN engine_version")
    homes = [machine(name) for name in "abcd"]  # the first of them does it
    with store._write("write to") as connection:
        connection.exec_driver_sql("ALTER TABLE records DROP COLUMN engine_version")
    assert at_once(*(one._upgrade for one in homes)) == []
    assert {record.record_id for record in store.records()} == {record.record_id for record in kept}
    assert all(entry.computed for entry in store.entries().values())


def test_merges_in_opposite_order_lose_nothing(machine: Callable[[str], Store]) -> None:
    one, two = machine("one"), machine("two")
    row = columns_of(make(), Entry(True, ""))
    rows = [row | {"record_id": f"{seed:016x}"} for seed in range(800)]
    assert at_once(lambda: one._add(rows), lambda: two._add(rows[::-1])) == []
    assert len(one.rows()) == 800


def test_a_deadlock_is_tried_again(store: Store, machine: Callable[[str], Store]) -> None:
    """Two writers that hold what the other wants: the server ends one of them."""
    tried = []
    meeting = threading.Barrier(2)

    @connections.patiently
    def swap(owner: Store, first: str, second: str) -> None:
        tried.append(first)
        with owner._write("write to") as connection:
            for key in (first, second):
                connection.execute(update(STAGES).where(STAGES.c.key == key).values(kind=first))
                if len(tried) <= 2 and key == first:
                    meeting.wait(10)

    other = machine("other")
    for key in "ab":
        store.put_stage(key, "attack", {})
    assert at_once(lambda: swap(store, "a", "b"), lambda: swap(other, "b", "a")) == []
    assert len(tried) == 3


def test_a_server_that_restarts_is_waited_for(server: Any, store: Store) -> None:
    store.add(make(1))
    server.stop()
    later = threading.Timer(0.3, server.start)
    later.start()
    try:
        assert store.add(make(2))  # its connection was cut, and the next ones are refused
    finally:
        later.join()
    assert len(store.rows()) == 2


def test_a_server_that_has_no_room_is_waited_for(server: Any, url: str, store: Store) -> None:
    with ExitStack() as guests:
        held = []
        with suppress(psycopg.OperationalError):
            while True:
                guest = psycopg.connect(host=str(server.folder), user="me", dbname="postgres")
                held.append(guests.enter_context(guest))
        release = threading.Timer(0.5, lambda: [guest.close() for guest in held])
        release.start()
        with Store.open(url) as late:
            assert late.add(make(1))
        release.join()


@pytest.mark.parametrize("part", ["/db", "//me"])
def test_a_wrong_url_is_one_line(url: str, part: str) -> None:
    text = url.replace(part, f"{part}x").replace("@", f":{SECRET}@")
    with pytest.raises(StoreError, match=r"does not exist\. Check the URL of --store") as caught:
        Store.open(text, patience=0.2)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def tensors(megabytes: float = 0) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(int(megabytes * 2**18) + 1, dtype=torch.float32)}


def test_artifacts_are_in_the_database_of_all_machines(machine: Callable[[str], Store]) -> None:
    one, two = machine("one"), machine("two")
    kept = [one.artifacts.put(tensors(size), "poison") for size in (0, 1, 2.5)]
    assert not (one.home / "artifacts").exists()
    assert two.artifacts.names() == sorted(artifact.sha256 for artifact in kept)
    for artifact, size in zip(kept, (0, 1, 2.5), strict=True):
        assert torch.equal(two.artifacts.get(artifact.sha256)["x"], tensors(size)["x"])
        assert len(two.artifacts.get_bytes(artifact.sha256)) == artifact.bytes
    with one._read() as connection:
        sizes = connection.scalars(select(func.length(CHUNKS.c.data)).where(CHUNKS.c.sha256 == kept[2].sha256)).all()
    assert sorted(sizes)[1:] == [2**20] * 2
    with pytest.raises(StoreError, match=r"is missing\. Run the cell again"):
        two.artifacts.get("0" * 64)
    assert not two.artifacts.has("0" * 64)


def test_two_machines_that_keep_one_artifact_at_once_keep_it_once(machine: Callable[[str], Store]) -> None:
    homes = [machine(name) for name in "abcd"]
    data = tensors(3)
    assert at_once(*(partial(one.artifacts.put, data, "poison") for one in homes)) == []
    (sha256,) = homes[0].artifacts.names()
    assert torch.equal(homes[1].artifacts.get(sha256)["x"], data["x"])


def test_a_damaged_artifact_is_found_and_written_again(store: Store) -> None:
    artifact = store.artifacts.put(tensors(2.5), "poison")
    for damage in (
        update(CHUNKS).where(CHUNKS.c.number == 1).values(data=b"x"),
        delete(CHUNKS).where(CHUNKS.c.number == 2),
    ):
        with store._write("write to") as connection:
            connection.execute(damage)
        with pytest.raises(CorruptFileError, match="is damaged"):
            store.artifacts.get(artifact.sha256)
        assert store.check()["damaged_artifacts"] == [store.artifacts.where(artifact.sha256)]
        assert store.artifacts.put(tensors(2.5), "poison") == artifact
        assert torch.equal(store.artifacts.get(artifact.sha256)["x"], tensors(2.5)["x"])


def test_a_file_that_changes_while_it_is_taken_in_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 2**21)
    artifact = Artifact(kind="poison", path=artifact_path("0" * 64), sha256="0" * 64, bytes=2**21)
    with pytest.raises(CorruptFileError, match="changed while it was read"):
        store.artifacts.put_file(tmp_path / "a", artifact)
    assert store.artifacts.names() == []


def test_what_one_machine_ran_is_done_on_every_other(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands themselves: run here, then run, submit and doctor there."""

    def command(machine: str, *words: str) -> tuple[int, str]:
        monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path / machine))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["poisonbench", *words, "--store", url])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    cell = ("-a", "label-flip", "--model", "lr", "--seeds", "0", "--protocol", "digits-v1")
    code, said = command("one", "run", *cell)
    assert code == 0, said
    code, said = command("two", "run", *cell)
    assert (code, "From the store" in said) == (0, True), said
    code, said = command("two", "submit", "--attack", "label-flip", "-o", "bundle")
    assert code == 0, said
    code, said = command("two", "doctor")
    assert (code, "All well" in said) == (0, True), said
    with Store.open(url) as store, store._write("write to") as connection:
        connection.execute(delete(CHUNKS))
    code, said = command("two", "doctor")
    assert (code, "records without their artifacts" in said) == (1, True), said
    code, said = command("two", "submit", "--attack", "label-flip", "-o", "bundle2")
    assert (code, "Run its cell again, or" in said) == (4, True), said
    code, said = command("two", "run", *cell)
    assert (code, "was computed again" in said) == (0, False), said
    assert command("one", "submit", "--attack", "label-flip", "-o", "bundle2")[0] == 0
    assert command("one", "doctor")[0] == 0
