"""What bundles of the largest datasets take to be judged: made-up images in their sizes, no training. Minutes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from poisonbench.data import cache, cifar10, mnist
from poisonbench.data.base import DataOptions, prepare
from poisonbench.data.content import Content, Part
from poisonbench.data.split import split
from poisonbench.experiment import cell as cells
from poisonbench.experiment import protocol
from poisonbench.experiment.findings import Findings
from poisonbench.experiment.runner import seeds_of
from poisonbench.experiment.victim import answers, percent
from poisonbench.models.base import build, n_params
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import Dataset, PoisonSet, Samples
from poisonbench.seeding import child_generator
from poisonbench.store.database import Store
from poisonbench.store.record_results import Metrics
from poisonbench.submission import bundle

MOST_MIB = 700
SHAPES = {"mnist": (28, 28), "cifar10": (32, 32, 3)}
ARCHIVES = {"mnist": mnist, "cifar10": cifar10}
MODELS = {"mnist": "cnn", "cifar10": "resnet18"}
"""The largest of each."""


@dataclass(frozen=True)
class Planted:
    """A dataset of the size of a real one in a cache of its own, and what makes a process take it for that one."""

    dataset: Dataset
    home: Path
    first: str


def content(name: str) -> Content:
    """Images of a few coarse grey fields, as different from each other as noise and as alike as digits in parts."""
    draw, shape = np.random.default_rng(0), SHAPES[name]
    n = sum(sizes := [part.shape[0] for part in ARCHIVES[name].ARCHIVE.parts.values()][::2])
    coarse = draw.integers(0, 2, (n, 7 if len(shape) == 2 else 8, 4, *shape[2:]), np.uint8) * np.uint8(200)
    images = np.repeat(np.repeat(coarse, 4, 1), shape[1] // 4, 2)
    images += draw.integers(0, 40, (n, 1, 1, *(1 for _ in shape[2:])), np.uint8)
    labels = draw.integers(0, 10, n, np.uint8)
    return Content(images[: sizes[0]], labels[: sizes[0]], images[sizes[0] :], labels[sizes[0] :])


@pytest.fixture(scope="module", params=list(SHAPES))
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    name, home = request.param, tmp_path_factory.mktemp(request.param)
    made = content(name)
    parts = {key: Part(made.arrays()[key].shape, digest) for key, digest in made.digests().items()}
    (home / "data").mkdir()
    cache.write(cache.path_of(home / "data", name), made)
    first = (
        f"from dataclasses import replace\nfrom poisonbench.data import {name}\nfrom poisonbench.data.content import "
        f"Part\n{name}.ARCHIVE = replace({name}.ARCHIVE, parts={parts!r})"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ARCHIVES[name], "ARCHIVE", replace(ARCHIVES[name].ARCHIVE, parts=parts))
        yield Planted(prepare(name, DataOptions(home / "data", offline=True)), home, first)
    shutil.rmtree(home)


Change = Callable[[Dataset, Samples], Tensor]


def moved(dataset: Dataset, train: Samples) -> Tensor:
    """Rows of D_tr, a little lighter or darker."""
    noise = torch.rand(train.x.shape, generator=torch.Generator().manual_seed(0)).sub_(0.5).div_(10)
    return noise.add_(train.x).clamp_(0, 1)


def alike(dataset: Dataset, train: Samples) -> Tensor:
    """Test images that miss being the same by a grey level in one pixel: every row is near one until the last look."""
    x = dataset.test.x[torch.arange(len(train)) % len(dataset.test)]
    x[:, 0, 0, 0] += torch.where(x[:, 0, 0, 0] > 0.5, -1 / 255, 1 / 255)
    return x


def bundled(data: Planted, name: str, epsilon: float, change: Change, folder: Path) -> Path:
    """A good bundle of a label flip with those images; predictions are all right before it, all wrong after."""
    cell = cells.build(protocol.resolve(name, ()), "label-flip", "none", epsilon, 0, model=MODELS[data.dataset.name])
    rules, dataset = cell.settings.protocol, data.dataset
    parts = split(dataset.train, rules.validation, child_generator(0, "split"), rules.train_rows, rules.trusted)
    budget = Budget(epsilon, len(parts.train), dataset.classes, cell.threat, rules.threat.radius)
    n = budget.n_poison
    chosen = parts.train.rows(slice(0, n))
    poison = PoisonSet(change(dataset, chosen), (chosen.y + 1) % dataset.classes, torch.arange(n))
    y = dataset.test.y
    right, wrong = torch.ones(len(y), dtype=torch.bool), torch.zeros(len(y), dtype=torch.bool)
    found = Findings(
        n_params=n_params(build(cell.model, dataset).init(torch.Generator())),
        metrics=Metrics.of(percent(right), percent(wrong), acc2_undefended=0.0, answers=answers(right, wrong)),
        poison_check=budget.verify(poison, parts.train, "label-flip"),
        seconds={"attack_s": 1.0},
    )
    with Store.open(str(folder / "store")) as store:
        for kind, tensors in {
            "poison": {"x": poison.x, "y": poison.y, "source": poison.source},
            "clean-predictions": {"predictions": y.to(torch.int16)},
            "predictions": {"predictions": ((y + 1) % dataset.classes).to(torch.int16)},
        }.items():
            found.artifacts.append(store.artifacts.put(tensors, kind))
        now = datetime.now(UTC)
        record = found.record(cell, dataset, budget, seeds_of(0), torch.device("cpu"), None, now, now)
        bundle.write(store, [record], folder / "bundle", None)
    return folder / "bundle"


@pytest.mark.slow
@pytest.mark.parametrize("change", [moved, alike])
@pytest.mark.parametrize("epsilon", [0.03, 1.0])
def test_it_is_judged_in_little_memory(
    planted: Planted, epsilon: float, change: Change, tmp_path: Path, peak_mib: Callable[..., Any]
) -> None:
    folder = bundled(planted, f"{planted.dataset.name}-v2", epsilon, change, tmp_path)
    code, printed, peak = peak_mib(folder, planted.first, planted.home)
    shutil.rmtree(tmp_path)
    assert (code, "1 record, valid" in printed) == (0, True), printed
    print(f"{peak:.0f} MiB")
    assert peak < MOST_MIB
