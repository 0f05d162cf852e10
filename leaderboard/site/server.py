"""A site on this machine's own address, for nobody else."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from poisonbench.errors import UsageError

ADDRESS = "127.0.0.1"
NAMES = ("localhost", ADDRESS)
"""That a request may be for. A page from elsewhere whose name was made to lead here (DNS rebinding) names itself."""


class Handler(SimpleHTTPRequestHandler):
    """The files of one folder, for requests that are meant for this machine; it logs nothing."""

    def parse_request(self) -> bool:
        """Whether to answer; what came for another host is refused."""
        if not super().parse_request():
            return False
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"This is {ADDRESS}")
            return False
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of that folder, which does not run yet; port 0 takes a free one.

    Raises:
        UsageError: if the port cannot be had.
    """
    try:
        return ThreadingHTTPServer((ADDRESS, port), partial(Handler, directory=str(folder)))
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
