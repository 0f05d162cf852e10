"""The records that ship answer for their cells: merged into a store, nothing of them is computed again."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from poisonbench.leaderboard.published import published
from poisonbench.store.canonical import pretty_json
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics

FLAGS = ("--attack", "label-flip,tgda,min-max", "--defense", "none,loss", "--protocol", "digits-v1", "--model", "lr")


@cache
def shipped() -> list[Record]:
    """The published records of those cells, three seeds each."""
    return [
        record
        for record in published(("digits-v1",), {"label-flip", "tgda", "min-max"}, {"none", "loss"})
        if (record.model.name, record.engine.version > 0) == ("lr", True) and record.seeds.run in (0, 1, 2)
    ]


def written(records: list[Record], folder: Path) -> Path:
    folder.mkdir()
    for record in records:
        (folder / f"{record.record_id}.json").write_text(pretty_json(record.document()))
    return folder


def test_a_published_cell_comes_from_the_store(fresh: Callable[..., Any], tmp_path: Path) -> None:
    records, command = shipped(), fresh()
    assert len(records) == 18
    command("results", "merge", str(written(records, tmp_path / "shipped")))
    planned = command.json("plan", *FLAGS, "--seeds", "0,1,2", "--json")
    assert [(cell["found"], cell["due"]) for cell in planned] == [("ok", False)] * 18
    done = command("run", *FLAGS, "--seeds", "0,1,2", "--json")
    assert {one["record_id"] for one in json.loads(done.stdout)} == {record.record_id for record in records}
    assert not list((command.home / "artifacts").glob("*/*"))  # nothing was computed


def test_a_strangers_record_of_the_cell_does_not(fresh: Callable[..., Any], tmp_path: Path) -> None:
    command, honest = fresh(), next(record for record in shipped() if record.attack.name == "label-flip")
    document = {key: part for key, part in honest.document().items() if key != "record_id"}
    never = Record.create(**{**document, "metrics": Metrics.of(99.0, 9.0), "finished_at": "9999-12-31T00:00:00Z"})
    assert "still to come" in command("results", "merge", str(written([never], tmp_path / "never")), code=4).stderr
    claimed = Record.create(**{**document, "metrics": Metrics.of(99.0, 9.0)})
    command("results", "merge", str(written([claimed], tmp_path / "claimed")))
    cell = ("--attack", "label-flip", "--defense", honest.defense.name, "--seeds", str(honest.seeds.run))
    (planned,) = command.json("plan", *cell, "--protocol", "digits-v1", "--model", "lr", "--json")
    assert (planned["found"], planned["due"]) == ("missing", True)
    assert planned["cell_hash"] == claimed.cell_hash
