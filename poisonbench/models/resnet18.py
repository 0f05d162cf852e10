"""ResNet-18 with the CIFAR stem."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poisonbench.models.base import Model
from poisonbench.models.memory_format import channels_last
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Weights

_NORMALISATIONS = (
    "bn1",
    *(f"layer{stage}.{block}.bn{k}" for stage in (1, 2, 3, 4) for block in (0, 1) for k in (1, 2)),
    *(f"layer{stage}.0.downsample.1" for stage in (2, 3, 4)),
)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def _skeleton(channels: int, classes: int) -> nn.Module:
    import torchvision  # takes 160 MiB, and whoever judges a record of this model does not need it

    with torch.device("meta"):
        module: nn.Module = torchvision.models.resnet18(num_classes=classes)
        module.conv1 = nn.Conv2d(channels, 64, kernel_size=3, stride=1, padding=1, bias=False)
    module.maxpool = nn.Identity()
    return module


@register("resnet18")
class ResNet18(Model):
    """torchvision's ResNet-18; a 3×3 stem of stride 1 and no first pooling, as is usual for 32×32 images (He et al.,
    CVPR 2016). Batch statistics are buffers of the weights."""

    version: ClassVar[int] = 1
    buffers = frozenset(f"{name}.{statistic}" for name in _NORMALISATIONS for statistic in _STATISTICS)

    @cached_property
    def _module(self) -> nn.Module:
        return _skeleton(self.shape[0], self.classes)

    def init(self, generator: torch.Generator) -> Weights:
        """See Model; He's normal initialisation for convolutions, as torchvision's."""
        weights: Weights = {}
        for name, module in self._module.named_modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
                draw = torch.randn(tuple(module.weight.shape), generator=generator)
                weights[f"{name}.weight"] = draw * (2.0 / fan_out) ** 0.5
            elif isinstance(module, nn.BatchNorm2d):
                size = module.num_features
                weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.ones(size), torch.zeros(size)
                weights[f"{name}.running_mean"], weights[f"{name}.running_var"] = torch.zeros(size), torch.ones(size)
                weights[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
            elif isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                for part, shape in (("weight", module.weight.shape), ("bias", module.bias.shape)):
                    weights[f"{name}.{part}"] = torch.rand(tuple(shape), generator=generator) * 2 * bound - bound
        return weights

    def size(self) -> int:
        """See Model: 11,176,724 but for the first and the last layer."""
        return 11_176_724 + 9 * 64 * self.shape[0] + 513 * self.classes

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        """See Model."""
        self._module.train(training)
        logits: Tensor = functional_call(self._module, weights, (channels_last(z),))
        return logits

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        """See Model: the 512 pooled channels."""
        seen: list[Tensor] = []
        hook = self._module.get_submodule("fc").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.forward(weights, z)
        finally:
            hook.remove()
        return seen[0]
