"""`poisonbench sweep` and `plan`: grids on real data, skipped, failed, killed and resumed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

GRID = """\
attack: [label-flip, tgda]
defense: [none, loss]
model: [lr, nn]
seeds: [0, 1]
set:
  attack.tgda.epochs: 4
  recipe.epochs: 4
exclude:
  - {attack: tgda, model: nn}
"""
CELLS = 2 * (2 * 2 + 2)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The grid's file."""
    path: Path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(GRID)
    return str(path)


@dataclass(frozen=True)
class Swept:
    """A grid that was planned, and then swept for the first time, in `command`'s home.

    Attributes:
        plan, records: what was said, as JSON.
        before: records that were there after the plan.
        seconds: what the sweep took.
    """

    command: Any
    plan: list[dict[str, Any]]
    before: list[dict[str, Any]]
    records: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, poisonbench: Any, grid: str) -> Swept:
    command = type(poisonbench)(tmp_path_factory.mktemp("swept"), poisonbench.warm)
    plan, before = command.json("plan", grid, "--json"), command.json("results", "show", "--json")
    began = time.monotonic()
    records = command.json("sweep", grid, "--json")
    return Swept(command, plan, before, records, time.monotonic() - began)


def test_a_plan_computes_nothing_and_a_sweep_does_nothing_twice(swept: Swept, grid: str) -> None:
    command, planned, first = swept.command, swept.plan, swept.records
    assert [part["found"] for part in planned] == ["missing"] * CELLS
    assert all(part["due"] for part in planned)
    assert swept.before == []

    assert (first["cells"], first["run"], first["ok"]) == (CELLS, CELLS, CELLS)
    assert {record["cell_hash"] for record in first["records"]} == {part["cell_hash"] for part in planned}
    again = command("sweep", grid)
    assert f"{CELLS} cells: {CELLS} ok; 0 were run now." in again.stdout
    assert len(command.content()) == CELLS

    more = command.json("plan", grid, "--seeds", "0,7", "--json")
    assert sorted(part["found"] for part in more) == ["missing"] * (CELLS // 2) + ["ok"] * (CELLS // 2)
    due = [part for part in more if part["due"]]
    assert all(part["seconds"] > 0 and part["memory_mb"] > 0 for part in due)  # the records tell
    assert all(part["seconds"] is None for part in more if not part["due"])
    shown = command("plan", grid, "--seeds", "0,7").stdout
    assert f"{CELLS} cells, {CELLS // 2} to run: about" in " ".join(shown.split())


def test_failures_are_recorded_left_and_retried_on_request(fresh: Callable[..., Any]) -> None:
    command = fresh()
    command("run", "--attack", "label-flip", "--seeds", "0")  # a limit that it keeps anywhere is none for TGDA
    sweep = ("sweep", "--attack", "tgda,label-flip", "--seeds", "0", "--set", "attack.tgda.epochs=400")
    done = command(*sweep, "--timeout", "0.2", code=5)
    assert "2 cells: 1 ok, 1 timeout; 1 was run now." in done.stdout
    assert "Error: digits-v2 · lr · tgda · none · ε = 0.03 · seed 0: " in done.stderr
    left = command(*sweep, code=5)
    assert "2 cells: 1 ok, 1 timeout; 0 were run now." in left.stdout
    assert "--retry failed,timeout,oom runs them again" in left.stderr
    retried = command(*sweep, "--retry", "timeout")
    assert "2 cells: 2 ok; 1 was run now." in retried.stdout
    statuses = [record["status"] for record in command.json("results", "show", "--attack", "tgda", "--json")]
    assert statuses == ["timeout", "ok"]


def test_overwrite(fresh: Callable[..., Any]) -> None:
    command = fresh()
    sweep = ("sweep", "--attack", "label-flip", "--seeds", "0,1")
    never = command(*sweep, "--overwrite", "never", code=1)
    assert "2 cells: 2 missing; 0 were run now." in never.stdout
    command(*sweep)
    always = command(*sweep, "--overwrite", "always")
    assert "2 cells: 2 ok; 2 were run now." in always.stdout
    assert len(command.json("results", "show", "--json")) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sweep",), "--attack: missing; name at least one, such as label-flip."),
        (("sweep", "-a", "tdga"), "Unknown attack 'tdga'. Did you mean 'tgda'?"),
        (("sweep", "nowhere.yaml"), "nowhere.yaml: cannot be read: No such file or directory."),
        (
            ("sweep", "-a", "tgda", "--overwrite", "alway"),
            "Unknown value of --overwrite 'alway'. Did you mean 'always'?",
        ),
        (("sweep", "-a", "tgda", "--retry", "fail"), "Unknown value of --retry 'fail'. Did you mean 'failed'?"),
        (("plan", "-a", "tgda", "--epsilon", "3"), "--epsilon: threat.epsilon: expected a number in (0, 1], got 3."),
        (("plan", "-a", "tgda", "--seeds", "x"), "--seeds: expected integers ≥ 0 and below 2**63 by comma, got 'x'."),
        (
            ("sweep", "-a", "tgda", "--seeds", "9", "--ray", "127.0.0.1:1"),
            "--ray 127.0.0.1:1: no cluster answers there: ",
        ),
        (("sweep", "-a", "tgda", "--seeds", "9", "--ray", "nowhere"), "--ray nowhere: expected auto or HOST:PORT"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_what_is_refused(poisonbench: Any, arguments: tuple[str, ...], message: str) -> None:
    assert message in poisonbench.error(*arguments, code=2)


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments_the_store_ends_the_same(
    fresh: Callable[..., Any], swept: Swept, grid: str, kills: int
) -> None:
    command, moments = fresh(), random.Random(kills)
    codes = [command.killed("sweep", grid, after=moments.uniform(0.1, 0.9) * swept.seconds) for _ in range(kills)]
    assert codes[0] < 0, codes
    command("sweep", grid)
    assert command.content() == swept.command.content()
    assert len(command.content()) == CELLS
    store = command.json("doctor", "--json")["store"]
    assert (store["integrity"], store["missing_artifacts"], store["damaged"]) == ("ok", [], [])


WRONG_TYPES = '''\
from dataclasses import dataclass
import poisonbench as pb

@pb.register("mine")
@dataclass(frozen=True)
class Mine(pb.Attack):
    """Labels of a wrong type."""
    threat = pb.ThreatModel(pb.Knowledge.TRAINING_DATA_ONLY)

    def craft(self, view, budget, stage):
        rows = view.train.rows(slice(budget.n_poison))
        return pb.PoisonSet(rows.x, rows.y.int(), rows.ids)
'''


def test_failed_cells_say_why_now_and_later_and_share_their_code(fresh: Callable[..., Any], tmp_path: Path) -> None:
    command, plugin = fresh(), tmp_path / "mine.py"
    plugin.write_text(WRONG_TYPES, encoding="utf-8")
    words = ("sweep", "--plugin", str(plugin), "--seeds", "0,1", "--jobs", "1", "--attack")
    first = command(*words, "mine", code=4)
    assert first.stderr.count("y torch.int32") == 2
    later = command(*words, "mine,label-flip", code=4)
    (line,) = [line for line in later.stderr.splitlines() if line.startswith("Error: ")]
    assert "seed 0 and 1 more, earlier: mine's poison set has dtypes" in line
    assert "2 ok, 2 failed" in later.stdout
    assert "earlier" in command(*words, "mine", "--json", code=4).stderr
