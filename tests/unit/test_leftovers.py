"""What killed processes leave is told from what is being written, and removed by proof alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from poisonbench.cli.cleaning import examine
from poisonbench.errors import StoreError
from poisonbench.files import holds, leftovers
from poisonbench.files.atomic import new_folder, probe, write_atomically
from poisonbench.files.leftovers import scratch_folders, temporaries
from poisonbench.files.scratch import PREFIX, scratch_folder
from poisonbench.leaderboard.site import folder
from poisonbench.leaderboard.site.folder import MARKER, replacing
from poisonbench.stages.checkpoint import Checkpoint, Saved
from poisonbench.store import cleaning
from poisonbench.store.database import Store

TEMPORARY = ".a.json.123.0123abcd.tmp"

HOLDER = """
import sys
from pathlib import Path
from poisonbench.files import atomic, holds
{}
    print("holding", flush=True)
    sys.stdin.read()
"""


def aged(path: Path, seconds: float = 60.0) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need not have aged: their locks alone tell."""
    monkeypatch.setattr(holds, "GRACE_S", -1.0)


def holding(code: str) -> subprocess.Popen[str]:
    """Another process that is in the middle of writing."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER.format(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "holding\n"
    return process


def paths(folder: Path) -> list[Path]:
    return [found.path for found in temporaries(folder, below=True)]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "code",
    ["with open({!r}, 'xb') as file:\n    holds.hold(file.fileno())", "with atomic.new_folder(Path({!r}) / 'bundle'):"],
)
def test_what_a_process_writes_is_left_until_it_is_killed(tmp_path: Path, code: str) -> None:
    target = tmp_path / TEMPORARY if "open" in code else tmp_path
    process = holding(code.format(str(target)))
    try:
        (written,) = tmp_path.iterdir()
        assert paths(tmp_path) == []
    finally:
        process.kill()
        process.communicate()
    assert paths(tmp_path) == [written]
    for found in temporaries(tmp_path):
        found.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_young_or_has_another_name_is_left(tmp_path: Path) -> None:
    (tmp_path / TEMPORARY).write_bytes(b"young")
    for name in ("a.tmp", ".a.tmp", ".a.json.123.tmp", "a.json.123.0123abcd.tmp", ".a.json.123.0123abcd.tmp.json"):
        (tmp_path / name).write_bytes(b"")
        aged(tmp_path / name)
    target = tmp_path / "mine"
    target.write_bytes(b"mine")
    (tmp_path / ".b.json.123.0123abcd.tmp").symlink_to(target)
    assert paths(tmp_path) == []
    assert paths(aged(tmp_path / TEMPORARY).parent) == [tmp_path / TEMPORARY]


@pytest.mark.usefixtures("at_once")
def test_nothing_is_left_of_what_went_well_or_failed(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", b"{}")
    probe(tmp_path)
    with new_folder(tmp_path / "whole") as new:
        (new / "a").write_bytes(b"a")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "broken"):
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "a.json", "whole"]


@pytest.mark.usefixtures("at_once")
def test_another_try_removes_what_the_killed_one_left(tmp_path: Path) -> None:
    left = tmp_path / ".bundle.123.0123abcd.tmp"
    left.mkdir()
    other = tmp_path / ".another.123.0123abcd.tmp"
    other.mkdir()
    with new_folder(tmp_path / "bundle"):
        assert not left.exists()
    assert other.exists()


@pytest.mark.usefixtures("at_once")
def test_scratch_folders_of_killed_processes_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "poisonbench-baseline").mkdir()  # a user's
    with scratch_folder() as ours:
        assert list(scratch_folders()) == []
        name = ours.name
    assert [path.name for path in tmp_path.iterdir()] == ["poisonbench-baseline"]
    (tmp_path / name).mkdir()
    (tmp_path / name / holds.HELD).write_bytes(b"")
    assert [found.path.name for found in scratch_folders()] == [name]


def test_what_goes_away_while_it_is_looked_at_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removes its own folder between two looks: before the first, and after it."""
    gone = tmp_path / f"{PREFIX}gone"
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [gone])
    assert list(scratch_folders()) == []
    gone.mkdir()
    monkeypatch.setattr(leftovers, "abandoned", lambda path: path.rmdir() is None)
    assert list(scratch_folders()) == []
    assert not gone.exists()


def state() -> Saved:
    return Saved(1, 1.0, {"x": torch.zeros(1)}, torch.Generator().get_state())


def finished(store: Store, key: str) -> None:
    artifact = store.artifacts.put({"w": torch.ones(3)}, "weights")
    store.put_stage(key, "weights", {"facts": {}, "artifact": artifact.model_dump(mode="json"), "seconds": 1.0})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as opened:
        yield opened


def names(store: Store) -> list[str]:
    return [found.path.name for found in cleaning.leftovers(store)]


def test_checkpoints_go_with_the_stages_that_are_finished(store: Store) -> None:
    for key in ("done", "running"):
        Checkpoint(store.home / "checkpoints" / key).save("loop", state())
    (store.home / "checkpoints" / "empty").mkdir()
    finished(store, "done")
    assert names(store) == ["done", "empty"]
    assert cleaning.unfinished(store)["unfinished_stages"] == 1
    (done, _) = cleaning.leftovers(store)
    with store.lock("done"), pytest.raises(StoreError, match="another process works on"):
        done.remove()
    assert done.path.exists()
    for found in cleaning.leftovers(store):
        found.remove()
    assert [path.name for path in (store.home / "checkpoints").iterdir()] == ["running"]


def test_a_checkpoint_stays_where_the_result_is_lost_or_another_store_may_need_it(store: Store) -> None:
    Checkpoint(store.home / "checkpoints" / "done").save("loop", state())
    finished(store, "done")
    other = store.home / "other.db"
    other.write_bytes(b"")
    assert names(store) == []
    other.unlink()
    assert names(store) == ["done"]
    shutil.rmtree(store.home / "artifacts")
    assert names(store) == []


@pytest.mark.usefixtures("at_once")
def test_half_a_site_and_a_replaced_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two renames, the old site is the only one: it comes back."""
    monkeypatch.setenv("POISONBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "home"))  # others' leftovers are theirs
    monkeypatch.chdir(tmp_path)
    site = tmp_path / "site"
    for name in (".site.123.0123abcd.tmp", ".site.123.0123abcd.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / MARKER).write_text(name)
    there, removed = examine(None, [], clean=False)
    assert sorted(Path(path).name for path in there) == [".site.123.0123abcd.old", ".site.123.0123abcd.tmp"]
    assert removed == {}
    there, removed = examine(None, [], clean=True)
    assert (there, len(removed)) == ({}, 2)
    assert (site / MARKER).read_text() == ".site.123.0123abcd.old"

    (tmp_path / ".site.123.0123abcd.old").mkdir()
    (tmp_path / ".site.123.0123abcd.old" / MARKER).write_text("older")
    with replacing(site) as new:
        (new / "index.html").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "site"]
    assert (site / "index.html").read_text() == "new"
    assert not (site / holds.HELD).exists()


@pytest.mark.usefixtures("at_once")
def test_a_site_that_was_half_removed_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as it removes the site that another took the place of, its mark gone already."""
    site = tmp_path / "site"
    for text in ("first", "second"):
        with monkeypatch.context() as patch, replacing(site) as new:
            (new / "index.html").write_text(text)
            patch.setattr(folder.shutil, "rmtree", lambda path, **_: (path / MARKER).unlink(missing_ok=True))
    (left,) = [path for path in tmp_path.iterdir() if path != site]
    assert not (left / MARKER).exists()
    assert paths(tmp_path) == [left]
    assert (site / "index.html").read_text() == "second"
