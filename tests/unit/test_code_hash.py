"""The code hash changes with what can change a number, and with nothing else."""

import ast
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poisonbench.identity import code
from poisonbench.identity.code import code_hash, reached
from poisonbench.identity.sources import source
from poisonbench.identity.syntax import parsed
from poisonbench.plugins.built_in import BUILT_IN

FILES = {
    "__init__.py": "",
    "method.py": "import json, toypkg.near\nfrom toypkg import beside\ndef late():\n    import toypkg.lazy\n",
    "near.py": "from toypkg.far import thing\nTHING = thing\n",
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
    code.forget()
    yield folder
    code.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "toypkg"]:
        del sys.modules[name]


def hash_now(module: str = "toypkg.method") -> str:
    code.forget()
    return code_hash(module)


def hash_after_change(package: Path, name: str) -> tuple[str, str]:
    before = hash_now()
    with (package / name).open("a") as file:
        file.write("CHANGED = 1\n")
    return before, hash_now()


@pytest.mark.parametrize("name", ["method.py", "near.py", "far.py", "beside.py", "lazy.py", "__init__.py"])
def test_a_plugin_changes_with_everything_it_imports(package: Path, name: str) -> None:
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


def test_a_helper_beside_the_package_counts_and_an_installed_one_does_not(package: Path) -> None:
    helper = package.parent / "toy_helper.py"
    helper.write_text("SHIFT = 0\n")
    (package / "method.py").write_text("import json, yaml\nfrom toy_helper import SHIFT\n")
    before = hash_now()
    assert reached("toypkg.method") >= {"toypkg.method", "toy_helper"}
    assert not reached("toypkg.method") & {"json", "yaml"}
    helper.write_text("SHIFT = 5\n")
    assert hash_now() != before


def test_a_plugin_changes_with_the_engine_that_it_uses(package: Path) -> None:
    plain = hash_now()
    (package / "method.py").write_text("from poisonbench.bilevel.cg import cg\nSOLVE = cg\n")
    assert hash_now() != plain
    assert "poisonbench.bilevel.cg" in reached("toypkg.method")


BASE = 'class A:\n    """A."""\n\n    x: int = 1\n\n    def f(self, n: int) -> int:\n        return n + self.x\n'
SAME = {
    "a docstring": ('"""A."""', '"""Another."""'),
    "no docstring": ('    """A."""\n', ""),
    "a comment": ("self.x", "self.x  # sum"),
    "an annotation": ("x: int", "x: float"),
    "no annotation": ("self, n: int) -> int", "self, n)"),
    "an import": ("class A", "import math\nclass A"),
    "white space": ("return n + self.x", "\n\n        return (n + self.x)"),
    "for type checkers": (
        "class A",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import b\nclass A",
    ),
    "prose": ("    x: int", '    cost: str = "much"\n    x: int'),
}


def digest(text: str) -> str:
    return parsed(text.encode(), "package").digest


@pytest.mark.parametrize("what", SAME)
def test_what_people_and_type_checkers_read_is_not_in_it(what: str) -> None:
    old, new = SAME[what]
    assert old in BASE
    assert digest(BASE.replace(old, new)) == digest(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x: int = 1", "x: int = 2"),
        ("x: int = 1", "x: int = True"),
        ("x: int = 1", "x: int = 1.0"),
        ("x: int = 1", "y: int = 1"),
        ("n + self.x", "n - self.x"),
        ("n + self.x", "self.x + n"),
        ("n + self.x", '"n + self.x"'),
        ("self, n: int", "self, n: int = 0"),
        ("self, n: int", "self, *, n: int"),
        ("    def f", "    @property\n    def f"),
        ("return", "yield"),
    ],
)
def test_what_can_change_a_number_is_in_it(old: str, new: str) -> None:
    assert old in BASE
    assert digest(BASE.replace(old, new)) != digest(BASE)


def test_the_kind_of_an_error_is_in_it_and_its_words_are_not() -> None:
    text = "def f(x):\n    if x < 0:\n        raise {}({}) from None\n    return x\n"
    assert digest(text.format("ValueError", '"small"')) == digest(text.format("ValueError", 'f"{x} is small", 3'))
    assert digest(text.format("ValueError", '"small"')) != digest(text.format("KeyError", '"small"'))


def test_the_text_is_the_same_in_every_version_of_python() -> None:
    """Fields that newer Pythons add are empty where their syntax is not used. Read off Python 3.11."""
    everything = (
        "import a\n"
        "async def f(p, /, q=1, *r, s: int = 2, **t) -> int:\n"
        '    """D."""\n'
        "    with a.b() as c, d: x = [i for i in range(3) if i]\n"
        "    try: y = {1: 2, **t}\n"
        "    except* (A, B) as e: raise\n"
        "    match q:\n        case {'k': [1, *rest]} | None: pass\n"
        "    return f'{x!r:>{p}} z' if (n := 1) else lambda: (yield)\n"
        "class A(B, metaclass=C):\n    z: 'int'\n"
    )
    assert digest(everything) == "233fd25c026d8a728239f7ee0406022bb71387eec8a1e14a41a9699a1ae8fbe1"


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Callable[[str, str], str]], None]]:
    """Have the hash read every module of poisonbench as an edit leaves it: edit(module, text) ↦ text."""

    def edit(change: Callable[[str, str], str]) -> None:
        def copy(name: str) -> Path | None:
            path = source(name)
            if path is None or name.partition(".")[0] != "poisonbench":
                return path
            text = path.read_text("utf-8")
            if (changed := change(name, text)) == text:
                return path
            copied = tmp_path / f"{name}.py"
            copied.write_text(changed, "utf-8")
            return copied

        monkeypatch.setattr(code, "source", copy)
        code.forget()

    yield edit
    monkeypatch.undo()
    code.forget()


def shipped() -> dict[str, str]:
    """Kind and name of everything that ships, to its module."""
    found = {
        f"{kind} {name}": target.partition(":")[0] for kind, all_ in BUILT_IN.items() for name, target in all_.items()
    }
    return {**found, "engine": "poisonbench.experiment.runner"}


def hashes() -> dict[str, str]:
    return {name: code_hash(module) for name, module in shipped().items()}


def test_a_docstring_edit_anywhere_keeps_every_hash(edited: Callable[[Callable[[str, str], str]], None]) -> None:
    before = hashes()

    def reworded(name: str, text: str) -> str:
        lines, nodes = text.splitlines(keepends=True), ast.walk(ast.parse(text))
        parts = [node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
        docs = [part.body[0] for part in parts if ast.get_docstring(part, clean=False) is not None]
        for doc in sorted(docs, key=lambda doc: -doc.lineno):
            lines[doc.lineno - 1 : doc.end_lineno] = [f'{" " * doc.col_offset}"Other words {random.random()}."\n']
        return "# moved\n" + "".join(lines)

    edited(reworded)
    assert hashes() == before


LINEAR = {
    "attack gradient-canceling",
    "attack i-min-max",
    "attack influence-attack",
    "attack kkt",
    "attack metapoison",
    "attack model-targeted",
    "defense influence",
    "defense roni",
    "defense trim",
    "model lr",
    "model svm",
}
ADAM = {"attack gradient-canceling", "attack gradient-matching", "attack kkt", "attack metapoison"}


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("attacks.tgda.attack", "alpha: float = 0.3", "alpha: float = 0.2", {"attack tgda"}),
        ("attacks.pixel_adam", "0.999", "0.99", ADAM),
        ("defenses.loss", "losses", "other", {"defense loss"}),
        ("models.linear", "linear = True", "linear = False", LINEAR),
    ],
)
def test_a_changed_constant_changes_exactly_the_methods_that_use_it(
    module: str, old: str, new: str, changed: set[str], edited: Callable[[Callable[[str, str], str]], None]
) -> None:
    before = hashes()
    text = source(f"poisonbench.{module}")
    assert text is not None
    assert old in text.read_text("utf-8")
    edited(lambda name, text: text.replace(old, new) if name == f"poisonbench.{module}" else text)
    after = hashes()
    assert {name for name in before if before[name] != after[name]} == changed


def test_what_only_names_checks_and_keeps_is_in_no_hash() -> None:
    everything = set().union(*(reached(module) for module in shipped().values()))
    for part in ("store", "plugins", "errors", "cli", "terminal", "leaderboard", "process", "guard"):
        assert not {name for name in everything if name.split(".")[1] == part}, part
