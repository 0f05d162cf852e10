"""What the runner does with a cell on a tiny dataset: who sees what, what is measured, what is reused."""

import gc
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from poisonbench.experiment.cell import Cell
from poisonbench.experiment.poison import poison_of
from poisonbench.experiment.protocol import ORACLE, UNBOUNDED
from poisonbench.experiment.runner import Outcome, Runner, training_set
from poisonbench.problem.procedure import Batch
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import Mode
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Silent
from poisonbench.store.database import Store
from poisonbench.store.record_origin import artifact_path
from poisonbench.store.record_results import right_images


def tensors_within(root: object) -> list[Tensor]:
    """Every tensor that Python can reach from an object without leaving its data: no modules, no classes, no code."""
    found, waiting, known = [], [root], set()
    while waiting:
        item = waiting.pop()
        if id(item) in known or isinstance(item, (type, ModuleType)) or callable(item):
            continue
        known.add(id(item))
        if isinstance(item, Tensor):
            found.append(item)
            continue
        waiting.extend(gc.get_referents(item))
    return found


@pytest.mark.parametrize("knows", ["training-only", "training-data-only"])
def test_the_attackers_view_holds_no_test_data(run: Callable[..., Outcome], plugin: ModuleType, knows: str) -> None:
    assert run(attack__knows=knows).error is None
    view, dataset = plugin.seen["view"], plugin.seen["dataset"]
    tensors = tensors_within(view)
    assert len(tensors) == (8 if knows == "training-only" else 6)  # x, y, ids of two sets, and two weights
    images = {row.numpy().tobytes() for tensor in tensors if tensor.dim() == 4 for row in tensor}
    assert images, "nothing was looked at"
    assert not images & {row.numpy().tobytes() for row in dataset.test.x}
    storages = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
    assert dataset.test.x.untyped_storage().data_ptr() not in storages
    assert set(view.train.ids.tolist()).isdisjoint(view.validation.ids.tolist())
    assert max(view.train.ids.tolist()) < 1000  # test rows count from there
    assert (len(view.validation), len(view.weights)) == ((18, 2) if knows == "training-only" else (0, 0))


def test_a_defense_sees_no_mark_of_poison(run: Callable[..., Outcome], plugin: ModuleType) -> None:
    assert run(defense="bad-guard").error is None
    view, alone = plugin.seen["defenders"]  # with poison, and with none
    assert torch.equal(view.train.ids, torch.arange(46))
    assert torch.equal(alone.train.ids, torch.arange(42))
    assert torch.equal(alone.train.x, plugin.seen["view"].train.x)
    assert len(view.trusted) == len(alone.trusted) == 0  # bad-guard does not say that it uses any
    clean = {row.numpy().tobytes() for row in plugin.seen["view"].train.x}
    assert len({row.numpy().tobytes() for row in view.train.x}) == len(clean) == 42  # copies of four of them
    assert not torch.equal(view.train.x[:42], plugin.seen["view"].train.x)  # not in the attack's order
    images = {row.numpy().tobytes() for tensor in tensors_within(view) if tensor.dim() == 4 for row in tensor}
    assert not images & {row.numpy().tobytes() for row in plugin.seen["dataset"].test.x}


def images_of(samples: Samples) -> list[bytes]:
    return [row.numpy().tobytes() for row in samples.x]


def test_counting_rows_tells_a_defense_when_it_is_unobserved_unless_the_clean_run_is_padded(
    run: Callable[..., Outcome], plugin: ModuleType
) -> None:
    """A defense that throws half of every larger set away shows no clean cost where the clean run is D_tr itself."""
    for protocol, n_train, sizes in (("tiny", 42, (46, 42)), ("fair", 36, (39, 39))):
        plugin.seen.pop("defenders", None)
        outcome = run(defense="counting", protocol=protocol, defense__n_train=n_train)
        assert outcome.error is None
        assert outcome.record.defense_detail is not None
        assert outcome.record.defense_detail.removed == (len(plugin.seen["defenders"][0].train) + 1) // 2
        assert tuple(len(view.train) for view in plugin.seen["defenders"]) == sizes
    poisoned, alone = plugin.seen["defenders"]
    d_tr = plugin.seen["view"].train
    assert set(images_of(alone.train)) == set(images_of(d_tr)), "clean rows, and nothing else"
    assert images_of(alone.train)[:36] != images_of(d_tr), "in an order that tells nothing"
    labels = {(image, int(y)) for image, y in zip(images_of(d_tr), d_tr.y, strict=True)}
    assert {(image, int(y)) for image, y in zip(images_of(alone.train), alone.train.y, strict=True)} == labels
    assert torch.equal(alone.train.ids, poisoned.train.ids)


def test_the_clean_cost_is_the_defenses_alone_on_the_same_rows(run: Callable[..., Outcome], plugin: ModuleType) -> None:
    idle = run(defense="counting", protocol="fair", defense__n_train=1000).record.metrics
    none = run(defense="none", protocol="fair").record.metrics
    tiny = run(defense="counting", defense__n_train=42).record.metrics
    assert idle is not None
    assert none is not None
    assert tiny is not None
    assert idle.clean_cost == none.clean_cost == 0.0, "who removes nothing has no cost, whatever the padding does"
    assert idle.acc1_padded == idle.acc1_defended == none.acc1_padded
    assert idle.acc1 == none.acc1, "acc1 is of D_tr alone"
    assert (tiny.acc1_padded, tiny.clean_cost) == (tiny.acc1, 0.0), "without padding nothing is added"
    half = run(defense="counting", protocol="fair", defense__n_train=0).record.metrics
    assert half is not None
    assert half.acc1_padded == idle.acc1_padded
    assert half.clean_cost == half.acc1_padded - half.acc1_defended


def test_a_clean_run_has_as_many_rows_as_the_attack_really_made(
    run: Callable[..., Outcome], plugin: ModuleType
) -> None:
    outcome = run(defense="counting", protocol="fair", attack__how="few")
    assert outcome.error is None
    assert outcome.record.threat.n_poison == 2
    assert [len(view.train) for view in plugin.seen["defenders"]] == [38, 38]


def test_the_clean_run_is_the_same_for_all_attacks(run: Callable[..., Outcome], plugin: ModuleType) -> None:
    first = run(defense="counting", protocol="fair")
    second = run(attack="label-flip", defense="counting", protocol="fair")
    assert (first.computed.count("defense"), second.computed.count("defense")) == (2, 1)
    assert len(plugin.seen["defenders"]) == 3


def test_trusted_rows_are_nobody_elses_and_the_record_says_how_many(
    run: Callable[..., Outcome], plugin: ModuleType
) -> None:
    record = run(defense="counting", protocol="fair", defense__uses=True).record
    view, defenders = plugin.seen["view"], plugin.seen["defenders"]
    assert [len(part) for part in (view.train, view.validation, defenders[0].trusted)] == [36, 18, 6]
    ids = [one for part in (view.train, view.validation, defenders[0].trusted) for one in part.ids.tolist()]
    assert sorted(ids) == list(range(60))
    assert torch.equal(defenders[0].trusted.ids, defenders[1].trusted.ids), "the same with poison and without"
    known = {*images_of(view.train), *images_of(view.validation)}
    assert not known & set(images_of(defenders[0].trusted)), "no attacker has seen them"
    assert not set(images_of(defenders[0].trusted)) & set(images_of(plugin.seen["dataset"].test))
    sizes = record.dataset
    assert (sizes.n_train, sizes.n_val, sizes.n_trusted, sizes.n_test) == (36, 18, 6, 30)
    assert record.threat.denominator == 36
    assert record.defense_detail is not None
    assert record.defense_detail.trusted == 6


def test_without_rows_of_its_own_the_defender_trusts_d_v(run: Callable[..., Outcome], plugin: ModuleType) -> None:
    record = run(defense="counting", defense__uses=True).record
    view, defender = plugin.seen["view"], plugin.seen["defenders"][0]
    assert torch.equal(defender.trusted.ids, view.validation.ids)
    assert record.dataset.n_trusted == 0
    assert record.defense_detail is not None
    assert record.defense_detail.trusted == 18


@pytest.mark.parametrize("protocol", ["tiny", "fair"])
def test_a_defense_that_declares_nothing_has_no_trusted_rows(
    run: Callable[..., Outcome], plugin: ModuleType, protocol: str
) -> None:
    record = run(defense="counting", protocol=protocol).record
    assert {len(view.trusted) for view in plugin.seen["defenders"]} == {0}
    assert record.dataset.n_trusted == (6 if protocol == "fair" else 0)
    assert record.defense_detail is not None
    assert record.defense_detail.trusted == 0


def test_the_control_without_the_training_set(run: Callable[..., Outcome]) -> None:
    """trusted-only: every row counts as removed, no attack moves it, and its model is that of six rows."""
    first = run(attack="label-flip", defense="trusted-only", protocol="fair", epsilon=0.5)
    second = run(attack="rogue", defense="trusted-only", protocol="fair", epsilon=0.5)
    assert (first.error, second.error) == (None, None)
    detail, metrics, other = first.record.defense_detail, first.record.metrics, second.record.metrics
    assert detail is not None
    assert metrics is not None
    assert other is not None
    assert (detail.removed, detail.recall, detail.trusted) == (36 + 18, 1.0, 6)
    assert detail.precision == pytest.approx(18 / 54)
    assert metrics.acc2 == metrics.acc1_defended == other.acc2


def test_the_oracle_removes_the_poison_and_is_not_ranked(run: Callable[..., Outcome]) -> None:
    """perfect-filter: precision and recall are 1, with no poison it removes nothing, and the record says what it is."""
    outcome = run(attack="label-flip", defense="perfect-filter", protocol="fair", epsilon=0.5)
    assert outcome.error is None
    detail, record = outcome.record.defense_detail, outcome.record
    assert detail is not None
    assert (detail.removed, detail.precision, detail.recall) == (18, 1.0, 1.0)
    assert record.metrics is not None
    assert record.metrics.acc1_defended == record.metrics.acc1_padded
    assert record.protocol.deviations == (ORACLE,)
    assert not record.ranked
    plain = run(attack="label-flip", defense="random-filter", protocol="fair", epsilon=0.5).record
    assert plain.protocol.deviations == ()


def test_pixels_may_leave_the_box_where_that_is_declared_and_the_record_is_unranked(
    run: Callable[..., Outcome], tmp_path: Path
) -> None:
    record = run(attack__how="unbounded").record
    assert (record.status, record.protocol.deviations) == ("ok", (UNBOUNDED,))
    assert not record.ranked
    with Store.open(str(tmp_path / "store")) as store:
        assert float(poison_of(store, record).x.max()) == 1.5


def test_the_control_that_adds_copies(run: Callable[..., Outcome], plugin: ModuleType) -> None:
    """clean-copies against a padded clean run: copies stand against copies, if not the same ones."""
    outcome = run(attack="clean-copies", defense="counting", protocol="fair")
    assert outcome.error is None
    poisoned, alone = plugin.seen["defenders"]
    assert set(images_of(poisoned.train)) == set(images_of(alone.train))
    assert outcome.record.threat.clean_label
    assert outcome.record.protocol.deviations == ()


def test_trajectories_end_with_the_accuracies_and_answers_are_their_images(run: Callable[..., Outcome]) -> None:
    record = run(attack="label-flip", defense="loss", defense__fraction=0.3, epsilon=0.5).record
    metrics, trained = record.metrics, record.trajectories
    assert metrics is not None
    assert metrics.answers is not None
    assert trained is not None
    ends = trained.clean[-1], trained.poisoned[-1]
    assert ends == pytest.approx((metrics.acc1, metrics.acc2_undefended), rel=1e-5)  # traces have six digits
    n = record.dataset.n_test
    right = [right_images(text, n) for text in (metrics.answers.clean, metrics.answers.attacked)]
    assert [100.0 * bits.bit_count() / n for bits in right if bits is not None] == [metrics.acc1, metrics.acc2]


def test_a_second_defense_trains_one_model_more(run: Callable[..., Outcome]) -> None:
    first = run(attack="label-flip")
    # D_tr; the poison; its training set, which is also what no defense leaves; and D_tr again.
    assert first.computed == ["weights", "poison", "defense", "weights", "defense"]
    assert first.reused == ["weights", "weights"]
    second = run(attack="label-flip", defense="loss")
    assert second.computed == ["defense", "weights", "defense", "weights"]  # what loss leaves of both sets
    assert second.reused == ["weights", "poison", "weights", "weights", "weights"]
    assert first.record.metrics is not None
    assert second.record.metrics is not None
    assert first.record.metrics.acc1 == second.record.metrics.acc1
    again = run(attack="label-flip", defense="loss")
    assert (again.reused, again.record) == (["record"], second.record)


def test_accuracies_with_and_without_attack_and_defense(run: Callable[..., Outcome]) -> None:
    """Three experiments fill a table of four accuracies; each finds the others' in its own record."""
    fields = {"attack": "label-flip", "epsilon": 0.5}
    undefended, outcome = run(**fields), run(**fields, defense="loss", defense__fraction=0.3)
    plain, metrics = undefended.record.metrics, outcome.record.metrics
    assert (undefended.error, outcome.error) == (None, None)
    assert plain is not None
    assert metrics is not None
    assert plain.acc2 == plain.acc2_undefended == metrics.acc2_undefended
    assert plain.acc1 == plain.acc1_defended == metrics.acc1
    assert plain.clean_cost == 0.0
    assert metrics.acc1_defended is not None
    assert metrics.clean_cost == metrics.acc1 - metrics.acc1_defended
    assert len({metrics.acc1, metrics.acc2, metrics.acc2_undefended, metrics.acc1_defended}) > 2  # not all one number


def test_the_clean_cost_is_computed_once_for_all_attacks(run: Callable[..., Outcome]) -> None:
    first, second = run(attack="label-flip", defense="loss"), run(attack="rogue", defense="loss")
    assert first.computed.count("defense") == 2
    assert second.computed.count("defense") == 1
    assert first.record.metrics is not None
    assert second.record.metrics is not None
    assert first.record.metrics.acc1_defended == second.record.metrics.acc1_defended


def test_a_defense_run_is_kept_with_what_it_removed(run: Callable[..., Outcome], tmp_path: Path) -> None:
    record = run(attack="label-flip", defense="loss", defense__fraction=0.5).record
    artifact = next(item for item in record.artifacts if item.kind == "defense")
    with Store.open(str(tmp_path / "store")) as store:
        kept = store.artifacts.get(artifact.sha256)
    assert record.defense_detail is not None
    assert int((~kept["kept"]).sum()) == record.defense_detail.removed == 23
    assert float(kept["scores"][~kept["kept"]].min()) >= float(kept["scores"][kept["kept"]].max())
    assert record.memory.defense_rss_peak_mb is not None
    assert record.memory.rss_peak_mb is not None
    assert 0 < record.memory.defense_rss_peak_mb <= record.memory.rss_peak_mb


def test_two_trainings_by_a_procedure_of_one_defense_are_not_confused(
    run: Callable[..., Outcome], plugin: ModuleType
) -> None:
    assert run(attack="label-flip", defense="bad-guard", defense__how="twice").error is None
    first, second = plugin.seen["losses"]
    assert float(first) != float(second)


def test_a_training_by_a_procedure_that_looks_at_other_trusted_rows_is_another(
    run: Callable[..., Outcome], plugin: ModuleType
) -> None:
    """With as many rows of D_v more as of the defender's own less, D_tr is the same."""
    shown: list[list[int]] = []

    def step(trusted: Samples, batch: Batch) -> Batch:
        shown.append(trusted.ids.tolist())
        return batch

    plugin.seen["step"] = step
    for share, n in ((0.3, 6), (0.2, 12)):
        shown.clear()
        fields = {"validation": share, "trusted": 0.4 - share, "defense__uses": True, "defense__steps": True}
        assert run(attack="label-flip", defense="counting", protocol="fair", **fields).error is None
        assert {len(ids) for ids in shown} == {n}


def test_removed_rows_are_counted_against_the_true_poison(run: Callable[..., Outcome]) -> None:
    """With ε = 0.1 and fraction = 0.5 the numbers cannot all be 0 or 1 by accident."""
    detail = run(attack="label-flip", defense="loss", defense__fraction=0.5, epsilon=0.25).record.defense_detail
    assert detail is not None
    assert detail.removed == 26  # half of 42 + 10
    assert detail.precision is not None
    assert detail.recall is not None
    assert detail.precision * 26 == pytest.approx(detail.recall * 10)
    assert detail.recall > 0.5  # flipped labels have large losses


def test_a_vote_is_of_its_models_and_kept_is_checked_over_all_of_them(
    run: Callable[..., Outcome], plugin: ModuleType
) -> None:
    record = run(defense="bad-guard", defense__how="vote").record
    assert (record.status, plugin.seen["votes"].shape) == ("ok", (3, 30))
    assert record.defense_detail is not None
    assert "kept_unchecked" not in record.defense_detail.stats


def hashes_of_models(store: Store, outcome: Outcome) -> list[str]:
    artifact = next(item for item in outcome.record.artifacts if item.kind == "defense")
    return [bytes(one).hex() for one in store.artifacts.get(artifact.sha256)["models"].tolist()]


@pytest.mark.parametrize("harm", ["lost", "damaged"])
def test_a_vote_is_kept_as_the_hashes_of_its_models_and_made_again_without_one(
    run: Callable[..., Outcome], tmp_path: Path, harm: str
) -> None:
    first = run(defense="bad-guard", defense__how="vote")
    assert first.computed.count("defense") == 2
    with Store.open(str(tmp_path / "store")) as store:
        models = hashes_of_models(store, first)
        assert len(set(models)) == 3
        assert all(store.artifacts.get(one).keys() == {"linear.weight", "linear.bias"} for one in models)
        # The poison, two of predictions, two votes; models: of D_tr, of the poisoned set, of each vote's parts.
        assert len(store.artifacts.names()) == 1 + 2 + 2 + (1 + 1 + 3 + 3)
        file, poison = (
            tmp_path / "store" / artifact_path(one)
            for one in (models[1], *(item.sha256 for item in first.record.artifacts if item.kind == "poison"))
        )
        file.write_bytes(b"x") if harm == "damaged" else file.unlink()
        poison.unlink()  # or the record would count as done
        again = run(defense="bad-guard", defense__how="vote")
        assert (again.computed.count("defense"), again.computed.count("weights")) == (1, 1)
        assert again.record.metrics == first.record.metrics
        assert hashes_of_models(store, again) == models


def test_a_vote_of_models_that_no_training_gave_is_kept_too(
    run: Callable[..., Outcome], plugin: ModuleType, tmp_path: Path
) -> None:
    vote = "Vote((weights, {name: value / 2 for name, value in weights.items()}))"
    outcome = run(defense="bad-guard", defense__how=f"return Defended({vote}, kept)")
    assert (outcome.record.status, plugin.seen["votes"].shape) == ("ok", (2, 30))
    with Store.open(str(tmp_path / "store")) as store:
        whole, half = map(store.artifacts.get, hashes_of_models(store, outcome))
    assert all(torch.equal(half[name] * 2, value) for name, value in whole.items())


def test_a_killed_vote_goes_on_from_the_models_that_it_has(run: Callable[..., Outcome], plugin: ModuleType) -> None:
    plugin.seen["kill"] = True
    with pytest.raises(KeyboardInterrupt):
        run(defense="bad-guard", defense__how="vote")
    outcome = run(defense="bad-guard", defense__how="vote")
    assert outcome.error is None
    # There were the clean model and two of the vote; the third, the three without poison and the undefended are new.
    assert outcome.reused.count("weights") == 1 + 2
    assert outcome.computed.count("weights") == 1 + 3 + 1


def test_what_is_tested_is_what_the_defense_shows(run: Callable[..., Outcome]) -> None:
    """Images that are wiped out get one answer, whichever they are; the clean model sees the images themselves."""
    plain, wiped = (run(defense="bad-guard", defense__how=how).record.metrics for how in ("good", "wipes"))
    assert plain is not None
    assert wiped is not None
    assert (wiped.acc1, wiped.acc2_undefended) == (plain.acc1, plain.acc2_undefended)
    assert wiped.acc2 == pytest.approx(100 / 3)
    assert wiped.acc1_defended == pytest.approx(100 / 3)


def test_a_certificate_is_a_curve_in_the_record(run: Callable[..., Outcome], plugin: ModuleType) -> None:
    """Half of the label, of one model: rows of class 0 and 1 are certified against none, of class 2 against one."""
    outcome = run(defense="bad-guard", defense__how="proof")
    metrics = outcome.record.metrics
    assert metrics is not None
    assert metrics.certified is not None
    assert metrics.certified.rows == (0, 1, 2)
    assert metrics.certified.accuracy[0] == metrics.acc1_defended
    assert metrics.certified.accuracy[2] == 0
    right = plugin.seen["votes"][0] == plugin.seen["dataset"].test.y
    assert metrics.certified.at(1) == pytest.approx(
        100 * float((right & (plugin.seen["votes"][0] == 2)).float().mean())
    )
    assert metrics.certified.at(17) == 0
    without = run(defense="bad-guard").record
    assert without.metrics is not None
    assert "certified" not in without.document()["metrics"]


def test_what_cannot_be_checked_of_kept_says_so_in_the_record(run: Callable[..., Outcome]) -> None:
    honest = run(defense="bad-guard").record.defense_detail
    unknown = run(defense="bad-guard", defense__how="own training").record.defense_detail
    assert honest is not None
    assert unknown is not None
    assert "kept_unchecked" not in honest.stats
    assert unknown.stats["kept_unchecked"] == "its weights come of no training that was asked for"


@pytest.mark.parametrize("mode", list(Mode))
def test_training_set(mode: Mode) -> None:
    generator = torch.Generator().manual_seed(0)
    train = Samples(torch.rand(30, 1, 2, 2, generator=generator), torch.arange(30) % 3, 100 + torch.arange(30))
    source = torch.tensor([4, 0, 29])
    poison = PoisonSet(torch.rand(3, 1, 2, 2, generator=generator), torch.tensor([2, 2, 0]), source)
    before = train.x.clone(), train.y.clone()
    rows, mask = training_set(train, poison, mode, child_generator(0, "order"))
    assert torch.equal(train.x, before[0])
    assert torch.equal(train.y, before[1])
    assert len(rows) == (33 if mode is Mode.ADDITION else 30)
    assert int(mask.sum()) == 3
    assert torch.equal(rows.ids, torch.arange(len(rows)))  # ids tell nothing

    def pairs(x: Tensor, y: Tensor) -> set[tuple[bytes, int]]:
        return {(row.numpy().tobytes(), int(label)) for row, label in zip(x, y, strict=True)}

    assert pairs(rows.x[mask], rows.y[mask]) == pairs(poison.x, poison.y)
    left = torch.ones(30, dtype=torch.bool)
    if mode is Mode.PERTURBATION:
        left[source] = False
    assert pairs(rows.x[~mask], rows.y[~mask]) == pairs(train.x[left], train.y[left])
    assert torch.nonzero(mask).flatten().tolist() not in ([30, 31, 32], [4, 0, 29], [0, 4, 29])  # shuffled
    again, _ = training_set(train, poison, mode, child_generator(0, "order"))
    assert torch.equal(again.x, rows.x)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from poisonbench.stages import stage
from poisonbench.experiment.cell import build
from poisonbench.experiment.protocol import resolve
from poisonbench.experiment.settings import Setting
from poisonbench.experiment.runner import Runner
from poisonbench.store.database import Store

class Kill(stage.Silent):
    def advance(self, task, done, measures):
        if task == sys.argv[3] and done == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)

stage.SAVE_EVERY_S = -1.0
settings = tuple(Setting(f"attack.{key}", value, "--set") for key, value in %r.items())
cell = build(resolve(sys.argv[1] + "/tiny.yaml", settings), "tgda", "none", epsilon=0.1, seed=0)
with Store.open(sys.argv[2]) as store:
    Runner(store, progress=Kill()).run(cell)
"""


SMALL = {"epochs": 3, "batch_size": 20, "pretrain_epochs": 4, "n": 2, "max_steps": 3}


class Watch(Silent):
    def __init__(self) -> None:
        self.resumed: list[tuple[str, int]] = []

    def begin(self, task: str, total: int | None, done: int) -> None:
        if done:
            self.resumed.append((task, done))


@pytest.mark.parametrize(("task", "at"), [("pretrain leader", 3), ("tgda", 5)])
def test_killed_with_signal_9_and_resumed_gives_the_same_bytes(
    cell: Callable[..., Cell], tmp_path: Path, task: str, at: int, elsewhere: Callable[..., int | None]
) -> None:
    fields = {f"attack__{key}": value for key, value in SMALL.items()}
    with Store.open(str(tmp_path / "whole")) as store:
        whole = Runner(store).run(cell(attack="tgda", **fields)).record
    assert elsewhere(KILLED % SMALL, tmp_path, tmp_path / "killed", task, at) == -signal.SIGKILL
    watch = Watch()
    with Store.open(str(tmp_path / "killed")) as store:
        outcome = Runner(store, progress=watch).run(cell(attack="tgda", **fields))
    assert (task, at - 1) in watch.resumed
    assert outcome.reused[0] == "weights"  # the clean model was finished before the kill
    assert outcome.computed[0] == "poison"
    record = outcome.record
    assert record.status == whole.status == "ok"
    assert record.metrics == whole.metrics
    assert [(item.kind, item.sha256) for item in record.artifacts] == [
        (item.kind, item.sha256) for item in whole.artifacts
    ]
