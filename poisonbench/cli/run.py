"""`poisonbench run`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.axes import AxisFlags, Settings
from poisonbench.cli.options import Data, Machine, Output, StoreOption, Workers, group_options

if TYPE_CHECKING:
    from poisonbench.experiment.runner import Outcome
    from poisonbench.store.record import Record


@group_options
def run(
    axes: AxisFlags,
    settings: Settings,
    machine: Machine,
    data: Data,
    output: Output,
    force: Annotated[bool, typer.Option("--force", help="Make a new record even if the store has this cell.")] = False,
    store: StoreOption = None,
) -> None:
    """Run an attack against a defense and record acc1 − acc2 and the runtime.

    Lists make a grid. Everything already in the store is taken from there; an interrupted run goes on where it stopped.
    """
    from poisonbench.process.fork_server import start_early

    start_early(machine.device, machine.threads, None)
    from poisonbench.cli.cells import cells_of, shared, work
    from poisonbench.cli.workplace import Workplace
    from poisonbench.terminal.consoles import console, note, write_json
    from poisonbench.terminal.panel import results_panel

    cells = cells_of(axes, settings)
    workplace = Workplace(store, data, machine, Workers())
    with workplace.runner(force) as runner:
        outcomes = work(runner, workplace, cells, output.debug, bars=True)
    if output.as_json:
        write_json([outcome.record.document() for outcome in outcomes])
    else:
        records = [outcome.record for outcome in outcomes]
        for _, group in itertools.groupby(outcomes, key=_experiment):
            experiment = list(group)
            if own := own_settings(experiment[0].record, records):
                console.print(own)
            console.print(results_panel(experiment))
        note(f"Records are in {runner.store.location}.")
    raise typer.Exit(shared(outcome.exit_code for outcome in outcomes))


def _experiment(outcome: Outcome) -> tuple[object, ...]:
    """All but the seed."""
    record = outcome.record
    methods = (record.attack, record.surrogate, record.defense)
    return record.protocol, record.dataset, record.model, *methods, record.threat.epsilon


def own_settings(record: Record, among: Iterable[Record]) -> str:
    """The fields of a record's attack and defense in which others of the same attack and defense differ, as --set."""
    own = _fields(record)
    names = record.attack.name, record.defense.name
    others = [_fields(other) for other in among if (other.attack.name, other.defense.name) == names]
    return ", ".join(f"{key}={value}" for key, value in own.items() if any(other.get(key) != value for other in others))


def _fields(record: Record) -> dict[str, object]:
    methods = {"attack": record.attack, "defense": record.defense}
    return {f"{kind}.{key}": value for kind, method in methods.items() for key, value in method.params.items()}
