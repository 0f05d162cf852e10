"""Before any test imports torch: threads give way, and test processes side by side share out the cores, so that the
suite keeps its pace on a busy machine."""

import base64
import gc
import gzip
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling

from poisonbench.process.openmp import yield_when_crowded

if TYPE_CHECKING:
    from poisonbench.store.record import Record

gc.disable()  # until all is imported and collected, of which nothing is garbage
yield_when_crowded()
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))
os.environ["RAY_AUTH_TOKEN_PATH"] = "/nowhere/token"  # whatever of Ray's lies in the home of whoever runs the tests


LONGEST_FIRST = (
    "test_walkthrough", "test_readme", "test_workers", "test_run", "test_results", "test_sweep", "test_interruption",
    "test_reproduce", "test_attacks", "test_errors", "test_wheel", "test_streams",
)  # fmt: skip
"""Files that take the most time, most of all those that wait for other processes: begun first, so that no worker of the
suite is left alone with one at the end."""

TOGETHER = {
    **dict.fromkeys(
        ("tests/e2e/test_readme.py", "tests/e2e/test_run.py", "tests/e2e/test_results.py"), "the session's first run"
    ),
    **dict.fromkeys(
        (
            "tests/unit/test_frame.py", "tests/unit/test_parameters.py", "tests/unit/test_printed_tables.py",
            "tests/unit/test_published.py",
            "tests/unit/test_site.py", "tests/unit/test_site_command.py", "tests/unit/test_table_published.py",
            "tests/unit/test_trust.py", "tests/e2e/test_site_browser.py",
        ),
        "the published records",
    ),
}  # fmt: skip
"""Files that share what takes seconds to make, and what that is: one worker of the suite takes all of them."""


APART = ("tests/e2e/test_workers.py",)
"""Files whose tests wait for processes of their own: the workers of the suite share them out one by one."""


class _Scopes(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return nodeid if file in APART else TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    """Keep files together that share fixtures, and share out those that share none, where files are kept whole."""
    return _Scopes(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by how long they take, as far as it matters."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_collection_finish() -> None:
    """From here on, look for garbage, but among what tests make: to look through what was imported takes 0.2 s."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _nothing_awaits_the_disk() -> Iterator[None]:
    """Tests kill processes and no machine: to wait until a file is on the disk would be milliseconds each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def published_records() -> "tuple[Record, ...]":
    """The published records, read once: it takes seconds. Who asks for them is in TOGETHER."""
    from poisonbench.leaderboard.published import published

    return tuple(published())


@pytest.fixture(scope="session")
def board_data() -> Callable[[Path, str], dict[str, Any]]:
    """Reads a board's data file of a site, as assets/data.js does: `board_data(site, "digits-v2-lr-0.03")`."""
    form = re.compile(r'\(window\.poisonbenchData \?\?= \{\}\)\["([a-z0-9._-]+)"\] = "([A-Za-z0-9+/=]+)";\n')

    def read(site: Path, board: str) -> dict[str, Any]:
        found = form.fullmatch((site / "data" / f"{board}.js").read_text("ascii"))
        assert found
        assert found[1] == board
        value: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[2])))
        return value

    return read


@pytest.fixture(scope="session")
def record_pages(board_data: Callable[[Path, str], dict[str, Any]]) -> Callable[[Path], dict[str, str]]:
    """What a site shows of each record, as HTML by id."""

    def read(site: Path) -> dict[str, str]:
        boards = [board_data(site, board.stem) for board in (site / "boards").iterdir()]
        return {
            record_id: "".join(data["pieces"][index] for index in pieces)
            for data in boards
            for record_id, (_, *pieces) in data["records"].items()
        }

    return read


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the published records be few, so that a look through all of them takes no seconds: `ship("tgda", "none")`
    leaves those that name each of the words."""
    from poisonbench.leaderboard import published
    from poisonbench.store.shipped import shipped_texts

    def leave(*words: str) -> None:
        few = [text for text in shipped_texts() if all(f'"{word}"'.encode() in text for word in words)]
        monkeypatch.setattr(published, "shipped_texts", lambda protocols=None: iter(few))

    return leave


def _forget_plugins() -> None:
    from poisonbench.identity.code import code_hash
    from poisonbench.plugins import fresh, registry

    for name in [name for name in sys.modules if name.startswith("poisonbench.plugged.")]:
        del sys.modules[name]
    fresh.forget_edited()
    for cached in (registry.entries, code_hash):
        cached.cache_clear()


@contextmanager
def _plugging() -> Iterator[Callable[..., None]]:
    """Make files plugins, as --plugin does; at the end none of them is left in this process."""
    from poisonbench import plugged
    from poisonbench.plugins import registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(plugged.VARIABLE, "")
        _forget_plugins()
        yield lambda *files: registry.plug(map(Path, files))
    _forget_plugins()


@pytest.fixture
def plug() -> Iterator[Callable[..., None]]:
    """Makes files plugins while a test runs: `plug("mine.py")`."""
    with _plugging() as plug:
        yield plug


@pytest.fixture(scope="session")
def plugging() -> Callable[[], AbstractContextManager[Callable[..., None]]]:
    """The same for as long as it takes to make what tests share: `with plugging() as plug: ...`."""
    return _plugging
