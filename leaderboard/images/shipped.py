"""Pictures of published poison sets. They ship with the records; the sets themselves are too large to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from PIL import Image, PngImagePlugin

from poisonbench.files.atomic import write_atomically

FOLDER = "pictures"
"""In leaderboard/results/; a picture is named by the SHA-256 of its poison set, which many records share."""

_CAPTION = "Description"
"""The keyword of PNG for what a picture shows."""


def shipped_picture(poison: str) -> tuple[bytes, str] | None:
    """The picture of a published poison set as a PNG, and what it shows in a sentence; None if there is none.

    Args:
        poison: SHA-256 of the set, in hex.
    """
    found = _shipped().get(poison)
    if found is None:
        return None
    data = found.read_bytes()
    with Image.open(io.BytesIO(data)) as picture:
        return data, str(picture.info.get(_CAPTION, ""))


def ship(folder: Path, poison: str, image: bytes, caption: str) -> Path:
    """Write a picture, with its caption inside, among those that ship; gives its path.

    Args:
        folder: of the published records.
        poison: SHA-256 of the poison set, in hex.
        image: PNG.
        caption: what it shows.
    """
    path, written = folder / FOLDER / f"{poison}.png", io.BytesIO()
    text = PngImagePlugin.PngInfo()
    text.add_itxt(_CAPTION, caption)
    with Image.open(io.BytesIO(image)) as picture:
        picture.save(written, "png", optimize=True, pnginfo=text)
    write_atomically(path, written.getvalue())
    return path


@cache
def _shipped() -> Mapping[str, Traversable]:
    """By the SHA-256 of the poison set. No word of a record is part of a path: strangers write records, too."""
    folder = files("poisonbench.leaderboard").joinpath("results", FOLDER)
    found = folder.iterdir() if folder.is_dir() else iter(())
    return {item.name.removesuffix(".png"): item for item in found}
