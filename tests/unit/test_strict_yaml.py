"""The one reader of YAML: scalars by the core schema of YAML 1.2, and nothing dropped in silence."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poisonbench.errors import ConfigError
from poisonbench.store.strict_yaml import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("+5", 5), ("-0", 0), ("0x1f", 31), ("0o17", 15), ("1_000", "1_000"), ("1:30", "1:30"),
        ("0b11", "0b11"), ("1e-3", 0.001), ("1e3", 1000.0), ("1.", 1.0), ("-.5", -0.5), (".inf", math.inf),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("FALSE", False),
        ("~", None), ("", None), ("null", None), ("none", "none"), ("2026-01-01", "2026-01-01"), ("'010'", "010"),
        ("!!str 010", "010"), ("!!float 3", 3.0), ("<<: {a: 1}", {"<<": {"a": 1}}), ("=", "="), ("1e400", math.inf),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "'a' is there twice, in lines 1 and 3; remove one."),
        ("top:\n  a: 1\n  'a': 1", "'a' is there twice, in lines 2 and 3; remove one."),
        ("[{a: 1, a: 1}]", "'a' is there twice, in lines 1 and 1; remove one."),
        ("1: a\n1.0: b", "1.0 is there twice, in lines 1 and 2; remove one."),
        ("a: &x 3", "YAML aliases (*name) are not read here; write the value out."),
        ("*x", "YAML aliases (*name) are not read here; write the value out."),
        ("? [1]\n: 2", "line 1: a key is a list, expected a text or a number."),
        ("!!int abc", "not YAML: the tag !!int does not fit its value"),
        ("!!bool yes", "not YAML: the tag !!bool does not fit its value"),
        ("!!map [1]", "not YAML: the tag !!map does not fit its value"),
        ("!!set {a}", "not YAML: the tag !!set does not fit its value, or is not read here"),
        ("!!python/object/apply:os.system [x]", "not YAML: the tag !!python/object/apply:os.system does not fit"),
        ("a\n---\nb", "not YAML: expected a single document"),
        ("1" * 5000, "not YAML: Exceeds the limit"),
        ("[" * 3000, "not YAML: "),
    ],
    ids=range(15),
)
def test_what_is_refused_is_a_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_yaml(text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("recipe: {lr: 1}\nrecipe: {epochs: 2}\n")
    with pytest.raises(ConfigError, match=r"^mine: 'recipe' is there twice, in lines 1 and 2; remove one\.$"):
        read_yaml(tmp_path / "mine.yaml", "mine")


numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=8)
plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@given(plain)
def test_whatever_is_json_is_read_as_json_says(value: Any) -> None:
    assert parse_yaml(json.dumps(value, ensure_ascii=False)) == value


def test_nothing_reads_yaml_otherwise() -> None:
    checkout = Path(__file__).parents[2]
    folders = ("poisonbench", "leaderboard", "attacks", "defenses")
    for path in (path for folder in folders for path in checkout.glob(f"{folder}/**/*.py")):
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        loading = {call for call in calls if call.startswith("yaml.") and "load" in call}
        assert not loading or path.name == "strict_yaml.py", path


def test_a_pipe_without_end_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read_yaml(Path("/dev/zero"), "x.yaml")
    with pytest.raises(ConfigError, match=r"x.yaml: expected keys and values"):
        read_yaml(Path("/dev/null"), "x.yaml")
