"""Before any test imports torch: threads give way, and test processes side by side share out the cores, so that the
suite keeps its pace on a busy machine."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from poisonbench.process.openmp import yield_when_crowded

if TYPE_CHECKING:
    from poisonbench.store.record import Record

yield_when_crowded()
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))


LONGEST_FIRST = ("test_workers", "test_readme", "test_walkthrough", "test_sweep", "test_interruption", "test_reproduce")
"""Files of tests/e2e that take the most time, most of all those that wait for other processes: begun first, so that no
worker of the suite is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by how long they take, as far as it matters."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(scope="session")
def published_records() -> "tuple[Record, ...]":
    """The published records, read once: it takes seconds."""
    from poisonbench.leaderboard.published import published

    return tuple(published())


def _forget_plugins() -> None:
    from poisonbench.identity.code import code_hash
    from poisonbench.plugins import fresh, registry

    for name in [name for name in sys.modules if name.startswith("poisonbench.plugged.")]:
        del sys.modules[name]
    fresh.forget_edited()
    for cached in (registry.entries, code_hash):
        cached.cache_clear()


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make files plugins, as --plugin does; at the end none of them is left in this process."""
    from poisonbench import plugged
    from poisonbench.plugins import registry

    monkeypatch.setenv(plugged.VARIABLE, "")
    _forget_plugins()
    yield lambda *files: registry.plug(map(Path, files))
    _forget_plugins()
