"""`poisonbench data prepare | verify`."""

from __future__ import annotations

from pathlib import Path

from poisonbench.data.base import DataOptions, default_cache_dir, prepare, verify
from poisonbench.errors import CorruptFileError, DataError
from poisonbench.plugins.registry import entries
from poisonbench.terminal.consoles import console, errors, note


def prepare_all(names: list[str], data_dir: Path | None, offline: bool) -> None:
    """Bring datasets here, one after the other, and say where they came from."""
    options = DataOptions(default_cache_dir(), data_dir, offline, note)
    for name in names:
        with errors.status(f"Preparing {name} …"):
            dataset = prepare(name, options)
        console.print(
            f"{name}: {len(dataset.train)} + {len(dataset.test)} images, SHA-256 {dataset.sha256[:16]}…, ready."
        )


def verify_all(names: list[str]) -> None:
    """Check what is here.

    Raises:
        CorruptFileError, DataError: for a named dataset that is damaged or absent; without names, for a damaged one.
    """
    options = DataOptions(default_cache_dir(), offline=True, report=note)
    for name in names or list(entries("dataset")):
        try:
            rows = verify(name, options)
        except CorruptFileError:
            raise
        except DataError:
            if names:
                raise
            console.print(f"{name}: not on this machine")
            continue
        for row in rows:
            console.print(
                f"{name}: {row.path}, {row.bytes:,} bytes, SHA-256 {row.sha256[:16]}…, whole.", soft_wrap=True
            )
