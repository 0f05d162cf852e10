"""`poisonbench doctor`."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import typer

from poisonbench import __version__
from poisonbench.cli.options import Data, JsonOption, StoreOption
from poisonbench.errors import DataError, PoisonbenchError
from poisonbench.terminal.consoles import console


def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check versions, device, threads, data and store."""
    import torch

    from poisonbench.plugins.registry import GROUPS, entries
    from poisonbench.process import environment
    from poisonbench.process.allocator import keep_freed_blocks

    findings: dict[str, dict[str, Any]] = {
        "versions": {
            "poisonbench": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "scikit-learn", "sqlalchemy")},
        },
        "device": {
            "cpu": environment.cpu_name(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "allocator_keeps_blocks": keep_freed_blocks(),
        },
        "data": {name: _data(name) for name in entries("dataset")},
        "broken_plugins": {
            f"{kind} {entry.name}": entry.broken for kind in GROUPS for entry in entries(kind).values() if entry.broken
        },
        "store": _store(store),
    }
    healthy = "error" not in findings["store"] and not findings["broken_plugins"]
    if as_json:
        sys.stdout.write(json.dumps({**findings, "healthy": healthy}, indent=2, default=str) + "\n")
    else:
        _print(findings, healthy)
    raise typer.Exit(0 if healthy else 1)


def _print(findings: Mapping[str, Mapping[str, Any]], healthy: bool) -> None:
    for section, values in findings.items():
        console.print(f"[bold]{section.replace('_', ' ')}")
        for key, value in values.items() or [("none", "")]:
            console.print(
                f"  {key}: {value}" if value != "" else f"  {key}", markup=False, highlight=False, soft_wrap=True
            )
    console.print("[green]All well." if healthy else "[red]Something needs mending; see above.")


def _data(name: str) -> str:
    from poisonbench.data.base import verify

    try:
        rows = verify(name, Data(offline=True).options())
    except DataError as error:
        return f"not ready: {error}"
    return ", ".join(f"{row.path} ({row.bytes:,} bytes)" for row in rows)


def _store(store: str | None) -> dict[str, Any]:
    from poisonbench.store.database import Store

    try:
        with Store.open(store) as opened:
            return opened.check()
    except PoisonbenchError as error:
        return {"error": str(error)}
