"""Records after the run: listed, tabled, exported, merged."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

DESCRIBE_ALL = """
from typer.main import get_command
from poisonbench.cli.main import app
from poisonbench.experiment.protocol import names
from poisonbench.plugins.registry import GROUPS, entries
command = get_command(app)  # once: it takes 60 ms
for name in [name for kind in GROUPS for name in entries(kind)] + list(names()):
    print(f"== {name}")
    command(["describe", name], standalone_mode=False)
"""


def test_list_is_json(poisonbench: Any) -> None:
    found = poisonbench.json("list", "--json")
    assert set(found) == {"attacks", "defenses", "models", "datasets", "protocols"}
    for rows in found.values():
        assert rows
        for row in rows:
            assert row["broken"] is None
            assert row["summary"].endswith(".")


def test_doctor_is_json_and_well(first: CompletedProcess[str], poisonbench: Any) -> None:
    found = poisonbench.json("doctor", "--json")
    assert found["healthy"]
    assert found["store"]["integrity"] == "ok"
    assert found["store"]["records"] >= 3
    assert found["store"]["missing_artifacts"] == found["store"]["damaged"] == []
    assert "digits.csv.gz" in found["data"]["digits"]


def test_results_show_filters_and_shows_one(first: CompletedProcess[str], poisonbench: Any) -> None:
    record = json.loads(first.stdout)[0]
    assert poisonbench.json("results", "show", record["record_id"][:12]) == record
    assert poisonbench.json("results", "show", "--attack", "no-such-attack", "--json") == []
    assert record["record_id"][:8] in poisonbench("results", "show", "--defense", "sever").stdout


def test_export_merge_export_is_byte_for_byte(
    first: CompletedProcess[str], poisonbench: Any, fresh: Callable[..., Any], tmp_path: Path
) -> None:
    ids = sorted(record["record_id"] for record in json.loads(first.stdout))
    out, back = tmp_path / "out", tmp_path / "back"
    poisonbench("results", "export", "--output", str(out), "--artifacts", *ids)
    assert sorted(path.stem for path in out.glob("*.json")) == ids

    other = fresh("other")
    assert "3 added, 0 already there, 0 refused." in other("results", "merge", str(out)).stderr
    assert "0 added, 3 already there, 0 refused." in other("results", "merge", str(out)).stderr
    other("results", "export", "--output", str(back), "--artifacts")
    assert contents(back) == contents(out)
    assert other.json("doctor", "--json")["store"]["missing_artifacts"] == []


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_changed_file_is_refused_and_the_others_go_in(
    first: CompletedProcess[str], poisonbench: Any, fresh: Callable[..., Any], tmp_path: Path
) -> None:
    ids = [record["record_id"] for record in json.loads(first.stdout)]
    poisonbench("results", "export", "--output", str(tmp_path / "out"), *ids)
    victim = tmp_path / "out" / f"{ids[0]}.json"
    document = json.loads(victim.read_text(encoding="utf-8"))
    document["metrics"]["acc2_undefended"] = 1.0
    victim.write_text(json.dumps(document), encoding="utf-8")
    done = fresh("other")("results", "merge", str(tmp_path / "out"), code=4)
    assert "2 added, 0 already there, 1 refused." in done.stderr
    assert "it was changed" in done.stderr


def test_table_as_markdown(first: CompletedProcess[str], fresh: Callable[..., Any], tmp_path: Path) -> None:
    for record in json.loads(first.stdout):
        (tmp_path / f"{record['record_id']}.json").write_text(json.dumps(record), encoding="utf-8")
    other = fresh("other")
    other("results", "merge", str(tmp_path))
    lines = other("table", "--format", "md").stdout.splitlines()
    assert lines[0].startswith("**digits-v2 · lr · ε = 0.03 ·")
    drops = [record["metrics"]["drop"] for record in json.loads(first.stdout)]
    assert lines[2:4] == ["| attack | sever |", "| --- | ---: |"]
    assert lines[4].startswith(f"| tgda | {sum(drops) / 3:.2f} ± ")
    assert lines[4].endswith(" (3) |")


def test_a_curve_of_drop_against_the_fraction_removed(poisonbench: Any, tmp_path: Path) -> None:
    run = ("run", "-a", "label-flip", "-d", "loss,sever:pooled+loss", "--seeds", "0,1", "--epsilon", "0.05")
    poisonbench(*run, "--set", "defense.fraction=0.02")
    poisonbench(*run, "--set", "defense.fraction=0.02", "--set", "defense.loss.fraction=0.05")
    picture = tmp_path / "curve.svg"
    done = poisonbench("plot", "fraction", "--output", str(picture), "--attack", "label-flip")
    assert done.stdout == f"{picture}\n"
    assert picture.read_text("utf-8").count("sever+loss") >= 1
    lines = poisonbench("table", "--value", "removed", "--format", "md").stdout.splitlines()
    heading = next(index for index, line in enumerate(lines) if "ε = 0.05" in line)
    assert "rows removed" in lines[heading]
    titles, numbers = lines[heading + 2].split(" | "), lines[heading + 4].split(" | ")
    assert titles[1:] == [
        "loss (fraction=0.02)",
        "loss (fraction=0.05)",
        "sever+loss (loss.fraction=0.02)",
        "sever+loss (loss.fraction=0.05) |",
    ]
    assert numbers[1:] == ["19 ± 0 (2)", "47 ± 0 (2)", "37 ± 0 (2)", "65 ± 0 (2) |"]  # of 953; of 953 and of 934 left


def test_an_empty_store_says_what_to_do(fresh: Callable[..., Any]) -> None:
    empty = fresh()
    assert "No records yet" in empty("table").stderr
    assert "--set defense.fraction=" in empty.error("plot", "fraction", "--output", "curve.png", code=2)


def test_describe_knows_every_name(poisonbench: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", DESCRIBE_ALL],
        capture_output=True,
        text=True,
        env=poisonbench.variables(),
        cwd=poisonbench.home,
    )
    assert done.returncode == 0, done.stderr
    shown = dict(part.split("\n", 1) for part in done.stdout.split("== ")[1:])
    listed = poisonbench.json("list", "--json")
    assert list(shown) == [row["name"] for rows in listed.values() for row in rows]
    for name in ("tgda", "label-flip", "sever", "loss"):
        assert "author" in shown[name], f"{name} shows no BibTeX"
    assert "attack.alpha" in shown["tgda"]


DAMAGED_RECORD = "UPDATE records SET document = '{}' WHERE record_id = ?"


def test_one_bad_record_is_named_and_keeps_no_other_back(
    first: CompletedProcess[str], poisonbench: Any, fresh: Callable[..., Any], tmp_path: Path
) -> None:
    bad, *good = sorted(record["record_id"] for record in json.loads(first.stdout))
    other = fresh()
    other("results", "merge", str(poisonbench.home))
    with closing(sqlite3.connect(other.home / "store.db")) as connection:
        assert connection.execute(DAMAGED_RECORD, (bad,)).rowcount == 1
        connection.execute("DELETE FROM records WHERE record_id NOT IN (?, ?, ?)", (bad, *good))
        connection.commit()
    exported = other("results", "export", "-o", str(tmp_path / "out"), "--artifacts", code=4)
    wrote, left_out = exported.stderr.splitlines()
    assert wrote.startswith("Wrote ")
    assert left_out.startswith(f"Left out record {bad}:")
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.json")) == good
    for command in (
        ("results", "show", "--json"), ("table", "--value", "linf"), ("plot", "heatmap", "-o", "a.svg"),
        ("submit", "--attack", "tgda", "-o", "bundle"), ("leaderboard", "build", "--no-published", "-o", "site"),
    ):  # fmt: skip
        assert bad in other(*command, code=4).stderr, command
    assert bad in other("compare", "tgda", "label-flip", code=2).stderr
    assert sorted(record["record_id"] for record in other.json("results", "show", "--json", code=4)) == good
    assert "No attack here" in other("plot", "standings", "-o", "a.svg", code=2).stderr
    assert bad in other("doctor", code=1).stdout


def test_merging_nothing_does_not_succeed(fresh: Callable[..., Any], tmp_path: Path) -> None:
    other = fresh()
    assert "expected a value, got an empty text" in other.error("results", "merge", "", code=2)
    assert "There is no record in" in other.error("results", "merge", str(tmp_path), code=2)


def test_doctor_is_not_well(first: CompletedProcess[str], poisonbench: Any, fresh: Callable[..., Any]) -> None:
    """Each thing that can be wrong, one after the other; then all is well again."""
    other = fresh()
    other("run", "-a", "label-flip", "--seeds", "0")
    assert other.json("doctor", "--json")["faults"] == []
    database = (other.home / "store.db").read_bytes()
    (record,) = other.json("results", "show", "--json")
    files = {one["kind"]: other.home / one["path"] for one in record["artifacts"]}

    def faults(*words: str) -> None:
        found = other.json("doctor", "--json", code=1)
        assert not found["healthy"]
        assert len(found["faults"]) == len(words), found["faults"]
        assert all(word in fault for word, fault in zip(words, found["faults"], strict=True)), found["faults"]
        shown = other("doctor", code=1).stdout
        assert all(word in shown for word in words)
        assert "All well" not in shown

    for kind in ("poison", "defense"):
        artifact = files[kind]
        whole = artifact.read_bytes()
        artifact.write_bytes(b"x")
        faults("damaged artifacts")
        artifact.unlink()
        faults("missing artifacts" if kind == "defense" else "records without their artifacts")
        artifact.write_bytes(whole)

    cache = other.home / "data"
    cache.mkdir(exist_ok=True)
    (cache / "mnist.safetensors").write_bytes(b"x")
    faults("the dataset mnist", "the dataset mnist-17")
    shutil.rmtree(cache)
    cache.write_text("a file")
    faults("datasets cannot be kept")
    cache.unlink()

    shutil.move(other.home / "locks", other.home / "kept")
    (other.home / "locks").write_text("a file")
    faults("locks")
    (other.home / "locks").unlink()
    shutil.move(other.home / "kept", other.home / "locks")

    (other.home / "store.db").write_bytes(database[: len(database) // 2])
    faults("database")
    (other.home / "store.db").write_text("my notes " * 100)
    faults("not a database")
    (other.home / "store.db").write_bytes(database)
    assert other.json("doctor", "--json")["faults"] == []
