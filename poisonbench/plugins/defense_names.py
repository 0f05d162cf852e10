"""How a command names defenses: `loss+maxup` is one after the other, `sever:pooled` is one with a preset's fields.

A record holds neither: its name is the defense's own, and its fields are what the preset made of them.
"""

from __future__ import annotations

from typing import NamedTuple

from poisonbench.errors import ConfigError


class NamedDefense(NamedTuple):
    """One of the defenses that a name joins.

    Attributes:
        name: as registered.
        preset: of its class, or None.
    """

    name: str
    preset: str | None


def parts(text: str) -> tuple[NamedDefense, ...]:
    """The defenses of a name, in order; none is looked up.

    Raises:
        ConfigError: if there is nothing on a side of a +.
    """
    if "+" in text and not all(part.strip() for part in text.split("+")):
        raise ConfigError(f"defense {text!r}: expected a name on both sides of each +, as in loss+maxup.")
    found = (part.partition(":") for part in text.split("+"))
    return tuple(NamedDefense(name, preset if colon else None) for name, colon, preset in found)
