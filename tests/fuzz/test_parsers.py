"""The fuzz targets in a bounded run, from what is valid; without atheris there is nothing to run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from poisonbench.store.artifacts import to_bytes
from poisonbench.store.canonical import pretty_json
from poisonbench.submission.bundle import File, Manifest

TARGET = Path(__file__).with_name("parsers.py")
RECORD = TARGET.parents[1] / "unit" / "test_store_record_v5.json"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed: pip install atheris")
@pytest.mark.parametrize(("target", "runs"), [("record", 5_000), ("manifest", 20_000), ("tensors", 20_000)])
def test_no_input_ends_in_anything_but_our_errors(target: str, runs: int, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    listed = Manifest(files=(File(path="CITATION.bib", sha256="0" * 64, bytes=1),)).model_dump(mode="json")
    seeds = {
        "record": RECORD.read_bytes(),
        "manifest": pretty_json(listed).encode(),
        "tensors": to_bytes({"x": torch.zeros(2, 3), "y": torch.zeros(2, dtype=torch.int64)}),
    }
    (corpus / "seed").write_bytes(seeds[target])
    command = [sys.executable, "-P", str(TARGET), target, f"-runs={runs}", "-max_total_time=60", "-rss_limit_mb=4096"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", str(corpus)],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
