"""One outer step of TGDA at the paper's shapes: a batch of 1,000 rows of MNIST's and 30 of poison."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from poisonbench.attacks.tgda.attack import TGDA
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage

SETTINGS: dict[str, dict[str, Any]] = {"default": {}, "paper": dict(TGDA.presets["paper"])}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["lr", "nn", "cnn"])
def test_outer_step(
    benchmark: Any, name: str, settings: str, size: Any, generator: torch.Generator, timed: bool
) -> None:
    """One epoch of one batch: the leader's step with its solve, the follower's n steps, and the poison set."""
    cls: type[Model] = load("model", name)
    model = cls(size.shape, 10, (0.5,), (0.5,))
    train, validation = (samples(size.batch, size.shape, generator) for _ in range(2))
    recipe = Recipe(lr=0.1, batch_size=size.batch, epochs=1)
    view = AttackerView(train, validation, model, recipe, model.init(generator), 10)
    attack = TGDA(**{**SETTINGS[settings], "epochs": 1, "batch_size": size.batch, "pretrain_epochs": 0})
    budget = Budget(size.poison / size.batch, size.batch, 10, attack.threat)

    poison = benchmark.pedantic(
        lambda: attack.craft(view, budget, Stage(child_generator(0, "attack"))),
        rounds=5 if timed else 1,
        warmup_rounds=1 if timed else 0,
    )
    benchmark.extra_info["solver_steps"] = poison.stats["solver_steps"]
    assert len(poison) == size.poison
    assert 1 <= poison.stats["solver_steps"] <= attack.max_steps


def samples(n: int, shape: tuple[int, int, int], generator: torch.Generator) -> Samples:
    """Random images."""
    x, y = torch.rand(n, *shape, generator=generator), torch.randint(10, (n,), generator=generator)
    return Samples(x, y, torch.arange(n))
