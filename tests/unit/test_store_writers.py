"""Four processes write into one store, some of them the same, while one of them is killed or the server goes.

What was killed begins again, as a user would. In the end everything is there once, to the bit. The default run has
fifty records a writer, the soak thousands:

    pytest -m slow tests/unit/test_store_writers.py
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from sqlalchemy import select

from poisonbench.store.canonical import canonical_json
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_origin import Artifact, artifact_path
from poisonbench.store.tables import RECORDS

WRITERS = 4
EACH = pytest.mark.parametrize("each", [50, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
FIXTURE = Path(__file__).with_name("test_store_record_v5.json")

WRITER = """
import json, sys
from poisonbench.store.database import Store
from poisonbench.store.record import Record
url, lines = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
with Store.open(url) as store, open(lines, encoding="utf-8") as file:
    for line in file:
        document, data = json.loads(line)
        if data:
            store.artifacts.put_bytes(bytes.fromhex(data), "poison")
        store.add(Record.read(document))
        print("added", flush=True)
"""


@dataclass(frozen=True)
class Work:
    """What every writer adds, and what the store is to hold in the end.

    Attributes:
        lines: a writer's file: records, each with its artifact's bytes if it has one.
        documents: every record's canonical JSON, by its id.
        artifacts: every artifact's bytes, by their hash.
    """

    lines: list[Path]
    documents: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, each: int) -> Work:
        """Every third record is every writer's, the others are one's own; every fifth has an artifact."""
        fields = json.loads(FIXTURE.read_text("utf-8"))
        del fields["record_id"]
        work = cls([folder / f"{writer}.jsonl" for writer in range(WRITERS)])
        for writer, path in enumerate(work.lines):
            with path.open("w", encoding="utf-8") as file:
                for number in range(each):
                    seed = number if number % 3 == 0 else (writer + 1) * each + number
                    file.write(work._line(fields, seed, number % 5 == 0))
        return work

    def _line(self, fields: dict[str, Any], seed: int, has_artifact: bool) -> str:
        data = save({"x": np.full(500, seed, np.float32)}) if has_artifact else b""
        sha256 = hashlib.sha256(data).hexdigest()
        named = Artifact(kind="poison", path=artifact_path(sha256), sha256=sha256, bytes=len(data))
        changes = {"seeds": {**fields["seeds"], "run": seed}, "artifacts": [named] if has_artifact else []}
        record = Record.create(**{**fields, **changes})
        self.documents[record.record_id] = canonical_json(record.document())
        if has_artifact:
            self.artifacts[sha256] = data
        return json.dumps([record.document(), data.hex()]) + "\n"


class Writer:
    """A process that adds the records of a file, one by one."""

    def __init__(self, url: str, lines: Path) -> None:
        self._command = [sys.executable, "-P", "-W", "error", "-c", WRITER, url, str(lines)]
        self._said = lines.with_suffix(".said")
        self._start()

    def _start(self) -> None:
        with self._said.open("a") as said:
            self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True)

    @property
    def said(self) -> list[str]:
        """What it printed, lines of all its lives."""
        return self._said.read_text("utf-8").splitlines()

    def go(self) -> None:
        """Let it write."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.close()

    def kill(self) -> None:
        """Kill it in the middle, and start it again from the beginning."""
        self.process.kill()
        assert self.process.wait() < 0
        self._start()
        self.go()


def soak(url: str, work: Work, interrupt: Callable[[list[Writer], int], None]) -> None:
    """Have all writers write; `interrupt` is called twice: when a third is added, and when two thirds are."""
    writers = [Writer(url, lines) for lines in work.lines]
    try:
        wait_for(writers, "ready", WRITERS)
        for writer in writers:
            writer.go()
        for part in (1, 2):
            wait_for(writers, "added", part * len(work.documents) // 3)
            interrupt(writers, part)
        codes = [writer.process.wait() for writer in writers]
    finally:
        for writer in writers:
            writer.process.kill()
            writer.process.wait()
    assert {line for writer in writers for line in writer.said} == {"ready", "added"}
    assert codes == [0] * WRITERS


def wait_for(writers: list[Writer], line: str, count: int) -> None:
    """Until they have said that so often."""
    while sum(writer.said.count(line) for writer in writers) < count:
        assert not any(writer.process.poll() for writer in writers), [writer.said[-5:] for writer in writers]
        time.sleep(0.02)


def check(url: str, work: Work) -> None:
    """That the store holds what was written, all of it, once, to the bit."""
    with Store.open(url) as store:
        rows = store._all(select(RECORDS.c.record_id, RECORDS.c.document))
        assert sorted(rows) == sorted(work.documents.items())
        assert {record.record_id for record in store.records()} == set(work.documents)
        assert store.unreadable == {}
        assert {name: store.artifacts.get_bytes(name) for name in store.artifacts.names()} == work.artifacts
        assert store.check()["integrity"] == "ok"


@EACH
def test_a_writer_is_killed(tmp_path: Path, each: int) -> None:
    work, url = Work.make(tmp_path, each), str(tmp_path / "store")
    soak(url, work, lambda writers, part: writers[part].kill())
    check(url, work)


@EACH
def test_the_server_restarts(server: Any, tmp_path: Path, each: int) -> None:
    """At once, as after a crash; then as its administrator has it do."""
    work, modes = Work.make(tmp_path, each), {1: "immediate", 2: "fast"}
    with server.database() as url:
        soak(url, work, lambda _, part: server.restart(modes[part]))
        check(url, work)
