"""idx files: read exactly, refused with a reason otherwise."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from poisonbench.data.idx import read_idx
from poisonbench.errors import CorruptFileError

ARRAY = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
IDX = struct.pack(">4B3I", 0, 0, 8, 3, 7, 5, 3) + ARRAY.tobytes()


@pytest.mark.parametrize("content", [IDX, gzip.compress(IDX)], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_reads_plain_and_gzip_under_either_name(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    array = read_idx(tmp_path / name, (7, 5, 3))
    assert np.array_equal(array, ARRAY)
    assert array.flags.writeable


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE h>", r"images is 12 bytes, not an idx file of 3-dimensional bytes \(an HTML page\?\)"),
        (b"\xef\xbb\xbf\n<html>", r"an HTML page\?"),
        (b"", "images is 0 bytes, not an idx file"),
        (IDX[:9], "images is 9 bytes, not an idx file"),
        (b"\0\0\x0d\x03" + IDX[4:], "not an idx file of 3-dimensional bytes"),
        (struct.pack(">4BI", 0, 0, 8, 1, 105) + ARRAY.tobytes(), "not an idx file of 3-dimensional bytes"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 9, 5, 3) + bytes(135), r"shape \(9, 5, 3\), expected \(7, 5, 3\)"),
        (IDX[:-1], "only 104 of the 105 bytes"),
        (IDX + b"x", "more than the 105 bytes"),
        (gzip.compress(IDX)[:-20], "broken gzip"),
        (gzip.compress(IDX)[:-8] + bytes(8), "broken gzip"),
        (b"\x1f\x8b" + bytes(30), "broken gzip"),
        (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 30, "broken gzip"),
        (gzip.compress(IDX + b"x"), "more than the 105 bytes"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=reason):
        read_idx(path, (7, 5, 3))


def test_a_huge_claim_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3))
    with pytest.raises(CorruptFileError, match="expected"):
        read_idx(path, (7, 5, 3))
