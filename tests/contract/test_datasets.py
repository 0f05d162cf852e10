"""The built-in datasets that need no download keep the contract of datasets."""

from __future__ import annotations

from poisonbench.data.digits import Digits, Digits17
from poisonbench.testing import DatasetContract


class TestDigits(DatasetContract):
    dataset = Digits()


class TestDigits17(DatasetContract):
    dataset = Digits17()
