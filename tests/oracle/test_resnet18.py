"""What ResNet-18 declares without torchvision is what torchvision's network has."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from poisonbench.models.base import n_params
from poisonbench.models.resnet18 import ResNet18

DECLARED = """
import sys
from poisonbench.models.resnet18 import ResNet18
ResNet18((3, 32, 32), 10, (0.5,) * 3, (0.5,) * 3).size()
assert "torchvision" not in sys.modules
"""


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 7), (3, 100)])
def test_its_size_and_buffers_are_those_of_its_weights(channels: int, classes: int) -> None:
    model = ResNet18((channels, 8, 8), classes, (0.5,) * channels, (0.5,) * channels)
    weights = model.init(torch.Generator())
    module = model._module
    assert model.size() == n_params(weights) == sum(value.numel() for value in module.state_dict().values())
    assert weights.keys() == module.state_dict().keys()
    assert model.buffers == {name for name, _ in module.named_buffers()}


def test_neither_needs_torchvision() -> None:
    subprocess.run([sys.executable, "-P", "-c", DECLARED], check=True, timeout=120)
