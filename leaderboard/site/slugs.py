"""File names of pages: from names that anybody may have chosen."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping

LONGEST = 80
"""Letters of a slug; file systems take 255 bytes, the ending included."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Windows' devices, whatever their ending."""


def slugs(preferred: Mapping[str, str]) -> dict[str, str]:
    """A slug for each key: of a-z, 0-9, dot, hyphen and underscore, neither hidden nor a path, each its own.

    Args:
        preferred: the text that the slug is made of. If that alone will not do, or another has it, a hash of the key
            follows.
    """
    found: dict[str, str] = {}
    # What is a slug as it stands comes first: a name that imitates another's hash cannot push it aside.
    for key in sorted(preferred, key=lambda key: (_clean(preferred[key]) != preferred[key], key)):
        taken = set(found.values())
        found[key] = next(slug for slug in _candidates(key, preferred[key]) if slug not in taken)
    return found


def _candidates(key: str, text: str) -> Iterator[str]:
    clean = _clean(text)
    if clean and clean == text.lower():
        yield clean
    for attempt in itertools.count():
        tail = hashlib.sha256(f"{attempt} {key}".encode()).hexdigest()[:8]
        yield f"{clean[: LONGEST - 9]}-{tail}".lstrip("-")


def _clean(text: str) -> str:
    """What may stay of a text in a slug; empty if nothing may."""
    kept = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:LONGEST].strip(".-_")
    return "" if _RESERVED.fullmatch(kept) else kept
