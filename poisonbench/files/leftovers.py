"""What killed processes left, and how it is removed once it is proved that nobody needs it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from poisonbench.files.holds import abandoned
from poisonbench.files.scratch import PREFIX

TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+\.[0-9a-f]{8}\.tmp")
"""Names of files and folders that are being written; see atomic.temporary_beside."""

KILLED = "of a process that was killed as it wrote"


@dataclass(frozen=True)
class Leftover:
    """Something that nothing needs.

    Attributes:
        path: file or folder.
        what: why nothing needs it.
        bytes: its size, with everything in it.
    """

    path: Path
    what: str
    bytes: int
    _remove: Callable[[Path], None] = field(repr=False, compare=False)

    def remove(self) -> None:
        """Remove it; whoever has done so meanwhile has done no harm.

        Raises:
            OSError: if it cannot be removed.
        """
        self._remove(self.path)


def temporaries(folder: Path, below: bool = False) -> Iterator[Leftover]:
    """Files and folders under temporary names that nobody writes any more.

    Args:
        folder: where to look; need not exist.
        below: whether in its folders too, through no link.
    """
    for parent, folders, names in os.walk(folder, followlinks=False):
        ours = [name for name in (*folders, *names) if TEMPORARY.fullmatch(name)]
        for path in (Path(parent, name) for name in sorted(ours)):
            if not path.is_symlink() and (found := _killed(path)):
                yield found
        folders[:] = sorted(set(folders) - set(ours)) if below else []


def scratch_folders() -> Iterator[Leftover]:
    """This user's folders in the system's folder for temporary files whose processes are gone."""
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if _own_folder(path) and (found := _killed(path)):
            yield found


def _own_folder(path: Path) -> bool:
    with suppress(FileNotFoundError):
        about = path.lstat()
        return stat.S_ISDIR(about.st_mode) and (not hasattr(os, "getuid") or about.st_uid == os.getuid())
    return False


def _killed(path: Path) -> Leftover | None:
    """What nobody writes any more; None of what goes away while it is looked at: somebody has just removed it."""
    with suppress(FileNotFoundError):
        return leftover(path, KILLED) if abandoned(path) else None
    return None


def beside(path: Path) -> Iterator[Leftover]:
    """What killed processes left of tries to write `path`."""
    for found in temporaries(path.absolute().parent):
        named = TEMPORARY.fullmatch(found.path.name)
        if named and named["name"] == path.name[:80]:
            yield found


def clear_beside(path: Path) -> None:
    """Remove that, before another try."""
    for found in beside(path):
        found.remove()


def leftover(path: Path, what: str, remove: Callable[[Path], None] | None = None) -> Leftover:
    """A leftover; by default it is removed with everything in it."""
    return Leftover(path, what, _size(path), remove or _remove)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(Path(parent, name).lstat().st_size for parent, _, names in os.walk(path) for name in names)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
