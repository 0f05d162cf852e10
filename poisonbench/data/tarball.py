"""Chosen files out of a gzipped tar whose other members, paths, links and modes are of no interest."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from poisonbench.data.content import not_a
from poisonbench.errors import CorruptFileError


def unpack(path: Path, members: Collection[str], into: Path, limit: int) -> None:
    """Copy those members' bytes to `into`, each under the last part of its name.

    Nothing else that the archive says is acted on, which is stricter than tarfile's filter="data" (and works on Python
    3.11.0, which has no filters): a member named otherwise, or that is a link or a device, is never touched.

    Args:
        path: the archive.
        members: exact names, such as `package/data/train-images-idx3-ubyte`.
        into: an existing folder.
        limit: most bytes a member may have.
    Raises:
        CorruptFileError: if it is not a whole gzipped tar, or a member is missing or over the limit.
    """
    missing = set(members)
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name not in missing or not member.isreg():
                    continue
                if member.size > limit:
                    raise CorruptFileError(
                        f"{member.name} in {path.name} is {member.size} bytes, at most {limit} expected"
                    )
                content = archive.extractfile(member)
                assert content is not None  # a regular file has content
                with (into / PurePosixPath(member.name).name).open("wb") as file:
                    shutil.copyfileobj(content, file)
                missing.remove(member.name)
                if not missing:
                    return
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise not_a(path, f"a whole tar.gz ({error})") from error
    raise CorruptFileError(f"{path.name} has no file {', '.join(sorted(missing))}")
