"""The tiny game of the contract: synthetic data, a model, a recipe and a budget, small enough for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from poisonbench.experiment.runner import training_set
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.procedure import Procedure
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import Knowledge, Mode, ThreatModel
from poisonbench.problem.views import AttackerView, DefenderView, data_only
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.training import train

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Game:
    """A seeded game small enough for tests: noisy class patterns on tiny images.

    Attributes:
        model: registered model.
        shape: channels, height, width.
        classes: number of classes.
        n_train: |D_tr|.
        n_validation: |D_v|.
        epsilon: poison fraction, n_poison / n_train.
        radius: L∞ bound, or None.
        augmentation: what the recipe does to the images of a step.
    """

    model: str = "lr"
    shape: tuple[int, int, int] = (1, 4, 4)
    classes: int = 4
    n_train: int = 60
    n_validation: int = 40
    epsilon: float = 0.1
    radius: float | None = None
    augmentation: Literal["none", "flips-and-crops"] = "none"

    @property
    def recipe(self) -> Recipe:
        """How the model is trained."""
        return Recipe(lr=0.1, batch_size=16, epochs=3, augmentation=self.augmentation)

    def samples(self, name: str, n: int) -> Samples:
        """n rows, every class in turn; `name` decides the noise."""
        pattern = torch.rand((self.classes, *self.shape), generator=child_generator(0, "pattern"))
        noise = torch.rand((n, *self.shape), generator=child_generator(0, name))
        y = torch.arange(n) % self.classes
        return Samples((pattern[y] + noise) / 2, y, torch.arange(n))

    def target(self) -> Model:
        """The model that is attacked and defended."""
        model: Model = load("model", self.model)(
            self.shape, self.classes, (0.5,) * self.shape[0], (0.5,) * self.shape[0]
        )
        return model

    def fit(self, samples: Samples, procedure: Procedure | None = None) -> Weights:
        """Train from scratch, the same stream every time, as a runner does for a defense."""
        stage = Stage(child_generator(0, "train"), samples.x.device)
        return train(self.target(), samples, self.recipe, stage, "train", procedure)

    def budget(self, threat: ThreatModel) -> Budget:
        """The budget of an attack with that threat model."""
        return Budget(self.epsilon, self.n_train, self.classes, threat, self.radius)

    def attacker(self, threat: ThreatModel, device: torch.device = CPU) -> AttackerView:
        """The view of an attacker with that threat model; the clean weights come from the CPU, whatever the device."""
        rows, held_out = self.samples("train", self.n_train), self.samples("validation", self.n_validation)
        informed = threat.knowledge is Knowledge.TRAINING_ONLY
        weights = self.fit(rows) if informed else {}
        view = AttackerView(
            train=rows.to(device),
            validation=held_out.to(device),
            model=self.target(),
            recipe=self.recipe,
            weights={name: value.to(device) for name, value in weights.items()},
            classes=self.classes,
        )
        return view if informed else data_only(view)

    def defender(self, device: torch.device = CPU) -> DefenderView:
        """The view of a defender: D_tr and ⌊ε · n_train⌋ of its rows once more with wrong labels, in random order."""
        rows = self.samples("train", self.n_train)
        source = torch.arange(self.budget(ThreatModel()).n_poison)
        poison = PoisonSet(rows.x[source], (rows.y[source] + 1) % self.classes, source)
        union, _ = training_set(rows, poison, Mode.ADDITION, child_generator(0, "order"))
        trusted = self.samples("validation", self.n_validation)
        return DefenderView(union.to(device), trusted.to(device), self.target(), self.recipe, self.classes)
