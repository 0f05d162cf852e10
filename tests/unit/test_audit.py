"""What a method does besides using its view is noticed, and nothing else is."""

import gc
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from safetensors import safe_open

from poisonbench.errors import ValidationError
from poisonbench.guard.audit import noticed, watched


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data, and a link to it."""
    folder = tmp_path / "data"
    folder.mkdir()
    safetensors.torch.save_file({"x": torch.zeros(2)}, folder / "mnist.safetensors")
    (tmp_path / "link").symlink_to(folder / "mnist.safetensors")
    return folder


def by_hand(path: Path) -> None:
    with safe_open(path, framework="pt") as file:  # the name as this module imported it
        file.get_tensor("x")


@pytest.mark.parametrize(
    "read",
    [
        Path.read_bytes,
        torch.load,
        safetensors.torch.load_file,
        by_hand,
        lambda path: Path(path.parent.parent / "link").read_bytes(),
        lambda path: (path.parent.parent / "data" / ".." / "data" / path.name).open().close(),
    ],
)
def test_a_file_of_a_dataset_is_noticed(data: Path, read: Callable[[Path], object]) -> None:
    with noticed([data]) as acts, suppress(Exception):
        read(data / "mnist.safetensors")
    assert acts == [f"opened {data.resolve() / 'mnist.safetensors'}"]


def test_a_file_that_is_not_there_is_noticed_too(data: Path) -> None:
    with noticed([data]) as acts, pytest.raises(FileNotFoundError):
        (data / "cifar10.safetensors").open()
    assert acts == [f"opened {data.resolve() / 'cifar10.safetensors'}"]


def test_the_datasets_own_files_are_noticed_anywhere(tmp_path: Path) -> None:
    for name in ("toy-images.gz", "toybox", "atoy-images"):
        (tmp_path / name).write_text("")
    with noticed([], ["toy-", "other-"]) as acts:
        for name in ("toy-images.gz", "toybox", "atoy-images"):
            (tmp_path / name).read_text()
    assert acts == [f"opened {(tmp_path / 'toy-images.gz').resolve()}"]


def test_connections_and_searches_are_noticed() -> None:
    with noticed([]) as acts, suppress(OSError), socket.socket() as one:
        one.settimeout(1)
        one.connect(("127.0.0.1", 9))
    assert acts == ["connected to 127.0.0.1:9"]
    with noticed([]) as acts:
        socket.getaddrinfo("localhost", 80)
        socket.getaddrinfo("localhost", 80)
        gc.get_objects()
    assert acts == ["connected to localhost", "searched the objects of this process (gc.get_objects)"]


def test_threads_are_watched(data: Path) -> None:
    thread = threading.Thread(target=lambda: (data / "mnist.safetensors").read_bytes())
    with noticed([data]) as acts:
        thread.start()
        thread.join()
    assert len(acts) == 1


def test_what_a_run_does_itself_is_not_noticed(data: Path, tmp_path: Path) -> None:
    """Code, its own checkpoints (within the data folder, if the user has it so), pipes on this machine."""
    (data / "code.py").write_text("")
    own = data / "store" / "checkpoints"
    own.mkdir(parents=True)
    with noticed([data], allowed=[own]) as acts:
        (data / "code.py").read_text()
        (own / "a.safetensors").write_text("")
        (tmp_path / "else").write_text("")
        open(0, closefd=False).close()  # a file descriptor
        with suppress(OSError), socket.socket(socket.AF_UNIX) as one:
            one.connect(str(tmp_path / "socket"))
    assert acts == []


def test_data_within_what_is_allowed_is_noticed(data: Path) -> None:
    with noticed([data], allowed=[data.parent]) as acts:
        (data / "mnist.safetensors").read_bytes()
    assert len(acts) == 1


def test_nothing_is_noticed_afterwards_and_safetensors_is_as_before(data: Path) -> None:
    before = safetensors.safe_open
    with noticed([data]) as acts:
        assert safetensors.safe_open is not before
    assert safetensors.safe_open is safetensors.torch.safe_open is safe_open is before
    (data / "mnist.safetensors").read_bytes()
    assert acts == []


def test_the_error_names_the_file_and_wins_over_what_the_method_raised(data: Path) -> None:
    def cheat() -> None:
        (data / "mnist.safetensors").read_bytes()
        (data / "nothing").open()

    with (
        pytest.raises(
            ValidationError, match=r"mine opened .*/mnist\.safetensors while crafting \(and 1 more\)"
        ) as error,
        watched("mine", "crafting", "attacker", [data]),
    ):
        cheat()
    assert isinstance(error.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("fault", [ZeroDivisionError, KeyboardInterrupt])
def test_other_errors_pass(fault: type[BaseException]) -> None:
    with pytest.raises(fault), watched("mine", "crafting", "attacker", []):
        raise fault
