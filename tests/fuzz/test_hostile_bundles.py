"""The soak of bundles, and what the largest of them take: minutes, so only the first few are in the default run."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from poisonbench.cli.main import main
from poisonbench.experiment import cell as cells
from poisonbench.experiment import protocol
from poisonbench.experiment.runner import Runner
from poisonbench.store.database import Store
from poisonbench.submission import bundle

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
MOST_MIB = 700


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    with Store.open(folder / "store") as store:
        record = Runner(store).run(cells.build(protocol.resolve("digits-v2", ()), "label-flip", "loss", 0.03, 0)).record
        bundle.write(store, [record], folder / "bundle", None)
    return folder / "bundle"


@pytest.fixture(scope="module")
def hostile() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_bundles", Path(__file__).with_name("hostile_bundles.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judged(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """The exit code of validate, and what it prints."""
    monkeypatch.setattr(sys, "argv", ["poisonbench", "validate", str(folder), "--offline"])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, "".join(capsys.readouterr())


@pytest.mark.parametrize("count", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_hostile_bundles_are_refused_in_a_line(
    good: Path,
    hostile: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    count: int,
) -> None:
    assert judged(good, monkeypatch, capsys)[0] == 0
    bundles, wrong = hostile.Bundles(good, seed=17), []
    folder = tmp_path / "bundle"
    for number in range(count):
        what = bundles.make(number, folder)
        try:
            code, printed = judged(folder, monkeypatch, capsys)
        except Exception as error:  # a traceback
            wrong.append((number, what, repr(error)))
            continue
        if code != 4 or "✗" not in printed or "Traceback" in printed or OBEYED.search(printed) or len(printed) > 2000:
            wrong.append((number, what, code, printed[:300]))
    bundles.clear(folder)
    assert wrong == []


def largest_json(kind: str, size: int) -> str:
    """The JSON text of that many bytes that takes the most memory."""
    if kind == "keys":
        return "{" + ",".join(f'"{key}":0' for key in range(1_000_000)) + "}"
    if kind == "keys within limits":
        return "{" + ",".join(f'"{key}":0' for key in range(99_000)) + "}"
    if kind == "lists within limits":
        return json.dumps({"attack_stats": 0}).replace("0", "[" + ",".join(["[]"] * 49_000) + "]")
    if kind == "letters":
        return json.dumps({"a": ["\N{GRINNING FACE}" * (size // 4 - 10)]}, ensure_ascii=False)
    return json.dumps({"files": [{"path": "x"} for _ in range(20_000)]})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keys", "keys within limits", "lists within limits", "letters", "files"])
@pytest.mark.parametrize("where", ["manifest", "record"])
def test_a_large_text_is_judged_in_little_memory(
    kind: str, where: str, good: Path, hostile: Any, tmp_path: Path, peak_mib: Callable[..., tuple[int, str, float]]
) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "bundle"))
    if where == "manifest":
        (folder / bundle.MANIFEST).write_text(largest_json(kind, bundle.MAX_MANIFEST), "utf-8")
    else:
        bundles = hostile.Bundles(good, 0)
        bundles._replace(folder, bundles._record(folder), largest_json(kind, bundle.MAX_BYTES).encode())
    code, printed, peak = peak_mib(folder)
    assert code == 4, printed
    print(f"{peak:.0f} MiB")
    assert peak < MOST_MIB


@pytest.mark.slow
def test_a_sparse_artifact_is_judged_in_little_memory(
    good: Path, hostile: Any, tmp_path: Path, peak_mib: Callable[..., tuple[int, str, float]]
) -> None:
    """One that no record names, and one that takes the place of a poison set."""
    folder = Path(shutil.copytree(good, tmp_path / "bundle"))
    sha256 = "ab" * 32
    path = folder / "records" / "artifacts" / "ab" / f"{sha256}.safetensors"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    bundles = hostile.Bundles(good, 0)
    bundles._list(folder, path, sha256)
    code, printed, peak = peak_mib(folder)
    assert (code, "named by no record" in printed.replace("\n", " ")) == (4, True)
    print(f"{peak:.0f} MiB")
    assert peak < MOST_MIB
