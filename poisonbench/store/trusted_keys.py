"""Whose verification counts: the one place that decides whether a record is verified, and by whom."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import ConfigDict, Field

from poisonbench.errors import ConfigError
from poisonbench.store.shipped import shipped_ids
from poisonbench.store.strict_yaml import read_yaml

_FILE = "trusted_keys.yaml"


class TrustedKey(pydantic.BaseModel):
    """A line of trusted_keys.yaml.

    Attributes:
        name: who holds it, as the badge says.
        key: public, 64 hex digits.
        since: the day from which it is on the list.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", regex_engine="python-re")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\Z")]
    since: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}\Z")]


class _KeyList(pydantic.BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[TrustedKey, ...]


def verifier(key: str | None, record_id: str) -> str | None:
    """Who verified a record: the holder of a trusted key, or, of a record that ships, of whichever key it was signed
    with. None if nobody did whose word counts.

    Args:
        key: whose valid signature the record has; None of one without.
        record_id: its name.
    """
    if key is None:
        return None
    name = trusted_names().get(key)
    return f"key {key[:16]}" if name is None and record_id in shipped_ids() else name


@cache
def trusted_names() -> dict[str, str]:
    """Who holds each trusted key."""
    return {one.key: one.name for one in read_keys(Path(str(files("poisonbench.store").joinpath(_FILE))))}


def read_keys(path: Path) -> tuple[TrustedKey, ...]:
    """The keys of a list.

    Raises:
        ConfigError: for a file that is no such list, or has a key twice.
    """
    try:
        keys = _KeyList.model_validate(read_yaml(path, path.name)).keys
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    if len({one.key for one in keys}) < len(keys):
        raise ConfigError(f"{path.name}: a key is there twice; remove one.")
    return keys
