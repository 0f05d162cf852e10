"""Pictures of published poison sets: each of a set that a published record names, small, with its caption inside."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poisonbench.leaderboard.images import shipped
from poisonbench.leaderboard.images.shipped import FOLDER, ship, shipped_picture
from poisonbench.store.shipped import shipped_texts

POISON = re.compile(r'"kind":"poison"[^}]*"sha256":"([0-9a-f]{64})"')


PICTURES = Path(__file__).parents[2] / "leaderboard" / "results" / FOLDER


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    return sorted(PICTURES.iterdir())


def test_every_one_is_of_a_published_poison_set(pictures: list[Path]) -> None:
    named = {name for text in shipped_texts() for name in POISON.findall(text.decode())}
    assert len(pictures) >= 50
    assert {path.stem for path in pictures} <= named
    assert {path.suffix for path in pictures} == {".png"}


def test_they_are_small_and_say_what_they_show(pictures: list[Path]) -> None:
    assert sum(path.stat().st_size for path in pictures) < 1_000_000
    for path in pictures:
        data, caption = shipped_picture(path.stem) or (b"", "")
        assert data == path.read_bytes()
        assert re.search(r" Labels: \d+( → \d+)?(, \d+( → \d+)?)*\.$", caption), path


def test_what_is_shipped_is_found_with_its_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dots, written = np.random.default_rng(0).integers(0, 255, (30, 60, 4), dtype=np.uint8), io.BytesIO()
    Image.fromarray(dots).save(written, "png")
    path = ship(tmp_path, "a" * 64, written.getvalue(), "Clean × 5 → poisoned.")
    monkeypatch.setattr(shipped, "_shipped", lambda: {path.stem: path})
    data, caption = shipped_picture("a" * 64) or (b"", "")
    assert caption == "Clean × 5 → poisoned."
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), dots)


def test_there_may_be_none() -> None:
    assert shipped_picture("b" * 64) is None
    assert shipped_picture("../digits-v2/lr") is None
