"""What the fields of a record may hold, and what a record is made of: parts that refuse what they do not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo

from poisonbench.errors import ValidationError
from poisonbench.store.canonical import plain


def _utc(value: object) -> object:
    """One spelling of an instant, so that text order is time order."""
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(instant, datetime):
        return value
    if instant.utcoffset() != timedelta(0):
        raise ValueError(f"{value} is not in UTC")
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


VOUCHED = "a canonical text whose hash is its name"
"""The context of a validation whose JSON values need no look: somebody's hash stands for them."""


def _plain(value: object, info: ValidationInfo) -> object:
    return value if info.context == VOUCHED else plain(value)


# Scalars are strict: "5" and true are not numbers, whoever sent them. Sequences are not: a list is a tuple in JSON.
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
Percent = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=100)]
Points = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-100, le=100)]
Fraction = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Version = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(max_length=20_000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]*\Z", max_length=100)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\Z")]
Instant = Annotated[str, BeforeValidator(_utc)]
Bits = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9+/]*={0,2}\Z", max_length=400_000)]
Json = Annotated[dict[str, Any], BeforeValidator(_plain)]


class Section(pydantic.BaseModel):
    """A part of a record: it cannot be changed, and has no field that it does not declare."""

    # regex_engine: Rust's has no \Z, and Python's $ lets a trailing newline through.
    model_config = ConfigDict(frozen=True, extra="forbid", regex_engine="python-re", protected_namespaces=())


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """What pydantic refuses within becomes a ValidationError that names the first field, below `what`."""
    try:
        yield
    except pydantic.ValidationError as error:
        several = error.errors(include_url=False, include_input=False, include_context=False)
        first, more = several[0], len(several) - 1
        place = ".".join((what, *map(str, first["loc"])))[:200]
        message = " ".join(first["msg"].removeprefix("Value error, ").split())[:300]
        raise ValidationError(f"{place}: {message}{f' (and {more} more)' if more else ''}.") from None
