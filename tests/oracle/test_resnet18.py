"""ResNet-18 against torchvision's with the CIFAR stem: the same weights in the same order, the same bits."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.func import functional_call

from poisonbench.models.memory_format import channels_last
from poisonbench.models.resnet18 import ResNet18


def torchvisions(channels: int, classes: int) -> nn.Module:
    module: nn.Module = torchvision.models.resnet18(num_classes=classes)
    module.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    module.maxpool = nn.Identity()
    return module


@pytest.mark.parametrize("training", [False, True])
def test_it_is_torchvisions_to_the_bit(training: bool) -> None:
    model = ResNet18((3, 8, 8), 7, (0.5,) * 3, (0.5,) * 3)
    theirs = torchvisions(3, 7).train(training)
    weights = model.init(torch.Generator().manual_seed(0))
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    order = [name for name, module in theirs.named_modules() if isinstance(module, kinds)]
    assert list(dict.fromkeys(name.rpartition(".")[0] for name in weights)) == order
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }
    z, y = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6)
    found = []
    for ours in (True, False):
        own = {name: value.clone() for name, value in weights.items()}
        leaves = [own[name].requires_grad_() for name in sorted(own) if name not in model.buffers]
        logits = model.forward(own, z, training) if ours else functional_call(theirs, own, (channels_last(z),))
        gradient = torch.autograd.grad(nn.functional.cross_entropy(logits, y), leaves)
        found.append([logits.detach(), *gradient, *(own[name] for name in sorted(model.buffers))])
    for ours, expected in zip(*found, strict=True):
        assert torch.equal(ours, expected)
