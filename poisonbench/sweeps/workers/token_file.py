"""The file with the token that lets into a Ray cluster: whoever reads it runs code on every machine of the cluster."""

from __future__ import annotations

import os
from pathlib import Path


def exposed_token() -> str | None:
    """What is wrong with the token's file, in a line; None if it is the user's alone, or not there, or none is read.

    Ray 2.60 makes it with whatever the umask leaves, which is as a rule: readable by everybody.
    """
    if "RAY_AUTH_TOKEN" in os.environ:
        return None
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        private = not file.stat().st_mode & 0o077
        private |= any(not folder.stat().st_mode & 0o011 for folder in file.resolve().parents)  # such as a home of 0700
    except OSError:
        return None
    if os.name != "posix" or private:
        return None
    return (
        f"{file}: others can read this token of Ray clusters, and with it run code on them. Run chmod 600 {file}; if "
        "others use this machine, make a new token and restart the cluster."
    )
