"""Multinomial logistic regression on pixels, with its derivatives in closed form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.bilevel.hvp import Operator
from poisonbench.models.linear import LinearModel
from poisonbench.registry import register
from poisonbench.types import Weights


@register("lr")
class LogisticRegression(LinearModel):
    """One linear layer and cross entropy: the paper's LR.

    With P the softmax of the logits and Y the labels one-hot, ∇_W = (P − Y)ᵀ Z / n, and the Hessian maps (V, c) to
    Sᵀ Z / n with R = Z Vᵀ + c and S = P ∘ (R − rowsum(P ∘ R)). Each is two products with Z and nothing else of that
    size; going through autograd costs about twice as much (tests/benchmarks/test_hvp.py).
    """

    @torch.no_grad()
    def gradient(self, weights: Weights, z: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See Model."""
        log_p = F.log_softmax(self.forward(weights, z), dim=1)
        loss = F.nll_loss(log_p, y)
        residual = log_p.exp_().scatter_add_(1, y[:, None], log_p.new_full((len(y), 1), -1.0)).div_(len(y))
        return loss, [residual.T @ z, residual.sum(0)]

    @torch.no_grad()
    def hessian(self, weights: Weights, z: Tensor, y: Tensor) -> Operator:
        """See Model."""
        p = torch.softmax(self.forward(weights, z), dim=1)
        shape = weights["linear.weight"].shape
        n_weights = shape.numel()

        @torch.no_grad()
        def product(v: Tensor) -> Tensor:
            r = F.linear(z, v[:n_weights].view(shape), v[n_weights:])
            pr = p * r
            s = pr.addcmul_(p, pr.sum(1, keepdim=True), value=-1.0).div_(len(z))
            return torch.cat([(s.T @ z).reshape(-1), s.sum(0)])

        return product
