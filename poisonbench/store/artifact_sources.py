"""Where artifacts come from that a store lacks: a folder, a zip archive, or either of them behind an http(s) URL.

Of an archive nothing is unpacked: a file is opened by the name that its hash gives it, and of none is more read than a
record says it has. What was found is checked against size and hash before anybody has it.
"""

from __future__ import annotations

import re
import stat
import urllib.error
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import SplitResult, quote, urlsplit
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from poisonbench.errors import ConfigError, CorruptFileError, DataError
from poisonbench.files.download import download
from poisonbench.files.remote_file import RemoteFile
from poisonbench.files.scratch import scratch_folder
from poisonbench.store.artifacts import BLOCK, MAX_ARTIFACT, find_beside
from poisonbench.store.record_origin import Artifact

ARCHIVE = "artifacts.zip"
"""The archive in a deposit's folder."""

MAX_ARCHIVE = 64 * 2**30
"""Bytes of an archive that is downloaded whole, from a server that sends no parts."""

MAX_DIRECTORY = 32 * 2**20
"""Bytes of an archive's list of files: 240,000 artifacts."""

_INNER = ("", "records/")
"""Where below a folder artifacts/ lies: in an export or a store's home, and in a bundle."""

_MEMBER = re.compile(r"(?:[^/]+/)*artifacts/[0-9a-f]{2}/(?P<sha256>[0-9a-f]{64})\.safetensors")
_NO_ZIP = (BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, zlib.error)
"""What zipfile raises on a file that is none, or is damaged, encrypted or of a later kind."""

_NOT_THERE = (403, 404, 410)
"""What servers answer that have no such file; object stores deny it."""


class Source(ABC):
    """A place that may have artifacts."""

    def find(self, artifact: Artifact, scratch: Path) -> Path | None:
        """An artifact's file, verified; None if it is not there.

        Args:
            artifact: as a record has it.
            scratch: a folder for it, if it is not a file yet.
        Raises:
            CorruptFileError: if it is not what the record says.
            DataError: if it alone cannot be had.
            OSError: if nothing more can be had.
        """
        if artifact.bytes > MAX_ARTIFACT:
            raise CorruptFileError(f"the record says {artifact.bytes} bytes; at most {MAX_ARTIFACT} are read")
        return self._find(artifact, scratch)

    @abstractmethod
    def _find(self, artifact: Artifact, scratch: Path) -> Path | None:
        """See find."""


class FolderSource(Source):
    """A folder as `results export --artifacts` writes it, a store's home, or a bundle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _find(self, artifact: Artifact, scratch: Path) -> Path | None:
        try:
            found = (find_beside(self._folder / inner, artifact) for inner in _INNER)
            return next((path for path in found if path is not None), None)
        except OSError as error:
            raise DataError(reason(error)) from error


class WebFolder(Source):
    """The same behind an http(s) URL; each artifact is a request."""

    def __init__(self, url: SplitResult) -> None:
        self._url = url
        self._inner: tuple[str, ...] = _INNER

    def _find(self, artifact: Artifact, scratch: Path) -> Path | None:
        for inner in self._inner:
            if self._fetched(inner, artifact, scratch / artifact.path):
                self._inner = (inner, *(other for other in _INNER if other != inner))
                return find_beside(scratch, artifact)
        return None

    def _fetched(self, inner: str, artifact: Artifact, to: Path) -> bool:
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            download(_below(self._url, inner + artifact.path), to, artifact.bytes)
        except CorruptFileError as error:
            raise CorruptFileError(f"more than the {artifact.bytes} bytes that the record says") from error
        except DataError as error:
            if _is_absence(error):
                return False
            raise DataError(str(error.__cause__ or error)) from error  # without the URL, which may have a key
        return True


class ZipSource(Source):
    """A zip archive whose files have the names of artifacts, in whatever folder of it; stored or deflated.

    Args:
        file: the archive, open.
        name: for messages.
    Raises:
        CorruptFileError: if it is none.
        OSError: if it cannot be read.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        try:
            self._zip = ZipFile(cast(BinaryIO, _Bounded(file)))
        except _NO_ZIP as error:
            raise CorruptFileError(f"{name} is not a zip archive that can be read: {reason(error)}.") from error
        named = ((_MEMBER.fullmatch(member.filename), member) for member in self._zip.infolist())
        self._members = {match["sha256"]: member for match, member in named if match}

    def _find(self, artifact: Artifact, scratch: Path) -> Path | None:
        member = self._members.get(artifact.sha256)
        if member is None:
            return None
        if member.file_size != artifact.bytes:
            raise CorruptFileError(f"it has {member.file_size} bytes, the record says {artifact.bytes}")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # of the others a block has no bound
            raise CorruptFileError("it is packed in another way than stored or deflated")
        target = scratch / artifact.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._copy(member, target, artifact.bytes)
        except _NO_ZIP as error:
            raise CorruptFileError(f"it is damaged: {reason(error)}") from error
        return find_beside(scratch, artifact)

    def _copy(self, member: ZipInfo, target: Path, left: int) -> None:
        with self._zip.open(member) as packed, target.open("wb") as file:
            while left and (block := packed.read(min(BLOCK, left))):
                file.write(block)
                left -= len(block)


class _Bounded:
    """A file of which zipfile reads no list of files that does not fit into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1) -> bytes:
        """As of a file."""
        if size > MAX_DIRECTORY:
            raise BadZipFile(f"its list of files has {size} bytes, at most {MAX_DIRECTORY} are read")
        return self._file.read(MAX_DIRECTORY if size < 0 else size)


@contextmanager
def opened(source: str, report: Callable[[str], None]) -> Iterator[Source]:
    """The source that a user names: a folder, a .zip file, or an http(s) URL of either.

    Args:
        source: as typed.
        report: is told what takes long.
    Raises:
        ConfigError: for what is none of these.
        CorruptFileError: for an archive that cannot be read.
        DataError: if it is not there.
    """
    url = _url(source)
    if not source or (url is None and "://" in source):
        raise ConfigError(f"{source[:200]!r}: expected a folder, a .zip file, or an http(s) URL of one.")
    with ExitStack() as stack:
        try:
            found = _local(Path(source), stack) if url is None else _web(url, report, stack)
        except (OSError, UnicodeError) as error:
            raise DataError(f"Cannot reach {named(source)}: {reason(error)}.") from error
        yield found


def named(source: str) -> str:
    """A source in a message: a URL without its query, which may have a key."""
    url = _url(source)
    return source if url is None else url._replace(query="").geturl()


def reason(error: Exception) -> str:
    """What an operating system or a network says, in one line."""
    cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(str(cause).split())[:200] or type(error).__name__


def _url(source: str) -> SplitResult | None:
    """An http(s) URL; None of what is none."""
    if not source.startswith(("https://", "http://")):
        return None
    try:
        url = urlsplit(source)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if not host or "@" in url.netloc:  # which may be a password: it is not printed
        raise ConfigError("A URL of artifacts has a host, and neither user nor password.")
    return url._replace(path=quote(url.path, safe="/%:;=@&+$,!~*'()"), fragment="")


def _local(path: Path, stack: ExitStack) -> Source:
    if path.is_dir():
        inside = path / ARCHIVE
        if not inside.is_file() or (path / "artifacts").is_dir():
            return FolderSource(path)
        path = inside
    if not path.exists():
        raise DataError(f"{path} is not there. A source is a folder, a .zip file, or an http(s) URL of one.")
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path} is a special file; only plain files and folders are read.")
    return ZipSource(stack.enter_context(path.open("rb")), str(path))


def _web(url: SplitResult, report: Callable[[str], None], stack: ExitStack) -> Source:
    if any(part.endswith(".zip") for part in url.path.split("/")):
        return _remote_zip(url, report, stack)
    try:
        return _remote_zip(urlsplit(_below(url, ARCHIVE)), report, stack)
    except DataError as error:
        if not _is_absence(error):
            raise
    return WebFolder(url)


def _remote_zip(url: SplitResult, report: Callable[[str], None], stack: ExitStack) -> ZipSource:
    name = named(url.geturl())
    try:
        remote = stack.enter_context(RemoteFile(url.geturl()))
    except DataError as error:
        raise DataError(f"{name}: {error}.") from error.__cause__
    if remote.partial:
        return ZipSource(cast(BinaryIO, BufferedReader(remote, 2**16)), name)
    report(f"{name}: its server sends no parts of files; all of its {remote.size / 2**20:.1f} MiB are fetched")
    whole, most = stack.enter_context(scratch_folder()) / ARCHIVE, min(remote.size or MAX_ARCHIVE, MAX_ARCHIVE)
    try:
        download(url.geturl(), whole, most)
    except DataError as error:
        why = f"more than {most} bytes" if isinstance(error, CorruptFileError) else error.__cause__ or error
        raise type(error)(f"{name}: {why}.") from error
    return ZipSource(stack.enter_context(whole.open("rb")), name)


def _below(url: SplitResult, path: str) -> str:
    return url._replace(path=f"{url.path.rstrip('/')}/{path}").geturl()


def _is_absence(error: DataError) -> bool:
    return isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code in _NOT_THERE
