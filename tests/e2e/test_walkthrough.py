"""A new attack's way from an empty folder to a row on a leaderboard, as the tutorial tells it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "your-attack.md"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_an_empty_folder_to_the_leaderboard(
    fresh: Callable[..., Any], tmp_path: Path, record_pages: Callable[[Path], dict[str, str]]
) -> None:
    """The tutorial's commands as written, in one shell; what they install goes to a folder of the test's."""
    author, installed = fresh("author"), tmp_path / "site-packages"
    bundle, verified = (tmp_path / "my-attack" / name for name in ("bundle", "verified"))
    (block,) = re.findall(r"^<!-- walkthrough -->\n```console\n(.*?)^```$", TUTORIAL.read_text("utf-8"), re.M | re.S)
    commands = [line.removeprefix("$ ") for line in block.splitlines()]
    environment = {
        **author.variables(),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(installed),
        "PIP_TARGET": str(installed),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way of saying 1
        "PYTHONSAFEPATH": "1",
    }
    done = subprocess.run(
        ["bash", "-euxc", "\n".join(commands)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "my-attack" / "site"
    assert "my-attack" in (site / "attacks" / "my-attack.html").read_text("utf-8")
    assert done.stdout.count("✓ verified, to the bit") == 20  # ten seeds, two defenses

    # Whoever verifies has the bundle and not the attack.
    reader = fresh("reader")
    reader("results", "merge", str(verified))
    site = tmp_path / "site"
    reader("leaderboard", "build", "-o", str(site), "--no-published")
    (board,) = (site / "boards").glob("*.html")
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", board.read_text("utf-8")))
    assert "my-attack" in page
    assert "self-reported" in page  # a stranger's signature is no badge
    assert {path.stem for path in verified.iterdir()} == set(record_pages(site))

    # A claim that the poison set does not bear out is told, and not signed.
    lie(bundle, author.home)
    told = reader("validate", str(bundle), code=4).stdout
    assert "its predictions say" in told
    key = tmp_path / "my-attack" / "key.pem"
    again = reader("verify", str(bundle), "--key", str(key), "-o", str(tmp_path / "signed"), code=4)
    assert again.stdout.count("✗") == 1
    assert len(list((tmp_path / "signed").iterdir())) == 19


def lie(bundle: Path, home: Path) -> None:
    """One record says acc2 = 10 %; its id and every checksum are right."""
    import hashlib

    from poisonbench.store.canonical import pretty_json
    from poisonbench.store.record import Record
    from poisonbench.store.record_results import Metrics

    path = sorted((bundle / "records").glob("*.json"))[0]
    document = json.loads(path.read_text("utf-8"))
    document.pop("record_id")
    honest = document["metrics"]
    claim = Metrics.of(honest["acc1"], 10.0, honest["acc2_undefended"], honest["acc1_defended"])
    record = Record.create(**{**document, "metrics": claim.model_dump()})
    data = pretty_json(record.document()).encode("utf-8")
    path.unlink()
    (bundle / "records" / f"{record.record_id}.json").write_bytes(data)
    manifest = json.loads((bundle / "bundle.json").read_text("utf-8"))
    for file in manifest["files"]:
        if file["path"] == f"records/{path.name}":
            file.update(
                path=f"records/{record.record_id}.json", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
            )
    (bundle / "bundle.json").write_text(json.dumps(manifest), "utf-8")
