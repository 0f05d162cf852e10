"""The project that `poisonbench new` writes: what is in it, that it works as written, which names it refuses."""

import ast
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import poisonbench as pb
from poisonbench import __version__
from poisonbench.cli.main import app
from poisonbench.data.base import DataOptions
from poisonbench.errors import DataError, PluginError, UsageError
from poisonbench.plugins.registry import configure, entries, load
from poisonbench.scaffold import FILE_KINDS, KINDS
from poisonbench.testing import AttackContract, DatasetContract, DefenseContract, ModelContract
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


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_a_model_or_dataset_is_one_file_that_keeps_its_contract(
    kind: str, tmp_path: Path, plug: Callable[..., None]
) -> None:
    folder = new(kind, "my-own", tmp_path / "there")
    names = {"model": ["my_own.py"], "dataset": ["my_own.npz", "my_own.py"]}[kind]
    assert sorted(path.name for path in folder.iterdir()) == names
    plug(folder / "my_own.py")
    assert entries(kind)["my-own"].summary.endswith(".")
    cls = load(kind, "my-own")
    contract, subject = (ModelContract, cls) if kind == "model" else (DatasetContract, cls())
    own = {kind: subject, "test_fresh_process_same_bytes": lambda self: None}
    found = list(verdicts(type("Checked", (contract,), own)))
    assert {verdict.status for verdict in found} <= {"ok", "skipped"}, [item for item in found if item.reason]


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_the_file_needs_nothing_of_poisonbench_but_its_face(kind: str, tmp_path: Path) -> None:
    text = (new(kind, "my-own", tmp_path / "there") / "my_own.py").read_text()
    names = {alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in names if name.startswith("poisonbench")} == {"poisonbench"}
    assert "from poisonbench" not in text
    assert "{{" not in text
    assert text.endswith("\n")


def test_other_arrays_are_refused_until_their_hash_is_written(tmp_path: Path, plug: Callable[..., None]) -> None:
    file = new("dataset", "my-own", tmp_path) / "my_own.py"
    with np.load(tmp_path / "my_own.npz") as arrays:
        colours = {name: np.stack([part] * 3, -1) if name[0] == "x" else part for name, part in arrays.items()}
    np.savez(tmp_path / "my_own.npz", **colours)
    plug(file)
    with pytest.raises(DataError, match=r"has other arrays. If they are meant, write SHA256 = ") as refused:
        load("dataset", "my-own")().load(DataOptions())
    said = re.search('SHA256 = "[0-9a-f]{64}"', str(refused.value))
    assert said
    file.write_text(re.sub('SHA256 = "[0-9a-f]{64}"', said[0], file.read_text()))
    plug(file)
    found = load("dataset", "my-own")().load(DataOptions())
    assert found.shape == (3, 8, 8)
    assert torch.equal(found.test.x[:, 0] * 255, torch.from_numpy(colours["x_test"][..., 0]).float())


def test_arrays_may_lie_in_the_data_folder(tmp_path: Path, plug: Callable[..., None]) -> None:
    file = new("dataset", "my-own", tmp_path) / "my_own.py"
    (tmp_path / "data").mkdir()
    (tmp_path / "my_own.npz").rename(tmp_path / "data" / "my_own.npz")
    plug(file)
    source = load("dataset", "my-own")()
    with pytest.raises(DataError, match=r"my-own: no .*Put it there, or pass --data-dir FOLDER"):
        source.load(DataOptions())
    assert len(source.load(DataOptions(data_dir=tmp_path / "data")).test) == 200
    (tmp_path / "my_own.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"is no \.npz with x_train"):
        source.verify(DataOptions())


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_no_file_is_overwritten(kind: str, tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text("mine")
    with pytest.raises(UsageError, match=r"my_own\.py is there already; choose another folder with --output FOLDER\."):
        new(kind, "my-own", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("my_own.py", "mine")]
    with pytest.raises(UsageError, match="cannot be written"):
        new(kind, "my-own", tmp_path / "my_own.py" / "there")


def test_a_file_says_what_comes_next(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["new", "model", "my-own", "-o", str(tmp_path)]).stdout.splitlines()
    file = tmp_path / "my_own.py"
    assert shown[0] == str(file)
    assert shown[-1] == (
        f"Next: poisonbench check my-own --plugin {file} && "
        f"poisonbench run --plugin {file} --model my-own --attack label-flip"
    )
