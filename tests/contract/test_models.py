"""Every built-in model keeps the contract of models."""

from __future__ import annotations

import pytest

from poisonbench.models.cifar_cnn import CifarCNN
from poisonbench.models.cnn import CNN
from poisonbench.models.lr import LogisticRegression
from poisonbench.models.nn import NeuralNetwork
from poisonbench.models.resnet18 import ResNet18
from poisonbench.models.svm import LinearSVM
from poisonbench.plugins.registry import entries
from poisonbench.testing import Game, ModelContract


class TestLR(ModelContract):
    model = LogisticRegression


class TestSVM(ModelContract):
    model = LinearSVM


class TestNN(ModelContract):
    model = NeuralNetwork
    game = Game(shape=(3, 4, 4))


class TestCNN(ModelContract):
    model = CNN


class TestCifarCNN(ModelContract):
    model = CifarCNN
    game = Game(shape=(3, 32, 32))


@pytest.mark.slow
class TestResNet18(ModelContract):
    model = ResNet18
    game = Game(shape=(3, 8, 8))


def test_every_model_is_here() -> None:
    names = {cls.model.__name__ for cls in ModelContract.__subclasses__()}
    assert {entry.target.partition(":")[2] for entry in entries("model").values()} <= names
