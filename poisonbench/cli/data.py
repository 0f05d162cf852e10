"""`poisonbench data prepare | verify | split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from poisonbench.cli.options import Data, group_options
from poisonbench.cli.strict_app import StrictApp
from poisonbench.counted import counted
from poisonbench.errors import CorruptFileError, DataError

data_app = StrictApp(help="Bring datasets to this machine, check them, export splits.", no_args_is_help=True)


@data_app.command()
@group_options
def prepare(names: Annotated[list[str], typer.Argument(help="Datasets.")], data: Data) -> None:
    """Fetch datasets from the first source that has them, check them and keep them."""
    from poisonbench.data import base
    from poisonbench.terminal.consoles import console, errors

    for name in names:
        with errors.status(Text(f"Preparing {name} …")):
            dataset = base.prepare(name, data.options())
        console.print(
            f"{name}: {len(dataset.train)} + {len(dataset.test)} images, SHA-256 {dataset.sha256}, ready.",
            soft_wrap=True,
        )


@data_app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Datasets. Default: every one that is cached.")] = None,
) -> None:
    """Check cached datasets against their SHA-256, fetching nothing."""
    from poisonbench.data import base
    from poisonbench.plugins.registry import entries
    from poisonbench.terminal.consoles import console

    for name in names or list(entries("dataset")):
        try:
            rows = base.verify(name, Data(offline=True).options())
        except CorruptFileError:
            raise
        except DataError:
            if names:  # one that was named must be here
                raise
            console.print(f"{name}: not on this machine")
            continue
        for row in rows:
            console.print(f"{name}: {row.path}, {row.bytes:,} bytes, SHA-256 {row.sha256}, whole.", soft_wrap=True)


@data_app.command()
@group_options
def split(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .npz or .safetensors.")],
    data: Data,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="By name or a YAML file, as `run` takes it. Default: that of digits."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="In the place of the protocol's; alone, under its newest protocol.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**63 - 1, help="The run's seed, which decides the split.")
    ] = 0,
) -> None:
    """Export what a run with that seed shows to attacks: x_train, y_train, x_val and y_val, to make poison from.

    Pixels are float32 in [0, 1]. `run --poison FILE` scores what was made of it, with the same protocol and seed.
    """
    from poisonbench.cli import split_file
    from poisonbench.data.base import prepare
    from poisonbench.experiment.protocol import choose, resolve
    from poisonbench.experiment.settings import Setting
    from poisonbench.problem.budget import Budget
    from poisonbench.problem.threat import ThreatModel
    from poisonbench.terminal.bars import Bars
    from poisonbench.terminal.consoles import console

    split_file.check_name(output)
    chosen = () if dataset is None else (Setting("dataset", dataset, "--dataset"),)
    rules = resolve(choose(protocol, dataset), chosen).protocol
    with Bars() as bars:
        bars.begin(f"read {rules.dataset}", None, 0)
        whole = prepare(rules.dataset, data.options())
        bars.end(f"read {rules.dataset}")
        bars.begin(f"write {output.name}", None, 0)
        found = split_file.tensors(split_file.split_of(rules, whole, seed))
        split_file.write(found, output)
        bars.end(f"write {output.name}")
    budget = Budget(rules.threat.epsilon, len(found["x_train"]), whole.classes, ThreatModel(), rules.threat.radius)
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in found.items())
    console.print(
        f"{output}: {shapes}; {rules.name}, seed {seed}: at most {counted(budget.n_poison, 'poison point')}.",
        soft_wrap=True,
    )
