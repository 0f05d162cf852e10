"""`poisonbench gallery`: a picture of every kind of record, and one line for what there is no picture of."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from poisonbench.cli.gallery import gallery
from poisonbench.errors import ConfigError, CorruptFileError, DataError, StoreError, UnknownNameError
from poisonbench.store.database import Store
from poisonbench.store.record import Record


@pytest.fixture(scope="module")
def tgda(poisonbench: Any) -> dict[str, Any]:
    """A record whose points keep their labels."""
    command = ("run", "-a", "tgda", "--seeds", "0", "--set", "attack.epochs=1", "--set", "attack.pretrain_epochs=1")
    found: dict[str, Any] = poisonbench.json(*command, "--json")[0]
    return found


@pytest.fixture(scope="module")
def flipped(poisonbench: Any) -> dict[str, Any]:
    """A record whose points keep their pixels."""
    found: dict[str, Any] = poisonbench.json("run", "-a", "label-flip", "--seeds", "0", "--json")[0]
    return found


@pytest.fixture
def draw(poisonbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """The command in this process, on the session's store: `draw(record, name, count=…, order=…)` is the file."""
    monkeypatch.setenv("POISONBENCH_HOME", str(poisonbench.home))

    def run(record_id: str, name: str = "poison.png", count: int = 10, order: str = "first") -> Path:
        gallery(record_id=record_id, output=tmp_path / name, count=count, order=order, offline=True)
        return tmp_path / name

    return run


def size(path: Path) -> tuple[int, int]:
    with Picture.open(path) as picture:
        return picture.size


def test_the_command_prints_where_the_picture_is(tgda: dict[str, Any], poisonbench: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "poison.png"
    assert poisonbench("gallery", tgda["record_id"][:8], "-o", str(path)).stdout == f"{path}\n"
    assert size(path)[0] == 2600
    assert list(path.parent.iterdir()) == [path]


def test_every_kind_of_file(flipped: dict[str, Any], draw: Callable[..., Path]) -> None:
    for name, start in {"poison.PNG": b"\x89PNG", "poison.pdf": b"%PDF", "poison.svg": b"<?xml"}.items():
        assert draw(flipped["record_id"], name).read_bytes().startswith(start)


def test_count_and_order_change_the_picture(tgda: dict[str, Any], draw: Callable[..., Path]) -> None:
    record_id = tgda["record_id"]
    ten, again = (draw(record_id, name).read_bytes() for name in ("ten.png", "again.png"))
    assert ten == again
    assert draw(record_id, "linf.png", order="linf").read_bytes() != ten
    assert size(draw(record_id, "all.png", count=100))[1] > 2 * size(draw(record_id, "two.png", count=2))[1]


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("poison.gif", {}, r"^--output .*poison\.gif: expected a name that ends in \.png, \.pdf, \.svg\.$"),
        ("poison", {}, r"^--output .*poison: expected a name that ends in"),
        ("poison.png", {"count": 0}, r"^--count: expected 1 to 100 points, got 0\.$"),
        ("poison.png", {"count": 101}, r"^--count: expected 1 to 100 points, got 101\.$"),
        ("poison.png", {"order": "l1nf"}, r"^Unknown order 'l1nf'\. Did you mean 'linf'\?$"),
    ],
    ids=["suffix", "no suffix", "none", "too many", "order"],
)
def test_a_wrong_option_is_refused(draw: Callable[..., Path], name: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        draw("0123", name, **more)


def test_an_unknown_record(flipped: dict[str, Any], poisonbench: Any) -> None:
    assert "'zzzz'" in poisonbench.error("gallery", "zzzz", "-o", "poison.png", code=2)


def test_a_record_of_a_cell_that_failed_has_nothing_to_show(poisonbench: Any, draw: Callable[..., Path]) -> None:
    command = ("run", "-a", "tgda", "--seeds", "99", "--timeout", "0", "--json")
    record = poisonbench.json(*command, code=5)[0]
    with pytest.raises(DataError, match=rf"^Record {record['record_id']} has no valid poison set to show \(timeout: "):
        draw(record["record_id"])


def test_a_poison_set_that_is_damaged_or_gone(poisonbench: Any, draw: Callable[..., Path]) -> None:
    record = poisonbench.json("run", "-a", "label-flip", "--seeds", "8", "--json")[0]
    (artifact,) = (part for part in record["artifacts"] if part["kind"] == "poison")
    path = poisonbench.home / artifact["path"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptFileError, match="is damaged"):
        draw(record["record_id"])
    path.unlink()
    with pytest.raises(StoreError, match=r"is missing\. Run the cell again"):
        draw(record["record_id"])
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("dataset", "name", "mnist", "mnist"),
        ("dataset", "sha256", "0" * 64, r"was made on another digits \(SHA-256 0000000000000000…\)"),
        ("dataset", "n_val", 390, "was made on another digits"),
        ("seeds", "run", 7, "does not belong to the D_tr that its split gives here"),
    ],
    ids=["not here", "other content", "other size", "other split"],
)
def test_clean_rows_that_are_not_the_records(
    flipped: dict[str, Any],
    poisonbench: Any,
    draw: Callable[..., Path],
    section: str,
    key: str,
    value: Any,
    message: str,
) -> None:
    """A record that says something else than its poison set: taken in, as from an export, and not drawn."""
    content = {name: part for name, part in flipped.items() if name != "record_id"}
    content[section] = {**content[section], key: value}
    record = Record.create(**content)
    with Store.open(str(poisonbench.home)) as store:
        store.add(record)
    try:
        with pytest.raises(DataError, match=message):
            draw(record.record_id)
    finally:  # the home is shared with tests that merge all that it holds
        with closing(sqlite3.connect(poisonbench.home / "store.db")) as connection, connection:
            connection.execute("DELETE FROM records WHERE record_id = ?", (record.record_id,))


def test_a_place_that_cannot_be_written(flipped: dict[str, Any], draw: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"^Cannot write .*poison\.png: .*\. Choose another --output\.$"):
        draw(flipped["record_id"], "file/poison.png")
