"""`poisonbench.results`: the records of a store as a DataFrame."""

from __future__ import annotations

import warnings
from os import PathLike
from typing import TYPE_CHECKING

from poisonbench.leaderboard.frame import frame
from poisonbench.leaderboard.gathered import gathered
from poisonbench.problem.epsilon import rounded
from poisonbench.store.database import Store
from poisonbench.store.location import refuse_missing
from poisonbench.visible import one_line

if TYPE_CHECKING:
    import pandas as pd


def results(*, store: str | PathLike[str] | None = None, published: bool = False, **filters: object) -> pd.DataFrame:
    """One row a record, failed cells included. A record that cannot be read is left out, with a warning.

    Args:
        store: folder, .db file or SQLAlchemy URL; by default in the user's data folder.
        published: whether the records that ship with poisonbench come first.
        **filters: a column such as attack, defense, model, protocol, dataset, epsilon, seed, status or ranked, and the
            value that it must have, or a list of which it must have one.
    Raises:
        UsageError: if there is no such store, or for a filter that is no column; suggests the nearest.
        StoreError: if the store cannot be read.
    """
    if "epsilon" in filters:
        filters["epsilon"] = _rounded(filters["epsilon"])
    refuse_missing(store)
    with Store.open(store) as opened:
        records = gathered(opened, filters, published)
    for record_id, reason in opened.unreadable.items():
        warnings.warn(one_line(f"Left out record {record_id}: {reason}. Merge an export of it."), stacklevel=2)
    return frame(records)


def _rounded(epsilon: object) -> object:
    """ε as cells and records have it."""
    if isinstance(epsilon, list | tuple | set | frozenset):
        return [_rounded(one) for one in epsilon]
    return rounded(epsilon) if isinstance(epsilon, float) else epsilon
