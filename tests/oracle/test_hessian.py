"""Hessian-vector products against torch.autograd.functional.hessian, float64; the SVM has no curvature.

Both are exact; they add up the same products in another order, so 1e-9 of the largest entry is some 1e6 roundings.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from poisonbench.bilevel.hvp import Hessian, flatten, unflatten
from poisonbench.models.base import Model
from poisonbench.plugins.registry import load
from poisonbench.problem.samples import Weights

GAMES = {
    "lr": ((1, 3, 3), 4, 6),
    "svm": ((1, 3, 3), 4, 6),
    "nn": ((1, 3, 3), 3, 6),
    "cnn": ((1, 5, 6), 2, 2),
    "cifar-cnn": ((3, 16, 16), 2, 1),
    "resnet18": ((3, 4, 4), 2, 1),
}


def build(name: str) -> tuple[Model, Weights, Tensor, Tensor]:
    shape, classes, n = GAMES[name]
    generator = torch.Generator().manual_seed(0)
    model: Model = load("model", name)(shape, classes, (0.5,) * shape[0], (0.5,) * shape[0])
    weights = {
        key: value.double().requires_grad_(key not in model.buffers) if value.is_floating_point() else value
        for key, value in model.init(generator).items()
    }
    z = model.normalise(torch.rand((n, *shape), generator=generator, dtype=torch.float64))
    return model, weights, z, torch.arange(n) % classes


@pytest.mark.parametrize("name", ["lr", "nn"])
@pytest.mark.parametrize("own", [True, False], ids=["model.hessian", "Hessian"])
def test_the_whole_hessian(name: str, own: bool) -> None:
    model, weights, z, y = build(name)
    names = list(model.parameters(weights))
    leaves = list(model.parameters(weights).values())

    def loss(vector: Tensor) -> Tensor:
        return model.loss(model.forward(dict(zip(names, unflatten(vector, leaves), strict=True)), z, training=True), y)

    expected = torch.autograd.functional.hessian(loss, flatten([leaf.detach() for leaf in leaves]))
    through_autograd = Hessian(model.loss(model.forward(weights, z, training=True), y), leaves)
    H = model.hessian(weights, z, y) if own else through_autograd
    columns = torch.stack([H(unit) for unit in torch.eye(len(expected), dtype=torch.float64)])
    assert float((columns - expected).abs().max()) < 1e-9 * float(expected.abs().max())
    assert torch.allclose(columns, columns.T, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "resnet18" else []) for name in GAMES if name != "svm"],
)
def test_products_on_every_model(name: str) -> None:
    """Where the whole matrix is too large: vᵀHv by nested differentiation of the loss along the line w + t v, and
    symmetry, ⟨Hv, u⟩ = ⟨v, Hu⟩. ResNet-18 in evaluation mode, where batch statistics are constants."""
    model, weights, z, y = build(name)
    training = name != "resnet18"
    leaves = model.parameters(weights)
    generator = torch.Generator().manual_seed(1)
    p = sum(leaf.numel() for leaf in leaves.values())
    u, v = (torch.randn(p, generator=generator, dtype=torch.float64) / math.sqrt(p) for _ in range(2))
    direction = dict(zip(leaves, unflatten(v, list(leaves.values())), strict=True))

    def along(t: Tensor) -> Tensor:
        moved = weights | {key: leaves[key].detach() + t * direction[key] for key in leaves}
        return model.loss(model.forward(moved, z, training=training), y)

    curvature = torch.autograd.functional.hessian(along, torch.zeros((), dtype=torch.float64))
    f = model.loss(model.forward(weights, z, training=training), y)
    H = Hessian(f, list(leaves.values()))
    Hv, Hu = H(v), H(u)
    scale = float(Hv.norm() * u.norm())
    assert abs(float(torch.dot(v, Hv) - curvature)) < 1e-9 * scale
    assert abs(float(torch.dot(u, Hv) - torch.dot(v, Hu))) < 1e-9 * scale
    expected = torch.autograd.grad(model.loss(model.forward(weights, z, training=training), y), list(leaves.values()))
    assert float((H.gradient - flatten(expected)).abs().max()) < 1e-13


@pytest.mark.parametrize("name", ["lr", "svm", "nn", "cnn", "cifar-cnn"])
def test_a_models_own_gradient_is_autograds(name: str) -> None:
    model, weights, z, y = build(name)
    value, parts = model.gradient(weights, z, y)
    loss = model.loss(model.forward(weights, z, training=True), y)
    expected = torch.autograd.grad(loss, list(model.parameters(weights).values()))
    assert abs(float(value - loss.detach())) < 1e-14
    assert [part.shape for part in parts] == [part.shape for part in expected]
    assert float((flatten(parts) - flatten(expected)).abs().max()) < 1e-14  # closed form or not, one rounding or two


class Count(TorchDispatchMode):
    """How often each kernel runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[func.overloadpacket.__name__] = self.calls.get(func.overloadpacket.__name__, 0) + 1
        return func(*args, **(kwargs or {}))


def test_a_product_runs_no_forward_pass_and_costs_the_same_every_time() -> None:
    model, weights, z, y = build("nn")
    with Count() as building:
        H = Hessian(model.loss(model.forward(weights, z, training=True), y), list(model.parameters(weights).values()))
    v = torch.ones_like(H.gradient)
    with Count() as first:
        H(v)
    with Count() as second:
        H(v)
    assert building.calls["addmm"] == 3  # three linear layers
    assert building.calls["mm"] == 5  # their weights' gradients, and two layers' inputs'
    assert first.calls == second.calls
    assert "addmm" not in first.calls
    assert first.calls["mm"] <= 2 * (3 + 5)


def test_flatten_and_unflatten_are_inverse() -> None:
    parts = [torch.rand(2, 3), torch.rand(4), torch.rand(())]
    again = unflatten(flatten(parts), parts)
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))
