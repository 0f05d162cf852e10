"""One JSON value, one text: strict reading, canonical writing, and the hash that names content."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from poisonbench.errors import CorruptFileError, ValidationError

MAX_DEPTH = 64
MAX_INTEGER = 2**64
"""Far beyond any count or seed; Python itself refuses to print integers of thousands of digits."""

MAX_VALUES = 100_000
"""That a document may have: fifty times what the largest record has. A value of two bytes takes a hundred in
memory, and as much again where it is copied."""


def canonical_json(value: object) -> str:
    """The one text of a JSON value: sorted keys, no spaces, ASCII only, finite numbers.

    Raises:
        ValidationError: naming the place of the first thing that JSON cannot hold.
    """
    return _canonical(_checked(value))


def pretty_json(value: object) -> str:
    """The same content for people and `git diff`: sorted keys, one item a line, newline at the end."""
    return json.dumps(_checked(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def content_hash(value: object) -> str:
    """SHA-256 of the canonical text, in hex: it ignores the order of keys and the spelling of white space."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def record_id_of(document: Mapping[str, Any]) -> str:
    """A record's name: the first 16 hex digits of its content's hash, `record_id` itself left out."""
    return content_hash({key: value for key, value in document.items() if key != "record_id"})[:16]


def record_id_of_dump(content: Mapping[str, Any]) -> str:
    """The same of what a model dumped in JSON's own types, without `record_id`: it takes half the time not to check
    every value of 20,000 records once more."""
    return hashlib.sha256(_canonical(content).encode("ascii")).hexdigest()[:16]


def hash_of_itself(text: bytes, schema_version: int) -> str | None:
    """The content's whole hash, if the text of a record of that schema version, as it stands, begins it with the name
    that is written in it."""
    for found in re.finditer(rb'"record_id":"([0-9a-f]{16})",(?="schema_version":%d,)' % schema_version, text):
        content = hashlib.sha256(text[: found.start()])
        content.update(text[found.end() :])
        if content.hexdigest()[:16] == found[1].decode():
            return content.hexdigest()
    return None


def parse_json(data: bytes) -> Any:
    """Read JSON that nobody vouches for. NaN, infinities, repeated keys, absurd nesting and more than MAX_VALUES values
    are refused.

    Raises:
        CorruptFileError: with what is wrong in one line, without the file's name (bytes have none).
    """
    # Each value but the first follows one of these, which are counted before anything is built (those in texts too).
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise CorruptFileError(f"more than {MAX_VALUES:,} values; at most so many are read")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        return plain(value)
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"not JSON: byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise CorruptFileError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise CorruptFileError(f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise CorruptFileError(str(error)) from None


def plain(value: object, where: str = "") -> Any:
    """The value in JSON's own types (a tuple becomes a list, a StrEnum its text, a NumPy scalar and an array or tensor
    of one number that number), or ValueError naming the place."""
    try:
        return _plain(value, 0)
    except _NotJSONError as error:
        error.place = where + error.place
        raise


class _NotJSONError(ValueError):
    """What JSON cannot hold. Its place is put together on the way out: almost everything fits, and needs no path."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.place = ""

    def __str__(self) -> str:
        return f"{self.place.lstrip('.') or 'value'} {self.what}"


def _plain(value: object, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) >= MAX_INTEGER:
            raise _NotJSONError(f"is an integer of {value.bit_length()} bits, at most 64 allowed")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJSONError(f"is {float(value)}, expected a finite number")
        return float(value)
    if isinstance(value, list | tuple):
        return _list(value, depth + 1)
    if isinstance(value, Mapping):
        return _dict(value, depth + 1)
    if type(value).__module__.partition(".")[0] in ("numpy", "torch") and hasattr(value, "item"):
        return _plain(_single(value), depth + 1)
    raise _NotJSONError(f"is a {type(value).__name__}, which JSON cannot hold")


def _single(value: Any) -> object:
    """The number of a NumPy scalar, or of an array or tensor that holds a single one."""
    if math.prod(value.shape) != 1:
        raise _NotJSONError(f"is a {type(value).__name__} of shape {tuple(value.shape)}, expected a single number")
    try:
        return value.item()
    except RuntimeError as error:  # without content, such as on torch's meta device
        raise _NotJSONError(f"is a {type(value).__name__} without a number") from error


def _list(items: Sequence[object], depth: int) -> list[Any]:
    if _are_numbers(items):
        return list(items)
    found = []
    for index, item in enumerate(items):
        try:
            found.append(_plain(item, depth))
        except _NotJSONError as error:
            error.place = f"[{index}]{error.place}"
            raise
    return found


def _are_numbers(items: Sequence[object]) -> bool:
    """Whether all are floats, or all integers, and fine; so are curves, most of what a record holds."""
    kinds, numbers = set(map(type, items)), cast("list[float]", items)
    if kinds == {float}:
        return all(map(math.isfinite, numbers))
    return kinds == {int} and -MAX_INTEGER < min(numbers) <= max(numbers) < MAX_INTEGER


def _dict(items: Mapping[object, object], depth: int) -> dict[str, Any]:
    found = {}
    for key, item in items.items():
        # json.dumps would turn 1 into "1" and let {1: a, "1": b} lose one of the two.
        if not isinstance(key, str):
            raise _NotJSONError(f"has the key {key!r}, expected text")
        name = _text(key)
        try:
            found[name] = _plain(item, depth)
        except _NotJSONError as error:
            error.place = f".{name}{error.place}"
            raise
    return found


def _text(text: str) -> str:
    # Half of a surrogate pair passes through JSON escapes but no database takes it.
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise _NotJSONError("has text that is not Unicode") from None
    return str.__str__(text)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checked(value: object) -> Any:
    try:
        return plain(value)
    except ValueError as error:
        raise ValidationError(f"Cannot be written as JSON: {error}.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} occurs twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON, expected a finite number")
