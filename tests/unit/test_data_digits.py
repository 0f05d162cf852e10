"""Digits: scikit-learn's bytes, a fixed stratified split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from poisonbench.data import digits
from poisonbench.data.base import DataOptions, prepare, verify
from poisonbench.errors import CorruptFileError


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    return DataOptions(tmp_path, offline=True)


def test_every_row_is_scikit_learns(options: DataOptions) -> None:
    dataset = prepare("digits", options)
    upstream = load_digits()
    assert (len(dataset.train), len(dataset.test)) == (1297, 500)
    assert (dataset.name, dataset.shape, dataset.classes) == ("digits", (1, 8, 8), 10)
    for part in (dataset.train, dataset.test):
        assert (part.x.dtype, part.y.dtype, part.ids.dtype) == (torch.float32, torch.int64, torch.int64)
        assert np.array_equal(part.x[:, 0].numpy() * 16, upstream.images[part.ids])
        assert np.array_equal(part.y.numpy(), upstream.target[part.ids])
        assert (part.x.min(), part.x.max()) == (0, 1)
    ids = torch.cat([dataset.train.ids, dataset.test.ids])
    assert sorted(ids.tolist()) == list(range(1797))
    assert not list(options.cache_dir.iterdir())


def test_stratified(options: DataOptions) -> None:
    dataset = prepare("digits", options)
    total = torch.bincount(torch.cat([dataset.train.y, dataset.test.y]))
    assert ((torch.bincount(dataset.test.y) - total * 500 / 1797).abs() < 1).all()


def test_same_bytes_in_a_fresh_process_whatever_the_global_seed(
    options: DataOptions, tmp_path: Path, elsewhere: Callable[..., int | None]
) -> None:
    code = (
        "import sys, pathlib, torch; torch.manual_seed(5)\n"
        "from poisonbench.data.base import DataOptions\n"
        "from poisonbench.data.digits import Digits\n"
        "found = Digits().load(DataOptions(pathlib.Path(sys.argv[1]) / 'data')).test.ids.tolist()\n"
        "pathlib.Path(sys.argv[1], 'found').write_text(str(found))"
    )
    assert elsewhere(code, tmp_path) == 0
    assert (tmp_path / "found").read_text() == str(prepare("digits", options).test.ids.tolist())


def test_verify_names_the_file(options: DataOptions) -> None:
    [row] = verify("digits", options)
    assert row.path.is_file()
    assert row.bytes == row.path.stat().st_size
    assert row.sha256 == digits.SHA256 == prepare("digits", options).sha256


def test_ones_and_sevens_keep_their_ids_and_their_part(options: DataOptions) -> None:
    whole, binary = prepare("digits", options), prepare("digits-17", options)
    assert (binary.name, binary.shape, binary.classes) == ("digits-17", (1, 8, 8), 2)
    for part, of in ((binary.train, whole.train), (binary.test, whole.test)):
        chosen = (of.y == 1) | (of.y == 7)
        assert torch.equal(part.ids, of.ids[chosen])
        assert torch.equal(part.x, of.x[chosen])
        assert torch.equal(part.y * 6 + 1, of.y[chosen])
        assert (part.x.dtype, part.y.dtype, part.ids.dtype) == (torch.float32, torch.int64, torch.int64)
    assert (len(binary.train), len(binary.test)) == (260, 101)
    assert binary.sha256 == "a63293db043cf8f16dff1b1e63914d8b0a6e2ef5f8b051dc574b69b547694382"
    assert verify("digits-17", options) == verify("digits", options)
    assert not list(options.cache_dir.iterdir())


def test_other_digits_are_refused(options: DataOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = load_digits()
    other, torn = tmp_path / "other.csv.gz", tmp_path / "torn.csv.gz"
    upstream.data[3, 36] += 1
    np.savetxt(other, np.column_stack([upstream.data, upstream.target]), fmt="%d", delimiter=",")
    torn.write_bytes(other.read_bytes()[:9000])
    for name in ("digits", "digits-17"):
        for file, message in ((other, "content and split have SHA-256"), (torn, "torn.csv.gz cannot be read: ")):
            monkeypatch.setattr("poisonbench.data.digits._file", lambda file=file: file)
            with pytest.raises(CorruptFileError, match=f"digits: .*{message}"):
                prepare(name, options)
