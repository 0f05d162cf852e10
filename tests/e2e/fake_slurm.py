"""Slurm in two programs, sbatch and squeue, which really run an array's tasks, one after the other, as processes.

$FAKE_SLURM is a folder: `asked` has a line for each job, its options as JSON; `queue` is there while a job runs; the
task whose number is in `loses` is ended before it does anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])
QUEUE, ASKED, LOSES = FOLDER / "queue", FOLDER / "asked", FOLDER / "loses"
JOB = "77"


def options() -> dict[str, str]:
    """Those of the command line."""
    pairs = (argument[2:].partition("=") for argument in sys.argv[2:])
    return {key: value for key, _, value in pairs}


def sbatch() -> None:
    """Take a job; what runs it lives on."""
    asked, script = options(), FOLDER / "script"
    if asked.get("partition") == "none":
        sys.exit("sbatch: error: invalid partition specified: none")
    script.write_text(sys.stdin.read(), "utf-8")
    with ASKED.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asked) + "\n")
    QUEUE.write_text(asked["job-name"], "utf-8")
    subprocess.Popen(
        [sys.executable, __file__, "run", f"--array={asked['array']}", f"--output={asked['output']}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print(JOB)


def run() -> None:
    """Run the tasks of the job that was taken."""
    asked = options()
    for number in asked["array"].partition("%")[0].split(","):
        if LOSES.exists() and LOSES.read_text("utf-8") == number:
            continue
        with Path(asked["output"].replace("%A", JOB).replace("%a", number)).open("w") as log:
            there = {**os.environ, "SLURM_ARRAY_TASK_ID": number}
            subprocess.run(["sh", str(FOLDER / "script")], env=there, stdout=log, stderr=log, check=False)
    QUEUE.unlink()


def squeue() -> None:
    """The job, if it runs and has that name."""
    if QUEUE.exists() and QUEUE.read_text("utf-8") == options()["name"]:
        print(JOB)


{"sbatch": sbatch, "squeue": squeue, "run": run}[sys.argv[1]]()
