"""A site on this machine's own address, for nobody else."""

from __future__ import annotations

import io
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

from poisonbench.errors import UsageError

ADDRESS = "127.0.0.1"
NAMES = ("localhost", ADDRESS)
"""That a request may be for. A page from elsewhere whose name was made to lead here (DNS rebinding) names itself."""


class Handler(SimpleHTTPRequestHandler):
    """The files of one folder, for requests that are meant for this machine: nothing that a link leads to outside of
    it, nothing but plain files, no listings. It logs nothing."""

    def parse_request(self) -> bool:
        """Whether to answer; what came for another host is refused."""
        if not super().parse_request():
            return False
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"This is {ADDRESS}")
            return False
        return True

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Begin the answer; what is no file of the folder is not found."""
        if self._is_here():
            return super().send_head()
        self.send_error(HTTPStatus.NOT_FOUND, "There is no such file")
        return None

    def _is_here(self) -> bool:
        root = Path(self.directory).resolve()
        try:
            path = Path(self.translate_path(self.path)).resolve(strict=True)
            page = (path / "index.html").resolve() if path.is_dir() else path
            return path.is_relative_to(root) and page.is_relative_to(root) and page.is_file()
        except (OSError, ValueError, RuntimeError):  # no such file, NUL in its name, a circle of links
            return False

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server that says nothing of who hangs up early."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave what is no matter of the connection to the base."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of that folder, which does not run yet; port 0 takes a free one.

    Raises:
        UsageError: if the port cannot be had.
    """
    try:
        return Server((ADDRESS, port), partial(Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--port {port}: {reason}. Choose another, or 0 for a free one.") from error


def serve(folder: Path, port: int, with_browser: bool, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        folder: of the site.
        port: 0 takes a free one.
        with_browser: whether to open it there.
        say: told the URL.
    Raises:
        UsageError: if the port cannot be had.
    """
    with server(folder, port) as running:
        url = f"http://{ADDRESS}:{running.server_address[1]}/"
        say(url)
        if with_browser:
            webbrowser.open(url)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            return
