"""`poisonbench data prepare | verify`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from poisonbench.cli.options import Data, group_options
from poisonbench.cli.strict_app import StrictApp
from poisonbench.errors import CorruptFileError, DataError

data_app = StrictApp(help="Bring datasets to this machine and check them.", no_args_is_help=True)


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
