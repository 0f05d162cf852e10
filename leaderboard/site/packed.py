"""Data that a site keeps small: gzip, as a file to download, or as a script that a page reads from file:// too."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from poisonbench.visible import visible

_LEVEL = 6
"""Level 9 takes a third more time and saves a hundredth."""


def packed(text: str) -> bytes:
    """The text in UTF-8, compressed; the same bytes at any time."""
    return gzip.compress(text.encode("utf-8"), _LEVEL, mtime=0)


def script(name: str, value: Mapping[str, Any]) -> str:
    """A script that files a value's JSON, compressed, under a name in window.poisonbenchData.

    Args:
        name: a slug.
        value: base64 holds nothing that could end the script, whatever its texts are.
    """
    text = visible(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))
    data = base64.b64encode(packed(text)).decode("ascii")
    return f'(window.poisonbenchData ??= {{}})["{name}"] = "{data}";\n'
