"""scikit-learn's 1,797 handwritten digits of 8×8 pixels, and their binary subset: real data that needs no download."""

from __future__ import annotations

import importlib.util
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from poisonbench.data.base import ByteSource, DataOptions, Verified
from poisonbench.data.content import Content, Rows, as_dataset, fingerprint, ones_and_sevens
from poisonbench.data.stratified import stratified
from poisonbench.errors import CorruptFileError
from poisonbench.plugins.registry import register
from poisonbench.problem.open_samples import OpenDataset
from poisonbench.seeding import child_generator

N_TEST = 500
SHA256 = "5172f10051d05b7c016a360afd46498267bf0a046c9b73943c260379295d759c"
"""Identifies content and split; results on any other are not comparable."""


@register("digits")
@dataclass(frozen=True)
class Digits(ByteSource):
    """The digits with a fixed stratified split into 1,297 training and 500 test images.

    Pixels are counts 0..16, x = count / 16. Ids are row numbers in scikit-learn's order.
    """

    version: ClassVar[int] = 1
    classes: ClassVar[int] = 10
    mean: ClassVar[tuple[float, ...]] = (0.5,)
    std: ClassVar[tuple[float, ...]] = (0.5,)

    @classmethod
    def folders(cls) -> tuple[Path, ...]:
        """The folders in which scikit-learn keeps the datasets that it ships and those that it fetches."""
        return _scikit_learns()

    def open(self, options: DataOptions) -> OpenDataset:
        content, train, test = _content()
        options.report("digits: scikit-learn: read and verified")
        return as_dataset(self, content, SHA256, (torch.from_numpy(train), torch.from_numpy(test)), white=16)

    def verify(self, options: DataOptions) -> list[Verified]:
        _content()
        path = _file()
        return [Verified("digits", path, path.stat().st_size, SHA256)]


@register("digits-17")
@dataclass(frozen=True)
class Digits17(ByteSource):
    """The ones (class 0) and sevens (class 1) of the digits: 260 training and 101 test images, with the ids and in the
    part that they have there."""

    version: ClassVar[int] = 1
    classes: ClassVar[int] = 2
    mean: ClassVar[tuple[float, ...]] = (0.5,)
    std: ClassVar[tuple[float, ...]] = (0.5,)

    @classmethod
    def folders(cls) -> tuple[Path, ...]:
        """The folders in which scikit-learn keeps the datasets that it ships and those that it fetches."""
        return _scikit_learns()

    def open(self, options: DataOptions) -> OpenDataset:
        whole, train_ids, test_ids = _content()
        content, train, test = ones_and_sevens(whole)
        options.report("digits-17: scikit-learn: read and verified")
        sha256 = fingerprint(content.digests().values())
        ids = torch.from_numpy(train_ids[train]), torch.from_numpy(test_ids[test])
        return as_dataset(self, content, sha256, ids, white=16)

    def verify(self, options: DataOptions) -> list[Verified]:
        return Digits().verify(options)


def _scikit_learns() -> tuple[Path, ...]:
    fetched = Path(os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")).expanduser()
    return fetched, _file().parent


def _file() -> Path:
    """The file that sklearn.datasets.load_digits reads: importing scikit-learn for it takes as long as torch."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise CorruptFileError("digits: scikit-learn, which ships them, is not installed. Reinstall poisonbench.")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _content() -> tuple[Content, Rows, Rows]:
    try:
        table = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)  # a row: 64 pixels, and the label
        images, labels = table[:, :64].reshape(-1, 8, 8).copy(), table[:, 64].copy()
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise CorruptFileError(f"digits: {_file()} cannot be read: {error}. Reinstall scikit-learn.") from None
    train, test = stratified(labels, N_TEST, child_generator(0, "digits", "test"))
    content = Content(images[train], labels[train], images[test], labels[test])
    found = fingerprint(content.digests().values())
    if found != SHA256:
        raise CorruptFileError(
            f"digits: content and split have SHA-256 {found[:12]}…, expected {SHA256[:12]}…: scikit-learn's digits, "
            f"torch's randperm or poisonbench's seeding are not what results were published with. Reinstall all three."
        )
    return content, train, test
