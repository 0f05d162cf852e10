"""What a reader must know of a number before trusting it, and who vouches for it."""

from __future__ import annotations

from enum import StrEnum

SIGN = "†"
"""Beside a mean that is marked MIXED_CODE, where there is no room for the words."""

NOTE = f"{SIGN} a mean over seeds that were run with different code; run them again."


class Badge(StrEnum):
    """What a reader must know of an experiment, or of its standing on a board, in the order of weight."""

    UNRANKED = "unranked"
    EARLIER = "earlier code"
    FAILED = "failed"
    TIMEOUT = "timed out"
    OOM = "out of memory"
    COLLAPSED = "collapsed"
    FEW_SEEDS = "few seeds"
    MIXED_CODE = "mixed code"
    VARIANT = "variant"
    ORACLE = "oracle"
    NO_ANSWERS = "no answers"


class Tier(StrEnum):
    """Who vouches for a number."""

    VERIFIED = "verified"
    SELF_REPORTED = "self-reported"
    EARLIER = "earlier code"


def signed(text: str, mixed_code: bool) -> str:
    """A text with the sign of a mean over different code, if it is one."""
    return f"{text} {SIGN}" if mixed_code else text
