"""`poisonbench leaderboard serve` from the beginning to Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from poisonbench.cli.leaderboard import serve
from poisonbench.leaderboard import published
from poisonbench.leaderboard.site import server
from poisonbench.store.shipped import shipped_texts


def test_it_is_served_until_ctrl_c(fresh: Callable[..., Any]) -> None:
    command = fresh()
    command("leaderboard", "build", "--no-published", "-o", "site")
    process = command.start("leaderboard", "serve", "site", "--no-open")
    told = process.stderr.readline()
    found = re.fullmatch(r"Serving (http://127\.0\.0\.1:\d+/) until Ctrl-C\.\n", told)
    assert found
    with urllib.request.urlopen(found[1], timeout=10) as response:
        assert b"<h1>Which poisoning attack is strongest" in response.read()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (0, "", "")


def test_without_a_folder_a_site_is_built_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_pages: Callable[[Path], dict[str, str]]
) -> None:
    """With the published records, of which there are few here."""
    few, seen = list(islice(shipped_texts({"mnist-v1"}), 2)), list[tuple[Path, set[str]]]()
    monkeypatch.setattr(published, "shipped_texts", lambda protocols=None: iter(few))
    monkeypatch.setattr(server, "serve", lambda site, *_: seen.append((site, set(record_pages(site)))))
    serve(browser=False, store=str(tmp_path), quiet=True)
    ((site, records),) = seen
    assert records == {json.loads(text)["record_id"] for text in few}
    assert not site.exists()
