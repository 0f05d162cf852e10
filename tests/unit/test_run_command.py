"""`poisonbench run`: what tells experiments of one attack and one defense apart."""

from __future__ import annotations

from collections.abc import Callable

from poisonbench.cli.run import own_settings
from poisonbench.store.record import Record


def test_settings_are_named_where_they_differ(planted: Callable[..., Record]) -> None:
    few, many = (planted("tgda", params={"epochs": epochs, "m": 1}) for epochs in (10, 20))
    other = planted("emn", params={"epochs": 30})
    assert own_settings(few, [few, many, other]) == "attack.epochs=10"
    assert own_settings(many, [few, many, other]) == "attack.epochs=20"
    assert own_settings(few, [few, planted("tgda", seed=1, params={"epochs": 10, "m": 1}), other]) == ""
    assert own_settings(other, [few, many, other]) == ""
