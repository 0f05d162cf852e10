"""The panel at the end of a run says what the attack knew and whom the defense trusted."""

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from poisonbench.experiment.runner import Outcome
from poisonbench.store.record import Record
from poisonbench.terminal.panel import results_panel


def shown(record: Record) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(results_panel([Outcome(record, None, ["record"], [])]))
    return capture.get()


def changed(record: Record, section: str, **values: object) -> dict[str, Any]:
    document: dict[str, Any] = record.model_dump(mode="json")[section]
    return document | values


@pytest.mark.parametrize(
    ("knowledge", "trusted", "own", "expected"),
    [
        ("training-data-only", 0, 13, "The attack knows D_tr alone. "),
        ("training-only", None, 0, "The attack knows data, model and recipe. "),
        ("training-only", 13, 13, "The attack knows data, model and recipe. The defense trusts 13 clean rows. "),
        (
            "training-only",
            389,
            0,
            "The attack knows data, model and recipe. The defense trusts 389 clean rows of D_v, which the attacker may "
            "know. ",
        ),
    ],
)
def test_who_knew_what(
    planted: Callable[..., Record], knowledge: str, trusted: int | None, own: int, expected: str
) -> None:
    usual = planted()
    record = planted(
        defense="influence",
        threat=changed(usual, "threat", knowledge=knowledge),
        dataset=changed(usual, "dataset", n_trusted=own),
        defense_detail={"removed": 0, "precision": None, "recall": None, "trusted": trusted, "stats": {}},
    )
    (line,) = [line for line in shown(record).splitlines() if "The attack knows" in line]
    assert line.strip("│ ") + " " == expected


@pytest.mark.parametrize("collapsed", [False, True])
def test_an_attack_that_collapsed_says_so(planted: Callable[..., Record], collapsed: bool) -> None:
    found = shown(planted(attack_stats={"collapsed": collapsed}))
    assert ("The attack collapsed with seed 0: its numbers are not its own." in found) == collapsed
