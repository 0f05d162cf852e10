"""What people type most starts at once: no method, no torch, no pandas."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "pandas", "numpy", "scipy", "sklearn", "matplotlib", "sqlalchemy")

RUN = """
import json, sys
from collections.abc import Callable
from poisonbench.cli.main import main
sys.argv = ["poisonbench", *json.loads(sys.argv[1])]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["results", "--help"],
        ["list"],
        ["list", "attacks"],
        ["list", "protocols", "--json"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN, json.dumps(arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "POISONBENCH_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    imported = {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert imported.isdisjoint(HEAVY)


FACE = """
import json, sys
import poisonbench as pb
from poisonbench import PoisonbenchError, ThreatModel, register
assert {"run", "Attack"} <= set(dir(pb))
assert pb.available()["attacks"]
print(json.dumps(sorted(sys.modules)))
pb.results()
print(json.dumps(sorted(sys.modules)))
pb.Attack
print(json.dumps(sorted(sys.modules)))
"""


def test_a_name_of_the_face_is_imported_when_it_is_used(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", FACE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "POISONBENCH_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    light, results, attack = (set(json.loads(line)) for line in done.stdout.splitlines())
    assert light.isdisjoint(HEAVY)
    assert "pandas" in results
    assert "torch" not in results
    assert "torch" in attack


def test_the_package_alone_imports_nothing(tmp_path: Path) -> None:
    code = "import sys; before = set(sys.modules); import poisonbench; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    ours = {name for name in done.stdout.split() if name.startswith("poisonbench") or name in HEAVY}
    assert ours == {"poisonbench"}, done.stderr


READ = """
import sys
from poisonbench.cli.main import main
commands = ("results merge", sys.argv[1]), ("results show --json",), ("table --format md",), ("leaderboard build",)
for command, *more in commands:
    arguments = [*command.split(), *more, *(["--no-published"] if command == "leaderboard build" else [])]
    sys.argv = ["poisonbench", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
    assert "torch" not in sys.modules, arguments
"""


def test_reading_results_needs_no_torch(
    checkout: Path, tmp_path: Path, record_pages: Callable[[Path], dict[str, str]]
) -> None:
    """Some of the published records, merged into a store; all of them make a larger site by the same code."""
    (tmp_path / "some").mkdir()
    with lzma.open(checkout / "leaderboard" / "results" / "mnist-v1" / "lr.jsonl.xz") as lines:
        for index, line in enumerate(islice(lines, 5)):
            (tmp_path / "some" / f"{index}.json").write_bytes(line)
    command = [sys.executable, "-P", "-c", READ, str(tmp_path / "some")]
    environment = {**os.environ, "POISONBENCH_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(record_pages(tmp_path / "site")) == 5
