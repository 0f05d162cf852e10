"""Commands without the seconds that a start costs: everything is imported, the installed code hashed, and the command
line built of its functions, once, and each is run by a fork of that.

Every line of standard input asks for one, as JSON: its arguments, folder, environment, and the files for its output
and its errors. Every line of standard output is its exit code. What a command is given is its own, as the console
script's is: the process, the folder, the environment, the standard streams. A line may ask for a kill too; see
`killed`.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from multiprocessing import util
from pathlib import Path
from typing import Any, NoReturn

import typer.main

import poisonbench.cli
from poisonbench.cli.main import app
from poisonbench.identity.code import code_hash
from poisonbench.identity.versions import engine_hash
from poisonbench.plugins.built_in import BUILT_IN
from poisonbench.process.openmp import yield_when_crowded

LIMIT_S = 240


CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "sqlite3.connect"}
"""Steps, as audited, that change files or are about to."""


def killed(before: int | None, after: float | None, counted: str) -> None:
    """From here on, kill this process before its step of that number or after so many seconds; without either, write
    down how many steps there were. Every step of a loop is saved: a kill finds checkpoints. No byte code is written, or
    the first command that imports a module had more steps than the next."""
    sys.dont_write_bytecode = True
    stage.SAVE_EVERY_S = 0.0
    if after is not None:
        signal.setitimer(signal.ITIMER_REAL, after)
    steps = 0

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        if event in CHANGES or (event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wxa"):
            steps += 1
            if steps == before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)
    if before is None and after is None:
        at_end.append(lambda: Path(counted).write_text(str(steps), "ascii"))


at_end: list[Callable[[], object]] = []

HIGH = 500
"""File descriptors from here on are nobody's."""


def spare_server() -> None:
    """Fork this process before it is a command: should the command start a fork server, the copy becomes that, with the
    command's environment of then. It has imported what a new interpreter would, and nothing else ran in it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    spare = os.fork()
    if spare == 0:
        ours.close()
        be_server(theirs)
    theirs.close()
    start = util.spawnv_passfds

    def started(path: bytes, arguments: Sequence[str], kept: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1] or ours.fileno() < 0:
            return start(path, arguments, kept)
        wanted = {"code": arguments[-1], "kept": list(kept), "environment": dict(os.environ), "folder": str(Path.cwd())}
        socket.send_fds(ours, [json.dumps(wanted).encode()], list(kept))
        ours.close()
        return spare

    util.spawnv_passfds = started


def be_server(asked: socket.socket) -> NoReturn:
    """Wait until a fork server is asked for, and be it; or until none is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as whoever starts one does
    text, given, _, _ = socket.recv_fds(asked, 1 << 20, 16)
    asked.close()
    if text:
        wanted = json.loads(text)
        aside = [fcntl.fcntl(one, fcntl.F_DUPFD, HIGH) for one in given]
        for one in given:
            os.close(one)
        for one, number in zip(aside, wanted["kept"], strict=True):
            os.dup2(one, number)
            os.close(one)
        os.chdir(wanted["folder"])
        os.environ.clear()
        os.environ.update(wanted["environment"])
        with suppress(SystemExit):
            exec(wanted["code"], {})
    os._exit(0)


def command(
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    output: str,
    errors: str,
    kill: dict[str, Any] | None = None,
) -> NoReturn:
    """Be the console script, to the end of the process; what the interpreter tears down at its own is left out."""
    signal.alarm(LIMIT_S)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT, 0o600), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["poisonbench", *arguments]
    code: Any = 1
    if arguments[:1] != ["check"]:
        spare_server()
    if kill is not None:
        killed(**kill)
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    for last in at_end:
        last()
    os._exit(code)


yield_when_crowded()
os.fsync = lambda descriptor: None  # tests kill processes and no machine
gc.disable()
(script,) = entry_points(group="console_scripts", name="poisonbench")
main = script.load()
build, built = typer.main.get_command, typer.main.get_command(app)
typer.main.get_command = lambda part: built if part.rich_markup_mode else build(part)  # without: plain help, if narrow
stage = importlib.import_module("poisonbench.stages.stage")  # with torch, hence after yield_when_crowded
for module in pkgutil.walk_packages(poisonbench.cli.__path__, "poisonbench.cli."):
    importlib.import_module(module.name)
engine_hash()
for target in (target for kind in BUILT_IN.values() for target in kind.values()):
    code_hash(target.partition(":")[0])
gc.freeze()  # nothing of it is garbage: a fork that looked through it would copy it all
gc.enable()
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        command(**json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
