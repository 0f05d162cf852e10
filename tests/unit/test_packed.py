"""Published records in packed files: what goes in comes out, and no file that nobody vouches for can do harm."""

from __future__ import annotations

import json
import lzma
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonbench.errors import CorruptFileError, StoreError, ValidationError
from poisonbench.store import exchange, packed, publishing
from poisonbench.store.database import Store
from poisonbench.store.record import Record

DOCUMENT = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))


def record(seed: int, **changes: object) -> Record:
    fields = {key: value for key, value in DOCUMENT.items() if key != "record_id"}
    return Record.create(**{**fields, "seeds": {**fields["seeds"], "run": seed}, **changes})


def board(folder: Path) -> Path:
    """The one packed file in a folder."""
    (path,) = folder.rglob(f"*{packed.SUFFIX}")
    return path


def ids(path: Path) -> list[str]:
    return packed.ids_beside(path).read_text().split()


def read(data: bytes) -> list[bytes | None]:
    return list(packed.texts(BytesIO(data)))


def test_records_come_out_as_they_went_in_neighbours_by_seed(tmp_path: Path) -> None:
    records = [record(seed) for seed in (10, 2, 1)]
    assert publishing.add(tmp_path, records[:2]) == {one.record_id for one in records[:2]}
    assert publishing.add(tmp_path, records) == {records[2].record_id}
    path = board(tmp_path)
    assert path.relative_to(tmp_path) == Path(records[0].protocol.name, f"{records[0].model.name}.jsonl.xz")
    found = [json.loads(text or b"") for text in read(path.read_bytes())]
    assert found == [one.document() for one in reversed(records)]
    assert ids(path) == [one["record_id"] for one in found]


def test_the_order_in_which_records_came_leaves_no_trace(tmp_path: Path) -> None:
    records = [record(seed) for seed in range(4)]
    publishing.add(tmp_path / "a", records)
    for one in reversed(records):
        publishing.add(tmp_path / "b", [one])
    assert board(tmp_path / "a").read_bytes() == board(tmp_path / "b").read_bytes()
    assert ids(board(tmp_path / "a")) == ids(board(tmp_path / "b"))


def test_a_call_that_was_killed_between_its_files_is_mended_by_the_next(tmp_path: Path) -> None:
    publishing.add(tmp_path, [record(0), record(1)])
    path = board(tmp_path)
    before = ids(path)
    packed.ids_beside(path).write_text(before[0] + "\n")
    assert publishing.add(tmp_path, [record(0)]) == set()
    assert ids(path) == before


def test_what_is_there_is_never_replaced_if_it_is_damaged(tmp_path: Path) -> None:
    publishing.add(tmp_path, [record(0)])
    path = board(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="cut short"):
        publishing.add(tmp_path, [record(1)])


@pytest.mark.parametrize("name", ["a/../../../etc/x", "paper/table2", "x/y"])
def test_no_name_leaves_the_folder(name: str, tmp_path: Path) -> None:
    stranger = record(0, protocol={**DOCUMENT["protocol"], "name": name})
    with pytest.raises(ValidationError, match="cannot be published"):
        publishing.add(tmp_path / "deep", [record(1), stranger])
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.json").write_text(json.dumps(stranger.document()))
    report = exchange.merge_into(tmp_path / "deep", [tmp_path / "a.json"], lambda record: None)
    assert "cannot be published" in report.refused[0][1]


@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda text: b"\n" not in text), max_size=20))
def test_any_lines(lines: list[bytes]) -> None:
    assert read(lzma.compress(b"".join(line + b"\n" for line in lines))) == lines


def test_lines_longer_than_a_record_and_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LONGEST", 10)
    monkeypatch.setattr(packed, "_CHUNK", 7)
    for length in range(9, 40):
        long = None if length > 10 else b"x" * length
        assert read(lzma.compress(b"a\n" + b"x" * length + b"\nb\n")) == [b"a", long, b"b"]


def test_files_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lzma.compress(b"{}\n" * 1000)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    hungry = lzma.compress(b"{}\n", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}])
    for data, why in (
        (b"", "cut short"), (whole[:-1], "cut short"), (whole + b"x", "follows its end"),
        (whole + whole, "follows its end"), (lzma.compress(b"{}"), "does not end"),
        (b"{}\n" * 9, "not what xz"), (bytes(damaged), "not what xz"), (hungry, "not what xz"),
    ):  # fmt: skip
        with pytest.raises(CorruptFileError, match=why):
            read(data)
    monkeypatch.setattr(packed, "MAX_BYTES", 2999)
    with pytest.raises(CorruptFileError, match="more than 2999 bytes"):
        read(whole)


def test_a_store_takes_packed_records_and_names_the_line_of_one_that_is_refused(tmp_path: Path) -> None:
    good = [record(0), record(1)]
    publishing.add(tmp_path, good)
    path = board(tmp_path)
    bad = tmp_path / "bad.jsonl.xz"
    bad.write_bytes(lzma.compress(lzma.decompress(path.read_bytes()) + b"{}\n"))
    with Store.open(tmp_path / "store") as store:
        report = exchange.merge(store, [path, bad], lambda record: None)
        assert sorted(report.added) == sorted(one.record_id for one in good)
    ((where, why),) = report.refused
    assert where == bad
    assert why.startswith("line 3: ")
