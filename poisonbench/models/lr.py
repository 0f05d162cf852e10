"""Multinomial logistic regression on pixels, with its derivatives in closed form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.bilevel.hvp import Operator, flatten, unflatten
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
        gradients = {"linear.weight": residual.T @ z, "linear.bias": residual.sum(0)}
        return loss, [gradients[name] for name in self.parameters(weights)]

    @torch.no_grad()
    def hessian(self, weights: Weights, z: Tensor, y: Tensor) -> Operator:
        """See Model."""
        p = torch.softmax(self.forward(weights, z), dim=1)
        parameters = self.parameters(weights)
        like = list(parameters.values())

        @torch.no_grad()
        def product(v: Tensor) -> Tensor:
            pr = p * self.forward(dict(zip(parameters, unflatten(v, like), strict=True)), z)
            s = pr.addcmul_(p, pr.sum(1, keepdim=True), value=-1.0).div_(len(z))
            products = {"linear.weight": s.T @ z, "linear.bias": s.sum(0)}
            return flatten([products[name] for name in parameters])

        return product
