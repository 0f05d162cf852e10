"""Convolution and max-pooling against PyTorch's own, at every order of differentiation, in float64.

Values add the same products in another order: 1e-12 absolute on numbers of size ≤ 100 is some 1e2 roundings. gradcheck
and gradgradcheck use their own defaults, central differences with ε = 1e-6: truncation ε² and rounding 1e-16/ε balance
near 1e-10, well inside their 1e-5. `fast_mode` compares a random projection of the Jacobian instead of each entry.
"""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jvp, vmap

from poisonbench.models.closed_ops import convolution, max_pool
from poisonbench.models.memory_format import channels_last

# kernel, padding, height, width: padded, unpadded, over-padded; odd and even sizes.
CONVOLUTIONS = [(3, 0, 4, 3), (3, 1, 3, 4), (3, 2, 3, 3), (2, 1, 3, 4), (5, 2, 3, 5), (1, 0, 3, 3)]
SIZES = [(4, 4), (5, 4), (2, 3)]
layouts = pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
convolutions = pytest.mark.parametrize(("kernel", "padding", "height", "width"), CONVOLUTIONS)
sizes = pytest.mark.parametrize(("height", "width"), SIZES)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # PyTorch's forward mode warns of itself, once


def draw(*shape: int, seed: int = 0, last: bool = False) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (channels_last(x) if last else x).detach().requires_grad_()


def distinct(*shape: int, last: bool = False) -> Tensor:
    """Distinct values a distance apart, so that no finite difference changes which of them is the maximum."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).double() / 7
    x = order.view(shape)
    return (channels_last(x) if last else x).detach().requires_grad_()


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-12)


@convolutions
@layouts
def test_convolution_passes_gradcheck_twice(kernel: int, padding: int, height: int, width: int, last: bool) -> None:
    convolve = convolution(kernel, padding)
    x, w = draw(2, 2, height, width, last=last), draw(2, 2, kernel, kernel, seed=1)
    assert gradcheck(convolve, (x, w), check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(convolve, (x, w), check_fwd_over_rev=True, fast_mode=True)


@sizes
@layouts
def test_max_pool_passes_gradcheck_twice(height: int, width: int, last: bool) -> None:
    x = distinct(1, 2, height, width, last=last)
    assert gradcheck(max_pool, (x,), check_forward_ad=True)
    assert gradgradcheck(lambda x: max_pool(x).square(), (x,), check_fwd_over_rev=True)


def assert_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    """Value, gradient, Hessian-vector product and forward-mode product of a non-quadratic function of the map."""
    directions = tuple(torch.randn_like(part) for part in inputs)

    def results(f: Callable[..., Tensor]) -> list[Tensor]:
        y = f(*inputs)
        gradients = torch.autograd.grad(y.tanh().square().sum(), inputs, create_graph=True)
        products = torch.autograd.grad(gradients, inputs, directions)
        _, tangent = jvp(f, tuple(part.detach() for part in inputs), directions)
        return [y, *gradients, *products, tangent]

    for a, b in zip(results(ours), results(theirs), strict=True):
        assert close(a, b)


@convolutions
@layouts
def test_convolution_is_pytorchs(kernel: int, padding: int, height: int, width: int, last: bool) -> None:
    x, w = draw(2, 3, height, width, last=last), draw(4, 3, kernel, kernel, seed=1)
    assert_same(convolution(kernel, padding), lambda x, w: F.conv2d(x, w, padding=padding), (x, w))


@sizes
@layouts
def test_max_pool_is_pytorchs(height: int, width: int, last: bool) -> None:
    x = draw(2, 3, height, width, last=last)
    assert_same(max_pool, lambda x: F.max_pool2d(x, 2), (x,))


def test_of_equal_maxima_exactly_one_takes_the_gradient() -> None:
    for bits in range(1, 16):  # every pattern of tied maxima in one window
        x = torch.tensor([[[[float(bits >> k & 1) for k in (0, 1)], [float(bits >> k & 1) for k in (2, 3)]]]])
        x.requires_grad_()
        y = max_pool(x)
        assert y.item() == 1.0
        (taken,) = torch.autograd.grad(y.sum(), x)
        assert float(taken.sum()) == 1.0
        assert sorted(taken.flatten().tolist()) == [0.0, 0.0, 0.0, 1.0]
        assert float((taken * x.detach()).sum()) == 1.0  # one that holds the maximum


def test_only_what_is_asked_for_is_differentiated() -> None:
    convolve = convolution(3, 1)
    x, w = draw(1, 2, 4, 4), draw(2, 2, 3, 3, seed=1)
    (by_w,) = torch.autograd.grad(convolve(x.detach(), w).sum(), w)
    (by_x,) = torch.autograd.grad(convolve(x, w.detach()).sum(), x)
    expected_x, expected_w = torch.autograd.grad(F.conv2d(x, w, padding=1).sum(), (x, w))
    assert close(by_w, expected_w)
    assert close(by_x, expected_x)


@pytest.mark.parametrize("what", ["images", "weights", "gradients"])
def test_vmap_is_a_loop(what: str) -> None:
    convolve = convolution(3, 1)
    x, w = draw(4, 2, 3, 5, 6).detach(), draw(4, 2, 3, 3, 3, seed=1).detach()
    with warnings.catch_warnings():
        # Under vmap max_pool's addcmul_ falls back to a loop: slower, not wrong, and nothing here relies on its speed.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        if what == "images":
            batched = vmap(lambda x: max_pool(convolve(x, w[0])))(x)
            looped = torch.stack([max_pool(convolve(part, w[0])) for part in x])
        elif what == "weights":
            batched = vmap(lambda w: max_pool(convolve(x[0], w)))(w)
            looped = torch.stack([max_pool(convolve(x[0], part)) for part in w])
        else:
            # Not through max_pool: its adjoint asks for the memory format, which vmap cannot answer.
            per_sample = grad(lambda w, x: convolve(x[None], w).square().sum())
            batched = vmap(per_sample, in_dims=(None, 0))(w[0], x[0])
            looped = torch.stack([per_sample(w[0], part) for part in x[0]])
    assert close(batched, looped)
