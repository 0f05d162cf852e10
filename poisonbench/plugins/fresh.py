"""The code of a plugin that runs is the code that its files hold: what was edited since is loaded anew, or refused.

A record names a method's code by a hash of its sources. Python keeps modules for as long as a process lives, and
byte code for as long as a file's size and the second of its last change stay the same, so that after an edit the code
that runs can be older than its sources.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

import psutil

from poisonbench.identity import code
from poisonbench.identity.code import code_hash
from poisonbench.identity.sources import source

_read: dict[str, dict[str, tuple[Path, str]]] = {}
"""Of every plugin that was imported the modules that its hash covers, by name, with their file and its SHA-256."""


_ran: set[str] = set()
"""Plugins whose code has run in this process, if only in vain."""


def prepare(module: str) -> None:
    """Before a plugin is imported: what it imports of its author's own files is what they hold now."""
    _ran.add(module)
    if module in _read or module in sys.modules:
        return
    code.forget()
    own = _own_files(module)
    for name, path in own.items():
        if name in sys.modules and path.stat().st_mtime > psutil.Process().create_time():
            del sys.modules[name]  # it may have been imported before it was edited
        _drop_doubtful_bytecode(path)
    importlib.invalidate_caches()


def remember(module: str) -> None:
    """After a plugin was imported: its hash is of what was read, whatever becomes of the files."""
    if module not in _read:
        _read[module] = {name: (path, _digest(path)) for name, path in _own_files(module).items()}
        code_hash(module)


def any_imported() -> bool:
    """Whether code of a plugin has run in this process."""
    return bool(_ran)


def forget_edited() -> bool:
    """Forget the plugins whose files were changed since they were imported; says whether there are any."""
    edited = [
        module
        for module, files in _read.items()
        if module not in sys.modules or any(_digest(path) != digest for path, digest in files.values())
    ]
    for module in edited:
        for name in _read.pop(module):
            sys.modules.pop(name, None)
    if edited:
        code.forget()
    return bool(edited)


def digest_of(module: str) -> str | None:
    """SHA-256 of a plugin's own file as it was imported; None if it was not."""
    files = _read.get(module, {})
    return files[module][1] if module in files else None


def is_current(cls: type) -> bool:
    """Whether a class is the one that its module has now, not one of before an edit."""
    found: object = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is cls or "<locals>" in cls.__qualname__


def _own_files(module: str) -> dict[str, Path]:
    """The sources that a plugin's hash covers and that are its author's, by module."""
    return {
        name: path
        for name in code.reached(module)
        if (not name.startswith("poisonbench.") or name.startswith("poisonbench.plugged."))
        and (path := source(name)) is not None
    }


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _drop_doubtful_bytecode(path: Path) -> None:
    """Remove byte code of the same second as its source: it may be that of an earlier text of the same length."""
    with suppress(OSError, NotImplementedError):
        compiled = Path(cache_from_source(str(path)))
        if int(compiled.stat().st_mtime) == int(path.stat().st_mtime):
            compiled.unlink()
