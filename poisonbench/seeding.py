"""Named child random streams from one seed; nothing in the project touches a global generator.

A child depends on its seed and its name only, never on what was drawn before it, so a stage can be skipped, cached or
run in another process without moving any other stage's numbers.
"""

from __future__ import annotations

import hashlib

import torch


def child_seed(seed: int, *names: str) -> int:
    """The seed of the stream called `names` below `seed`: 53 bits, which survive any JSON reader, of both's SHA-256."""
    text = "/".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11


def child_generator(seed: int, *names: str) -> torch.Generator:
    """A CPU generator for that stream. Draw on the CPU and move: the same numbers then reach every device."""
    return torch.Generator().manual_seed(child_seed(seed, *names))
