"""Records as a DataFrame: every column typed, every number the record's own."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from poisonbench.leaderboard.frame import COLUMNS, frame
from poisonbench.store.record import Record
from poisonbench.store.record_results import DefenseDetail


def test_a_row_each_record_in_order(planted: Callable[..., Record]) -> None:
    records = [planted("tgda", 3.0, 1), planted("min-max", 2.5, 0, defense="sever"), planted("emn", None, 2)]
    found = frame(records)
    assert list(found.columns) == list(COLUMNS)
    assert list(found["record_id"]) == [record.record_id for record in records]
    assert list(found["attack"]) == ["tgda", "min-max", "emn"]
    assert list(found["defense"]) == ["none", "sever", "none"]
    assert list(found["seed"]) == [1, 0, 2]
    assert list(found["drop"])[:2] == [3.0, 2.5]


def test_what_a_record_lacks_is_missing(planted: Callable[..., Record]) -> None:
    (row,) = frame([planted("tgda", None)]).itertuples()
    assert pd.isna(row.drop)
    assert pd.isna(row.removed)
    assert pd.isna(row.surrogate)
    assert row.error == "boom"


def test_columns_have_their_types_even_without_a_record() -> None:
    types = frame([]).dtypes
    assert types["acc1"] == "float64"
    assert types["attack"] == "string"
    assert types["removed"] == types["seed"] == "Int64"
    assert types["ranked"] == "boolean"
    assert isinstance(types["finished_at"], pd.DatetimeTZDtype)


def test_settings_and_deviations_can_be_grouped_by(planted: Callable[..., Record]) -> None:
    one, other = planted(params={"b": 1, "a": [1, 2]}), planted(params={"a": [1, 2], "b": 1}, seed=1)
    deviating = planted(seed=2, protocol={**one.protocol.model_dump(), "deviations": ["lr: 1 → 2", "epochs: 1 → 2"]})
    found = frame([one, other, deviating])
    assert list(found["attack_params"])[:2] == ['{"a":[1,2],"b":1}'] * 2
    assert list(found["deviations"]) == ["", "", "lr: 1 → 2; epochs: 1 → 2"]
    assert list(found["ranked"]) == [True, True, False]


def test_a_count_stays_one(planted: Callable[..., Record]) -> None:
    records = [planted(defense_detail=DefenseDetail(removed=3)), planted(seed=1)]
    assert frame(records)["removed"].sum() == 3
    assert str(frame(records)["removed"][0]) == "3"


def test_the_published_means_are_those_of_their_records(published_records: tuple[Record, ...]) -> None:
    records = [record for record in published_records if record.protocol.name == "digits-v1"]
    by_attack = frame(records).groupby("attack")["drop"].mean()
    own = [record.metrics.drop for record in records if record.metrics and record.attack.name == "label-flip"]
    assert by_attack["label-flip"] == pytest.approx(sum(own) / len(own), rel=1e-12)
