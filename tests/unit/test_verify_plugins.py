"""A verification whose defense is a plugin: its code runs in a process of its own, and what it does there is a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from poisonbench.cli.main import app
from poisonbench.plugins import fresh, trial
from poisonbench.submission import bundle
from poisonbench.sweeps.workers import listener

DEFENSE = """
import os, threading, time
from dataclasses import dataclass
import poisonbench as pb
import torch

{imported}

@pb.register("every-tenth")
@dataclass(frozen=True)
class EveryTenth(pb.FilterDefense):
    cost = "nothing"

    uses_model = False

    def score(self, view, weights, stage):
        {deed}
        return pb.Scores(-torch.arange(len(view.train)).remainder(10).double())
"""

DEEDS = {
    "exits": ("os._exit(0)", "the defense every-tenth ended the process (exit code 0)."),
    "raises": ("raise RuntimeError('boom')", "every-tenth raised RuntimeError: boom"),
    "patches": ("torch.hypot = torch.add", "the defense every-tenth replaced torch.hypot while computing"),
    "peeks": ("open('{home}/data/x', 'rb')", "every-tenth opened "),
}
"""What the defense does to the verifier, and how the verdict begins."""


def write(path: Path, deed: str = "pass", imported: str = "") -> Path:
    path.write_text(DEFENSE.format(deed=deed, imported=imported))
    return path


AUTHOR = """
import sys
from pathlib import Path
from poisonbench.experiment import cell as cells
from poisonbench.experiment import protocol
from poisonbench.experiment.runner import Runner
from poisonbench.plugins.registry import plug
from poisonbench.store.database import Store
from poisonbench.submission import bundle
folder = Path(sys.argv[1])
plug([folder / "honest.py"])
with Store.open(folder / "author") as store:
    rules = protocol.resolve("digits-v1", ())
    cells = [cells.build(rules, "label-flip", name, 0.03, 0) for name in ("none", "every-tenth")]
    bundle.write(store, [Runner(store).run(cell).record for cell in cells], folder / "bundle", None)
"""


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory, elsewhere: Callable[..., int | None]) -> Path:
    """A bundle of a built-in defense's record and a plugin's, made elsewhere while the plugin behaved."""
    folder = tmp_path_factory.mktemp("author")
    write(folder / "honest.py")
    assert elsewhere(AUTHOR, folder) == 0
    (folder / "data").mkdir()
    (folder / "data" / "x").touch()
    return folder / "bundle"


@pytest.fixture
def verify(
    submitted: Path, plug: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Verifies the bundle with that plugin; the verdicts by their defenses."""

    def run(plugin: Path, *flags: str) -> dict[str, Any]:
        monkeypatch.setenv("POISONBENCH_HOME", str(submitted.parent))
        names = {record.record_id: record.defense.name for record in bundle.read(submitted).records}
        words = ["verify", str(submitted), "--plugin", str(plugin), "--offline", "--threads", "1", "--json", *flags]
        shown = CliRunner().invoke(app, words)
        assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception
        told = json.loads(shown.stdout)
        assert not fresh.any_imported()
        return {names[one["record"]]: one for one in told}

    return run


def test_it_is_verified_to_the_bit_by_code_that_never_runs_here(verify: Any, tmp_path: Path) -> None:
    told = verify(write(tmp_path / "again.py"))
    for one in told.values():
        assert (one["verified"], one["problem"]) == (True, None)
        assert all(found["submitted"] == found["found"] for found in one["differences"])


@pytest.mark.parametrize("name", DEEDS)
def test_what_it_does_is_a_line_and_its_neighbour_is_verified(
    name: str, submitted: Path, verify: Any, tmp_path: Path
) -> None:
    deed, line = DEEDS[name]
    told = verify(write(tmp_path / f"{name}.py", deed.format(home=submitted.parent)))
    assert told["every-tenth"]["problem"].startswith(line)
    assert "\n" not in told["every-tenth"]["problem"]
    assert told["none"]["verified"]


def test_one_that_hangs_is_stopped(verify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "GRACE_S", 0.5)
    told = verify(write(tmp_path / "hangs.py", "time.sleep(1000)"), "--timeout", "5")
    assert "past its deadline" in told["every-tenth"]["problem"]
    assert told["none"]["verified"]


def test_an_import_that_hangs_is_refused(verify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LIMIT_S", 2.0)
    told = verify(write(tmp_path / "early.py", imported="time.sleep(1000)"))
    assert told["every-tenth"]["problem"].startswith("The defense 'every-tenth' of file is refused: its import did not")
    assert told["none"]["verified"]
