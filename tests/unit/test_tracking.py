"""`--track`: a run of a tracker for each finished cell, and no cell that a tracker could stop."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from poisonbench.cli.main import app
from poisonbench.errors import ConfigError, UnknownNameError
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.tracking import tracker
from poisonbench.tracking.tracked import METRICS, PARAMS, TAGS, Tracked, tracked
from poisonbench.tracking.tracker import PATIENCE, Tracking, start

CURVES = {"epochs": [1, 5], "clean": [80.0, 90.0], "poisoned": [70.0, 75.0]}


@pytest.fixture
def record(planted: Callable[..., Record]) -> Record:
    return planted("tgda", 3.0, 7, params={"alpha": 0.5, "sizes": [1, 2], "inner": {"steps": 3}}, trajectories=CURVES)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        del os.environ[name]
    os.environ["POISONBENCH_HOME"] = str(tmp_path)


def test_what_is_told(record: Record) -> None:
    told = tracked(record)
    assert (told.record_id, told.good) == (record.record_id, True)
    assert told.params["attack"] == "tgda"
    assert (told.params["epsilon"], told.params["seed"], told.params["clean_label"]) == ("0.03", "7", "false")
    fields = {name: told.params[f"attack.{name}"] for name in ("alpha", "sizes", "inner.steps")}
    assert fields == {"alpha": "0.5", "sizes": "[1, 2]", "inner.steps": "3"}
    assert told.metrics["drop"] == 3.0
    assert told.metrics["total_s"] == record.timing.total_s
    assert (told.epochs, told.curves) == ((1, 5), {"accuracy/clean": (80.0, 90.0), "accuracy/poisoned": (70.0, 75.0)})
    assert told.tags["cell_hash"] == record.cell_hash
    assert told.tags["attack_version"] == record.attack.version
    assert told.ended - told.began >= 0
    assert set(told.metrics) <= set(METRICS)
    assert {name for name in told.params if "." not in name} <= set(PARAMS)
    assert set(told.tags) == {name for name in TAGS if name in told.tags} | {"poisonbench"}
    assert "surrogate" not in told.params


def test_what_failed_is_told_too(planted: Callable[..., Record]) -> None:
    told = tracked(planted("emn", None, trajectories=None))
    assert (told.good, told.epochs, told.curves) == (False, (), {})
    assert (told.tags["status"], told.tags["error"]) == ("failed", "boom")
    assert "acc1" not in told.metrics


class Broken(tracker.Tracker):
    """Fails as often as it is told."""

    def __init__(self, *answers: bool) -> None:
        self.answers, self.told = [*answers], list[str]()

    def log(self, run: Tracked) -> None:
        print("what a library says on standard output")
        self.told.append(run.record_id)
        if not self.answers.pop(0):
            raise RuntimeError("no answer\nfrom the server")


def test_a_tracker_that_fails_is_a_line_and_is_let_go(record: Record, capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    broken = Broken(False, True, *[False] * PATIENCE, True)
    tracking = Tracking("mlflow", broken, said.append)
    for _ in range(4 + PATIENCE):
        tracking.track(record)
    assert len(broken.told) == 2 + PATIENCE
    assert said[0] == f"warning: --track mlflow: record {record.record_id} is not tracked: no answer."
    assert said[-1] == f"{said[0]} Nothing more is tracked; the records are in the store."
    assert len(said) == 1 + PATIENCE
    assert capfd.readouterr().out == ""


def test_an_interrupt_is_none_of_its_failures(record: Record) -> None:
    class Interrupted(tracker.Tracker):
        def log(self, run: Tracked) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tracking("mlflow", Interrupted(), lambda line: None).track(record)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_library_that_is_missing_is_said_before_any_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, f"poisonbench.tracking.{name}_tracker", raising=False)
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [_Without(name), *sys.meta_path])
    for words in (["run", "-a", "label-flip"], ["sweep", "-a", "label-flip"]):
        done = CliRunner().invoke(app, [*words, "--seeds", "0", "--track", name, "--store", "store"])
        assert isinstance(done.exception, ConfigError)
        assert str(done.exception).endswith(f"Install it with: pip install 'poisonbench[{name}]'")
    assert not Path("store").exists()


class _Without:
    """Finds no module of that name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *_: object) -> None:
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_another_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mlflow'"):
        start("mlfow", print)


@dataclass
class FakeRun:
    """As MLflow keeps one."""

    experiment: str
    start: int
    name: str
    run_id: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)
    status: str = "RUNNING"


class FakeClient:
    """As much of MlflowClient as is used, with its limits on a batch."""

    experiments: ClassVar[dict[str, str]] = {}
    runs: ClassVar[dict[str, FakeRun]] = {}
    fails: ClassVar[bool] = False

    def get_experiment_by_name(self, name: str) -> Any:
        found = self.experiments.get(name)
        return SimpleNamespace(experiment_id=found) if found else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, str(len(self.experiments)))

    def create_run(self, experiment: str, start_time: int, run_name: str) -> Any:
        run_id = f"run-{len(self.runs)}"
        self.runs[run_id] = FakeRun(experiment, start_time, run_name, run_id)
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
        assert len(params) <= 100
        assert len(tags) <= 100
        assert all(len(value) <= 5000 for _, value in [*params, *tags])
        if self.fails:
            raise RuntimeError("no room")
        self.runs[run_id].params.update(params)
        self.runs[run_id].tags.update(tags)
        self.runs[run_id].metrics.extend((name, value, step) for name, value, _, step in metrics)

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self.runs[run_id].status = status
        print("View run at: here")

    def delete_run(self, run_id: str) -> None:
        del self.runs[run_id]

    def search_runs(self, experiments: list[str], max_results: int, page_token: str | None) -> Any:
        class Page(list[Any]):
            token: str | None = None

        runs = [one for one in self.runs.values() if one.experiment in experiments]
        at = int(page_token or 0)
        page = Page(SimpleNamespace(data=SimpleNamespace(tags=one.tags)) for one in runs[at : at + 1])
        page.token = str(at + 1) if at + 1 < len(runs) else None
        return page


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    mlflow, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    client: Any = type("Client", (FakeClient,), {"experiments": {}, "runs": {}, "fails": False})
    vars(mlflow)["MlflowClient"] = client
    vars(entities).update(Metric=lambda *parts: parts, Param=lambda *parts: parts, RunTag=lambda *parts: parts)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delitem(sys.modules, "poisonbench.tracking.mlflow_tracker", raising=False)
    yield client
    sys.modules.pop("poisonbench.tracking.mlflow_tracker", None)


def test_mlflow_has_one_run_a_record(fake: type[FakeClient], record: Record, planted: Callable[..., Record]) -> None:
    long = planted("tgda", 1.0, 8, params={f"a{n}": "x" * 9000 for n in range(150)})
    for _ in range(2):  # and so does the next command
        tracking = start("mlflow", pytest.fail)
        for one in (record, long, record):
            tracking.track(one)
    first, second = fake.runs.values()
    assert fake.experiments == {"poisonbench": first.experiment}
    assert (first.status, first.tags["record_id"]) == ("FINISHED", record.record_id)
    assert ("accuracy/poisoned", 75.0, 5) in first.metrics
    assert len([name for name in second.params if name.startswith("attack.")]) == 150


def test_a_run_that_is_not_whole_is_deleted(fake: type[FakeClient], record: Record) -> None:
    said: list[str] = []
    tracking = start("mlflow", said.append)
    fake.fails = True
    tracking.track(record)
    assert (len(said), fake.runs) == (1, {})
    fake.fails = False
    tracking.track(record)
    assert len(fake.runs) == 1


def test_the_commands(fake: type[FakeClient]) -> None:
    def call(*words: str) -> Any:
        done = CliRunner().invoke(app, [*words, "--threads", "1", "--store", "store"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    cell = ("-a", "label-flip", "--set", "recipe.epochs=1", "--json", "--quiet")
    (document,) = call("run", *cell, "--seeds", "0", "--track", "mlflow")
    (run,) = fake.runs.values()
    assert run.tags["record_id"] == document["record_id"]
    assert run.params["attack"] == "label-flip"
    assert call("run", *cell, "--seeds", "0", "--track", "mlflow") == [document]
    assert len(fake.runs) == 1
    fake.fails = True
    found = call("sweep", *cell, "--seeds", "1", "--jobs", "1", "--track", "mlflow")
    assert found["ok"] == 1
    with Store.open("store") as store:
        assert len(store.records(status="ok")) == 2
    fake.fails = False
    call("run", *cell, "--seeds", "1", "--track", "mlflow")  # what could not be tracked then
    assert len(fake.runs) == 2


@pytest.mark.filterwarnings("ignore")
def test_mlflow_itself(record: Record) -> None:
    mlflow = pytest.importorskip("mlflow")
    os.environ.update(MLFLOW_TRACKING_URI=Path("runs").absolute().as_uri(), MLFLOW_ALLOW_FILE_STORE="true")
    os.environ["MLFLOW_EXPERIMENT_NAME"] = "mine"
    for _ in range(2):
        start("mlflow", pytest.fail).track(record)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    told = tracked(record)
    assert (run.info.status, run.info.run_name) == ("FINISHED", told.name)
    assert run.info.start_time == round(1000 * told.began)
    assert run.data.params == told.params
    assert {name: run.data.metrics[name] for name in told.metrics} == told.metrics
    assert run.data.tags.items() >= {**told.tags, "record_id": record.record_id}.items()
    curve = client.get_metric_history(run.info.run_id, "accuracy/clean")
    assert [(one.step, one.value) for one in curve] == [(1, 80.0), (5, 90.0)]


class FakeWandb(ModuleType):
    """As much of wandb as is used."""

    def __init__(self, mode: str = "offline", refuses: type[Exception] | None = None) -> None:
        super().__init__("wandb")
        self.mode, self.refuses = mode, refuses
        self.errors = SimpleNamespace(UsageError=type("UsageError", (Exception,), {}))
        self.runs: list[dict[str, Any]] = []
        self.Settings = dict

    def setup(self) -> Any:
        return SimpleNamespace(settings=SimpleNamespace(mode=self.mode))

    def login(self) -> None:
        assert not sys.stdin.isatty()
        if self.refuses:
            raise self.refuses("nobody")

    def init(self, **options: Any) -> Any:
        run: dict[str, Any] = {**options, "logged": [], "summary": {}}
        self.runs.append(run)
        return SimpleNamespace(
            log=lambda values, step: run["logged"].append((step, values)),
            summary=run["summary"],
            finish=lambda exit_code: run.update(exit_code=exit_code),
        )


@pytest.fixture
def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeWandb]]:
    def make(*options: Any) -> FakeWandb:
        made = FakeWandb(*options)
        monkeypatch.setitem(sys.modules, "wandb", made)
        monkeypatch.delitem(sys.modules, "poisonbench.tracking.wandb_tracker", raising=False)
        return made

    yield make
    sys.modules.pop("poisonbench.tracking.wandb_tracker", None)


def test_wandb_has_a_run_of_the_records_id(
    fake_wandb: Callable[..., FakeWandb], record: Record, planted: Callable[..., Record]
) -> None:
    wandb = fake_wandb()
    tracking = start("wandb", pytest.fail)
    for one in (record, planted("emn", None)):
        tracking.track(one)
    first, second = wandb.runs
    told = tracked(record)
    assert (first["id"], first["resume"], first["project"]) == (record.record_id, "allow", "poisonbench")
    assert first["config"] == {**told.params, **told.tags, "record_id": record.record_id}
    assert first["logged"] == [
        (1, {"accuracy/clean": 80.0, "accuracy/poisoned": 70.0}),
        (5, {"accuracy/clean": 90.0, "accuracy/poisoned": 75.0}),
    ]
    assert first["summary"] == told.metrics
    assert (first["exit_code"], second["exit_code"]) == (0, 1)
    assert first["settings"]["console"] == "off"


def test_wandb_online_needs_a_login(fake_wandb: Callable[..., FakeWandb]) -> None:
    wandb = fake_wandb("online")
    wandb.refuses = wandb.errors.UsageError
    with pytest.raises(ConfigError, match="run `wandb login`, or set WANDB_MODE=offline"):
        start("wandb", pytest.fail)
    wandb.refuses = TimeoutError
    start("wandb", pytest.fail)  # it may be there later


@pytest.mark.filterwarnings("ignore")
def test_wandb_itself(record: Record) -> None:
    wandb = pytest.importorskip("wandb")
    os.environ["WANDB_MODE"] = "offline"
    start("wandb", pytest.fail).track(record)
    wandb.teardown()
    (file,) = Path("wandb").glob(f"offline-run-*/run-{record.record_id}.wandb")
    data = file.read_bytes()
    for text in (b"accuracy/poisoned", b"attack.alpha", record.cell_hash.encode()):
        assert text in data
