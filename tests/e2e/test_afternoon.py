"""A new attack's way from an empty folder to a row on a leaderboard, as the README tells it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_from_an_empty_folder_to_the_leaderboard(fresh: Callable[..., Any], tmp_path: Path) -> None:
    author, installed = fresh("author"), tmp_path / "site-packages"
    project, bundle, verified, site = (tmp_path / name for name in ("my-attack", "bundle", "verified", "site"))
    author("new", "attack", "my-attack", "-o", str(project))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*install, str(installed), str(project)], check=True, capture_output=True)

    author = fresh("author", plugins=installed)
    assert "my-attack" in author("list", "attacks").stdout
    author("check", "my-attack")
    shown = author.json("run", "--attack", "my-attack", "--defense", "none,sever", "--seeds", "0,1,2", "--json")
    records = [record["record_id"] for record in shown]
    author("submit", *records, "-o", str(bundle))

    # Whoever verifies has the bundle and not the attack.
    reader = fresh("reader")
    reader("validate", str(bundle))
    found = reader("verify", str(bundle), "--as", "the maintainers", "-o", str(verified)).stdout
    assert found.count("✓") == 6
    reader("results", "merge", str(verified))
    reader("leaderboard", "build", "-o", str(site), "--no-published")
    (board,) = (site / "boards").glob("*.html")
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", board.read_text("utf-8")))
    assert "my-attack" in page
    assert "verified" in page
    assert {path.stem for path in verified.iterdir()} == {path.stem for path in (site / "records").glob("*.html")}

    # A claim that the poison set does not bear out is told, and not signed.
    lie(bundle, author.home)
    told = reader("validate", str(bundle), code=4).stdout
    assert "its predictions say" in told
    again = reader("verify", str(bundle), "--as", "x", "-o", str(tmp_path / "signed"), code=4)
    assert again.stdout.count("✗") == 1
    assert len(list((tmp_path / "signed").iterdir())) == 5


def lie(bundle: Path, home: Path) -> None:
    """One record says acc2 = 10 %; its id and every checksum are right."""
    import hashlib

    from poisonbench.store.canonical import pretty_json
    from poisonbench.store.record import Metrics, Record

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
