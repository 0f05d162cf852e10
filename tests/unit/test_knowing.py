"""Attackers that know the defense: what they are shown, what they make of it, and how record and board tell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from poisonbench.attacks import knowing
from poisonbench.attacks.base import Attack
from poisonbench.attacks.evaluation import retrained_accuracy
from poisonbench.attacks.knowing import crafted
from poisonbench.defenses.base import Defense, FilterDefense, Scores
from poisonbench.defenses.loss import LossDefense
from poisonbench.defenses.squeezing import Squeezing
from poisonbench.errors import ConfigError, ValidationError
from poisonbench.experiment.cell import Cell
from poisonbench.experiment.cell_hash import recorded_cell_hash
from poisonbench.experiment.rehearsal import Rehearsal
from poisonbench.experiment.runner import Runner
from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.published import published
from poisonbench.leaderboard.site.build import Sources, build
from poisonbench.leaderboard.site.settings import command
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.problem.views import AttackerView, Defended, DefenderView, Rehearsed, Train
from poisonbench.seeding import child_generator
from poisonbench.stages import stage as stages
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import Stage
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_setup import KNOWS
from poisonbench.sweeps.grid import cells, grid
from poisonbench.testing import Game

GAME = Game(epsilon=0.2)


@register("brightest")
@dataclass(frozen=True)
class Brightest(FilterDefense):
    """Removes the rows with the brightest pixels."""

    uses_model = False

    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        return Scores(view.train.x.flatten(1).amax(1))


@dataclass(frozen=True)
class Whitening(Attack):
    """Wrong labels, and a pixel of every other point, or of every, as bright as can be."""

    mode: Mode = Mode.ADDITION
    every: int = 1

    @property
    def threat(self) -> ThreatModel:
        return ThreatModel(mode=self.mode)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        source = torch.arange(budget.n_poison)
        x = view.train.x[source].clone()
        x[:: self.every, :, 0, 0] = 1.0
        return PoisonSet(
            x, (view.train.y[source] + 1) % view.classes, source, {"own": float(view.weights[LAYER].sum())}
        )


LAYER = next(name for name in GAME.attacker(ThreatModel()).weights if name.endswith("weight"))


def stage_of(folder: Path | None = None) -> Stage:
    return Stage(child_generator(0, "attack"), checkpoint=Checkpoint(folder))


def informed(defense: Defense, game: Game = GAME, trusted: int = 0) -> AttackerView:
    view = game.attacker(ThreatModel())
    stand_ins = view.validation.rows(slice(trusted))
    return replace(view, rehearse=Rehearsal(defense, view.model, view.recipe, view.classes, stand_ins))


def rehearsed(view: AttackerView, rows: Samples, stage: Stage, task: str = "rehearse") -> Rehearsed:
    assert view.rehearse is not None
    return view.rehearse(rows, stage, task)


def test_without_that_knowledge_an_attack_is_what_it_was() -> None:
    attack, view, budget = Whitening(), GAME.attacker(ThreatModel()), GAME.budget(ThreatModel())
    plain, found = attack.craft(view, budget, stage_of()), crafted(attack, view, budget, stage_of())
    assert torch.equal(plain.x, found.x)
    assert found.stats.keys() == {"own"}


# Rehearsals


def test_what_is_kept_is_told_in_the_order_in_which_the_rows_were_given() -> None:
    rows = GAME.samples("train", GAME.n_train)
    rows.x[[3, 17, 40], 0, 0, 0] = 5.0
    found = rehearsed(informed(Brightest(fraction=3 / GAME.n_train)), rows, stage_of())
    assert torch.nonzero(~found.kept).flatten().tolist() == [3, 17, 40]


def test_the_answers_are_those_of_the_defense_with_its_transform() -> None:
    defense = Squeezing(squeeze="gray", tested=True)
    view = informed(defense, Game(shape=(3, 4, 4)))
    found, x = rehearsed(view, view.train, stage_of()), view.validation.x.flip(1)
    assert isinstance(found.predictor, dict)
    assert torch.equal(found.answers(x), view.model.predict(found.predictor, defense.transform(x.clone())).argmax(1))


@pytest.mark.parametrize("declares", [False, True])
def test_rows_of_the_attackers_own_stand_in_for_trusted_ones(declares: bool) -> None:
    seen: list[DefenderView] = []

    @register("watching")
    @dataclass(frozen=True)
    class Watching(Defense):
        trusted_data = declares

        def defend(self, view: DefenderView, train: Train, stage: Stage) -> Defended:
            seen.append(view)
            return Defended(train(view.train), torch.ones(len(view.train), dtype=torch.bool))

    view = informed(Watching(), trusted=7)
    rehearsed(view, view.train, stage_of())
    assert torch.equal(seen[0].trusted.x, view.validation.x[: 7 * declares])
    assert seen[0].poison is None


def test_no_two_rehearsals_of_an_attack_share_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their trainings have the same names: what one has saved is none of the other's."""
    monkeypatch.setattr(stages, "SAVE_EVERY_S", -1.0)  # after every step
    view = informed(LossDefense(fraction=0.1))
    parts = view.train, view.train.rows(torch.arange(30))
    alone = [rehearsed(view, rows, stage_of()).predictor for rows in parts]
    for rows, expected in zip(parts, alone, strict=True):
        found = rehearsed(view, rows, stage_of(tmp_path), f"rehearse {len(rows)}").predictor
        assert isinstance(found, dict)
        assert isinstance(expected, dict)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


# What an attack makes of them


def test_an_attack_begins_at_what_the_defense_makes_of_clean_rows() -> None:
    view = informed(LossDefense(fraction=0.3))
    expected = rehearsed(view, view.train, stage_of()).predictor
    assert isinstance(expected, dict)
    found = crafted(Whitening(), view, GAME.budget(ThreatModel()), stage_of())
    assert found.stats["own"] == float(expected[LAYER].sum())
    assert found.stats["own"] != float(view.weights[LAYER].sum())


def test_an_attack_that_trains_to_look_at_d_v_does_it_through_the_defense() -> None:
    view, asked = informed(LossDefense(fraction=0.3)), list[Samples]()
    poison = Whitening().craft(view, GAME.budget(ThreatModel()), stage_of())

    def rehearse(rows: Samples, stage: Stage, task: str) -> Rehearsed:
        asked.append(rows)
        return Rehearsed({}, torch.ones(len(rows), dtype=torch.bool), lambda x: view.validation.y)

    assert retrained_accuracy(replace(view, rehearse=rehearse), poison, stage_of(), "look") == 100
    assert len(asked[0]) == len(view.train) + len(poison)
    assert retrained_accuracy(replace(view, rehearse=None), poison, stage_of(), "look") < 100


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("seed", range(3))
def test_of_all_poison_sets_that_are_tried_the_worst_is_returned(mode: Mode, seed: int) -> None:
    """Against a defense that keeps and answers at random: the attack's own set, three weaker ones and, where points are
    added, three in which survivors stand for what was removed."""
    generator, attack = torch.Generator().manual_seed(seed), Whitening(mode)
    view, budget = GAME.attacker(ThreatModel()), GAME.budget(attack.threat)
    own, n = attack.craft(view, budget, stage_of()), len(view.train)
    tried: list[tuple[Samples, Tensor, float]] = []

    def rehearse(rows: Samples, stage: Stage, task: str) -> Rehearsed:
        wrong = torch.rand(len(view.validation), generator=generator) < torch.rand((), generator=generator)
        kept = torch.rand(len(rows), generator=generator) < 0.5
        answers = (view.validation.y + wrong) % view.classes
        poison = rows.rows(slice(n, None)) if mode is Mode.ADDITION else rows.rows(own.source)
        tried.append((poison, kept[n:], 100 * float((~wrong).float().mean())))
        return Rehearsed(view.weights, kept, lambda x: answers)

    found = crafted(attack, replace(view, rehearse=rehearse), budget, stage_of())
    del tried[0]  # the clean rows
    assert len(tried) == len(knowing.STRENGTHS) + (knowing.ROUNDS if mode is Mode.ADDITION else 0)
    best = min(tried, key=lambda one: one[2])
    assert torch.equal(found.x, best[0].x)
    assert torch.equal(found.y, best[0].y)
    assert found.stats["known_accuracy"] == pytest.approx(best[2])
    assert found.stats["known_accuracy_own"] == pytest.approx(tried[0][2])
    for strength, (rows, _, _) in zip(knowing.STRENGTHS, tried, strict=False):
        assert torch.allclose(rows.x, torch.lerp(view.train.x[own.source], own.x, strength))
    for (rows, _, _), (before, kept, _) in zip(tried[5:], tried[4:], strict=False):
        assert torch.equal(rows.x[kept], before.x[kept])
        survivors = {tuple(row) for row in before.x[kept].flatten(1).tolist()}
        assert {tuple(row) for row in rows.x.flatten(1).tolist()} == survivors
    budget.verify(found, view.train, "the test")


def test_what_the_defense_removes_is_replaced_by_what_it_keeps() -> None:
    """Six of the twelve points are brighter than all other rows, and as many are removed."""
    view, budget = informed(Brightest(fraction=6 / 72)), GAME.budget(ThreatModel())
    view.train.x.mul_(0.5)
    found = crafted(Whitening(every=2), view, budget, stage_of())
    assert found.stats["known_kept_own"] == 0.5
    assert found.stats["known_accuracy"] <= found.stats["known_accuracy_own"]
    assert found.stats["known_kept"] > 0.5


def test_points_without_a_source_stay_and_the_others_stay_within_their_radius() -> None:
    view, budget = GAME.attacker(ThreatModel()), replace(GAME.budget(ThreatModel()), radius=0.1)
    source = torch.tensor([-1, 0, 1])
    x = torch.cat([torch.ones(1, 1, 4, 4), view.train.x[:2] + 0.1]).clamp(0, 1)
    weaker = knowing._weaker(PoisonSet(x, torch.tensor([0, 1, 2]), source), view.train, budget, 0.5)
    assert torch.equal(weaker.x[0], x[0])
    assert torch.allclose(weaker.x[1:], (view.train.x[:2] + x[1:]) / 2)


# Cells, records and boards


def made(**axes: Any) -> list[Cell]:
    document = {"attack": "influence-attack", "defense": "loss", "seeds": 0, **axes}
    return cells(grid(document, ""), "")


def test_the_defense_that_is_known_is_the_one_that_is_met() -> None:
    for knows in ("loss", "same"):
        (cell,) = made(knows=knows)
        assert cell.knows
        assert cell.attack_method["params"][KNOWS] == "loss"
    one, two = made(knows=[None, "same"])
    assert one.crafting_hash() != two.crafting_hash()
    assert one.hash() != two.hash()
    assert KNOWS not in one.attack_method["params"]
    (joined,) = made(defense="loss+maxup", knows="loss+maxup")
    assert joined.attack_method["params"][KNOWS] == "loss+maxup"


def test_another_setting_of_the_defense_is_another_poison_set() -> None:
    """The fields of the defense are what the attacker knows."""
    by_fraction = [made(knows="same", set={"defense.fraction": value})[0] for value in (0.03, 0.1)]
    assert by_fraction[0].crafting_hash() != by_fraction[1].crafting_hash()
    unaware = [made(set={"defense.fraction": value})[0] for value in (0.03, 0.1)]
    assert unaware[0].crafting_hash() == unaware[1].crafting_hash()


def test_no_defense_is_nothing_to_know() -> None:
    found = made(defense=["none", "loss"], knows=[None, "same"])
    assert [(cell.defense.name, cell.knows) for cell in found] == [("none", False), ("loss", False), ("loss", True)]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"knows": "sever"}, "--knows sever: the defense that influence-attack meets is loss. Expected it, or same."),
        ({"defense": "none", "knows": "none"}, "--knows none: no defense is nothing to know."),
        ({"attack": "label-flip", "knows": "same"}, "label-flip is declared to know the training data alone"),
        ({"defense": "perfect-filter", "knows": "same"}, "nobody can rehearse that"),
        ({"set": {"knows": "loss"}}, "knows is no setting; it is given by --knows"),
    ],
)
def test_what_cannot_be_known_is_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**axes)


def test_a_record_names_the_defense_and_its_cell(tmp_path: Path) -> None:
    faster = {"recipe.epochs": 2, "attack.steps": 2, "attack.retraining": 2}
    (unaware, aware) = made(knows=[None, "loss"], set=faster)
    with Store.open(tmp_path / "store") as store:
        runner = Runner(store)
        first, second = runner.run(unaware), runner.run(aware)
        assert runner.run(aware).reused == ["record"]
    assert (first.error, second.error) == (None, None)
    assert "poison" in second.computed
    assert second.record.attack.params[KNOWS] == "loss"
    assert {"known_accuracy", "known_strength"} <= second.record.attack_stats.keys()
    assert first.record.attack.params.keys() == second.record.attack.params.keys() - {KNOWS}


def test_the_cell_of_a_record_is_that_of_what_it_says(ship: Callable[..., None]) -> None:
    ship("influence-attack", "loss", "digits-v2")
    one, *_ = published()
    assert recorded_cell_hash(one) == one.cell_hash
    (cell,) = made(knows="loss", model=one.model.name, seeds=one.seeds.run, epsilon=one.threat.epsilon)
    content = one.document() | {"attack": {**one.document()["attack"], "params": cell.attack_method["params"]}}
    del content["record_id"]
    assert recorded_cell_hash(Record.create(**content)) == cell.hash()


def test_a_record_of_an_attack_that_knows_another_defense_is_refused(planted: Callable[..., Record]) -> None:
    with pytest.raises(ValidationError, match="the attack knows the defense 'sever', but meets loss"):
        planted("tgda", defense="loss", params={KNOWS: "sever"})


def test_boards_show_both_and_rank_neither_attack_nor_defense_by_it(seeds: Callable[..., list[Record]]) -> None:
    plain = [*seeds("tgda", [5.0, 5.1, 5.2]), *seeds("tgda", [1.0, 1.1, 1.2], defense="loss")]
    plain += [*seeds("emn", [1.0, 1.1, 1.0]), *seeds("emn", [0.2, 0.1, 0.2], defense="loss")]
    aware = seeds("tgda", [4.0, 4.2, 4.1], defense="loss", params={KNOWS: "loss"})
    (before,), (after,) = boards(plain), boards([*plain, *aware])
    assert before.informed == ()
    assert (after.attacks, after.families, after.yardstick) == (before.attacks, before.families, before.yardstick)
    (one,) = after.informed
    assert one.experiment.label == "tgda (knows the defense)/loss"
    assert one.drop is not None
    assert one.drop.mean == pytest.approx(4.1)
    assert one.gain is not None
    assert one.gain.mean == pytest.approx(3.0)
    assert one.helps


def test_one_without_its_like_has_no_gain(seeds: Callable[..., list[Record]]) -> None:
    (board,) = boards(seeds("tgda", [4.0, 4.2, 4.1], defense="loss", params={KNOWS: "loss"}))
    (one,) = board.informed
    assert (one.unaware, one.gain, one.helps) == (None, None, None)
    assert board.families == ()


def test_a_boards_page_shows_both_and_the_command_makes_the_cell_again(
    seeds: Callable[..., list[Record]], tmp_path: Path
) -> None:
    plain = [*seeds("tgda", [5.0, 5.1, 5.2]), *seeds("tgda", [1.0, 1.1, 1.2], defense="loss")]
    aware = seeds("tgda", [4.0, 4.2, 4.1], defense="loss", params={KNOWS: "loss"})
    site = build(Sources([*plain, *aware]), tmp_path / "site").parent
    (page,) = (path.read_text("utf-8") for path in (site / "boards").glob("*.html"))
    heading, matrix = page.index('id="informed"'), page.index('id="matrix"')
    for number in ("1.10", "4.10", "3.00"):
        assert number in page[heading:]
    assert "knows the defense" not in page[matrix:heading]
    assert "--knows loss" in command(aware[0])
    assert "knows" not in command(plain[0])
    assert f"attack.{KNOWS}" not in command(aware[0])
