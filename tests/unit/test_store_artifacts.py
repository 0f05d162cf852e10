"""Artifacts: named by their bytes, verified before they are parsed, whole or absent."""

import hashlib
import io
import json
import os
import pickle
import signal
import stat
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from poisonbench.errors import CorruptFileError, StoreError
from poisonbench.files import atomic
from poisonbench.files.leftovers import temporaries
from poisonbench.store.artifacts import ArtifactFolder, from_bytes
from poisonbench.store.record_origin import artifact_path

TENSORS = {
    "x": torch.linspace(0, 1, 24).reshape(2, 3, 2, 2),
    "y": torch.tensor([3, -1]),
    "kept": torch.tensor([True, False]),
    "empty": torch.zeros(0, 3),
    "half": torch.ones(3, dtype=torch.float16),
}


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactFolder:
    return ArtifactFolder(tmp_path)


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def planted(home: Path, data: bytes) -> str:
    """Put bytes under the name that their hash gives, as someone who sends files can."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = home / artifact_path(sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return sha256


def test_tensors_come_back_as_they_were(artifacts: ArtifactFolder, tmp_path: Path) -> None:
    artifact = artifacts.put(TENSORS, "poison")
    data = (tmp_path / artifact.path).read_bytes()
    assert (artifact.kind, artifact.bytes, artifact.sha256) == ("poison", len(data), hashlib.sha256(data).hexdigest())
    assert artifact.path == f"artifacts/{artifact.sha256[:2]}/{artifact.sha256}.safetensors"
    again = artifacts.get(artifact.sha256)
    assert again.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name], tensor)


def test_the_same_tensors_give_the_same_bytes(artifacts: ArtifactFolder) -> None:
    first = artifacts.put(TENSORS, "poison")
    backwards = {name: TENSORS[name].clone() for name in reversed(TENSORS)}
    assert artifacts.put(backwards, "poison") == first
    turned = {**TENSORS, "x": TENSORS["x"].transpose(1, 2).contiguous().transpose(1, 2)}
    assert not turned["x"].is_contiguous()
    assert artifacts.put(turned, "poison") == first
    assert len(artifacts.names()) == 1
    assert artifacts.put({**TENSORS, "y": torch.tensor([3, 0])}, "poison").sha256 != first.sha256


def test_shared_memory_and_gradients_are_no_obstacle(artifacts: ArtifactFolder) -> None:
    base = torch.ones(4, requires_grad=True)
    again = artifacts.get(artifacts.put({"a": base, "b": base[:2]}, "predictions").sha256)
    assert torch.equal(again["b"], torch.ones(2))


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + b"\x7f", lambda data: data + b"0"]
)
def test_a_damaged_artifact_is_refused_and_healed(artifacts: ArtifactFolder, tmp_path: Path, damage) -> None:
    artifact = artifacts.put(TENSORS, "poison")
    path = tmp_path / artifact.path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptFileError, match=r"damaged") as caught:
        artifacts.get(artifact.sha256)
    assert "\n" not in str(caught.value)
    assert artifacts.put(TENSORS, "poison") == artifact
    assert torch.equal(artifacts.get(artifact.sha256)["x"], TENSORS["x"])


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (warnings.warn, ("unpickled",))


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": Bomb()}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"not tensors at all",
        pickle.dumps(Bomb()),
        torch_file(),
        safetensors({}, length=2**63),
        safetensors(b"{" * 5000),
        safetensors({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
        safetensors({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"0"),
        safetensors({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}, b"0" * 8),
        safetensors({"x": {"dtype": "NO", "shape": [1], "data_offsets": [0, 4]}}, b"0" * 4),
    ],
)
def test_a_hostile_file_with_an_honest_hash_is_refused(artifacts: ArtifactFolder, tmp_path: Path, data: bytes) -> None:
    sha256 = planted(tmp_path, data)
    with pytest.raises(CorruptFileError, match=r"not a safetensors file") as caught:
        artifacts.get(sha256)
    assert "\n" not in str(caught.value)
    with pytest.raises(CorruptFileError, match=r"not a safetensors file"):
        artifacts.put_bytes(data, "poison")


def test_what_is_missing_is_named(artifacts: ArtifactFolder) -> None:
    with pytest.raises(StoreError, match=r"is missing"):
        artifacts.get("a" * 64)
    for name in ("../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""):
        with pytest.raises(StoreError, match=r"not a SHA-256"):
            artifacts.get(name)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("in the way")
    with pytest.raises(StoreError, match=r"Cannot write .*artifacts"):
        ArtifactFolder(tmp_path).put(TENSORS, "poison")


def test_a_full_disk_leaves_nothing(artifacts: ArtifactFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device. Free some space"):
        artifacts.put(TENSORS, "poison")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_file_and_its_folder_are_synced_around_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def watched_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    atomic.write_atomically(tmp_path / "a", b"x")
    assert done == ["file", "rename", "folder"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from poisonbench.store.artifacts import ArtifactFolder
os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
ArtifactFolder(Path(sys.argv[1])).put({"x": torch.arange(10)}, "poison")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX")
def test_a_kill_in_the_middle_leaves_nothing_under_the_final_name(
    artifacts: ArtifactFolder, tmp_path: Path, elsewhere: Callable[..., int | None]
) -> None:
    assert elsewhere(KILLED, tmp_path) == -signal.SIGKILL
    assert artifacts.names() == []
    (left,) = (tmp_path / "artifacts").glob("*/.*")
    os.utime(left, (0, 0))
    assert [found.path for found in temporaries(tmp_path, below=True)] == [left]
    artifact = artifacts.put({"x": torch.arange(10)}, "poison")
    assert torch.equal(artifacts.get(artifact.sha256)["x"], torch.arange(10))


@pytest.mark.parametrize(
    "entry",
    [
        {"shape": [2**62, 4]}, {"shape": [-2]}, {"shape": [0, 2**63]}, {"shape": [2**62, 4, 0], "data_offsets": [0, 0]},
        {"data_offsets": [8, 0]}, {"data_offsets": [0, 2**60]}, {"dtype": "Q7"}, {"shape": []},
    ],
)  # fmt: skip
def test_a_header_that_lies_is_one_line(entry: dict[str, object]) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | entry}).encode()
    with pytest.raises(CorruptFileError, match="is not a safetensors file"):
        from_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8, "x")


def test_a_large_header_is_not_parsed() -> None:
    with pytest.raises(CorruptFileError, match="its header has 99999999 bytes"):
        from_bytes(struct.pack("<Q", 99_999_999), "x")
