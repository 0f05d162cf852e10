"""`poisonbench doctor`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer

from poisonbench import __version__
from poisonbench.cli.options import Data, JsonOption, StoreOption
from poisonbench.errors import CorruptFileError, DataError, PoisonbenchError, UsageError
from poisonbench.terminal.consoles import console, write_json
from poisonbench.visible import one_line

_LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "sqlalchemy")

_MOST = 20
"""Leftovers that are named; `--json` has all."""

_ADVICE = {
    "damaged": ("damaged records", "Merge an export of them, or run their cells again."),
    "set_aside": ("records set aside by an upgrade of the store", "Merge an export of them."),
    "damaged_stages": ("damaged stages", "Restore the database from a backup, or begin a new store."),
    "undone": (
        "records without their artifacts",
        "Run their cells again, or merge an export --artifacts.",
    ),
    "lost_artifacts": ("missing artifacts", "Run their cells again with --force, or merge an export --artifacts."),
    "damaged_artifacts": ("damaged artifacts", "Run their cells again with --force, which writes them anew."),
}
"""By entry of the store's report, for what is wrong if it names anything."""


def doctor(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]", help="Folders that commands wrote to: what kills left there, too."),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove what killed processes left and nothing needs.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check versions, device, threads, data, plugins and store; 1 if something needs mending.

    Killed processes leave temporary files, half a site, checkpoints of stages that are finished. They are listed here,
    and removed by --clean: only what is locked by nobody, and no record, no result, no checkpoint to go on from.
    """
    import torch

    from poisonbench.cli.cleaning import examine
    from poisonbench.plugins.registry import GROUPS, entries
    from poisonbench.process import environment
    from poisonbench.process.allocator import keep_freed_blocks
    from poisonbench.store.location import refuse_missing
    from poisonbench.sweeps.workers.token_file import exposed_token

    refuse_missing(store)
    faults: list[str] = []
    findings: dict[str, Any] = {
        "versions": {
            "poisonbench": __version__,
            "python": platform.python_version(),
            **{name: _version(name, faults) for name in _LIBRARIES},
        },
        "device": {
            "cpu": environment.cpu_name(),
            "threads": torch.get_num_threads(),
            "gpu": _gpu(faults),
            "allocator_keeps_blocks": keep_freed_blocks(),
        },
        "data": {"cache": _cache(faults), **{name: _data(name, faults) for name in entries("dataset")}},
        "broken_plugins": {
            f"{kind} {entry.name}": entry.broken for kind in GROUPS for entry in entries(kind).values() if entry.broken
        },
        "store": _store(store, faults),
    }
    findings["leftovers"], removed = examine(store, folders or (), clean)
    if clean:
        findings["removed"] = removed
    faults += [f"the plugin {name}: {reason}" for name, reason in findings["broken_plugins"].items()]
    if exposed := exposed_token():
        faults.append(exposed)
    if as_json:
        write_json({**findings, "faults": faults, "healthy": not faults})
    else:
        _print(findings, faults)
    raise typer.Exit(1 if faults else 0)


def _print(findings: Mapping[str, Mapping[str, Any]], faults: Sequence[str]) -> None:
    for section, values in findings.items():
        console.print(section.replace("_", " "), style="bold")
        for key, value in _lines(section, values):
            line = f"  {key}: {value}" if value != "" else f"  {key}"
            console.print(one_line(line), soft_wrap=True)
    for fault in faults:
        console.print(one_line(f"✗ {fault}"), style="red", soft_wrap=True)
    if faults:
        console.print("Something needs mending; see above.", style="red")
    else:
        console.print("All well.", style="green")


def _lines(section: str, values: Mapping[str, Any]) -> list[tuple[str, object]]:
    if section not in ("leftovers", "removed"):
        return list(values.items()) or [("none", "")]
    size = sum(one["bytes"] for one in values.values())
    shown = [(path, f"{one['what']}, {one['bytes']:,} bytes") for path, one in list(values.items())[:_MOST]]
    more = [(f"and {len(values) - _MOST} more", "")] if len(values) > _MOST else []
    advice = ", which `poisonbench doctor --clean` removes" if section == "leftovers" and values else ""
    return [*shown, *more, (f"{len(values)} in all, {size:,} bytes{advice}", "")]


def _version(name: str, faults: list[str]) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        faults.append(f"{name} is not installed. Install poisonbench again.")
        return None


def _gpu(faults: list[str]) -> str | None:
    import torch

    from poisonbench.guard.method_errors import first_line

    try:
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    except RuntimeError as error:  # a driver that is there and does not answer
        reason = first_line(error)
        faults.append(f"the GPU cannot be used: {reason}")
        return f"cannot be used: {reason}"


def _cache(faults: list[str]) -> str:
    """The folder of prepared datasets, which the first of them makes."""
    from poisonbench.data.base import default_cache_dir

    folder = default_cache_dir()
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "is not a folder" if not there.is_dir() else "cannot be written"
        faults.append(f"datasets cannot be kept in {folder}: {there} {reason}. Set POISONBENCH_HOME to another folder.")
    return str(folder)


def _data(name: str, faults: list[str]) -> str:
    """What is here of a dataset. One that is not here is no fault; one that is here and wrong is."""
    from poisonbench.data.base import verify
    from poisonbench.guard.method_errors import first_line, told

    try:
        rows = verify(name, Data(offline=True).options())
    except (CorruptFileError, UsageError) as error:
        faults.append(f"the dataset {name}: {error}")
        return f"not ready: {error}"
    except DataError as error:
        return f"not ready: {error}"
    except Exception as error:  # a plugin's own
        faults.append(f"the dataset {name} raised {told(error)}")
        return f"not ready: {first_line(error)}"
    return ", ".join(f"{row.path} ({row.bytes:,} bytes)" for row in rows)


def _store(store: str | None, faults: list[str]) -> dict[str, Any]:
    from poisonbench.store.cleaning import unfinished
    from poisonbench.store.database import Store

    try:
        with Store.open(store) as opened:
            report = opened.check() | unfinished(opened)
    except PoisonbenchError as error:
        faults.append(str(error))
        return {"error": str(error)}
    if report["integrity"] != "ok":
        faults.append(f"the database: {report['integrity']}")
    if report["writable"] is not True:
        faults.append(report["writable"])
    for key, (what, advice) in _ADVICE.items():
        if found := report.get(key):
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            faults.append(f"{what}: {', '.join(found[:3])}{more}. {advice}")
    return report
