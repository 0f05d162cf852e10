"""A record named by the start of its id, which is to be that of one alone."""

from __future__ import annotations

from collections.abc import Collection

from poisonbench.errors import UnknownNameError

LOOKED_AT = 4
"""Ids that are enough to tell: three are named, and the fourth is that there are more."""


def refuse_several(typed: str, ids: Collection[str]) -> None:
    """Raises UnknownNameError if what was typed begins more than one id.

    Args:
        typed: for the message.
        ids: those that it begins, or `LOOKED_AT` of them.
    """
    if len(ids) > 1:
        several = ", ".join(sorted(ids)[: LOOKED_AT - 1]) + (", …" if len(ids) >= LOOKED_AT else "")
        raise UnknownNameError(f"{typed!r} begins several records: {several}. Give more characters.")
