"""YAML as it is read everywhere: scalars by YAML 1.2's core schema, no key twice, no aliases, plain values alone.

YAML 1.1, which PyYAML reads by default, makes 8 of 010, 90 of 1:30, 1000 of 1_000, true of yes, a date of 2026-01-01,
and takes the last of two equal keys. Here 010 is ten, 1e-3 and 0x1f are numbers, and the others are text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from poisonbench.errors import ConfigError

_LARGEST_FILE = 1 << 20
_TAG = "tag:yaml.org,2002:"

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_NULL = ("", "~", "null", "Null", "NULL")


def read_yaml(path: Path, label: str) -> dict[str, Any]:
    """The YAML mapping of a file that may be anybody's, at most 1 MiB.

    Raises:
        ConfigError: for a file that cannot be read or is no such mapping; names it by `label`.
    """
    try:
        with path.open("rb") as file:  # a pipe has no size
            data = file.read(_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            raise ConfigError(f"{label}: larger than 1 MiB; that is no configuration.")
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{label}: not YAML: {' '.join(str(error).split())[:200]}") from None
    try:
        document = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{label}: expected keys and values, got {type(document).__name__}.")
    return document


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ConfigError: for what is not YAML, an alias or anchor, a tag that is none of the core schema's, or a key that a
            mapping has twice; in one line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (it makes plain values alone)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())[:200]}") from None


class _Loader(yaml.BaseLoader):
    """PyYAML's parser with the core schema."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node; refused if it is an alias, which nested are a billion laughs, or could be one's target."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ConfigError("YAML aliases (*name) are not read here; write the value out.")
        return super().compose_node(parent, index)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none of its own."""
        if kind is yaml.MappingNode:
            return f"{_TAG}map"
        if kind is yaml.SequenceNode:
            return f"{_TAG}seq"
        return _TAG + (_scalar(value) if implicit[0] else "str")

    def mapping(self, node: yaml.Node) -> dict[Any, Any]:
        """Keys and values; a key that is there twice is refused."""
        if not isinstance(node, yaml.MappingNode):
            raise self._unfit(node)
        found: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        for key_node, value_node in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, list | dict):
                raise ConfigError(f"line {line}: a key is a {type(key).__name__}, expected a text or a number.")
            if key in found:
                raise ConfigError(f"{key!r} is there twice, in lines {lines[key]} and {line}; remove one.")
            found[key], lines[key] = self.construct_object(value_node, deep=True), line
        return found

    def sequence(self, node: yaml.Node) -> list[Any]:
        """Items in order."""
        if not isinstance(node, yaml.SequenceNode):
            raise self._unfit(node)
        return [self.construct_object(item, deep=True) for item in node.value]

    def scalar(self, node: yaml.Node) -> Any:
        """A text, number, boolean or null."""
        kind = node.tag.removeprefix(_TAG)
        if not isinstance(node, yaml.ScalarNode):
            raise self._unfit(node)
        text = str(node.value)
        if kind != "str" and _scalar(text) != kind and not (kind == "float" and _FLOAT.fullmatch(text)):
            raise self._unfit(node)
        match kind:
            case "null":
                return None
            case "bool":
                return text in _TRUE
            case "int":
                return _integer(text, node)
            case "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def undefined(self, node: yaml.Node) -> Any:
        """A tag that makes what no setting is."""
        raise self._unfit(node)

    @staticmethod
    def _unfit(node: yaml.Node) -> ConstructorError:
        why = f"the tag {node.tag.replace(_TAG, '!!')} does not fit its value, or is not read here"
        return ConstructorError(None, None, why, node.start_mark)


def _scalar(text: str) -> str:
    """What a plain scalar is by the core schema."""
    if text in _NULL:
        return "null"
    if text in _TRUE or text in _FALSE:
        return "bool"
    if _INTEGER.fullmatch(text):
        return "int"
    return "float" if _FLOAT.fullmatch(text) else "str"


def _integer(text: str, node: yaml.Node) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    try:
        return int(text, base)
    except ValueError as error:  # thousands of digits
        raise ConstructorError(None, None, str(error), node.start_mark) from None


for _name in ("null", "bool", "int", "float", "str"):
    _Loader.add_constructor(_TAG + _name, _Loader.scalar)
_Loader.add_constructor(f"{_TAG}map", _Loader.mapping)
_Loader.add_constructor(f"{_TAG}seq", _Loader.sequence)
_Loader.add_constructor(None, _Loader.undefined)
