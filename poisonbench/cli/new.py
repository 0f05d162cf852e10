"""`poisonbench new attack | defense | model | dataset`: a plugin to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from poisonbench.cli.strict_app import StrictApp
from poisonbench.errors import UsageError
from poisonbench.terminal.consoles import console

new_app = StrictApp(help="Start a plugin that runs as written: a project, or a single file.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="What it is to be run under: lower case, digits and single hyphens.")]
FolderOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write to. Default: one of that name, here.")
]
PlaceOption = Annotated[Path, typer.Option("--output", "-o", help="Folder to write to. Default: this one.")]


@new_app.command()
def attack(name: NameArgument, output: FolderOption = None) -> None:
    """Write a small project with a new attack: entry point, working example, contract test, README."""
    _write("attack", name, output)


@new_app.command()
def defense(name: NameArgument, output: FolderOption = None) -> None:
    """Write a small project with a new defense: entry point, working example, contract test, README."""
    _write("defense", name, output)


@new_app.command()
def model(name: NameArgument, output: PlaceOption = Path()) -> None:
    """Write a single file with a new model: a small network, to be used with --plugin at once."""
    _write_file("model", name, output, f"poisonbench run --plugin {{file}} --model {name} --attack label-flip")


@new_app.command()
def dataset(name: NameArgument, output: PlaceOption = Path()) -> None:
    """Write a single file with a new dataset, and example data beside it, to be used with --plugin at once."""
    command = f"poisonbench run --plugin {{file}} --protocol digits --dataset {name} --attack label-flip"
    _write_file("dataset", name, output, command)


def _write_file(kind: str, name: str, folder: Path, command: str) -> None:
    """Write the file and what belongs beside it, and say what comes next.

    Raises:
        PluginError: for a name that it cannot have.
        UsageError: for a file that is there, or a folder that cannot be written.
    """
    from poisonbench import scaffold
    from poisonbench.files.atomic import write_atomically

    scaffold.check(kind, name)
    files = {folder / path: data for path, data in scaffold.plugin(kind, name).items()}
    for path in files:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} is there already; choose another folder with --output FOLDER.")
    try:
        for path, data in files.items():
            write_atomically(path, data)
            console.print(str(path), soft_wrap=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}.") from error
    file = shlex.quote(str(next(iter(files))))
    console.print(f"\nNext: poisonbench check {name} --plugin {file} && {command.format(file=file)}", soft_wrap=True)


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
