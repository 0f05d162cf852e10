"""`import poisonbench as pb`: which names there are, and that a run from Python is a run of the command line."""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import inspect
import io
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import poisonbench as pb
from poisonbench.cli.main import app
from poisonbench.errors import CorruptFileError, MethodError, UnknownNameError, UsageError
from poisonbench.experiment.cell import Cell
from poisonbench.leaderboard.published import published
from poisonbench.sweeps.plan import Alone
from poisonbench.terminal import bars, cell_bars, consoles

FLIPS = {"attack": "label-flip", "defense": ["none", "loss"], "seeds": range(2)}

FLAKY = '''
from dataclasses import dataclass
import poisonbench as pb

@pb.register("flaky")
@dataclass(frozen=True)
class Flaky(pb.Attack):
    """Fails on request."""
    threat = pb.ThreatModel()
    broken: bool = True
    def craft(self, view, budget, stage):
        if self.broken:
            raise ValueError("no <b>luck</b>\\x1b[31m")
        rows = view.train.rows(slice(0, budget.n_poison))
        return pb.PoisonSet(rows.x, rows.y.clone(), rows.y.new_full(rows.y.shape, -1))
'''


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def flips(store: Path) -> pb.Results:
    return pb.run(**FLIPS, store=store, progress=False)


@pytest.fixture(scope="module")
def unlucky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `flaky`."""
    return tmp_path_factory.mktemp("unlucky")


@pytest.fixture(scope="module")
def flaky(unlucky: Path, plugging: Callable[[], AbstractContextManager[Callable[..., None]]]) -> pb.Results:
    (unlucky / "flaky.py").write_text(FLAKY)
    with plugging() as plug:
        plug(unlucky / "flaky.py")
        return pb.run("flaky", seeds=[0, 1], settings={"attack.broken": [True, False]}, store=unlucky, progress=False)


# What there is


def test_every_name_is_what_it_stands_for() -> None:
    for name, target in pb._FACE.items():
        module, _, attribute = target.partition(":")
        assert getattr(pb, name) is getattr(importlib.import_module(module), attribute), name


def test_type_checkers_are_told_the_same() -> None:
    tree = ast.parse(inspect.getsource(pb))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    told = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == pb._FACE
    assert pb.__all__ == sorted(pb._FACE)


def test_dir_lists_the_face() -> None:
    assert set(dir(pb)) == {*pb._FACE, "__version__"}


def test_a_name_that_is_none_says_so() -> None:
    with pytest.raises(AttributeError, match="module 'poisonbench' has no attribute 'Atack'") as error:
        pb.__getattr__("Atack")
    assert error.value.name == "Atack"
    assert error.value.obj is pb
    assert not hasattr(pb, "__wrapped__")


def test_no_name_is_a_submodules_too() -> None:
    """Importing the submodule would put it in the name's place."""
    assert [name for name in pb._FACE if importlib.util.find_spec(f"poisonbench.{name}")] == []


def test_submodules_are_where_they_were() -> None:
    importlib.import_module("poisonbench.attacks.base")
    assert inspect.ismodule(pb.attacks)
    assert pb.attacks.base.Attack is pb.Attack


@pytest.mark.parametrize(
    "base",
    ["Attack", "Defense", "FilterDefense", "SelectionDefense", "TrainingDefense", "Model", "DatasetSource", "Train"],
)
def test_what_a_plugin_must_name_is_on_the_face(base: str) -> None:
    """The types in what a subclass overrides: one import is enough."""
    cls = getattr(pb, base)
    module = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    ours = {
        alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("poisonbench.")
        for alias in node.names
    } | {node.name for node in module.body if isinstance(node, ast.ClassDef)}
    wanted = {
        name.id
        for method in (*getattr(cls, "__abstractmethods__", ()), "__call__")
        if inspect.isfunction(function := getattr(getattr(cls, method, None), "fget", getattr(cls, method, None)))
        for annotation in inspect.get_annotations(function).values()
        for name in ast.walk(ast.parse(annotation))
        if isinstance(name, ast.Name)
    }
    assert wanted
    assert wanted & ours <= {*pb.__all__}


def test_available_names_everything() -> None:
    found = pb.available()
    assert list(found) == ["attacks", "defenses", "models", "datasets", "protocols"]
    listed = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert found == {kind: [row["name"] for row in rows if not row["broken"]] for kind, rows in listed.items()}


# A run


def test_a_run_is_a_record_a_cell_in_the_command_lines_order(flips: pb.Results) -> None:
    assert [(record.defense.name, record.seeds.run) for record in flips] == [
        ("none", 0), ("none", 1), ("loss", 0), ("loss", 1),
    ]  # fmt: skip
    assert all(record.attack.name == "label-flip" and record.status == "ok" for record in flips)
    assert flips.errors == {}


def test_the_command_line_takes_its_records_from_there(flips: pb.Results, store: Path) -> None:
    flags = ["run", "-a", "label-flip", "-d", "none,loss", "--seeds", "0,1", "--store", str(store), "--json"]
    records = json.loads(CliRunner().invoke(app, flags).stdout)
    assert [record["record_id"] for record in records] == [record.record_id for record in flips]


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("-a label-flip", {"attack": "label-flip"}),
        (
            "-a tgda,emn -d none,loss+maxup --seeds 0,3 --epsilon 0.03,0.1 --model lr,svm",
            {
                "attack": ["tgda", "emn"], "defense": ("none", "loss+maxup"), "seeds": np.array([0, 3]),
                "epsilon": pd.Series([0.03, 0.1]), "model": (name for name in ("lr", "svm")),
            },
        ),
        ("-a tgda --preset paper --dataset digits-17", {"attack": "tgda", "preset": "paper", "dataset": "digits-17"}),
        ("-a tgda --surrogate nn --protocol digits-v1 --seeds 1",
         {"attack": "tgda", "surrogate": "nn", "protocol": Path("digits-v1"), "seeds": np.int64(1)}),
        (
            "-a tgda --seeds 0 --set attack.epochs=3 --set attack.solver=cg --set recipe.epochs=7",
            {
                "attack": "tgda", "seeds": 0,
                "settings": {"attack.epochs": np.int64(3), "attack.solver": "cg", "recipe.epochs": 7},
            },
        ),
    ],
)  # fmt: skip
def test_the_same_arguments_are_the_same_cells(
    flags: str, arguments: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Cell] = []

    class EnoughError(Exception):
        pass

    def idle(self: Alone, cells: list[Cell], watch: object) -> NoReturn:
        seen.extend(cells)
        raise EnoughError

    monkeypatch.setattr(Alone, "run", idle)
    with pytest.raises(EnoughError):
        pb.run(**arguments, store=tmp_path)
    planned = CliRunner().invoke(app, ["plan", *flags.split(), "--store", str(tmp_path), "--json"])
    assert [cell.hash() for cell in seen] == [row["cell_hash"] for row in json.loads(planned.stdout)]


def test_a_list_is_an_axis_for_settings_too(tmp_path: Path) -> None:
    found = pb.run("label-flip", seeds=0, settings={"attack.flip": ["rule", "worst"]}, store=tmp_path, progress=False)
    assert [record.attack.params["flip"] for record in found] == ["rule", "worst"]
    assert "label-flip (flip=worst)" in str(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attack": "tdga"}, r"Unknown attack 'tdga'\. Did you mean 'tgda'\?"),
        ({"attack": []}, "poisonbench.run: attack: "),
        ({"defense": 3}, "poisonbench.run: defense"),
        ({"epsilon": 3}, r"poisonbench\.run: epsilon: .*expected a number in \(0, 1\], got 3"),
        ({"epsilon": 1e-6}, "less than one point"),
        ({"seeds": "0"}, "poisonbench.run: seeds"),
        ({"settings": {"attack.flop": 1}}, "Unknown field of label-flip 'flop'. Did you mean 'flip'"),
        ({"settings": {"recipe.epochs": 0}}, r"poisonbench\.run: set.*: recipe\.epochs"),
        ({"protocol": "digits-v9"}, "Unknown protocol 'digits-v9'. Did you mean 'digits-v2'"),
        ({"device": "gpu"}, "expected auto, cpu, cuda or cuda:N, got 'gpu'"),
        ({"threads": 0}, "poisonbench.run: threads: expected an integer above 0, got 0"),
        ({"threads": 1.5}, "poisonbench.run: threads: expected an integer above 0, got 1.5"),
        ({"timeout": "soon"}, "poisonbench.run: timeout: expected seconds above 0, got 'soon'"),
    ],
)
def test_what_is_wrong_is_refused_before_any_work(
    arguments: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=message) as error:
        pb.run(**{"attack": "label-flip", **arguments}, store=tmp_path)
    assert isinstance(error.value, pb.PoisonbenchError)
    assert pb.results(store=tmp_path).empty
    assert "seed" not in capsys.readouterr().err


def test_threads_are_the_callers_again(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    (record,) = pb.run("label-flip", seeds=0, threads=before + 1, store=tmp_path, progress=False)
    assert record.environment.threads == 1  # of the two that it might take: the digits are small
    assert torch.get_num_threads() == before


def test_force_makes_new_records(flips: pb.Results, store: Path) -> None:
    again = pb.run("label-flip", seeds=0, store=store, progress=False)
    forced = pb.run("label-flip", seeds=0, store=store, progress=False, force=True)
    assert again[0] == flips[0]
    assert forced[0].record_id != flips[0].record_id
    assert forced[0].metrics == flips[0].metrics


# What is seen of it


def test_in_a_notebooks_event_loop_there_is_a_line_a_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def notebook() -> pb.Results:
        return pb.run("label-flip", seeds=[0, 1], store=tmp_path)

    (first, second) = asyncio.run(notebook())
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if "label-flip" in line]
    assert lines == [
        f"{place} digits-v2 · lr · label-flip · none · ε = 0.03 · seed {seed}: drop {record.metrics.drop:.2f}, "
        f"{record.timing.total_s:.1f} s"
        for place, seed, record in (("1/2", 0, first), ("2/2", 1, second))
        if record.metrics
    ]


def test_without_progress_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pb.run("label-flip", seeds=0, store=tmp_path, progress=False)
    assert "label-flip" not in "".join(capsys.readouterr())


def test_on_a_terminal_there_are_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200)
    for module in (bars, cell_bars, consoles):
        monkeypatch.setattr(module, "errors", terminal)
    pb.run("tgda", seeds=0, settings={"attack.epochs": 2}, store=tmp_path)
    drawn = terminal.file.getvalue()
    assert "1/1 digits-v2 · lr · tgda · none · ε = 0.03 · seed 0\n" in drawn
    assert "waiting" not in drawn
    assert "drop" not in drawn


def test_results_read_as_a_table(flips: pb.Results) -> None:
    heading, none, loss = str(flips).splitlines()
    assert heading.split() == ["experiment", "protocol", "model", "ε", "seeds", "acc1", "acc2", "drop"]
    drops = [record.metrics.drop for record in flips if record.metrics and record.defense.name == "none"]
    assert none.split()[:5] == ["label-flip", "digits-v2", "lr", "0.03", "2"]
    assert none.endswith(f"{np.mean(drops):.2f} ± {np.std(drops, ddof=1):.2f}")
    assert loss.split()[0] == "label-flip/loss"
    assert repr(flips) == str(flips)
    assert "±" not in str(flips[:1])


def test_a_notebook_shows_a_table(flips: pb.Results) -> None:
    html = flips._repr_html_()
    assert html.count("<tr") == 3
    assert "<td>label-flip/loss</td>" in html


def test_results_are_a_sequence(flips: pb.Results) -> None:
    assert len(flips) == 4
    assert isinstance(flips[0], pb.Record)
    assert isinstance(flips[1:], pb.Results)
    assert list(flips[1:]) == list(flips)[1:]
    assert flips[-1] in flips
    assert flips[:] == flips
    with pytest.raises(AttributeError):
        flips.__setattr__("records", ())
    assert str(pb.Results(())) == "No cells."


def test_a_row_a_record(flips: pb.Results) -> None:
    frame = flips.frame()
    assert list(frame["record_id"]) == [record.record_id for record in flips]
    assert list(frame["drop"]) == [record.metrics.drop for record in flips if record.metrics]


def test_what_fails_is_in_the_results(flaky: pb.Results) -> None:
    assert [record.status for record in flaky] == ["failed", "failed", "ok", "ok"]
    assert list(flaky.failed) == list(flaky)[:2]
    assert set(flaky.errors) == {record.record_id for record in flaky.failed}
    error = flaky.errors[flaky[0].record_id]
    assert isinstance(error, MethodError)
    assert "Traceback" in error.__notes__[0]
    assert "ValueError: no <b>luck</b>" in error.__notes__[0]
    assert flaky[1:].errors.keys() == {flaky[1].record_id}
    assert list(flaky.frame()["error"].notna()) == [True, True, False, False]


def test_what_fails_is_seen(flaky: pb.Results) -> None:
    lines = str(flaky).splitlines()
    assert lines[2] == "2 of 4 cells failed:"
    reason = "flaky raised ValueError: no <b>luck</b>\N{REPLACEMENT CHARACTER}[31m (flaky.py:13)"
    assert lines[3] == f"flaky · none · lr · ε = 0.03 · seed 0: failed: {reason}"
    html = flaky._repr_html_()
    assert "no &lt;b&gt;luck&lt;/b&gt;" in html
    assert "<b>" not in html
    assert str(flaky.failed).splitlines()[0] == "2 of 2 cells failed:"


def test_what_is_unranked_says_why(tmp_path: Path) -> None:
    found = pb.run("label-flip", seeds=0, settings={"recipe.epochs": 2}, store=tmp_path, progress=False)
    assert str(found).splitlines()[-1].startswith("Unranked: recipe.epochs: ")


# What a store has


def test_results_of_a_store(flips: pb.Results, store: Path) -> None:
    found = pb.results(store=store, defense="loss", seed=[0, 1])
    assert list(found["record_id"]) == [record.record_id for record in flips if record.defense.name == "loss"]
    assert len(pb.results(store=str(store / "store.db"))) >= 4
    with pytest.raises(UnknownNameError, match=r"Unknown filter 'atack'\. Did you mean 'attack'"):
        pb.results(store=store, atack="tgda")


def test_published_records_come_once(tmp_path: Path, ship: Callable[..., None]) -> None:
    ship("digits-v1", "tgda", "none")
    shipped = [
        record
        for record in published(["digits-v1"])
        if record.attack.name == "tgda" and record.model.name in ("lr", "nn") and record.defense.name == "none"
    ]
    with pb.Store.open(str(tmp_path)) as opened:
        opened.add_all(shipped[:2])
    wanted = {"protocol": "digits-v1", "attack": "tgda", "model": ["lr", "nn"], "defense": "none"}
    found = pb.results(store=tmp_path, published=True, **wanted)
    assert sorted(found["record_id"]) == sorted(record.record_id for record in shipped)
    assert len(pb.results(store=tmp_path, **wanted)) == 2


def test_a_poison_set_by_record_or_id(flips: pb.Results, store: Path) -> None:
    record = flips[0]
    for named in (record, record.record_id, record.record_id[:10]):
        poison = pb.load_poison(named, store=store)
        assert isinstance(poison, pb.PoisonSet)
        assert len(poison) == record.threat.n_poison
        assert poison.x.shape[1:] == (1, 8, 8)
    with pytest.raises(UnknownNameError, match="record"):
        pb.load_poison("zz", store=store)


def test_a_damaged_poison_set_is_refused(tmp_path: Path) -> None:
    (record,) = pb.run("label-flip", seeds=0, store=tmp_path, progress=False)
    (artifact,) = (one for one in record.artifacts if one.kind == "poison")
    path = tmp_path / artifact.path
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CorruptFileError, match="is damaged"):
        pb.load_poison(record, store=tmp_path)


def test_a_cell_that_failed_has_no_poison_set(flaky: pb.Results, unlucky: Path) -> None:
    with pytest.raises(pb.DataError, match=r"has no valid poison set to show \(failed: flaky raised"):
        pb.load_poison(flaky[0], store=unlucky)
