"""Only the members asked for leave an archive, whatever else it holds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from poisonbench.data.tarball import unpack
from poisonbench.errors import CorruptFileError


def pack(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def plain(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def link(name: str, to: str, kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b""


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "into").mkdir(parents=True)
    return tmp_path / "deep" / "into"


def test_takes_the_members_and_nothing_else(tmp_path: Path, into: Path) -> None:
    tar = pack(tmp_path / "x.tgz", plain("package/other", b"o"), plain("package/a", b"A"), plain("package/b", b"B"))
    unpack(tar, ["package/a", "package/b"], into, 10)
    assert {path.name: path.read_bytes() for path in into.iterdir()} == {"a": b"A", "b": b"B"}


def test_hostile_members_are_never_touched(tmp_path: Path, into: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    tar = pack(
        tmp_path / "x.tgz",
        plain("elsewhere/a", b"x"),
        plain("../package/a", b"x"),
        plain("../escaped", b"x"),
        plain("package/../../escaped", b"x"),
        plain(str(tmp_path / "escaped"), b"x"),
        link("package/a", str(secret), tarfile.SYMTYPE),
        link("package/a", str(secret), tarfile.LNKTYPE),
        link("package", str(tmp_path), tarfile.SYMTYPE),
        link("package/a", "", tarfile.CHRTYPE),
        plain("package/a", b"A"),
    )
    unpack(tar, ["package/a"], into, 10)
    assert {path.name: path.read_bytes() for path in into.iterdir()} == {"a": b"A"}
    assert not (into / "a").is_symlink()
    assert not list(tmp_path.rglob("escaped"))


def test_a_link_in_place_of_a_member_is_a_missing_member(tmp_path: Path, into: Path) -> None:
    tar = pack(tmp_path / "x.tgz", link("package/a", "/etc/passwd", tarfile.SYMTYPE))
    with pytest.raises(CorruptFileError, match=r"x\.tgz has no file package/a"):
        unpack(tar, ["package/a"], into, 10)
    assert not list(into.iterdir())


def test_a_member_over_the_limit(tmp_path: Path, into: Path) -> None:
    tar = pack(tmp_path / "x.tgz", plain("package/a", bytes(11)))
    with pytest.raises(CorruptFileError, match=r"package/a in x\.tgz is 11 bytes, at most 10 expected"):
        unpack(tar, ["package/a"], into, 10)


@pytest.mark.parametrize("keep", [0, 1, 15, 60, 0.5, 0.9])
def test_truncated(tmp_path: Path, into: Path, keep: float) -> None:
    tar = pack(tmp_path / "x.tgz", plain("package/a", bytes(range(256)) * 64), plain("package/b", b"B"))
    whole = tar.read_bytes()
    tar.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(CorruptFileError, match=r"x\.tgz"):
        unpack(tar, ["package/a", "package/b"], into, 1 << 20)


def test_html(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_text("<html>not found</html>")
    with pytest.raises(CorruptFileError, match=r"x\.tgz is 22 bytes, not a whole tar\.gz .*an HTML page\?"):
        unpack(path, ["package/a"], into, 10)
