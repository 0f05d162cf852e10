"""Defenses joined by +, and the settings of each part."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poisonbench.defenses.base import Defense, FilterDefense, Scores, TrainingDefense
from poisonbench.defenses.composed import Composed
from poisonbench.defenses.loss import LossDefense
from poisonbench.defenses.none import NoDefense
from poisonbench.defenses.sanitizers.spectral_signatures import SpectralSignatures
from poisonbench.defenses.sever.defense import Sever
from poisonbench.errors import ConfigError, PoisonbenchError, UnknownNameError, ValidationError
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell, build, method
from poisonbench.experiment.settings import read_settings
from poisonbench.plugins.registry import register
from poisonbench.problem.procedure import Batch, Procedure, State
from poisonbench.problem.samples import Samples, Weights
from poisonbench.problem.views import DefenderView, Train
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game


@register("darkness")
@dataclass(frozen=True)
class Darkness(FilterDefense):
    """Score = minus the mean pixel."""

    uses_model = False

    def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
        assert not weights
        return Scores(-view.train.x.mean((1, 2, 3)), {"brightest": float(view.train.x.mean((1, 2, 3)).max())})


@register("invert")
@dataclass(frozen=True)
class Invert(TrainingDefense):
    """Trains on negatives."""

    def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
        return Negatives()


class Negatives(Procedure):
    def batch(self, weights: Weights, batch: Batch, state: State, generator: torch.Generator) -> Batch:
        return replace(batch, x=1 - batch.x)


class Watched:
    """Counts trainings."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.calls: list[tuple[Samples, Procedure | None]] = []

    def __call__(self, samples: Samples, procedure: Procedure | None = None) -> Weights:
        self.calls.append((samples, procedure))
        return self.game.fit(samples, procedure)


def stage() -> Stage:
    return Stage(child_generator(0, "defense"))


def test_filters_one_after_another_each_on_what_the_last_one_kept() -> None:
    game, view = Game(), Game().defender()
    train = Watched(game)
    defended = Composed((Darkness(fraction=0.2), LossDefense(fraction=0.1))).defend(view, train, stage())
    first = Darkness(fraction=0.2).select(view, game.fit, stage())
    left = view.train.rows(first.kept)
    second = LossDefense(fraction=0.1).select(
        DefenderView(left, view.trusted, view.model, view.recipe, view.classes), game.fit, stage()
    )
    expected = first.kept.clone()
    expected[first.kept] = second.kept
    assert torch.equal(defended.kept, expected)
    assert defended.scores is not None
    assert torch.equal(defended.scores[first.kept], second.scores)
    assert torch.equal(defended.scores[~first.kept], first.scores[~first.kept])
    assert defended.stats == {"darkness.brightest": float(view.train.x.mean((1, 2, 3)).max())}
    assert [len(samples) for samples, _ in train.calls] == [len(left), int(expected.sum())]  # darkness needs no model


def test_a_filter_scores_with_plain_training_and_the_last_training_is_the_trainers() -> None:
    game, view = Game(), Game().defender()
    train = Watched(game)
    defended = Composed((LossDefense(fraction=0.1), Invert())).defend(view, train, stage())
    alone = LossDefense(fraction=0.1).select(view, game.fit, stage())
    assert torch.equal(defended.kept, alone.kept)
    (_, scoring), (rows, last) = train.calls
    assert scoring is None
    assert last is not None
    assert torch.equal(rows.x, view.train.x[alone.kept])
    negatives = Samples(1 - rows.x, rows.y, rows.ids)
    expected = game.fit(negatives)
    assert all(torch.equal(defended.predictor[name], expected[name]) for name in expected)


def test_only_a_part_that_says_so_is_handed_the_validation_set() -> None:
    seen: dict[str, int] = {}

    class Noted(Darkness):
        def score(self, view: DefenderView, weights: Weights, stage: Stage) -> Scores:
            seen[self.name] = len(view.trusted)
            return super().score(view, weights, stage)

    class Trusting(Noted):
        trusted_data = True

    class Trained(Invert):
        def procedure(self, view: DefenderView, train: Train, stage: Stage) -> Procedure:
            seen[self.name], seen["rows"] = len(view.trusted), len(view.train)
            assert view.poison is None
            return super().procedure(view, train, stage)

    register("noted")(Noted)
    register("trusting")(Trusting)
    register("trained")(Trained)
    both = Composed((Noted(), Trusting()))
    game = Game()
    view = replace(game.defender(), poison=torch.zeros(66, dtype=torch.bool))
    defended = Composed((*both.parts, Trained())).defend(view, game.fit, stage())
    rows = int(defended.kept.sum())
    assert rows < 66
    assert seen == {"noted": 0, "trusting": game.n_validation, "trained": 0, "rows": rows}
    assert both.trusted_data
    assert not Composed((Noted(), Darkness())).trusted_data


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((Invert(), LossDefense()), "invert removes no rows, so nothing can come after it"),
        ((NoDefense(), LossDefense()), "none removes no rows, so nothing can come after it"),
        ((LossDefense(), NoDefense()), "none is no filter and no training defense; run it alone"),
        ((LossDefense(), LossDefense(fraction=0.1)), "expected different defenses joined by +"),
    ],
)
def test_what_cannot_be_composed_is_refused(parts: tuple[Defense, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Composed(parts)
    assert message in str(caught.value)


def test_classes_that_are_lost_together_are_refused() -> None:
    """Neither filter takes all of class 2 alone."""
    game, view = Game(), Game().defender()
    dark = torch.where(view.train.y[:, None, None, None] == 2, 0.0, view.train.x)
    rows = Samples(dark, view.train.y, view.train.ids)
    lost = DefenderView(rows, view.trusted, view.model, view.recipe, view.classes)
    share = float((view.train.y == 2).float().mean())
    half = Darkness(fraction=share * 0.6)
    assert bool((view.train.y[half.select(lost, game.fit, stage()).kept] == 2).any())

    @register("darkness-again")
    @dataclass(frozen=True)
    class Again(Darkness):
        """Once more."""

    with pytest.raises(ValidationError, match=r"again removed every row of class 2: .*balanced"):
        Composed((half, Again(fraction=share))).defend(lost, game.fit, stage())
    assert bool((view.train.y[Darkness(fraction=share, balanced=True).select(lost, game.fit, stage()).kept] == 2).any())


@settings(max_examples=50, deadline=None)
@given(y=st.lists(st.integers(0, 3), min_size=8, max_size=60), fraction=st.floats(0.01, 0.9), data=st.data())
def test_a_balanced_filter_takes_its_part_of_every_class(y: list[int], fraction: float, data: st.DataObject) -> None:
    labels = torch.tensor(y)
    x = torch.tensor(data.draw(st.lists(st.floats(0, 1, width=32), min_size=len(y), max_size=len(y))))
    rows = Samples(x[:, None, None, None], labels, torch.arange(len(y)))
    view = DefenderView(rows, rows, Game().target(), Game().recipe, 4)

    def never(samples: Samples, procedure: Procedure | None = None) -> Weights:
        raise AssertionError("a filter without a model trained one")

    kept = Darkness(fraction=fraction, balanced=True).select(view, never, stage()).kept
    for label in set(y):
        of_class = labels == label
        assert int((~kept & of_class).sum()) == int(fraction * int(of_class.sum()) + 1e-9)
        if bool((~kept & of_class).any()):
            gone, stay = x[~kept & of_class], x[kept & of_class]
            assert bool(gone.max() <= stay.min())


def cell(defense: str, **fields: object) -> Cell:
    given = tuple(
        protocol.Setting("defense." + key.replace("__", "."), value, "--set") for key, value in fields.items()
    )
    return build(protocol.resolve("digits-v1", given), "label-flip", defense, epsilon=0.03, seed=0)


def test_a_composed_defense_by_name() -> None:
    made = cell("sever+loss", loss__fraction=0.1)
    assert made.defense == Composed((Sever(), LossDefense(fraction=0.1)))
    info = method("defense", made.defense)
    assert info["name"] == "sever+loss"
    assert info["distribution"] == "poisonbench"
    assert (info["params"]["loss.fraction"], info["params"]["sever.fraction"]) == (0.1, 0.015)
    alone = [method("defense", part)["code_hash"] for part in (Sever(), LossDefense(fraction=0.1))]
    assert info["code_hash"] == "+".join(alone)
    assert info["version"] == f"{Sever.version}+{LossDefense.version}"
    assert made.hash() != cell("sever+loss").hash() != cell("loss+sever").hash()


def test_a_preset_follows_a_name_and_the_record_holds_its_fields() -> None:
    pooled = Sever(fraction=0.03, rounds=1, balanced=False, per_class=False)
    assert cell("sever:pooled").defense == pooled
    assert cell("loss+sever:pooled").defense == Composed((LossDefense(), pooled))
    assert cell("sever:pooled+spectral-signatures:paper").defense == Composed(
        (pooled, SpectralSignatures(fraction=0.045))
    )
    assert (cell("sever:pooled").defense.name, cell("sever:pooled").title.count("pooled")) == ("sever", 0)
    assert cell("sever:pooled", rounds=2).defense == replace(pooled, rounds=2)  # a setting is above a preset
    assert cell("sever:pooled", sever__rounds=2).defense == replace(pooled, rounds=2)
    by_hand = {"fraction": 0.03, "rounds": 1, "balanced": False, "per_class": False}
    assert cell("sever:pooled").hash() == cell("sever", **by_hand).hash() != cell("sever").hash()


def test_a_setting_without_a_name_is_for_every_part() -> None:
    assert cell("sever+loss", fraction=0.1).defense == Composed((Sever(fraction=0.1), LossDefense(fraction=0.1)))
    assert cell("loss", fraction=0.1).hash() == cell("loss", loss__fraction=0.1).hash()
    assert cell("loss", sever__fraction=0.1).defense == LossDefense()  # for another defense of the same run


@pytest.mark.parametrize(
    ("defense", "fields", "error", "message"),
    [
        ("sever+loss", {"tol": 0.1}, UnknownNameError, "field of loss"),
        ("sever:pool", {}, UnknownNameError, "Unknown preset of sever 'pool'. Did you mean 'pooled'?"),
        ("loss+sever:", {}, UnknownNameError, "Unknown preset of sever ''"),
        ("loss:paper", {}, UnknownNameError, "Unknown preset of loss 'paper'"),
        ("sevre:pooled", {}, UnknownNameError, "Did you mean 'sever'"),
        ("loss", {"sevre__fraction": 0.1}, UnknownNameError, "Did you mean 'sever'"),
        ("loss+", {}, ConfigError, "defense 'loss+': expected a name on both sides of each +"),
        ("+loss", {}, ConfigError, "defense '+loss': expected a name on both sides of each +"),
        ("loss++trim", {}, ConfigError, "defense 'loss++trim': expected a name on both sides of each +"),
        ("loss+sevre", {}, UnknownNameError, "Did you mean 'sever'"),
        ("sever+loss", {"loss__fraction": "much"}, ConfigError, "defense.fraction"),
    ],
)
def test_settings_that_fit_no_part(
    defense: str, fields: dict[str, object], error: type[PoisonbenchError], message: str
) -> None:
    with pytest.raises(error) as caught:
        cell(defense, **fields)
    assert message in str(caught.value)


def test_yaml_may_nest_the_parts(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("config") / "mine.yaml"
    path.write_text("defense: {loss: {fraction: 0.1}, sever: {per_class: true}}\n")
    resolved = protocol.resolve("digits-v1", tuple(read_settings(path)))
    made = build(resolved, "label-flip", "loss+sever", epsilon=0.03, seed=0)
    assert made.defense == Composed((LossDefense(fraction=0.1), Sever(per_class=True)))


def test_ties_go_to_the_earlier_rows_in_every_class() -> None:
    flat = torch.full((12, 1, 1, 1), 0.5)
    labels: Tensor = torch.arange(12) % 3
    rows = Samples(flat, labels, torch.arange(12))
    view = DefenderView(rows, rows, Game().target(), Game().recipe, 3)
    kept = Darkness(fraction=0.25, balanced=True).select(view, Game().fit, stage()).kept
    assert torch.nonzero(~kept).flatten().tolist() == [0, 1, 2]
