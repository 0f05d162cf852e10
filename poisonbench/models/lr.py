"""Multinomial logistic regression on pixels, with its derivatives in closed form."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.bilevel.clipping import shortened
from poisonbench.bilevel.hvp import Operator
from poisonbench.models.linear import LinearModel
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Weights


@register("lr")
class LogisticRegression(LinearModel):
    """One linear layer and cross entropy: the paper's LR.

    With P the softmax of the logits and Y the labels one-hot, ∇_W = (P − Y)ᵀ Z / n, and the Hessian maps (V, c) to
    Sᵀ Z / n with R = Z Vᵀ + c and S = P ∘ (R − rowsum(P ∘ R)). Each is two products with Z and nothing else of that
    size. P, R and S are kept transposed, a class a row: PyTorch's softmax over ten neighbours in memory takes ten times
    as long as over ten rows (tests/benchmarks/test_softmax.py).
    """

    version: ClassVar[int] = 1

    @torch.no_grad()
    def gradient(self, weights: Weights, z: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See Model."""
        log_p = F.log_softmax(self._scores(weights, z), dim=0)
        loss = -log_p.gather(0, y[None]).mean()
        residual = log_p.exp_().scatter_add_(0, y[None], log_p.new_full((1, len(y)), -1.0)).div_(len(y))
        gradients = {"linear.weight": residual @ z, "linear.bias": residual.sum(1)}
        return loss, [gradients[name] for name in self.parameters(weights)]

    @torch.no_grad()
    def descend(
        self, weights: Weights, z: Tensor, y: Tensor, rate: float, steps: int, clip: float | None = None
    ) -> None:
        """See Model; without the loss, and in buffers that all steps share: on the digits in half the time
        (tests/benchmarks/test_descend.py)."""
        weight, bias = weights["linear.weight"], weights["linear.bias"]
        column, across, target, minus = bias[:, None], z.T, y[None], z.new_full((1, len(y)), -1.0)
        scores, residual = z.new_empty(2, len(bias), len(y))
        along, along_bias = torch.empty_like(weight), torch.empty_like(bias)
        for _ in range(steps):
            torch.addmm(column, weight, across, out=scores)
            torch.log_softmax(scores, 0, out=residual)
            residual.exp_().scatter_add_(0, target, minus).div_(len(y))
            torch.mm(residual, z, out=along)
            torch.sum(residual, 1, out=along_bias)
            size = shortened(rate, [along_bias, along], clip)
            weight.add_(along, alpha=-size)
            bias.add_(along_bias, alpha=-size)

    @torch.no_grad()
    def hessian(self, weights: Weights, z: Tensor, y: Tensor) -> Operator:
        """See Model; in buffers that all products share."""
        p = torch.softmax(self._scores(weights, z), dim=0)
        pr, along, (C, n) = torch.empty_like(p), torch.empty_like(p), p.shape
        across, d = z.T, z.shape[1]

        @torch.no_grad()
        def product(v: Tensor) -> Tensor:
            bias, weight = v[:C], v[C:].view(C, d)
            torch.mul(p, torch.addmm(bias[:, None], weight, across, out=along), out=pr)
            pr.addcmul_(p, pr.sum(0), value=-1.0).div_(n)
            found = torch.empty_like(v)
            torch.sum(pr, 1, out=found[:C])
            torch.mm(pr, z, out=found[C:].view(C, d))
            return found

        return product

    def gauss_newton(self, weights: Weights, z: Tensor, y: Tensor) -> Operator:
        """See Model: the Hessian, since the logits are linear in the weights."""
        return self.hessian(weights, z, y)

    @torch.no_grad()
    def mixed_gradient(self, weights: Weights, z: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """See Model: Sᵀ W + (P − Y)ᵀ V, with S as above and not divided by n."""
        weight = weights["linear.weight"]
        bias, along = v[: len(weight)], v[len(weight) :].view_as(weight)
        p = torch.softmax(self._scores(weights, z), dim=0)
        pr = p * torch.addmm(bias[:, None], along, z.T)
        pr.addcmul_(p, pr.sum(0), value=-1.0)
        p.scatter_add_(0, y[None], p.new_full((1, len(y)), -1.0))
        return torch.addmm(pr.T @ weight, p.T, along)

    @staticmethod
    def _scores(weights: Weights, z: Tensor) -> Tensor:
        """The logits, transposed: (C, n)."""
        return torch.addmm(weights["linear.bias"][:, None], weights["linear.weight"], z.T)
