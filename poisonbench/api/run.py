"""`poisonbench.run`: cells from arguments, as the command line reads them, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, TypeAlias, TypeVar

import torch

from poisonbench.api.results import Results
from poisonbench.cli.options import Data, Machine, Workers
from poisonbench.cli.workplace import Workplace
from poisonbench.errors import ConfigError
from poisonbench.sweeps import grid as grids
from poisonbench.sweeps.plan import Unwatched
from poisonbench.terminal.cell_bars import CellBars

Value = TypeVar("Value")
OneOrMore: TypeAlias = Value | Iterable[Value]

_ORIGIN = "poisonbench.run"
"""What messages name as the place of a wrong argument."""


def run(
    attack: OneOrMore[str] | None = None,
    defense: OneOrMore[str] = "none",
    *,
    poison: OneOrMore[str | PathLike[str]] | None = None,
    protocol: OneOrMore[str | PathLike[str]] | None = None,
    dataset: OneOrMore[str] | None = None,
    model: OneOrMore[str] | None = None,
    surrogate: OneOrMore[str] | None = None,
    preset: OneOrMore[str] | None = None,
    knows: OneOrMore[str] | None = None,
    epsilon: OneOrMore[float] | None = None,
    seeds: OneOrMore[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    store: str | PathLike[str] | None = None,
    data_dir: str | PathLike[str] | None = None,
    offline: bool = False,
    device: str = "auto",
    threads: int | None = None,
    timeout: float | None = None,
    force: bool = False,
    progress: bool = True,
) -> Results:
    """Attack, defend, train, test and record every combination of the arguments, as `poisonbench run` does.

    Cells that the store has come from there. One that fails is in the results, and the others go on. They run one
    after the other, and those of plugins in processes of their own. `poisonbench sweep` runs several at a time.

    Args:
        attack: one name or several, as in every argument up to `seeds`; None with `poison` alone.
        defense: "loss+maxup" is one after the other, "sever:pooled" one with named settings.
        poison: poison sets that somebody made, in the place of `attack`: .safetensors, .npz, or a folder of images with
            a CSV.
        protocol: its name, or a YAML file; by default the dataset's newest, and without a dataset that of the digits.
        dataset: by default the protocol's.
        model: target; by default the protocol's first.
        surrogate: model that the attack crafts on; by default the target.
        preset: named settings of the attack.
        knows: the defense that the attacker knows: the one that it meets by name, or "same"; by default none.
        epsilon: poison fraction, n_poison / n_train; by default the protocol's.
        seeds: by default the protocol's.
        settings: by key, such as {"attack.epochs": 3}. A list is an axis as well; a value that is a list itself is
            written as a list of one list.
        store: folder, .db file or SQLAlchemy URL; by default in the user's data folder.
        data_dir: folder with the dataset's own files, looked in after the cache.
        offline: whether no connection may be opened.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads; by default torch's choice. A small problem takes one.
        timeout: seconds that a cell may take.
        force: whether cells that the store has are recorded anew, from finished stages where there are any.
        progress: whether bars are drawn on a terminal, and elsewhere a line is written for each cell, on standard
            error.
    Returns:
        A record for each cell: protocols outermost, seeds innermost.
    Raises:
        UsageError, DataError, StoreError: for an argument that is wrong, data that is missing or a store that cannot be
            written; before any work.
    """
    axes = {
        "attack": attack,
        "poison": poison,
        "defense": defense,
        "protocol": protocol,
        "dataset": dataset,
        "model": model,
        "surrogate": surrogate,
        "preset": preset,
        "knows": knows,
        "epsilon": epsilon,
        "seeds": seeds,
    }
    document = {axis: _listed(values) for axis, values in axes.items() if values is not None}
    document["set"] = {key: _listed(values) for key, values in (settings or {}).items()}
    cells = grids.cells(grids.grid(document, _ORIGIN), _ORIGIN)
    _refuse_bad_numbers(threads, timeout)
    workplace = Workplace(
        store=None if store is None else str(store),
        data=Data(None if data_dir is None else Path(data_dir), offline),
        machine=Machine(device, threads, timeout),
        workers=Workers(jobs=1),
    )
    with _threads_kept(), workplace.runner(force) as runner:
        runner.prepare(cells)
        bars = CellBars(len(cells)) if progress else nullcontext(Unwatched())
        with workplace.pool(runner, cells) as pool, bars as watch:
            found = {outcome.record.cell_hash: outcome for outcome in pool.run(cells, watch)}
    outcomes = [found[cell.hash()] for cell in cells]
    errors = {outcome.record.record_id: outcome.error for outcome in outcomes if outcome.error is not None}
    return Results(tuple(outcome.record for outcome in outcomes), errors)


def _listed(values: object) -> object:
    """Ranges, arrays and series as lists, paths as text, numpy's numbers as Python's."""
    if isinstance(values, Iterable) and not isinstance(values, str | Mapping):
        return [_plain(value) for value in values]
    return _plain(values)


def _plain(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def _refuse_bad_numbers(threads: object, timeout: object) -> None:
    if threads is not None and not (isinstance(threads, int) and threads > 0):
        raise ConfigError(f"{_ORIGIN}: threads: expected an integer above 0, got {threads!r}.")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ConfigError(f"{_ORIGIN}: timeout: expected seconds above 0, got {timeout!r}.")


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Leave the number of threads as the caller had it."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
