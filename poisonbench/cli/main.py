"""The command line: its commands by task. `--help` and `list` import neither torch nor pandas.

Exit codes: 0 ok, 1 some cells failed, 2 usage, 3 data missing, 4 validation failed, 5 timeout, 130 interrupt.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from poisonbench import __version__
from poisonbench.cli.check import check
from poisonbench.cli.compare import compare
from poisonbench.cli.data import data_app
from poisonbench.cli.describe import describe
from poisonbench.cli.doctor import doctor
from poisonbench.cli.gallery import gallery
from poisonbench.cli.leaderboard import leaderboard_app
from poisonbench.cli.listing import list_
from poisonbench.cli.new import new_app
from poisonbench.cli.plan import plan
from poisonbench.cli.plot import plot_app
from poisonbench.cli.reading import exit_code
from poisonbench.cli.reproduce import reproduce
from poisonbench.cli.results import results_app
from poisonbench.cli.run import run
from poisonbench.cli.strict_app import StrictApp
from poisonbench.cli.submit import submit
from poisonbench.cli.sweep import sweep
from poisonbench.cli.table import table
from poisonbench.cli.validate import validate
from poisonbench.cli.verify import verify
from poisonbench.errors import PoisonbenchError
from poisonbench.process.openmp import yield_when_crowded
from poisonbench.terminal.consoles import console, note, show_traceback, write_text
from poisonbench.terminal.encoding import spell_out
from poisonbench.terminal.interrupt import EXIT_CODE, interruptible
from poisonbench.terminal.standard_streams import discard_output, open_closed_streams, refusal

_HELP_COLUMNS = 64
"""Rich's help cuts off what it has no room for; below this many columns there is plain help."""

_EPILOG = (
    "Exit codes: 0 ok, 1 some cells failed, 2 usage, 3 data missing, 4 validation failed, 5 timeout, 130 interrupt."
)

_TASKS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Run": {
        "run": run, "sweep": sweep, "plan": plan, "reproduce": reproduce, "doctor": doctor, "data": data_app,
    },
    "Look": {
        "list": list_, "describe": describe, "table": table, "compare": compare, "gallery": gallery,
        "plot": plot_app, "results": results_app,
    },
    "Publish": {"submit": submit, "validate": validate, "verify": verify, "leaderboard": leaderboard_app},
    "Extend": {"check": check, "new": new_app},
}  # fmt: skip
"""Commands and groups of commands, by what somebody wants to do; the help shows a task's groups last."""

app = StrictApp(
    help="Indiscriminate data poisoning under one fixed protocol: attacks against defenses, acc1 − acc2 and runtime.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    epilog=_EPILOG,
)
for task, commands in _TASKS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=task)
        else:
            app.command(name, rich_help_panel=task)(command)


def _version(value: bool) -> None:
    if value:
        write_text(f"poisonbench {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


def _plain_help(part: typer.Typer) -> None:
    """Help without frames, of commands in whole sentences."""
    part.rich_markup_mode = None
    for command in part.registered_commands:
        command.short_help = (inspect.getdoc(command.callback) or "").split("\n\n")[0]
    for group in part.registered_groups:
        if group.typer_instance is not None:
            group.short_help = str(group.typer_instance.info.help)
            _plain_help(group.typer_instance)


def main() -> NoReturn:
    """The `poisonbench` command. One line an error; a traceback is a bug, or asked for with --debug."""
    open_closed_streams()
    yield_when_crowded()
    spell_out()
    if console.width < _HELP_COLUMNS:
        _plain_help(app)
    try:
        code = _called(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as `head`
        discard_output()
        code = 1
    except OSError as error:
        if (line := refusal(error)) is None:
            raise
        discard_output()
        note(f"Error: {line}")
        code = 1
    sys.exit(code)


def _called(arguments: list[str]) -> int:
    """Run a command; gives its exit code."""
    if (
        arguments
        and arguments[0].startswith("-")
        and arguments[0] not in ("-h", "--help", "--version", "--install-completion", "--show-completion")
    ):
        arguments = ["run", *arguments]
    try:
        with interruptible():
            code = app(arguments, standalone_mode=False)
            if code == EXIT_CODE:  # Typer's way of handing over Ctrl-C
                raise KeyboardInterrupt
    except PoisonbenchError as error:
        if "--debug" in arguments:
            show_traceback(error)
        note(f"Error: {error}")
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        if message := error.format_message():  # click's usage errors; a group without a command has shown its help
            note(f"Error: {' '.join(message.split())}")
        return 2
    return code or exit_code()
