"""Replaying a poison set of a file: what is in it is played, and what is no poison set is refused beforehand."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from poisonbench.attacks.replay import Replay
from poisonbench.errors import BudgetError, ConfigError, PoisonbenchError
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game


def play(attack: Replay) -> Any:
    game = Game()
    view, budget = game.attacker(ThreatModel()), game.budget(attack.threat)
    poison = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    budget.verify(poison, view.train, "replay")
    return poison


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def test_it_plays_what_is_in_the_file(tmp_path: Path, x: torch.Tensor) -> None:
    y, source = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([4, 3, 2, 1, 0])
    save_file({"x": x, "y": y, "source": source}, tmp_path / "whole.safetensors")
    np.savez(tmp_path / "plain.npz", x=x.numpy().astype(np.float64), y=y.numpy().astype(np.int32))
    np.savez_compressed(tmp_path / "bytes.npz", x=(x * 255).round().byte().numpy(), y=y.numpy().astype(np.uint8))
    whole, plain, bytes_ = (
        play(Replay(file=str(tmp_path / name))) for name in ("whole.safetensors", "plain.npz", "bytes.npz")
    )
    assert torch.equal(whole.x, x)
    assert torch.equal(whole.source, source)
    for found in (plain, bytes_):
        assert found.x.dtype is torch.float32
        assert torch.equal(found.y, y)
        assert found.source.tolist() == [-1] * 5
    assert torch.equal(plain.x, x)
    assert torch.equal(bytes_.x * 255, (x * 255).round())


def test_the_content_is_the_attacks_identity(tmp_path: Path, x: torch.Tensor) -> None:
    file = tmp_path / "mine.npz"
    np.savez(file, x=x.numpy(), y=np.zeros(5, np.int64))
    first = Replay(file=str(file))
    np.savez(file, x=x.numpy(), y=np.ones(5, np.int64))
    assert Replay(file=str(file)).sha256 != first.sha256
    with pytest.raises(ConfigError, match="has changed since it was chosen"):
        play(first)
    with pytest.raises(ConfigError, match="has the SHA-256"):
        Replay(file=str(file), sha256=first.sha256)


def saved(path: Path, **arrays: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


class Pickled:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return pytest.fail, ("a pickle was executed",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_bytes(b"nothing of the kind"), "neither .safetensors nor .npz"),
        (lambda path: path.write_bytes(b"PK\x03\x04 broken"), "neither .safetensors nor .npz"),
        (lambda path: saved(path, x=np.array([Pickled()], dtype=object), y=np.zeros(1)), "neither"),
        (lambda path: path.write_bytes(pickle.dumps(Pickled())), "neither .safetensors nor .npz"),
        (lambda path: saved(path, images=np.zeros((1, 1, 4, 4))), "has no x and no y"),
        (lambda path: saved(path, x=np.zeros((1, 1, 4, 4))), "has no y"),
        (lambda path: saved(path, x=np.zeros((2, 1, 4, 4)), y=np.array([1.0, 2.7])), r"y: .*, got 2\.7 in row 1\.$"),
        (lambda path: saved(path, x=np.zeros((1, 1, 4, 4)), y=np.array([np.nan])), r"y: .*, got nan in row 0\.$"),
        (lambda path: saved(path, x=np.zeros((1, 1, 4, 4)), y=np.array([2**64 - 1], np.uint64)), "y: .*, got 1.8"),
        (lambda path: saved(path, x=np.zeros((1, 1, 4, 4)), y=np.array([1j])), "y: .*, got complex ones"),
        (lambda path: saved(path, x=np.zeros((1, 1, 4, 4), complex), y=np.zeros(1)), "x: .*, got complex ones"),
        (
            lambda path: saved(path, x=np.zeros((1, 1, 4, 4)), y=np.zeros(1), source=np.array([0.5])),
            r"source: expected whole numbers, got 0\.5 in row 0\.$",
        ),
    ],
)
def test_what_is_no_poison_set_is_refused_before_work(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    file = tmp_path / "it"
    make(file)
    with pytest.raises(ConfigError, match=message):
        Replay(file=str(file)).ready()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint16, np.uint64])
def test_labels_that_are_whole_are_taken_of_any_type(tmp_path: Path, x: torch.Tensor, dtype: type) -> None:
    saved(tmp_path / "it.npz", x=x.numpy(), y=np.arange(5).astype(dtype) % 4, source=np.array([-1.0, 0, 1, 2, 3]))
    poison = play(Replay(file=str(tmp_path / "it.npz")))
    assert (poison.y.dtype, poison.y.tolist()) == (torch.int64, [0, 1, 2, 3, 0])
    assert poison.source.tolist() == [-1, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.npz", b"\0damaged", r"no whole \.npz without objects: File is not a zip file\.$"),
        ("a.NPZ", b"", r"no whole \.npz without objects: File is not a zip file\.$"),
        ("a.npz", b"PK\x03\x04 cut", r"no whole \.npz without objects: File is not a zip file\.$"),
        ("a.safetensors", b"\0damaged", r"no whole \.safetensors: .*header.*[^.]\.$"),
    ],
)
def test_a_damaged_file_is_told_by_its_name(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        Replay(file=str(tmp_path / name)).ready()


def test_it_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="replay needs a poison set: --poison FILE"):
        Replay().ready()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.full((7, 1, 4, 4), 0.5), np.zeros(7, int)),  # one more than ε allows
        (np.full((2, 1, 4, 4), 1.5), np.zeros(2, int)),
        (np.full((2, 1, 4, 4), np.nan), np.zeros(2, int)),
        (np.full((2, 4, 4, 1), 0.5), np.zeros(2, int)),
        (np.full((2, 1, 4, 4), 0.5), np.array([0, 9])),
        (np.full((2, 1, 4, 4), 0.5), np.zeros(3, int)),
    ],
)
def test_it_is_held_to_the_budget(tmp_path: Path, images: Any, labels: Any) -> None:
    np.savez(tmp_path / "mine.npz", x=images, y=labels)
    with pytest.raises((BudgetError, PoisonbenchError)):
        play(Replay(file=str(tmp_path / "mine.npz")))


def test_perturbation_is_declared() -> None:
    assert Replay(mode=Mode.PERTURBATION).threat.mode is Mode.PERTURBATION


def hostile_npz(folder: Path, name: str, member: bytes, size: int | None = None) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member)
        archive.writestr("y.npy", member)
    if size is not None:
        data = path.read_bytes()
        path.write_bytes(data.replace(struct.pack("<I", len(member)), struct.pack("<I", size)))
    return path


def npy(header: str) -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 64


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 2**99}",
        "((((((((((",
    ],
)
def test_an_npz_whose_header_lies_is_one_line(tmp_path: Path, header: str) -> None:
    with pytest.raises(ConfigError, match=r"no whole \.npz without objects"):
        Replay(file=str(hostile_npz(tmp_path, "a.npz", npy(header)))).ready()


def test_an_npz_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    good = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}")
    path = hostile_npz(tmp_path, "a.npz", good, size=3 * 2**30)
    with pytest.raises(ConfigError, match="bytes when unpacked, at most"):
        Replay(file=str(path)).ready()


def test_an_npz_with_a_broken_member_is_one_line(tmp_path: Path) -> None:
    path = hostile_npz(tmp_path, "a.npz", np.random.default_rng(0).bytes(5000))
    data = bytearray(path.read_bytes())
    data[100:2000] = b"\xff" * 1900
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match=r"no whole \.npz without objects"):
        Replay(file=str(path)).ready()
