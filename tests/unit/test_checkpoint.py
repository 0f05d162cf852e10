"""Checkpoints: whole or refused, never half believed."""

import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poisonbench.errors import StoreError
from poisonbench.stages.checkpoint import Checkpoint, Saved


def saved(step: int = 3) -> Saved:
    tensors = {
        "weights": torch.arange(6.0).view(2, 3).T,  # not contiguous
        "f64": torch.tensor([1 / 3], dtype=torch.float64),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "leaf": torch.ones(2, requires_grad=True),
    }
    return Saved(step, 1.5, tensors, torch.Generator().manual_seed(step).get_state())


def test_what_was_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    checkpoint, before = Checkpoint(tmp_path), saved()
    checkpoint.save("loop", before)
    after = checkpoint.load("loop")
    assert after is not None
    assert (after.step, after.seconds) == (3, 1.5)
    assert torch.equal(after.generator, before.generator)
    assert after.tensors.keys() == before.tensors.keys()
    for name, value in before.tensors.items():
        assert after.tensors[name].dtype == value.dtype
        assert torch.equal(after.tensors[name], value)
    assert not list(tmp_path.glob("*.tmp"))


def test_what_comes_back_lies_where_torch_puts_tensors(tmp_path: Path) -> None:
    """At another alignment matrix products round otherwise, and a resumed loop would end in other bits."""
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("loop", saved())
    after = checkpoint.load("loop")
    assert after is not None
    assert {name for name, value in after.tensors.items() if value.data_ptr() % 64} == set()


def test_loops_are_apart_and_seconds_add_up(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.seconds() == 0.0
    checkpoint.save("one", saved(1))
    checkpoint.save("train on 60 rows", saved(2))
    assert checkpoint.seconds() == 3.0
    assert [checkpoint.load(name).step for name in ("one", "train on 60 rows")] == [1, 2]
    assert checkpoint.load("three") is None
    checkpoint.clear()
    assert checkpoint.load("one") is None


def test_a_checkpoint_of_nothing_keeps_nothing() -> None:
    checkpoint = Checkpoint(None)
    checkpoint.save("loop", saved())
    checkpoint.clear()
    assert checkpoint.load("loop") is None
    assert (checkpoint.kept, checkpoint.seconds()) == (False, 0.0)


class Bomb:
    """Runs when unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch exploded",)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-5],
    "header only": lambda data: data[:40],
    "last bit flipped": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "noise": lambda data: bytes(range(256)) * 4,
    "pickle": lambda data: pickle.dumps(Bomb()),
    "no checksum": lambda data: data.replace(b'"sha256"', b'"sha257"'),
    "another step": lambda data: data.replace(b'"step":"3"', b'"step":"x"'),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_refused_with_a_warning_and_started_over(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("loop", saved())
    path = tmp_path / "loop.safetensors"
    damaged = DAMAGE[kind](path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load("loop") is None
    assert "is damaged" in caplog.text
    assert str(path) in caplog.text
    assert not (tmp_path / "exploded").exists()
    checkpoint.save("loop", saved(4))
    assert checkpoint.load("loop").step == 4


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_in_the_tensors_is_seen_wherever_it_is(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    Checkpoint(folder).save("loop", saved())
    path = folder / "loop.safetensors"
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")  # the tensors' bytes; the header comes first
    content[data.draw(st.integers(start, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    assert Checkpoint(folder).load("loop") is None


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("loop", saved(1))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"Cannot write the checkpoint .*loop\.safetensors.*Free some space"):
        checkpoint.save("loop", saved(2))
    assert checkpoint.load("loop").step == 1
    assert not list(tmp_path.glob("*.tmp"))


KILLED = """
import sys, torch
from pathlib import Path
from poisonbench.stages.checkpoint import Checkpoint, Saved
step = 0
while True:
    step += 1
    tensors = {"a": torch.full((50_000,), float(step)), "b": torch.full((10,), step)}
    Checkpoint(Path(sys.argv[1])).save("loop", Saved(step, 0.0, tensors, torch.Generator().get_state()))
    print(step, flush=True)
"""


def test_killed_while_saving_there_is_always_a_whole_save(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-P", "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                process.send_signal(signal.SIGKILL)
                break
    found = Checkpoint(tmp_path).load("loop")
    assert found is not None
    assert found.step >= 20
    assert bool((found.tensors["a"] == found.step).all())
    assert bool((found.tensors["b"] == found.step).all())
