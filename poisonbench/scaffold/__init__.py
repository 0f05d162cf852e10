"""Writes new plugins from templates, working as written: the project of an attack or a defense, installable and tested,
or the single file of a model or a dataset."""

from __future__ import annotations

import importlib.util
import keyword
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from poisonbench import __version__
from poisonbench.errors import PluginError
from poisonbench.plugins.registry import GROUPS, check_name, entries
from poisonbench.scaffold import example_data

KINDS = ("attack", "defense")
"""What has a project."""

FILE_KINDS = ("model", "dataset")
"""What has a file."""


def check(kind: str, name: str) -> None:
    """Refuse a name that the plugin could not have.

    Raises:
        PluginError: if it is no method name, is taken, or its module's or class's name is.
    """
    check_name(name)
    if name in entries(kind):
        entry = entries(kind)[name]
        raise PluginError(f"The {kind} {name!r} is there already, from {entry.distribution}; choose another name.")
    module, cls = module_of(name), class_of(name)
    if not module.isidentifier() or keyword.iskeyword(module) or keyword.iskeyword(cls):
        raise PluginError(f"{name!r} cannot name a Python module {module} with a class {cls}; choose another name.")
    if importlib.util.find_spec(module) is not None:
        raise PluginError(f"{name!r}: there is a Python module {module} already; choose another name.")


def module_of(name: str) -> str:
    """my-attack → my_attack."""
    return name.replace("-", "_")


def class_of(name: str) -> str:
    """my-attack → MyAttack."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))


def project(kind: str, name: str) -> dict[Path, str]:
    """The project's files, by path inside its folder."""
    module = module_of(name)
    values = {
        "kind": kind,
        "article": {"attack": "an", "defense": "a"}[kind],
        "name": name,
        "title": name.replace("-", " ").capitalize(),
        "module": module,
        "class": class_of(name),
        "contract": {"attack": "AttackContract", "defense": "DefenseContract"}[kind],
        "group": GROUPS[kind],
        "version": __version__,
        "opponents": {"attack": "a defense", "defense": "attacks"}[kind],
        "run": {
            "attack": f"--attack {name} --defense none,sever",
            "defense": f"--attack label-flip,tgda --defense {name}",
        }[kind],
    }
    return {
        Path("pyproject.toml"): _rendered("pyproject.toml", values),
        Path("README.md"): _rendered("README.md", values),
        Path(".gitignore"): _rendered("gitignore", values),
        Path(f"{module}.py"): _rendered(f"{kind}.py", values),
        Path("tests", f"test_{module}.py"): _rendered("test.py", values),
    }


def plugin(kind: str, name: str) -> dict[Path, bytes]:
    """The file of a model, or of a dataset with example data beside it, by name."""
    module = module_of(name)
    values = {"name": name, "title": name.replace("-", " ").capitalize(), "module": module, "class": class_of(name)}
    if kind == "model":
        return {Path(f"{module}.py"): _rendered("model.py", values).encode()}
    data = example_data.arrays()
    text = _rendered("dataset.py", values | {"sha256": example_data.sha256(data)})
    return {Path(f"{module}.py"): text.encode(), Path(f"{module}.npz"): example_data.npz(data)}


def _rendered(template: str, values: Mapping[str, str]) -> str:
    environment = Environment(
        loader=PackageLoader("poisonbench.scaffold"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=select_autoescape(),  # none of them is HTML
    )
    return environment.get_template(f"{template}.j2").render(values)
