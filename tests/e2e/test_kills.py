"""Every command killed at random: before each of its steps that change a file, and at any moment between them.

Run again, it ends as it would have; nothing is wrong, nothing is lost, there is no traceback; and `doctor --clean`
leaves nothing that nothing needs. SOAK_KILLS sets how many kills there are, 200 for a soak:

    SOAK_KILLS=200 pytest -m slow tests/e2e/test_kills.py
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from poisonbench.store.database import Store

KILLS = int(os.environ.get("SOAK_KILLS", "17"))
RUN = ("-a", "label-flip", "--threads", "1")
RECORD = "{record}"

COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", *RUN, "-d", "sever", "--seeds", "7"),
    "run tgda": ("run", "-a", "tgda", "--set", "attack.epochs=2", "--seeds", "7", "--threads", "1"),
    "sweep": ("sweep", *RUN, "-d", "none,loss", "--seeds", "7", "--jobs", "1"),
    "sweep side by side": ("sweep", *RUN, "-d", "none,loss", "--seeds", "7,8", "--jobs", "2"),
    "submit": ("submit", RECORD, "-o", "bundle2"),
    "validate": ("validate", "bundle"),
    "verify": ("verify", "bundle", "--key", "key.pem", "-o", "verified", "--threads", "1"),
    "merge": ("results", "merge", "exported", "--store", "other"),
    "merge into": ("results", "merge", "exported", "--into", "published"),
    "export": ("results", "export", "-o", "exported2", "--artifacts"),
    "fetch": ("results", "fetch", "exported", "--store", "bare"),
    "deposit": ("results", "deposit", "-o", "deposit", "--title", "Results", "--creator", "Me"),
    "leaderboard build": ("leaderboard", "build", "-o", "site", "--no-published"),
    "gallery": ("gallery", RECORD, "-o", "points.png"),
    "plot": ("plot", "heatmap", "-o", "board.svg"),
    "reproduce": ("reproduce", "table2", "--overwrite", "never", "-o", "paper"),
    "doctor --clean": ("doctor", "--clean"),
}
"""Every kind of command that writes, and `validate`."""

UNFINISHED = {"reproduce"}
"""Ends in 1: nothing of its table is computed, and it computes nothing."""


@dataclass(frozen=True)
class Place:
    """A home in which commands run, and the folder for the system's temporary files.

    Attributes:
        folder: of both.
        warm: runs commands.
        record: the id of a record there.
    """

    folder: Path
    warm: Any
    record: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def __call__(self, arguments: tuple[str, ...], kill: dict[str, object] | None = None) -> tuple[int, str]:
        """Exit code and standard error."""
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        words = tuple(word.replace(RECORD, self.record) for word in arguments)
        found = {**self.environment, "POISONBENCH_HOME": str(self.home), "TMPDIR": str(scratch)}
        code, _, errors = self.warm.run(words, self.home, found, kill)
        return code, errors

    def copy(self, folder: Path) -> Place:
        shutil.copytree(self.folder, folder)
        return Place(folder, self.warm, self.record, self.environment)

    def tree(self) -> set[str]:
        """Every file but the store's own, named by what does not depend on when it was written."""
        paths = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        aside = r"^tmp/|^home/(verification/)?(artifacts|locks|data)/|\.db(-wal|-shm)?$"
        kept = (path for path in paths if not re.search(aside, path))
        return {re.sub(r"[0-9a-f]{16}", "ID", path) for path in kept}

    def records(self) -> set[tuple[object, ...]]:
        """What the stores hold, times and ids aside."""
        found = set[tuple[object, ...]]()
        for file in self.home.rglob("store.db"):
            with Store.open(file) as store:
                for record in store.records():
                    kept = sorted(artifact.sha256 for artifact in record.artifacts)
                    found.add((file.parent.name, record.cell_hash, record.status, str(record.metrics), *kept))
                assert store.unreadable == {}
        return found

    def age(self) -> None:
        """Make every temporary file old enough to be judged."""
        for path in self.folder.rglob("*"):
            if path.name.startswith((".", "poisonbench-scratch-")) and not path.is_symlink():
                os.utime(path, (0, 0))

    def unneeded(self) -> list[str]:
        """What nothing needs: temporary names, checkpoints of what is finished, artifacts that nobody names."""
        left = [str(path) for path in self.folder.rglob(".*") if re.search(r"\.(tmp|old|held)$|probe", path.name)]
        scratch = (self.folder / "tmp").iterdir()
        left += [str(path) for path in scratch if not path.name.startswith("pymp-")]  # Python's own
        left += [str(path) for folder in self.home.rglob("checkpoints") for path in folder.iterdir()]
        for file in self.home.rglob("store.db"):
            with Store.open(file) as store, store._read() as connection:
                texts = "".join(connection.exec_driver_sql("SELECT document FROM records").scalars())
                texts += "".join(connection.exec_driver_sql("SELECT document FROM stages").scalars())
                texts += "".join(path.read_text("utf-8") for path in self.home.glob("verified/*.json"))
                left += [store.artifacts.where(name) for name in store.artifacts.names() if name not in texts]
        return left


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, poisonbench: Any) -> Place:
    """A home with two records, an export, a bundle, a site, and a store of the records alone."""
    variables = {**poisonbench.variables()}
    place = Place(tmp_path_factory.mktemp("template") / "place", poisonbench.warm, "", variables)
    place.home.mkdir(parents=True)
    assert place(("run", *RUN, "-d", "none,sever", "--seeds", "0"))[0] == 0
    with Store.open(place.home) as store:
        record = store.records(defense="sever")[0].record_id
    place = Place(place.folder, place.warm, record, variables)
    for words in (
        ("results", "export", "-o", "exported", "--artifacts"),
        ("results", "export", "-o", "lean"),
        ("results", "merge", "lean", "--store", "bare"),
        ("submit", record, "-o", "bundle"),
        ("leaderboard", "build", "-o", "site", "--no-published"),
    ):
        code, errors = place(words)
        assert code == 0, errors
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place.home / "key.pem").write_bytes(key)
    return place


@dataclass(frozen=True)
class Whole:
    """A command that nobody killed: its exit code, steps that change files, and what it leaves."""

    code: int
    steps: int
    tree: set[str]
    records: set[tuple[object, ...]]


def litter(place: Place) -> None:
    """What kills leave, for `doctor --clean` to remove."""
    for name in (
        ".a.json.1.0123abcd.tmp",
        "artifacts/ab/.b.safetensors.1.0123abcd.tmp",
        "checkpoints/.probe.1.0123abcd.tmp",
    ):
        (place.home / name).parent.mkdir(parents=True, exist_ok=True)
        (place.home / name).write_bytes(b"half")
    (place.home / "checkpoints" / ("0" * 64)).mkdir()
    for name in (".site.1.0123abcd.tmp", ".site.1.0123abcd.old"):
        shutil.copytree(place.home / "site", place.home / name)
    place.age()


@pytest.fixture(scope="module")
def whole(template: Place, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    """Runs a command to its end, once."""
    found: dict[str, Whole] = {}

    def run(name: str) -> Whole:
        if name not in found:
            folder = tmp_path_factory.mktemp("whole")
            place = template.copy(folder / "place")
            if name == "doctor --clean":
                litter(place)
            code, errors = place(COMMANDS[name], {"before": None, "after": None, "counted": str(folder / "steps")})
            assert "Traceback" not in errors
            assert code == int(name in UNFINISHED), errors  # a command that is refused has nothing to be killed in
            found[name] = Whole(code, int((folder / "steps").read_text()), place.tree(), place.records())
        return found[name]

    return run


CASES = list(itertools.islice(itertools.cycle(COMMANDS), KILLS))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "number"), [(name, number) for number, name in enumerate(CASES)])
def test_killed_and_run_again(
    template: Place, whole: Callable[[str], Whole], tmp_path_factory: pytest.TempPathFactory, name: str, number: int
) -> None:
    expected, chance = whole(name), random.Random(number)
    place = template.copy(tmp_path_factory.mktemp("k") / "place")  # short: sockets lie below
    if name == "doctor --clean":
        litter(place)
    planned = {"before": chance.randint(1, max(1, expected.steps)), "after": None, "counted": ""}
    at_random = {"before": None, "after": chance.uniform(0.05, 1.5), "counted": ""}
    timed = number // len(COMMANDS) % 3 == 2
    code, _ = place(COMMANDS[name], at_random if timed else planned)
    assert timed or not expected.steps or code == -signal.SIGKILL

    place.age()
    code, errors = place(COMMANDS[name])
    assert code == expected.code, errors
    assert "Traceback" not in errors
    assert expected.records <= place.records()
    assert expected.tree <= place.tree()

    place.age()
    for store in (place.home, place.home / "other", place.home / "bare"):
        if store.exists():
            code, errors = place(
                ("doctor", "--clean", "bundle2", "site", "exported2", "deposit", "--store", str(store))
            )
            assert code == 0, errors
    assert place.records() == expected.records
    assert place.tree() == expected.tree
    assert place.unneeded() == []
