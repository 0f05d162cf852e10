"""The residual network of 18 layers (He et al., CVPR 2016), in modules named and ordered as torchvision's.

It is torchvision's to the bit (tests/oracle/test_resnet18.py) without importing it, which takes seconds and 160 MiB.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and what they are added to: the input, through a 1×1 convolution where its shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(n_in, n_out, 3, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(n_out, n_out, 3)
        self.bn2 = nn.BatchNorm2d(n_out)
        changed = stride != 1 or n_in != n_out
        self.downsample = (
            nn.Sequential(_convolution(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out)) if changed else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images of features (n, n_in, height, width) to (n, n_out, height / stride, width / stride)."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        added: Tensor = self.relu(out)
        return added


class ResidualNetwork(nn.Module):
    """Four stages of two blocks, behind a 3×3 stem of stride 1 without pooling, as is usual for 32×32 images."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(64, 64, 1)
        self.layer2 = _stage(64, 128, 2)
        self.layer3 = _stage(128, 256, 2)
        self.layer4 = _stage(256, 512, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (n, classes) of x (n, channels, height, width)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _convolution(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)


def _stage(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(n_in, n_out, stride), Block(n_out, n_out, 1))
