"""The project that `poisonbench new` writes: what is in it, that it works as written, which names it refuses."""

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import poisonbench as pb
from poisonbench import __version__
from poisonbench.cli.main import app
from poisonbench.errors import PluginError, UsageError
from poisonbench.plugins.registry import configure, entries, load
from poisonbench.scaffold import KINDS
from poisonbench.testing import AttackContract, DefenseContract
from poisonbench.testing.checklist import verdicts


def new(kind: str, name: str, folder: Path) -> Path:
    done = CliRunner().invoke(app, ["new", kind, name, "--output", str(folder)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_is_a_small_method_that_keeps_the_contract(
    kind: str, tmp_path: Path, plug: Callable[..., None]
) -> None:
    folder = new(kind, "my-own", tmp_path / "my project")
    module = folder / "my_own.py"
    assert len(module.read_text().splitlines()) < 40
    plug(module)
    entry = entries(kind)["my-own"]
    assert entry.summary.endswith(".")
    cls = load(kind, "my-own")
    assert cls.cost
    contract = {"attack": AttackContract, "defense": DefenseContract}[kind]
    found = list(verdicts(type("Checked", (contract,), {kind: configure(cls, {}, kind)})))
    assert {verdict.status for verdict in found} == {"ok", "skipped"}, [item for item in found if item.reason]


@pytest.mark.parametrize("kind", KINDS)
def test_the_project_is_complete(kind: str, tmp_path: Path) -> None:
    folder = new(kind, "my-own", tmp_path / "there")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        ".gitignore", "README.md", "my_own.py", "pyproject.toml", "tests/test_my_own.py",
    }  # fmt: skip
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"] == {f"poisonbench.{kind}s": {"my-own": "my_own:MyOwn"}}
    assert project["project"]["dependencies"] == [f"poisonbench>={__version__}"]
    assert project["project"]["optional-dependencies"]["test"]
    assert project["tool"]["setuptools"]["py-modules"] == ["my_own"]
    readme = (folder / "README.md").read_text()
    for command in (
        "pip install -e",
        "check my-own",
        "run --attack",
        "submit",
        "validate",
        "verify",
        "--plugin my_own.py",
    ):
        assert command in readme
    for path in folder.rglob("*"):
        assert path.is_dir() or ("{{" not in path.read_text() and path.read_text().endswith("\n"))


def test_it_says_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["new", "attack", "my-own", "-o", str(tmp_path / "my project")]).stdout.splitlines()
    assert str(tmp_path / "my project" / "my_own.py") in shown
    assert (
        shown[-1] == f"Next: cd '{tmp_path / 'my project'}' && pip install -e \".[test]\" && poisonbench check my-own"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My", "'My' is not a method name"),
        ("../x", "'../x' is not a method name"),
        ("tgda", "The attack 'tgda' is there already, from poisonbench; choose another name."),
        ("2fast", "cannot name a Python module 2fast"),
        ("class", "cannot name a Python module class"),
        ("true", "cannot name a Python module true with a class True"),
        ("json", "there is a Python module json already"),
        ("poisonbench", "there is a Python module poisonbench already"),
    ],
)
def test_names_that_it_refuses(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=message):
        new("attack", name, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_its_class_may_be_called_as_its_base(tmp_path: Path, plug: Callable[..., None]) -> None:
    plug(new("attack", "attack", tmp_path / "there") / "attack.py")
    assert issubclass(load("attack", "attack"), pb.Attack)


@pytest.mark.parametrize("kind", KINDS)
def test_it_needs_nothing_of_poisonbench_but_its_face(kind: str, tmp_path: Path) -> None:
    folder = new(kind, "my-own", tmp_path / "there")
    for file in folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {name for name in imported if name.startswith("poisonbench")} == {"poisonbench"}


def test_a_defense_may_have_an_attacks_name(tmp_path: Path) -> None:
    assert (new("defense", "tgda", tmp_path / "there") / "tgda.py").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(
            UsageError, match=r"is there and not an empty folder; choose another with --output FOLDER\."
        ):
            new("attack", "my-own", folder)
    with pytest.raises(UsageError, match="cannot be written"):
        new("attack", "my-own", tmp_path / "file" / "there")
    (tmp_path / "empty").mkdir()
    assert new("attack", "my-own", tmp_path / "empty")
    assert (tmp_path / "file").read_text() == "mine"
