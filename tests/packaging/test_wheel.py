"""The wheel: what is in it, what is not, and that it works away from the checkout."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from poisonbench.plugins.built_in import BUILT_IN

FOLDERS = {
    "poisonbench": "poisonbench",
    "attacks": "poisonbench/attacks",
    "defenses": "poisonbench/defenses",
    "leaderboard": "poisonbench/leaderboard",
    "protocols": "poisonbench/protocols",
}
"""Folder of the checkout → folder of the wheel."""

DATA = {
    "py.typed",
    "bibliography.yaml",
    "identity/versions.json",
    "leaderboard/tables/sheets.html",
    "store/trusted_keys.yaml",
}

SHOW = """
import importlib.util, json, pkgutil, sys
import poisonbench
names = [item.name for item in pkgutil.walk_packages(poisonbench.__path__, "poisonbench.")]
for library in ("mlflow", "wandb"):  # of extras that the tests do not need
    if importlib.util.find_spec(library) is None:
        names.remove(f"poisonbench.tracking.{library}_tracker")
for name in names:
    importlib.import_module(name)
files = {name: sys.modules[name].__file__ for name in ["poisonbench", *names]}
from poisonbench.experiment import protocol
from poisonbench.cli.describe import bibtex
print(json.dumps({"files": files, "protocols": protocol.names(), "bibtex": bibtex("lu2022indiscriminate")}))
"""


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """Every file of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def modules(checkout: Path) -> set[str]:
    """Every Python file of the package folders, as the wheel should call it."""
    return {
        f"{target}/{path.relative_to(checkout / folder)}"
        for folder, target in FOLDERS.items()
        for path in (checkout / folder).rglob("*.py")
    }


def test_poisonbench_is_the_only_top_level_package(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"poisonbench"}


def test_the_modules_of_the_wheel_are_those_of_the_checkout(names: set[str], checkout: Path) -> None:
    assert {name for name in names if name.endswith(".py")} == modules(checkout)


def test_every_package_folder_is_listed(checkout: Path) -> None:
    """An unlisted one imports in an editable install and is missing from the wheel."""
    listed = set(tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert listed == {str(Path(name).parent).replace(os.sep, ".") for name in modules(checkout)}


def test_every_package_folder_says_what_it_is(checkout: Path) -> None:
    found = modules(checkout)
    assert {str(Path(name).parent / "__init__.py") for name in found} <= found


def test_data_files_are_inside(names: set[str], checkout: Path) -> None:
    expected = {f"poisonbench/{name}" for name in DATA}
    protocols, published = checkout / "protocols", checkout / "leaderboard" / "results"
    boards = [path for path in published.rglob("*") if path.is_file()]
    expected |= {f"poisonbench/leaderboard/results/{path.relative_to(published)}" for path in boards}
    expected |= {f"poisonbench/protocols/{path.relative_to(protocols)}" for path in protocols.rglob("*.yaml")}
    templates = checkout / "poisonbench" / "scaffold" / "templates"
    expected |= {f"poisonbench/scaffold/templates/{path.name}" for path in templates.iterdir()}
    site = checkout / "leaderboard" / "site"
    parts = [path for folder in ("assets", "templates") for path in (site / folder).iterdir()]
    expected |= {f"poisonbench/leaderboard/site/{path.relative_to(site)}" for path in parts}
    assert {name for name in names if not name.endswith(".py") and ".dist-info/" not in name} == expected


def test_entry_points_are_those_of_pyproject(wheel: Path, names: set[str], checkout: Path) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    expected = {"console_scripts": project["scripts"]}  # methods are in plugins/built_in.py
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str
    parser.read_string(text)
    assert {group: dict(parser[group]) for group in parser.sections()} == expected


def test_every_built_in_is_in_a_module_of_the_wheel(names: set[str]) -> None:
    targets = [target for group in BUILT_IN.values() for target in group.values()]
    assert {f"{target.partition(':')[0].replace('.', '/')}.py" for target in targets} <= names


def test_it_imports_away_from_the_checkout(installed: Path, checkout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        # -P keeps the working folder off the path; warnings are errors here too.
        [sys.executable, "-P", "-W", "error", "-c", SHOW],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    elsewhere = {name: file for name, file in found["files"].items() if not Path(file).is_relative_to(installed)}
    assert not elsewhere
    assert sorted(found["protocols"]) == sorted(path.stem for path in (checkout / "protocols").glob("*.yaml"))
    assert "Indiscriminate Data Poisoning" in found["bibtex"]


def test_the_version_is_the_same_everywhere(wheel: Path, checkout: Path) -> None:
    (version,) = re.findall(r'^__version__ = "(.+)"$', (checkout / "poisonbench/__init__.py").read_text(), re.M)
    assert wheel.name.startswith(f"poisonbench-{version}-")
    assert re.search(rf"^version: {re.escape(version)}$", (checkout / "CITATION.cff").read_text(), re.M)
    assert f"## [{version}]" in (checkout / "CHANGELOG.md").read_text()
