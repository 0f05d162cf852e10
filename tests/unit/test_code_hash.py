"""The code hash follows the imports of a method, and nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poisonbench.code_hash import code_hash

FILES = {
    "__init__.py": "",
    "method.py": ("import json, toypkg.near\nfrom toypkg import beside\ndef late():\n    import toypkg.lazy\n"),
    "near.py": "from toypkg.far import thing\n",
    "far.py": "thing = 1\n",
    "beside.py": "",
    "lazy.py": "",
    "unrelated.py": "",
    "test_method.py": "import toypkg.method\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "toypkg"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    code_hash.cache_clear()
    yield folder
    code_hash.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "toypkg"]:
        del sys.modules[name]


def hash_after_change(package: Path, name: str) -> tuple[str, str]:
    before = code_hash("toypkg.method")
    with (package / name).open("a") as file:
        file.write("# changed\n")
    code_hash.cache_clear()
    return before, code_hash("toypkg.method")


@pytest.mark.parametrize("name", ["method.py", "near.py", "far.py", "beside.py", "lazy.py", "__init__.py"])
def test_it_changes_with_everything_the_method_imports(package: Path, name: str) -> None:
    before, after = hash_after_change(package, name)
    assert before != after


@pytest.mark.parametrize("name", ["unrelated.py", "test_method.py"])
def test_it_does_not_change_with_anything_else(package: Path, name: str) -> None:
    before, after = hash_after_change(package, name)
    assert before == after


def test_relative_imports_count(package: Path) -> None:
    (package / "method.py").write_text("from . import beside\nfrom .near import thing\n")
    for name in ("beside.py", "far.py"):
        before, after = hash_after_change(package, name)
        assert before != after, name


def test_a_plugin_changes_with_the_engine_it_imports(package: Path) -> None:
    plain = code_hash("toypkg.method")
    (package / "method.py").write_text("import poisonbench.bilevel.cg\n")
    code_hash.cache_clear()
    alone = code_hash("toypkg.method")
    (package / "method.py").write_text("import poisonbench.bilevel.cg \n")
    code_hash.cache_clear()
    assert len({plain, alone, code_hash("toypkg.method")}) == 3


def test_built_in_methods_have_hashes_of_their_own() -> None:
    modules = ["poisonbench.attacks.tgda.attack", "poisonbench.attacks.label_flip", "poisonbench.models.lr"]
    found = {code_hash(module) for module in modules}
    assert len(found) == 3
    assert all(len(value) == 64 for value in found)
