"""Options that several commands share, declared once: a group is a dataclass that a command takes as one parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

if TYPE_CHECKING:
    from poisonbench.data.base import DataOptions
    from poisonbench.problem.open_samples import OpenDataset

Result = TypeVar("Result")


def group_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """The command as Typer is to see it: each field of a dataclass that it takes is an option of its own."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}

    def parameters() -> Iterable[Parameter]:
        for name, own in signature(command).parameters.items():
            if name not in groups:
                yield own.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY)
                continue
            inner = get_type_hints(groups[name], include_extras=True)
            for field in fields(groups[name]):
                default = Parameter.empty if field.default is MISSING else field.default
                yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=inner[field.name])

    @wraps(command)
    def called(**given: Any) -> Result:
        whole = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind) if field.name in given})
            for name, kind in groups.items()
        }
        return command(**given, **whole)

    flat = Signature(list(parameters()))
    called.__annotations__ = {name: parameter.annotation for name, parameter in flat.parameters.items()}
    vars(called)["__signature__"] = flat
    return called


def _plug(context: typer.Context, files: list[Path] | None) -> list[Path] | None:
    if files and not context.resilient_parsing:  # completing a command line runs nobody's code
        from poisonbench.plugins.registry import plug

        plug(files)
    return files


StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="Folder, .db file or SQLAlchemy URL. Default: the user's data folder."),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        callback=_plug,
        help="A Python file whose methods are known for this run; may be given several times.",
    ),
]
"""Its methods are known as soon as it is read; there is nothing more to do with it."""
PublishedOption = Annotated[bool, typer.Option("--published", help="Also the records that ship with poisonbench.")]
TrackOption = Annotated[
    str | None,
    typer.Option(
        "--track", help="Also make a run of each finished cell in mlflow or wandb, as their own settings say where."
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No bars and, in logs, no lines of progress; what failed is said still.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


@dataclass(frozen=True)
class Data:
    """Where datasets come from, and the plugins that may bring some."""

    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder with the dataset's own files, looked in after the cache.")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Open no connection; fail at once if data is missing.")] = (
        False
    )
    plugin: PluginOption = None

    def options(self) -> DataOptions:
        """As datasets take them; what is fetched is noted on standard error."""
        from poisonbench.data.base import DataOptions, default_cache_dir
        from poisonbench.terminal.consoles import note

        return DataOptions(default_cache_dir(), self.data_dir, self.offline, note)

    def opener(self) -> Callable[[str], OpenDataset]:
        """Datasets by name, each opened once; their images are read when they are asked for.

        Raises (when it is called):
            DataError: if a dataset is not here.
        """
        from poisonbench.data.base import open_dataset

        options = self.options()
        return cache(lambda name: open_dataset(name, options))


@dataclass(frozen=True)
class Machine:
    """What a process may use."""

    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto"
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="CPU threads at most; a small problem takes one. Default: the cores.",
        ),
    ] = None
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds a cell may take.")] = None


@dataclass(frozen=True)
class Workers:
    """Processes beside this one."""

    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; small problems take one a core.")
    ] = None
    ray: Annotated[
        str | None, typer.Option("--ray", help="Address of a Ray cluster to work on, such as auto or HOST:6379.")
    ] = None
    gpus: Annotated[
        float | None,
        typer.Option("--gpus", min=0.01, help="GPUs of a cluster's worker, such as 0.5. Default: 1 if any."),
    ] = None


@dataclass(frozen=True)
class Policy:
    """What is done about cells that the store has a record of."""

    overwrite: Annotated[
        str,
        typer.Option("--overwrite", help="only-missing; never: compute nothing; always: a new record of every cell."),
    ] = "only-missing"
    retry: Annotated[str | None, typer.Option("--retry", help="Run these again: failed, timeout, oom, by comma.")] = (
        None
    )


@dataclass(frozen=True)
class Output:
    """What is printed."""

    as_json: JsonOption = False
    quiet: QuietOption = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failed cell.")] = False
