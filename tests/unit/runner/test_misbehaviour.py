"""What a method that misbehaves ends in: a failed cell with one line that says why, and no harm to anything else."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from poisonbench.cli.cells import costs
from poisonbench.errors import MethodError, ValidationError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.protocol import UNBOUNDED
from poisonbench.experiment.runner import Outcome, Runner
from poisonbench.store.database import Store


def test_what_a_method_raises_when_it_is_asked_about_a_model_is_its_cells_failure(
    run: Callable[..., Outcome], cell: Callable[..., Cell], tmp_path: Path
) -> None:
    """It ends no grid before any work, and is not lost."""
    with Store.open(str(tmp_path / "store")) as store:
        Runner(store).prepare([cell(attack__how="unready")])
        Runner(store).prepare([cell(attack__how="unready memory")])
    outcome = run(attack__how="unready")
    assert outcome.record.status == "failed"
    assert "rogue raised KeyError: 'odd' (rogue_plugin.py:" in str(outcome.error)
    assert run(attack__how="unready memory").record.status == "oom"


def test_a_method_that_is_asked_about_a_model_is_watched(
    run: Callable[..., Outcome], cell: Callable[..., Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The test set is in the process by then. What it prints is not in what a command prints."""
    with (
        Store.open(str(tmp_path / "store")) as store,
        pytest.raises(ValidationError, match="rogue searched the objects"),
    ):
        Runner(store).prepare([cell(attack__how="curious")])
    assert "rogue searched the objects" in str(run(attack__how="curious").error)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("where", ["made", "drawn"])
@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (KeyError("odd"), "failed", "raised KeyError: 'odd' (rogue_plugin.py:"),
        (MemoryError("odd"), "oom", "ut of memory"),
    ],
)
def test_a_model_that_raises_is_its_cells_failure(
    cell: Callable[..., Cell],
    plugin: ModuleType,
    tmp_path: Path,
    where: str,
    fault: Exception,
    status: str,
    message: str,
) -> None:
    """Before any work, and where the threads that it fills are counted, it ends nothing."""
    plugin.seen |= {"where": where, "fault": fault}
    crooked = replace(cell(), model=plugin.Crooked, surrogate=plugin.Crooked)
    with Store.open(str(tmp_path / "store")) as store:
        Runner(store).prepare([crooked])
        outcome = Runner(store).run(crooked)
        assert [record.status for record in store.records()] == [status]
    assert message in str(outcome.error)


def test_to_plan_with_a_model_that_raises_ends_in_a_line(
    cell: Callable[..., Cell], plugin: ModuleType, tmp_path: Path
) -> None:
    plugin.seen |= {"where": "drawn", "fault": ValueError("odd")}
    crooked = replace(cell(), model=plugin.Crooked, surrogate=plugin.Crooked)
    with Store.open(str(tmp_path / "store")) as store:
        runner = Runner(store)
        runner.prepare([crooked])
        with pytest.raises(MethodError, match=r"^crooked raised ValueError: odd"):
            costs(runner, [crooked], calibrated=True)


def test_a_threat_model_that_changes_its_mind_gains_nothing(run: Callable[..., Outcome]) -> None:
    """It is asked once: points that were let out of the box are in no record that does not say so."""
    record = run(attack__how="two-faced").record
    assert record.status == "failed" or UNBOUNDED in record.protocol.deviations


@pytest.mark.parametrize(
    ("how", "status", "exit_code", "message"),
    [
        ("raises", "failed", 1, "rogue raised RuntimeError: boom"),
        ("system-exit", "failed", 1, "rogue raised ValueError: no message"),
        ("nothing", "failed", 4, "rogue must return a PoisonSet, not a NoneType"),
        ("nan", "failed", 4, "rogue's poison set has 1 pixel that is NaN"),
        ("box", "failed", 4, "rogue's poison set leaves the box"),
        ("many", "failed", 4, "rogue's poison set breaks its budget: 5 rows, between 1 and 4 allowed"),
        ("dtype", "failed", 4, "rogue's poison set has dtypes x torch.float64"),
        ("clean", "failed", 4, "rogue is declared clean-label, yet 4 of its labels differ"),
        ("memory", "oom", 1, "ut of memory"),
        ("allocator", "oom", 1, "ut of memory"),
    ],
)
def test_an_attack_that_misbehaves(
    run: Callable[..., Outcome], tmp_path: Path, how: str, status: str, exit_code: int, message: str
) -> None:
    outcome = run(attack__how=how)
    assert outcome.error is not None
    assert (outcome.record.status, outcome.error.exit_code) == (status, exit_code)
    assert message in str(outcome.error)
    assert "\n" not in str(outcome.error)
    assert outcome.record.error == str(outcome.error)
    if " raised " in message:
        assert re.search(r" \(\w+\.py:\d+\)$", str(outcome.error)), outcome.error
    assert outcome.record.metrics is None
    with Store.open(str(tmp_path / "store")) as store:
        assert [record.status for record in store.records()] == [status]
        assert store.for_cell(outcome.record.cell_hash) is None  # it will be tried again
    assert run(attack__how=how).record.status == status  # also where the bad set comes from the cache


RETURNED = {
    "(x, y, source)": "rogue must return a PoisonSet, not a tuple",
    "PoisonSet(x.numpy(), y, source)": "rogue must return `x` as a tensor, not a ndarray",
    "PoisonSet(x, y.tolist(), source)": "rogue must return `y` as a tensor, not a list",
    "PoisonSet(x, y, None)": "rogue must return `source` as a tensor, not a NoneType",
    "PoisonSet(x.to_sparse(), y, source)": "rogue must return `x` as a dense tensor, not a sparse_coo one",
    "PoisonSet(x.flatten(1).to_sparse_csr(), y, source)": "rogue must return `x` as a dense tensor, not a sparse_csr",
    "PoisonSet(torch.nested.nested_tensor([x[0], x[1]]), y, source)": "rogue must return `x` as a dense tensor, not",
    "PoisonSet(torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), y, source)": "rogue must return `x` as real numbers",
    "PoisonSet(x.to('meta'), y, source)": "rogue must return `x` with content",
    "PoisonSet(x.to(torch.complex64), y, source)": "rogue must return `x` as real numbers, not torch.complex64",
    "PoisonSet(x.bfloat16(), y, source)": "rogue's poison set has dtypes x torch.bfloat16",
    "PoisonSet(x, y.int(), source)": "rogue's poison set has dtypes x torch.float32, y torch.int32",
    "PoisonSet(x, y.bool(), source)": "y torch.bool",
    "PoisonSet(x, y[0], source)": "rogue's poison set has shapes",
    "PoisonSet(x[0], y, source)": "rogue's poison set has shapes",
    "PoisonSet(x, y, source[:, None])": "rogue's poison set has shapes",
    "PoisonSet(x[:0], y[:0], source[:0])": "rogue's poison set breaks its budget: 0 rows",
    "PoisonSet(x, y, source + 10 ** 6)": "names source rows outside D_tr",
    "PoisonSet(x, y - 9, source)": "labels outside",
    "PoisonSet(x, y, source, [1])": "rogue must return `stats` as a mapping, not a list",
    "PoisonSet(x, y, source, {'a': x})": "rogue's stats.a is a Tensor of shape (4, 1, 4, 4), expected a single number",
    "PoisonSet(x, y, source, {'a': x.numpy()})": "rogue's stats.a is a ndarray of shape (4, 1, 4, 4)",
    "PoisonSet(x, y, source, {'a': x[0, 0, 0, 0].to('meta')})": "rogue's stats.a is a Tensor without a number",
    "PoisonSet(x, y, source, {'a': object()})": "rogue's stats.a is a object, which JSON cannot hold",
    "PoisonSet(x, y, source, {'a': '\\udcff'})": "rogue's stats.a has text that is not Unicode",
    "PoisonSet(x, y, source, {1: 2})": "rogue's stats has the key 1, expected text",
    "PoisonSet(x, y, source, {'a': float('inf')})": "rogue's stats.a is inf, expected a finite number",
    "PoisonSet(x, y, source, {'a': torch.tensor(float('nan'))})": "rogue's stats.a is nan, expected a finite number",
    "PoisonSet(x, y, source, {'a': 10 ** 99})": "rogue's stats.a is an integer of 329 bits",
    "fail(OSError('no such file: \\udcff.pt'))": "rogue raised OSError: no such file: \\udcff.pt",
    "fail(Mute())": "rogue raised Mute: no message",
    "fail(BaseException())": "rogue raised BaseException: no message",
    "fail(RuntimeError('one\\x1b[31m\\rtwo\\nthree'))": "rogue raised RuntimeError: one\x1b[31m",
}


@pytest.mark.filterwarnings("ignore")  # torch's own, of layouts that are in beta
@pytest.mark.parametrize("how", RETURNED)
def test_whatever_an_attack_returns_ends_in_a_line(run: Callable[..., Outcome], how: str) -> None:
    outcome = run(attack__how=f"return {how}")
    assert outcome.error is not None
    assert outcome.record.status == "failed"
    assert RETURNED[how] in str(outcome.record.error)
    assert len(str(outcome.record.error).splitlines()) == 1


@pytest.mark.parametrize(
    "how",
    [
        "PoisonSet(x.requires_grad_(), y, source)",
        "PoisonSet(torch.nn.Parameter(x), y, source)",
        "PoisonSet(x.transpose(2, 3).contiguous().transpose(2, 3), y, source)",
        "PoisonSet(x.to_mkldnn().to_dense(), y, source)",
        "PoisonSet(x, y, source, {'a': x.sum().numpy(), 'b': x.sum().double(), 'c': torch.tensor([[3]])})",
        "PoisonSet(x, y, source, {'a': x.sum().requires_grad_(), 'b': torch.tensor(True), 'c': [x.sum()]})",
    ],
)
def test_what_can_be_kept_is_kept(run: Callable[..., Outcome], how: str) -> None:
    outcome = run(attack__how=f"return {how}")
    assert outcome.record.status == "ok", outcome.error


def test_a_poison_set_is_kept_whose_evidence_no_record_can_have(run: Callable[..., Outcome], tmp_path: Path) -> None:
    for computed in (["weights", "poison"], []):
        outcome = run(attack__how="return PoisonSet(x, y, source, {'a': x})")
        assert (outcome.record.status, outcome.computed) == ("failed", computed)
        (poison,) = (one for one in outcome.record.artifacts if one.kind == "poison")
        with Store.open(tmp_path / "store") as store:
            assert store.artifacts.get(poison.sha256)["x"].shape == (4, 1, 4, 4)


DEFENDED = {
    "None": "bad-guard must return a Defended, not a NoneType",
    "Defended(None, kept)": "bad-guard must return weights as a mapping",
    "Defended({1: kept}, kept)": "bad-guard must return weights as a mapping by name",
    "Defended({'a': 1}, kept)": "bad-guard must return `weights a` as a tensor, not a int",
    "Defended([weights], kept)": "bad-guard must return weights as a mapping by name, not a list",
    "Defended(Vote([weights]), kept)": "bad-guard must return a Vote of a tuple of models",
    "Defended(Vote(()), kept)": "bad-guard must return a Vote of a tuple of models, at least one",
    "Defended(Vote((weights, {})), kept)": "bad-guard must return weights of the target model",
    "Defended({k: v.to_sparse() for k, v in weights.items()}, kept)": "as a dense tensor, not a sparse_coo one",
    "Defended({k: v.double() for k, v in weights.items()}, kept)": "bad-guard must return weights of the target model",
    "Defended({k: v.to('meta') for k, v in weights.items()}, kept)": "with content, not on the meta device",
    "Defended(weights, kept.tolist())": "bad-guard must return `kept` as a tensor, not a list",
    "Defended(weights, kept.float())": "bad-guard must return `kept` as 46 booleans",
    "Defended(weights, kept.to_sparse())": "bad-guard must return `kept` as a dense tensor",
    "Defended(weights, kept[:, None])": "bad-guard must return `kept` as 46 booleans",
    "Defended(weights, ~kept)": "bad-guard removed every row of class 0",
    "Defended(weights, kept, kept.float().to_sparse())": "bad-guard must return `scores` as a dense tensor",
    "Defended(weights, kept, kept.float().numpy())": "bad-guard must return `scores` as a tensor, not a ndarray",
    "Defended(weights, kept, kept * float('inf'))": "bad-guard must return one finite score a row",
    "Defended(weights, kept, kept.to(torch.complex64))": "bad-guard must return `scores` as real numbers",
    "Defended(weights, kept, None, {'a': view.train.x})": "stats.a is a Tensor of shape",
    "Defended(weights, kept, None, 3)": "bad-guard must return `stats` as a mapping",
    "fail(OSError('\\udcff'))": "bad-guard raised OSError: \\udcff",
}


@pytest.mark.parametrize("how", DEFENDED)
def test_whatever_a_defense_returns_ends_in_a_line(run: Callable[..., Outcome], how: str) -> None:
    outcome = run(defense="bad-guard", defense__how=f"return {how}")
    assert outcome.error is not None
    assert outcome.record.status == "failed"
    assert DEFENDED[how] in str(outcome.record.error)
    assert len(str(outcome.record.error).splitlines()) == 1


def test_evidence_must_be_finite(run: Callable[..., Outcome]) -> None:
    outcome = run(attack__how="stats")
    assert outcome.error is not None
    assert outcome.record.status == "failed"


def test_what_an_attack_does_to_what_it_was_shown_and_to_the_process_is_harmless(run: Callable[..., Outcome]) -> None:
    """Rows, weights, model, recipe, budget and the process's modes are its own: the record is an honest run's."""
    honest, vandal = run(attack__how="fine").record, run(attack__how="vandal").record
    assert (honest.status, vandal.status) == ("ok", "ok")
    assert vandal.metrics == honest.metrics


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", "bad-guard raised KeyError"),
        ("kept", "bad-guard must return `kept` as 46 booleans"),
        ("kept-dtype", "bad-guard must return `kept` as 46 booleans"),
        ("scores", "bad-guard must return one finite score a row"),
        ("weights", "bad-guard must return weights of the target model, lr"),
        ("nan-weights", "bad-guard returned weights that are NaN"),
        ("class", "bad-guard removed every row of class 1: nothing would be left"),
        ("no procedure", "bad-guard must train by a Procedure, not a function"),
        ("number", "bad-guard must give a Batch in the place of a batch, not a int"),
        ("shape", "bad-guard must give images of shape (16, 1, 4, 4) and torch.float32"),
        ("sparse", "bad-guard must give images of shape (16, 1, 4, 4) and torch.float32"),
        ("labels", "bad-guard must give 16 labels, or 16 rows of 3 probabilities"),
        ("weights-of-rows", "bad-guard must give one weight for each of 16 rows"),
        ("transform", "bad-guard must transform images into finite ones of their shape and type"),
        ("odd proof", "bad-guard must certify 30 images with integers ≥ 0"),
        ("false proof", "bad-guard's certificate is false: "),
        ("lie", "trained on: 0 rows that it kept were not in that training, and 10 that it removed were."),
        ("other lie", "bad-guard's `kept` is not what its model was trained on: 10 rows that it kept were not in that"),
        ("clean-class", "With no poison at all, bad-guard removed every row of class 1"),
    ],
)
def test_a_defense_that_misbehaves(run: Callable[..., Outcome], how: str, message: str) -> None:
    outcome = run(defense="bad-guard", defense__how=how)
    assert outcome.error is not None
    assert outcome.record.status == "failed"
    assert outcome.record.metrics is None
    assert message in str(outcome.error)
    assert "\n" not in str(outcome.error)


@pytest.mark.parametrize(("honest", "vandal"), [("good", "vandal"), ("identity", "vandal-in-steps")])
def test_what_a_defense_does_to_what_it_was_shown_and_to_the_process_is_harmless(
    run: Callable[..., Outcome], honest: str, vandal: str
) -> None:
    """Rows, model, weights and labels of a step, modes: the trainings are those of a defense that touches none."""
    found = [run(defense="bad-guard", defense__how=how).record for how in (honest, vandal)]
    assert [record.status for record in found] == ["ok", "ok"]
    assert found[0].metrics == found[1].metrics
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()


def test_a_timeout_is_recorded_as_one(run: Callable[..., Outcome]) -> None:
    outcome = run(timeout=1.0, attack__how="slow")
    assert outcome.error is not None
    assert (outcome.record.status, outcome.error.exit_code) == ("timeout", 5)
    assert "slow passed its deadline" in str(outcome.error)
