"""What is opened over HTTP is opened in one place, and what a server refuses is one line of the same words."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import poisonbench
from poisonbench.errors import DataError
from poisonbench.files.download import download
from poisonbench.files.remote_file import RemoteFile

ANSWERS = {
    "gone": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP Error 404: Not Found"),
    "denied": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "HTTP Error 403: Forbidden"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "BadStatusLine: SSH-2.0-OpenSSH_9.9\r\n"),
    "cut": (
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-8/9\r\nContent-Length: 9\r\n\r\nab",
        "it ends after 2 of 9 bytes",
    ),
}


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], str]]:
    """Starts a server that answers the first request with these bytes, and hangs up; gives its URL."""
    listening: list[socket.socket] = []

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def once() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(answer)

        threading.Thread(target=once, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/a"

    yield start
    for server in listening:
        server.close()


def read(url: str) -> None:
    with RemoteFile(url) as remote:
        remote.readall()


@pytest.mark.parametrize("kind", ANSWERS)
def test_whole_or_in_parts_a_refusal_reads_the_same(kind: str, serve: Callable[[bytes], str], tmp_path: Path) -> None:
    """But for the URL, which a download names."""
    answer, message = ANSWERS[kind]
    url = serve(answer)
    with pytest.raises(DataError) as whole:
        download(url, tmp_path / "a", 100)
    assert str(whole.value) == f"{url}: {message}"
    with pytest.raises(DataError) as parts:
        read(serve(answer))
    assert str(parts.value) == message
    assert type(parts.value.__cause__) is type(whole.value.__cause__)


@pytest.mark.parametrize(
    "headers",
    [
        b"200 OK\r\nContent-Length: abc",
        b"200 OK\r\nContent-Length: -5",
        b"206 Partial Content\r\nContent-Range: bytes 0-8/" + b"9" * 5000,
    ],
)
def test_a_size_that_is_none_is_of_no_file_that_is_read_in_parts(headers: bytes, serve: Callable[[bytes], str]) -> None:
    with RemoteFile(serve(b"HTTP/1.1 " + headers + b"\r\n\r\nab")) as remote:
        assert (remote.partial, remote.size) == (False, 0)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://localhost/a", "/etc/passwd"])
def test_what_is_no_web_address_is_not_opened(url: str, tmp_path: Path) -> None:
    for reading in (read, lambda url: download(url, tmp_path / "a", 100)):
        with pytest.raises(DataError, match=r"it is not an http\(s\) address"):
            reading(url)


def test_nothing_else_opens_a_url() -> None:
    folder = Path(poisonbench.__file__).parent
    importing = re.compile(r"^\s*(?:import|from) (?:urllib\.request|http\.client|requests|httpx)\b", re.MULTILINE)
    files = [path for path in folder.rglob("*.py") if importing.search(path.read_text("utf-8"))]
    assert {path.relative_to(folder).as_posix() for path in files} == {"files/web.py", "files/remote_file.py"}
    assert "urlopen" not in (folder / "files" / "remote_file.py").read_text("utf-8")  # which knows what an answer is
