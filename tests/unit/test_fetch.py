"""Artifacts that are fetched: from folders, archives and over HTTP; what is not as its record says stays outside."""

from __future__ import annotations

import http.server
import io
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import pytest
import torch
from typer.testing import CliRunner

from poisonbench.api.poison import load_poison
from poisonbench.cli.main import app
from poisonbench.errors import ConfigError, CorruptFileError, DataError
from poisonbench.files.remote_file import RemoteFile
from poisonbench.leaderboard import gathered
from poisonbench.store import artifact_sources
from poisonbench.store.artifact_sources import opened
from poisonbench.store.artifacts import KINDS, Kind
from poisonbench.store.database import Store
from poisonbench.store.exchange import export
from poisonbench.store.fetching import FetchReport, fetch
from poisonbench.store.record import Record

Planted = Callable[..., Record]


@pytest.fixture
def full(tmp_path: Path, planted: Planted) -> Iterator[Store]:
    """A store with two records and all their artifacts; the last of them is the same."""
    with Store.open(tmp_path / "full") as store:
        for seed in range(2):
            x, y = torch.full((2, 1, 8, 8), seed / 2), torch.zeros(2, dtype=torch.int64)
            poison = store.artifacts.put({"x": x, "y": y, "source": torch.full((2,), -1)}, "poison")
            labels = store.artifacts.put({"labels": torch.arange(4)}, "clean-predictions")
            store.add(planted("tgda", 1.0, seed, artifacts=[poison, labels]))
        yield store


@pytest.fixture
def bare(tmp_path: Path, full: Store) -> Iterator[Store]:
    """One with the records alone."""
    with Store.open(tmp_path / "bare") as store:
        store.add_all(full.records())
        yield store


def bring(store: Store, source: Path | str, kinds: tuple[Kind, ...] = KINDS, **options: Any) -> FetchReport:
    with opened(str(source), options.pop("report", lambda line: None)) as found:
        return fetch(store, store.records(), found, kinds, **options)


def zipped(folder: Path, path: Path, method: int = ZIP_STORED, prefix: str = "") -> Path:
    with ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*.safetensors")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def paths(store: Store) -> list[str]:
    return sorted({artifact.path for record in store.records() for artifact in record.artifacts})


def whole(store: Store) -> bool:
    check = store.check()
    return check["missing_artifacts"] == check["damaged_artifacts"] == []


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, in parts if it is told to, and notes what it was asked for."""

    partial: ClassVar[bool] = False
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        wanted = self.headers.get("Range")
        file = Path(self.translate_path(self.path))
        if not self.partial or not wanted or not file.is_file():
            return super().do_GET()
        data, start = file.read_bytes(), int(wanted.removeprefix("bytes=").rstrip("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])
        return None

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves a folder: its URL."""
    servers = []

    def start(folder: Path, parts: bool = False) -> str:
        handler = type("Own", (Handler,), {"partial": parts, "asked": Handler.asked})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    Handler.asked.clear()
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("layout", ["export", "home", "bundle", "zip", "deflated", "zip of a folder", "deposit"])
def test_what_a_store_lacks_is_brought(full: Store, bare: Store, tmp_path: Path, layout: str) -> None:
    out = tmp_path / "out"
    export(full, out / "records" if layout == "bundle" else out, full.records(), KINDS)
    (tmp_path / "deposit").mkdir()
    source = {
        "home": lambda: full.home,
        "zip": lambda: zipped(out, tmp_path / "a.zip"),
        "deflated": lambda: zipped(out, tmp_path / "a.zip", ZIP_DEFLATED),
        "zip of a folder": lambda: zipped(out, tmp_path / "a.zip", prefix="out/"),
        "deposit": lambda: zipped(out, tmp_path / "deposit" / "artifacts.zip").parent,
    }.get(layout, lambda: out)()
    seen: list[tuple[int, int, int]] = []
    report = bring(bare, source, seen=lambda *numbers: seen.append(numbers))
    assert [one.artifact.path for one in report.fetched] == list(
        dict.fromkeys(artifact.path for record in bare.records() for artifact in record.artifacts)
    )
    assert (report.already_there, report.missing, report.refused, report.stopped) == ((), (), (), None)
    assert report.bytes == sum(one.artifact.bytes for one in report.fetched)
    assert [numbers[:2] for numbers in seen] == [(0, 3), (1, 3), (2, 3)]
    assert whole(bare)
    again = bring(bare, tmp_path / "deposit" if layout == "deposit" else source)
    assert (again.fetched, len(again.already_there)) == ((), 3)


@pytest.mark.parametrize("damage", ["cut", "another byte", "empty"])
def test_what_is_damaged_in_the_store_is_replaced(full: Store, bare: Store, damage: str) -> None:
    bring(bare, full.home)
    path = bare.home / paths(bare)[0]
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-1], "another byte": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}[damage])
    said = CliRunner().invoke(app, ["results", "fetch", str(full.home), "--store", str(bare.home)])
    assert said.exit_code == 0
    assert "Damaged in the store, and replaced: the " in said.stderr
    assert "1 fetched, 0.0 MiB, 2 already there, 0 missing, 0 refused." in said.stderr
    assert path.read_bytes() == data
    assert whole(bare)


def test_what_is_damaged_here_and_nowhere_else_is_said(full: Store, bare: Store, tmp_path: Path) -> None:
    bring(bare, full.home)
    path = bare.home / paths(bare)[0]
    path.write_bytes(b"")
    (tmp_path / "none").mkdir()
    said = CliRunner().invoke(app, ["results", "fetch", str(tmp_path / "none"), "--store", str(bare.home)])
    assert said.exit_code == DataError.exit_code
    assert "Damaged in the store, and not replaced: the " in said.stderr
    assert "0 fetched, 2 already there, 1 missing, 0 refused." in said.stderr
    assert path.read_bytes() == b""


def test_only_the_kinds_that_are_asked_for(full: Store, bare: Store) -> None:
    report = bring(bare, full.home, ("clean-predictions",))
    assert [one.artifact.kind for one in report.fetched] == ["clean-predictions"]
    assert bare.artifacts.names() == [report.fetched[0].artifact.sha256]


@pytest.mark.parametrize(
    ("layout", "parts"),
    [("folder", False), ("bundle", False), ("archive", True), ("archive", False), ("deposit", True)],
)
def test_over_http(
    full: Store, bare: Store, tmp_path: Path, serve: Callable[..., str], layout: str, parts: bool
) -> None:
    out, site = tmp_path / "out", tmp_path / "site"
    export(full, out / "records" if layout == "bundle" else out, full.records(), KINDS)
    site.mkdir()
    if layout in ("archive", "deposit"):
        zipped(out, site / "artifacts.zip")
    url = serve(out if layout in ("folder", "bundle") else site, parts)
    said: list[str] = []
    report = bring(bare, f"{url}/artifacts.zip?key=secret" if layout == "archive" else f"{url}/", report=said.append)
    assert (len(report.fetched), report.missing, report.refused) == (3, (), ())
    assert whole(bare)
    assert len(said) == (layout in ("archive", "deposit") and not parts)
    assert not any("secret" in line for line in said)


def test_of_an_archive_behind_a_url_only_what_is_lacking_is_read(
    full: Store, bare: Store, tmp_path: Path, serve: Callable[..., str]
) -> None:
    bare.artifacts.put({"labels": torch.arange(4)}, "clean-predictions")
    export(full, tmp_path / "out", full.records()[:1], KINDS)
    zipped(tmp_path / "out", tmp_path / "out" / "a.zip")
    url = serve(tmp_path / "out", True)
    report = bring(bare, f"{url}/a.zip")
    assert (len(report.fetched), len(report.already_there), len(report.missing)) == (1, 1, 1)
    assert str(report.missing[0]).startswith(f"poison of record {full.records()[1].record_id}, artifacts/")
    assert len(Handler.asked) <= 5  # its size, its list of files at its end, and the one file


def test_a_remote_file_reads_as_the_file_does(tmp_path: Path, serve: Callable[..., str]) -> None:
    data = bytes(range(256)) * 1024
    (tmp_path / "a").write_bytes(data)
    with RemoteFile(f"{serve(tmp_path, True)}/a") as remote, io.BytesIO(data) as local:
        assert (remote.partial, remote.size) == (True, len(data))
        for offset, whence, size in ((5, 0, 10), (100, 1, 7), (-20, 2, 50), (0, 0, 3), (200_000, 1, 5), (9**9, 0, 1)):
            assert remote.seek(offset, whence) == local.seek(offset, whence)
            assert remote.read(size) == local.read(size)
            assert remote.tell() == local.tell()


def damaged(path: Path, how: str) -> None:
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-1], "long": data + b"x", "other": data[:-1] + bytes([data[-1] ^ 1])}[how])


@pytest.mark.parametrize(
    ("way", "how"), [("folder", "cut"), ("zip", "long"), ("zip", "other"), ("http", "long"), ("http", "cut")]
)
def test_one_that_is_damaged_keeps_no_other_back(
    full: Store, bare: Store, tmp_path: Path, serve: Callable[..., str], way: str, how: str
) -> None:
    out = tmp_path / "out"
    export(full, out, full.records(), KINDS)
    bad, *_ = paths(full)
    damaged(out / bad, how)
    source = {"folder": lambda: out, "zip": lambda: zipped(out, tmp_path / "a.zip"), "http": lambda: serve(out)}[way]()
    report = bring(bare, source)
    ((refused, reason),) = report.refused
    assert refused.artifact.path == bad
    assert "\n" not in reason
    assert len(report.fetched) == 2
    assert not (bare.home / bad).exists()
    damaged(full.home / bad, "other")  # which is how it is made good again: by a source that has it whole
    (out / bad).unlink()
    assert len(bring(bare, out).missing) == 1


def test_a_link_in_a_folder_is_not_followed(full: Store, bare: Store, tmp_path: Path) -> None:
    export(full, tmp_path / "out", full.records(), KINDS)
    bad = tmp_path / "out" / paths(full)[0]
    bad.rename(tmp_path / "elsewhere")
    bad.symlink_to(tmp_path / "elsewhere")
    ((_, reason),) = bring(bare, tmp_path / "out").refused
    assert "only plain files and folders are read" in reason


@pytest.mark.parametrize("method", [ZIP_BZIP2, ZIP_LZMA])
def test_of_an_archive_nothing_is_read_that_has_no_bound(full: Store, bare: Store, tmp_path: Path, method: int) -> None:
    export(full, tmp_path / "out", full.records(), KINDS)
    report = bring(bare, zipped(tmp_path / "out", tmp_path / "a.zip", method))
    assert {reason for _, reason in report.refused} == {"it is packed in another way than stored or deflated"}


def test_a_zip_bomb_is_not_unpacked(full: Store, bare: Store, tmp_path: Path) -> None:
    """One says what size it has and is refused; one lies about it, and no more is read than the record says."""
    first, second, third = ({a.path: a for r in full.records() for a in r.artifacts}[path] for path in paths(full))
    bomb = tmp_path / "bomb.zip"
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        archive.writestr(first.path, bytes(2**24))
        archive.writestr(second.path, bytes(2**24))
        archive.writestr(f"../../{third.path}", (full.home / third.path).read_bytes())
    data = bytearray(bomb.read_bytes())
    assert len(data) < 2**18
    at = data.rindex(second.path.encode()) - 46  # in the list of files, where its size is
    assert data[at : at + 4] == b"PK\1\2"
    struct.pack_into("<L", data, at + 24, second.bytes)
    bomb.write_bytes(data)
    written: list[int] = []
    find = artifact_sources.find_beside

    def watched(folder: Path, artifact: Any) -> Path | None:
        written.append((folder / artifact.path).stat().st_size)
        return find(folder, artifact)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact_sources, "find_beside", watched)
        report = bring(bare, bomb)
    reasons = {one.artifact.path: reason for one, reason in report.refused}
    assert f"it has {2**24} bytes, the record says {first.bytes}" == reasons[first.path]
    assert second.path in reasons
    assert max(written) <= max(one.bytes for one in (second, third))
    assert [one.artifact.path for one in report.fetched] == [third.path]  # a name is looked at, and never a path
    assert not (tmp_path.parent / third.path).exists()


def test_an_encrypted_member_and_a_broken_one_are_lines(full: Store, bare: Store, tmp_path: Path) -> None:
    export(full, tmp_path / "out", full.records(), KINDS)
    path = zipped(tmp_path / "out", tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    names = [name.encode() for name in paths(full)]
    for name, position, value in ((names[0], 8, 1), (names[1], 42, 0xFFFFFF)):
        at = data.rindex(name) - 46 + position
        struct.pack_into("<H" if value == 1 else "<L", data, at, value)
    path.write_bytes(data)
    report = bring(bare, path)
    assert len(report.fetched) == 1
    assert {one.artifact.path for one, _ in report.refused} == {name.decode() for name in names[:2]}


def test_a_list_of_files_that_does_not_fit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_sources, "MAX_DIRECTORY", 100_000)
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(1500):
            archive.writestr(zipfile.ZipInfo(f"{number:040}"), b"")
    with (
        pytest.raises(CorruptFileError, match=r"a\.zip is not a zip archive.*its list of files has \d+ bytes"),
        opened(str(tmp_path / "a.zip"), lambda line: None),
    ):
        pass


def test_a_record_that_lies_about_a_size_has_no_say(full: Store, bare: Store, planted: Planted) -> None:
    """An artifact of which one record says that it is small, and one that it is huge."""
    true = full.records()[0].artifacts[0]
    bare.add(planted("emn", 1.0, 1, artifacts=[true.model_copy(update={"bytes": 5})]))
    bare.add(planted("emn", 1.0, 2, artifacts=[true.model_copy(update={"bytes": 2**40})]))
    report = bring(bare, full.home)
    assert len(report.fetched) == 3
    assert sorted(reason.split()[-1] for _, reason in report.refused) == sorted(["5", "read"])
    assert whole(bare)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("", ConfigError, "expected a folder, a .zip file, or an http"),
        ("ftp://example.org/a", ConfigError, "expected a folder, a .zip file, or an http"),
        ("http://me:secret@example.org/a", ConfigError, "neither user nor password"),
        ("http://[", ConfigError, "has a host"),
        ("http:///a", ConfigError, "has a host"),
        ("nowhere", DataError, "nowhere is not there"),
        ("/dev/zero", DataError, "special file"),
        (__file__, CorruptFileError, "is not a zip archive"),
        ("http://127.0.0.1:1/a", DataError, r"^Cannot reach http://127\.0\.0\.1:1/a: .*refused\.$"),
        ("http://127.0.0.1:1/a.zip?key=1", DataError, r"^Cannot reach http://127\.0\.0\.1:1/a\.zip: .*refused\.$"),
        (f"http://{'a' * 70}.example/a b/ü", DataError, "Cannot reach"),
    ],
)
def test_what_is_no_source_is_one_line(source: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as refused, opened(source, lambda line: None):
        pass
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_server_that_goes_away_ends_it_and_what_came_is_kept(
    full: Store, bare: Store, tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(full.home)
    calls: list[str] = []
    load = artifact_sources.download

    def failing(*arguments: Any) -> None:
        calls.append("")
        if len(calls) == 2:
            raise TimeoutError("timed out")
        load(*arguments)

    monkeypatch.setattr(artifact_sources, "download", failing)
    report = bring(bare, url)
    assert (len(report.fetched), report.stopped) == (1, "timed out")
    assert len(bring(bare, url).fetched) == 2


def command(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["results", "fetch", *words], catch_exceptions=False)
    assert done.stdout == ""
    return done.exit_code, done.stderr


def test_the_command(full: Store, bare: Store, tmp_path: Path) -> None:
    export(full, tmp_path / "out", full.records()[:1], KINDS)
    one, other = (record.record_id for record in full.records())
    home = ("--store", str(bare.home))
    code, said = command(str(tmp_path / "out"), *home)
    assert code == 3
    assert f"Not in {tmp_path / 'out'}: the poison of record {other}" in said
    assert "2 fetched, 0.0 MiB, 0 already there, 1 missing, 0 refused." in said
    assert command(str(tmp_path / "out"), one[:8], *home)[0] == 0
    assert command(str(tmp_path / "out"), other, "--kinds", "clean-predictions", *home)[0] == 0
    assert command(str(full.home), *home)[0] == 0
    assert whole(bare)
    done = CliRunner().invoke(app, ["results", "fetch", "out", "--kinds", "poisson", *home])
    assert "Did you mean 'poison'?" in str(done.exception)


def test_a_published_record_goes_in_once_it_is_whole(
    full: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = full.records()
    monkeypatch.setattr(gathered, "shipped_records", lambda filters: [first, second])
    export(full, tmp_path / "out", [first], KINDS)
    home = tmp_path / "new"
    code, said = command(str(tmp_path / "out"), "--published", "--store", str(home))
    assert code == 3
    assert "1 published record went into the store." in said
    with Store.open(home) as store:
        assert store.records() == [first]
        assert store.entries()[first.record_id].computed is False
    assert torch.equal(load_poison(first.record_id, store=home).x, torch.zeros(2, 1, 8, 8))
