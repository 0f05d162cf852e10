"""Counts of things in words."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """ "1 seed", "0 seeds", "10,000 images".

    Args:
        count: how many.
        one: what one is called.
        many: what several are called, if that is not one's name and an s.
    """
    return f"{count:,} {one if count == 1 else f'{one}s' if many is None else many}"
