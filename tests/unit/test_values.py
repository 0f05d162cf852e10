"""What boards show of records' trajectories."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record


def test_the_drop_by_epoch_final_late_and_best(planted: Callable[..., Record]) -> None:
    trajectories = {
        "epochs": (2, 4, 6, 8, 9, 10),
        "clean": (50.0, 96.0, 92.0, 94.0, 93.0, 95.0),
        "poisoned": (48.0, 91.0, 80.0, 88.0, 82.0, 85.0),
    }
    record = planted(trajectories=trajectories)
    assert VALUES["last-quarter"].of(record) == pytest.approx((94 + 93 + 95) / 3 - (88 + 82 + 85) / 3)  # 8, 9 and 10
    assert VALUES["best-epoch"].of(record) == 96.0 - 91.0


def test_older_records_have_none(planted: Callable[..., Record]) -> None:
    record = planted(trajectories=None)
    assert VALUES["last-quarter"].of(record) is None
    assert VALUES["best-epoch"].of(record) is None
