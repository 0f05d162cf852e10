"""The checklist: what a broken attack or defense is told, and that a hanging or dying one ends in a line."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from poisonbench.attacks.base import Attack
from poisonbench.cli.check import check
from poisonbench.cli.main import app
from poisonbench.defenses.base import Defense
from poisonbench.errors import ConfigError, UnknownNameError
from poisonbench.plugins.registry import entries, register
from poisonbench.problem.budget import Budget
from poisonbench.problem.predictor import Vote, counts
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import Knowledge, ThreatModel
from poisonbench.problem.views import AttackerView, Defended, DefenderView, Train
from poisonbench.testing import AttackContract, DefenseContract, Game
from poisonbench.testing.checklist import Verdict, checks, verdicts
from poisonbench.testing.contract import Contract
from poisonbench.testing.fast_settings import ATTACKS, DEFENSES, GAMES
from poisonbench.testing.inspection import Subject, examine

SLOW = ("test_fresh_process_same_bytes", "test_cost_grows_at_most_quadratically")


@register("wrong")
@dataclass(frozen=True)
class Wrong(Attack):
    """Breaks the rule it is told to break."""

    cost = "nothing"
    how: str = "nothing"

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel(
            Knowledge.TRAINING_DATA_ONLY, clean_label=self.how == "flip", radius=0.1 if self.how == "far" else None
        )

    def craft(self, view: AttackerView, budget: Budget, stage: Any) -> Any:
        n, how = budget.n_poison + (self.how == "many"), self.how
        source = torch.randperm(len(view.train), generator=None if how == "global" else stage.generator)[:n]
        x, y = view.train.x[source].clone(), view.train.y[source].clone()
        if how == "raise":
            raise ValueError("boom\nand more")
        if how == "exit":
            raise SystemExit(3)
        if how == "type":
            return None
        if how in ("model", "recipe"):
            y = y + getattr(view, how).epochs
        if how == "print":
            print("hello")
        if how == "open":
            from sklearn.datasets import load_digits

            load_digits()
        if how == "replace":
            vars(torch)["is_tensor"] = bool
        if how == "fork" and os.fork():
            os.wait()
        if how == "mutate":
            view.train.x[0] = 0.0
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "swallow":
            state = {"x": x}
            for _ in stage.steps("loop", 3, state):
                x = x.roll(1, 0)
            return PoisonSet(x, y, source)
        x = {"nan": x * float("nan"), "box": x + 1.0, "far": 1.0 - x, "dtype": x.double()}.get(how, x)
        y = {"flip": (y + 1) % view.classes, "label": y + view.classes}.get(how, y)
        source = {"source": source + 100, "shape": source[1:]}.get(how, source)
        return PoisonSet(x, y, source, {"loss": float("nan")} if how == "stats" else {})


@register("guard")
@dataclass(frozen=True)
class Guard(Defense):
    """Breaks the rule it is told to break."""

    cost = "nothing"
    how: str = "nothing"

    def transform(self, x: torch.Tensor) -> torch.Tensor:
        match self.how:
            case "flat":
                return x.flatten(1)
            case "wide":
                return x.double()
            case "blank":
                return x / 0
            case "batch mean":
                return x - x.mean(0)
            case "first image":
                return x + 0.1 * (torch.arange(len(x)) == 0)[:, None, None, None]
            case "noise":
                return x + 0.1 * torch.rand(x.shape)
        return x.round()

    def certify(self, votes: torch.Tensor, classes: int, rows: int) -> torch.Tensor | None:
        match self.how:
            case "real":
                return votes[0] / 2
            case "negative":
                return votes[0] - 1
            case "single":
                return votes.sum()
            case "moody":
                return torch.randint(9, votes[0].shape)
            case "position":
                return torch.arange(votes.shape[1])
            case "bold":
                return torch.full_like(votes[0], 4)
            case "by place":
                gap = counts(votes, classes).topk(2, dim=1).values
                return (gap[:, 0] - gap[:, 1] - 1).clamp(min=0) // 2
        return None

    def defend(self, view: DefenderView, train: Train, stage: Any) -> Defended:
        if self.how == "by place":  # dpa, but for the hash: what is planted moves other rows to other models
            parts = tuple(train(view.train.rows(slice(part, None, 4))) for part in range(4))
            return Defended(Vote(parts), torch.ones(len(view.train), dtype=torch.bool))
        weights, kept = train(view.train), torch.ones(len(view.train), dtype=torch.bool)
        scores = torch.zeros(len(kept))
        match self.how:
            case "weights":
                weights = {name: value[:1] for name, value in weights.items()}
            case "nan":
                weights = {name: value * float("nan") for name, value in weights.items()}
            case "kept":
                kept = kept[1:]
            case "dtype":
                kept = kept.int()
            case "class":
                kept = view.train.y != 1
            case "lie":
                kept[:3] = False
            case "own":
                weights = {name: value / 2 for name, value in weights.items()}
            case "scores":
                scores[0] = float("inf")
        return Defended(weights, kept, scores, {"x": float("inf")} if self.how == "stats" else {})


def seen(contract: type[Contract], monkeypatch: pytest.MonkeyPatch, **fields: Any) -> dict[str, Verdict]:
    """The verdicts by check, but for those that take long."""
    made = type("Checked", (contract,), fields)
    for name in SLOW:
        monkeypatch.setattr(made, name, lambda self: None)
    return {verdict.check: verdict for verdict in verdicts(made)}


@pytest.mark.parametrize(
    ("how", "failing", "reason"),
    [
        ("raise", "test_runs", "wrong raised ValueError: boom"),
        ("exit", "test_runs", "wrong raised SystemExit: 3"),
        ("interrupt", "test_runs", "KeyboardInterrupt: "),
        ("type", "test_runs", "it returned NoneType, expected PoisonSet."),
        ("model", "test_knows_no_more_than_it_declares", "A training-data-only attacker knows no model. Declare"),
        ("recipe", "test_knows_no_more_than_it_declares", "A training-data-only attacker knows no recipe. Declare"),
        ("shape", "test_shapes", "has shapes x (6, 1, 4, 4), y (6,), source (5,)"),
        ("dtype", "test_dtypes", "has dtypes x torch.float64"),
        ("many", "test_number_of_rows", "breaks its budget: 7 rows, between 1 and 6 allowed"),
        ("nan", "test_pixels_are_finite", "96 pixels that are NaN or infinite"),
        ("box", "test_pixels_are_in_the_box", "leaves the box"),
        ("label", "test_labels_are_classes", "labels outside 0..3"),
        ("source", "test_sources_are_rows", "source rows outside D_tr"),
        ("flip", "test_clean_label", "declared clean-label, yet 6 of its labels differ"),
        ("far", "test_radius", "breaks its radius"),
        ("stats", "test_evidence_is_plain", "stats.loss"),
        ("mutate", "test_inputs_are_not_changed", "it changed a tensor of its view."),
        ("global", "test_global_generators_are_untouched", "a global generator"),
        ("swallow", "test_killed_and_resumed_gives_the_same_bytes", "resumed, the result differs"),
        ("open", "test_reaches_no_test_data", "digits.csv.gz"),
        ("replace", "test_leaves_the_process_as_it_was", "it replaced torch.is_tensor."),
        ("fork", "test_leaves_the_process_as_it_was", "it forked this process (os.fork)."),
    ],
)
def test_each_broken_rule_is_named(how: str, failing: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "is_tensor", torch.is_tensor)
    found = seen(AttackContract, monkeypatch, attack=Wrong(how), game=Game())
    failed = {name for name, verdict in found.items() if verdict.status == "failed"}
    also = {
        "global": {"test_same_generator_same_bytes"},
        "label": set(),
        "model": {"test_runs"},
        "recipe": {"test_runs"},
        "source": {"test_clean_label", "test_radius"},
    }
    assert failing in failed
    assert failed - {failing} <= also.get(how, set()), failed
    assert reason in found[failing].reason
    assert "\n" not in found[failing].reason
    assert found[failing].fix


def test_an_attack_that_keeps_the_rules_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(AttackContract, monkeypatch, attack=Wrong(), game=Game())
    assert {verdict.status for verdict in found.values()} == {"ok", "skipped"}
    skipped = {name for name, verdict in found.items() if verdict.status == "skipped"}
    gpu = set() if torch.cuda.is_available() else {"test_cuda_agrees_with_cpu"}
    assert skipped == {"test_clean_label", "test_radius", "test_killed_and_resumed_gives_the_same_bytes"} | gpu


def test_prints_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as a user's filters may be
        found = seen(AttackContract, monkeypatch, attack=Wrong("print"), game=Game())
    assert found["test_prints_nothing"].status == "warned"
    assert found["test_prints_nothing"].reason == "it printed 6 characters: 'hello'."
    assert not [name for name, verdict in found.items() if verdict.status == "failed"]


OF_VOTES = ("test_certificate_is_of_the_votes", "test_certificate_stands")


@pytest.mark.parametrize(
    ("how", "failing"),
    [
        ("weights", {"test_weights_are_those_of_the_model"}),
        ("nan", {"test_weights_are_finite"}),
        ("kept", {"test_kept_is_one_boolean_a_row"}),
        ("dtype", {"test_kept_is_one_boolean_a_row"}),
        ("class", {"test_every_class_keeps_a_row", "test_kept_is_what_was_trained_on"}),
        ("lie", {"test_kept_is_what_was_trained_on"}),
        ("scores", {"test_scores_are_finite"}),
        ("stats", {"test_evidence_is_plain"}),
        ("flat", {"test_transform_gives_images_like_those"}),
        ("wide", {"test_transform_gives_images_like_those"}),
        ("blank", {"test_transform_gives_images_like_those"}),
        ("batch mean", {"test_transform_is_of_each_image_alone"}),
        ("first image", {"test_transform_is_of_each_image_alone"}),
        ("noise", {"test_transform_is_of_each_image_alone"}),
        ("real", {"test_certificate_is_a_number_of_rows", *OF_VOTES}),
        ("negative", {"test_certificate_is_a_number_of_rows", *OF_VOTES}),
        ("single", {"test_certificate_is_a_number_of_rows", *OF_VOTES}),
        ("moody", {*OF_VOTES}),
        ("position", {*OF_VOTES}),
        ("bold", {"test_certificate_stands"}),
        ("by place", {"test_certificate_stands"}),
        ("nothing", set()),
    ],
)
def test_each_broken_rule_of_a_defense_is_named(how: str, failing: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(DefenseContract, monkeypatch, defense=Guard(how), game=Game())
    assert {name for name, verdict in found.items() if verdict.status == "failed"} == failing
    assert all(found[name].fix for name in failing)


def test_what_a_defense_trained_by_itself_cannot_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(DefenseContract, monkeypatch, defense=Guard("own"), game=Game())["test_kept_is_what_was_trained_on"]
    assert (found.status, found.reason) == ("skipped", "its weights come of no training that was asked for.")


@pytest.mark.parametrize("contract", [AttackContract, DefenseContract])
def test_every_check_has_a_title_and_a_fix(contract: type[Contract]) -> None:
    for verdict in checks(contract):
        assert 5 < len(verdict.title) <= 70, verdict.check
        assert not verdict.title.endswith(".")
        assert getattr(contract, verdict.check).__dict__["fix"]
    titles = [verdict.title for verdict in checks(contract)]
    assert len(set(titles)) == len(titles) > 15


PLUGIN = '''
import os, time
import torch
from dataclasses import dataclass
import poisonbench as pb
{on_import}
@pb.register("rogue")
@dataclass(frozen=True)
class Rogue(pb.Attack):
    """Hangs, dies or cheats."""
    how: str = "nothing"
    cost = "nothing"
    threat = pb.ThreatModel(pb.Knowledge.TRAINING_DATA_ONLY)
    def craft(self, view, budget, stage):
        if self.how == "hang": time.sleep(1000)
        if self.how == "die": os._exit(0)
        rows = view.train.rows(slice(0, budget.n_poison))
        shade = hash("a") % 100 / 100 if self.how == "hash" else 1.0
        return pb.PoisonSet(rows.x * shade, rows.y.clone(), torch.arange(budget.n_poison))
'''


def verdicts_of(
    tmp_path: Path, plug: Callable[..., None], how: str, on_import: str = "", limit: float = 60.0
) -> list[Verdict]:
    (tmp_path / "rogue_file.py").write_text(PLUGIN.format(on_import=on_import))
    plug(tmp_path / "rogue_file.py")
    return list(examine(Subject("attack", "rogue", {"how": how}, Game()), limit))


@pytest.mark.parametrize(
    ("how", "on_import", "failing", "reason"),
    [
        ("hang", "", "test_runs", "it did not end within 1.5 s."),
        ("die", "", "test_runs", "it ended the process: exit code 0."),
        ("nothing", "os._exit(7)", "imports", "it ended the process: exit code 7."),
        ("nothing", "raise SystemExit(3)", "imports", "does not import: SystemExit: 3"),
        ("nothing", "raise KeyboardInterrupt", "imports", "KeyboardInterrupt: "),
        ("nothing", "import no_such_module", "imports", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("nothing", "from sklearn.datasets import load_digits; load_digits()", "imports", "digits.csv.gz while it was"),
    ],
)
def test_whatever_it_does_the_checklist_comes_to_its_end(
    tmp_path: Path, plug: Callable[..., None], how: str, on_import: str, failing: str, reason: str
) -> None:
    found = verdicts_of(tmp_path, plug, how, on_import, limit=1.5 if how == "hang" else 60)
    assert [verdict.check for verdict in found if verdict.status == "failed"] == [failing]
    wrong = next(verdict for verdict in found if verdict.status == "failed")
    assert reason in wrong.reason
    assert "\n" not in wrong.reason
    assert wrong.fix
    assert {verdict.status for verdict in found[found.index(wrong) + 1 :]} <= {"skipped", "ok"}
    assert len(found) == 1 + len(checks(AttackContract))


def test_another_process_has_another_hash_seed(tmp_path: Path, plug: Callable[..., None]) -> None:
    found = verdicts_of(tmp_path, plug, "hash")
    assert [verdict.check for verdict in found if verdict.status == "failed"] == ["test_fresh_process_same_bytes"]


def exit_code(*names: str, **options: Any) -> int:
    with pytest.raises(typer.Exit) as stop:
        check(list(names), **options)
    return stop.value.exit_code


def test_the_command_prints_a_line_a_check_and_exits_with_4(
    tmp_path: Path, plug: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [
        Verdict("a", "Budget: at most ε · N rows", "failed", "7 rows, at most 6.", "Make [6] rows."),
        Verdict("b", "Box", "ok"),
        Verdict("c", "Radius", "skipped", "no radius."),
        Verdict("d", "Prints nothing", "warned", "hello", "Do not."),
        Verdict("e", "Cost", "ok", notes=("N = 60 to 960",)),
    ]
    monkeypatch.setattr("poisonbench.testing.inspection.examine", lambda subject, limit: iter(told))
    assert exit_code("tgda") == 4
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "tgda, attack of poisonbench 0.1.0"
    assert shown[1:5] == [
        "✗ Budget: at most ε · N rows", "    7 rows, at most 6.", "    Fix: Make [6] rows.", "✓ Box",
    ]  # fmt: skip
    assert shown[5] == "– Radius: no radius."
    assert shown[-2] == "2 passed, 1 with a warning, 1 failed, 1 skipped; 0.0 s."
    assert exit_code("tgda", as_json=True) == 4
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["name"], document["kind"], document["ok"]) == ("tgda", "attack", False)
    assert document["checks"][0]["fix"] == "Make [6] rows."
    told[0] = Verdict("a", "Budget", "ok")
    assert exit_code("tgda", "sever", as_json=True) == 0


def test_settings_go_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Subject] = []
    monkeypatch.setattr(
        "poisonbench.testing.inspection.examine", lambda subject, limit: given.append(subject) or iter(())
    )
    settings = ["attack.alpha=0.5", "defense.fraction=0.2", "attack.epochs=1"]
    exit_code("tgda", "sever", "poison-svm", setting=settings, game=["n_train=20"], as_json=True)
    assert given[0] == Subject("attack", "tgda", {**ATTACKS["tgda"], "alpha": 0.5, "epochs": 1}, Game(n_train=20))
    assert given[1] == Subject("defense", "sever", {"fraction": 0.2}, Game(n_train=20))
    assert given[2].game == Game(model="svm", classes=2, n_train=20)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["tgad"], UnknownNameError, "Unknown attack, defense, model or dataset 'tgad'. Did you mean 'tgda'?"),
        (["lr", "--set", "alpha=1"], ConfigError, "--set alpha: models and datasets have no settings."),
        (["digits", "--game", "classes=2"], ConfigError, "--game classes: datasets play no game."),
        (["lr", "--game", "model=nn"], ConfigError, "--game model: a model is checked as it is named"),
        (["lr", "--data-dir", "."], ConfigError, "--data-dir: no dataset is checked."),
        (["tgda", "--set", "alhpa=1"], UnknownNameError, "Unknown field of tgda 'alhpa'. Did you mean 'alpha'?"),
        (["tgda", "--set", "defnse.x=1"], ConfigError, "--set defnse.x: expected attack.x."),
        (["tgda", "--game", "clases=2"], UnknownNameError, "Unknown --game 'clases'. Did you mean 'classes'?"),
        (["tgda", "--game", "classes=two"], ConfigError, "--game.classes: "),
        (["tgda", "--game", "model=cnnn"], UnknownNameError, "Unknown model 'cnnn'. Did you mean 'cnn'?"),
    ],
)
def test_wrong_names_and_values_are_refused(arguments: list[str], error: type[Exception], message: str) -> None:
    done = CliRunner().invoke(app, ["check", *arguments])
    assert isinstance(done.exception, error)
    assert message in str(done.exception)
    assert done.stdout == ""


def test_the_tables_of_quick_settings_name_methods() -> None:
    assert set(ATTACKS) | {"clean-copies", "label-flip", "replay"} == set(entries("attack"))
    assert set(DEFENSES) <= set(entries("defense"))
    assert set(GAMES) <= set(entries("attack"))
