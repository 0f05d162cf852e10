"""`poisonbench new attack | defense`: the project of a plugin."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from poisonbench.cli.strict_app import StrictApp
from poisonbench.errors import UsageError
from poisonbench.terminal.consoles import console

new_app = StrictApp(help="Start a plugin: an installable project that runs as written.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="What it is to be run under: lower case, digits and single hyphens.")]
FolderOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write to. Default: one of that name, here.")
]


@new_app.command()
def attack(name: NameArgument, output: FolderOption = None) -> None:
    """Write a small project with a new attack: entry point, working example, contract test, README."""
    _write("attack", name, output)


@new_app.command()
def defense(name: NameArgument, output: FolderOption = None) -> None:
    """Write a small project with a new defense: entry point, working example, contract test, README."""
    _write("defense", name, output)


def _write(kind: str, name: str, output: Path | None) -> None:
    """Write the project, and say what comes next.

    Raises:
        PluginError: for a name that it cannot have.
        UsageError: for a folder that is not empty or cannot be written.
    """
    from poisonbench import scaffold
    from poisonbench.files.atomic import new_folder

    scaffold.check(kind, name)
    folder = output or Path(name)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} is there and not an empty folder; choose another with --output FOLDER.")
        project = scaffold.project(kind, name)
        with new_folder(folder) as new:
            for path, text in project.items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                (new / path).write_text(text, encoding="utf-8")
        for path in project:
            console.print(str(folder / path), soft_wrap=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}.") from error
    commands = f'cd {shlex.quote(str(folder))} && pip install -e ".[test]" && poisonbench check {name}'
    console.print(f"\nNext: {commands}", soft_wrap=True)
