"""The chain of sources and the cache, on a toy archive: what is tried, what is refused, what is kept."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from poisonbench.data import cache, sources
from poisonbench.data.base import DataOptions, default_cache_dir
from poisonbench.data.content import Content, Part
from poisonbench.data.sources import Archive, Source, obtain
from poisonbench.errors import CorruptFileError, DataError


def toy(seed: int = 0) -> Content:
    draw = np.random.default_rng(seed)
    return Content(
        draw.integers(0, 256, (20, 4, 4), np.uint8),
        draw.integers(0, 10, 20, np.uint8),
        draw.integers(0, 256, (10, 4, 4), np.uint8),
        draw.integers(0, 10, 10, np.uint8),
    )


GOOD, BAD = toy(0), toy(1)
PARTS = {name: Part(array.shape, GOOD.digests()[name]) for name, array in GOOD.arrays().items()}


@dataclass
class Toy:
    """An archive whose sources yield what they are told to; remembers what was tried and reported."""

    folder: Content | Exception = field(default_factory=lambda: GOOD)
    near: Content | Exception = field(default_factory=lambda: URL_ERROR)
    far: Content | Exception = field(default_factory=lambda: GOOD)
    tried: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def archive(self) -> Archive:
        def remote() -> Iterator[Source]:
            yield Source("near", lambda parts, scratch: self.answer("near"))
            yield Source("far", lambda parts, scratch: self.answer("far"))

        return Archive("toy", PARTS, lambda *_: self.answer("folder"), remote, "Bring it.")

    def answer(self, name: str) -> Content:
        self.tried.append(name)
        result = getattr(self, name)
        if isinstance(result, Exception):
            raise result
        return result


URL_ERROR = OSError("<urlopen error\nno route>")


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    return DataOptions(tmp_path / "cache")


def run(case: Toy, options: DataOptions) -> Content:
    return obtain(case.archive(), replace(options, report=case.lines.append)).load()


def equal(a: Content, b: Content) -> bool:
    return a.digests() == b.digests()


def test_first_time_fetched_and_kept_then_from_the_cache(options: DataOptions) -> None:
    case = Toy()
    assert equal(run(case, options), GOOD)
    assert case.tried == ["near", "far"]
    assert equal(run(case, replace(options, offline=True)), GOOD)
    assert case.tried == ["near", "far"]
    path = options.cache_dir / "toy.safetensors"
    assert case.lines == [
        f"toy: cache {path}: not there",
        "toy: near: <urlopen error no route>",
        "toy: far: read and verified",
        f"toy: kept in {path}",
        f"toy: cache {path}: read and verified",
    ]
    assert {entry.name for entry in options.cache_dir.iterdir()} <= {"toy.safetensors", "toy.lock"}


def test_the_users_folder_comes_before_the_network(options: DataOptions, tmp_path: Path) -> None:
    case = Toy()
    run(case, replace(options, data_dir=tmp_path))
    assert case.tried == ["folder"]


def test_no_source_works(options: DataOptions, tmp_path: Path) -> None:
    case = Toy(folder=CorruptFileError("x is 3 bytes, not a y"), far=DataError("npm is not installed"))
    with pytest.raises(CorruptFileError) as caught:
        run(case, replace(options, data_dir=tmp_path))
    path = options.cache_dir / "toy.safetensors"
    assert str(caught.value) == (
        f"toy: no source worked. cache {path}: not there; --data-dir {tmp_path}: x is 3 bytes, not a y; "
        f"near: <urlopen error no route>; far: npm is not installed. Bring it."
    )
    assert not path.exists()


def test_nothing_corrupt_is_a_plain_data_error(options: DataOptions) -> None:
    with pytest.raises(DataError) as caught:
        run(Toy(far=URL_ERROR), options)
    assert type(caught.value) is DataError
    assert caught.value.exit_code == 3


def test_wrong_content_of_the_right_size_is_refused_and_the_next_source_tried(options: DataOptions) -> None:
    case = Toy(near=BAD)
    assert equal(run(case, options), GOOD)
    assert any(line.startswith("warning: toy: near: train_images has SHA-256") for line in case.lines)


def test_wrong_shape_of_the_right_bytes_is_refused(options: DataOptions) -> None:
    flat = replace(GOOD, train_images=GOOD.train_images.reshape(20, 2, 8))
    with pytest.raises(CorruptFileError, match=r"train_images has shape \(20, 2, 8\), expected \(20, 4, 4\)"):
        run(Toy(near=flat, far=flat), options)


@pytest.mark.parametrize("has_folder", [False, True])
def test_offline_tries_no_network(options: DataOptions, tmp_path: Path, has_folder: bool) -> None:
    case = Toy()
    folder = tmp_path / "none" if has_folder else None
    with pytest.raises(DataError, match=r"network: not tried, offline\. Bring it\.") as caught:
        run(case, replace(options, offline=True, data_dir=folder))
    assert case.tried == []
    assert ("none: no such folder" in str(caught.value)) == has_folder


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _html(path: Path) -> None:
    path.write_text("<html>")


def _other_arrays(path: Path) -> None:
    save_file({"train_images": GOOD.train_images}, path)


def _other_dtype(path: Path) -> None:
    save_file({name: array.astype(np.int8) for name, array in GOOD.arrays().items()}, path)


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, _html, _other_arrays, _other_dtype])
def test_a_corrupt_cache_is_refused_and_replaced(options: DataOptions, damage) -> None:
    run(Toy(), options)
    path = options.cache_dir / "toy.safetensors"
    damage(path)
    with pytest.raises(CorruptFileError, match=r"toy: .*toy\.safetensors: .*Run `poisonbench data prepare toy`"):
        sources.verify(Toy().archive(), options)
    with pytest.raises(CorruptFileError, match="offline"):
        run(Toy(), replace(options, offline=True))
    case = Toy()
    assert equal(run(case, options), GOOD)
    assert [line for line in case.lines if line.startswith("warning: toy: cache")]
    assert case.tried == ["near", "far"]
    assert sources.verify(Toy().archive(), options).path == path


def test_verify_says_what_is_cached(options: DataOptions) -> None:
    with pytest.raises(DataError, match="not there"):
        sources.verify(Toy().archive(), options)
    run(Toy(), options)
    row = sources.verify(Toy().archive(), options)
    assert row.bytes == row.path.stat().st_size
    assert row.sha256 == Toy().archive().sha256


def test_a_full_disk_leaves_nothing_half_written(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"toy: cannot keep .* No space left on device.*POISONBENCH_HOME"):
        run(Toy(), options)
    assert {entry.name for entry in options.cache_dir.iterdir()} <= {"toy.lock"}


def test_a_failed_replacement_keeps_the_old_file(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Toy(), options)
    path = options.cache_dir / "toy.safetensors"
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError):
        cache.write(path, BAD)
    assert path.read_bytes() == before


def test_what_a_killed_process_left_is_swept_up(options: DataOptions) -> None:
    options.cache_dir.mkdir()
    stale = options.cache_dir / ".toy.safetensors.12345.0123abcd.tmp"
    stale.write_bytes(b"half")
    run(Toy(), options)
    assert not stale.exists()


def test_a_cache_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"toy: cannot use the cache folder .*POISONBENCH_HOME"):
        run(Toy(), DataOptions(tmp_path / "file" / "cache"))


def test_default_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "data"
    assert DataOptions().cache_dir == tmp_path / "data"
    monkeypatch.delenv("POISONBENCH_HOME")
    assert default_cache_dir().parts[-2:] == ("poisonbench", "data")


_SLOW_PREPARE = """
import os, sys, time, pathlib, warnings, numpy as np
from poisonbench.data.base import DataOptions
from poisonbench.data.content import Content, Part
from poisonbench.data.sources import Archive, Source, obtain
warnings.simplefilter("error")
folder, child = pathlib.Path(sys.argv[1]), os.fork()
name = "a" if child else "b"
good = Content(*(np.full(shape, 3, np.uint8) for shape in ((5, 2, 2), (5,), (5, 2, 2), (5,))))
parts = {name: Part(array.shape, good.digests()[name]) for name, array in good.arrays().items()}
def read(parts, scratch):
    with (folder / "fetched").open("a") as log: log.write("once\\n")
    time.sleep(0.7)
    return good
(folder / f"ready-{name}").touch()
while len(list(folder.glob("ready-*"))) < 2: time.sleep(0.01)
with (folder / f"said-{name}").open("w") as said:
    options = DataOptions(folder / "cache", report=lambda line: print(line, file=said))
    obtain(Archive("toy", parts, None, lambda: [Source("slow", read)], ""), options)
if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_of_two_processes_one_prepares_and_one_waits(tmp_path: Path, elsewhere: Callable[..., int | None]) -> None:
    assert elsewhere(_SLOW_PREPARE, tmp_path) == 0
    output = [(tmp_path / f"said-{name}").read_text() for name in "ab"]
    assert (tmp_path / "fetched").read_text() == "once\n"
    assert sum("waiting for another process" in text for text in output) == 1
    assert all("read and verified" in text for text in output)
