"""Convolution and max-pooling as families closed under differentiation.

A convolution y = B(x, w) is bilinear; it has two adjoints, x̄ = X(ȳ, w) and w̄ = W(ȳ, x), and the derivatives of all
three are again one of the three. Writing the family down once gives gradients, Hessian-vector products and forward-mode
products that run the same three fast kernels at every order, where PyTorch's own double backward of a convolution runs
one with batch and channels exchanged. Max-pooling is linear once the positions of the maxima are known, so it is a
pair: gather and scatter. tests/benchmarks/test_hvp.py holds the ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Kernel = Callable[[Tensor, Tensor], Tensor]


def _closed(to_output: Kernel, to_input: Kernel, to_weight: Kernel) -> Kernel:
    """The differentiable map (x, w) ↦ y of a bilinear family.

    Args:
        to_output: y = B(x, w).
        to_input: x̄ = X(ȳ, w), the adjoint in x.
        to_weight: w̄ = W(ȳ, x), the adjoint in w.
    """

    class _Map(Function):
        generate_vmap_rule = True

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @classmethod
        def tangent(cls, ctx: Any, first: Tensor | None, second: Tensor | None) -> Tensor | None:
            a, b = ctx.saved_tensors
            left = None if first is None else cls.apply(first, b)
            right = None if second is None else cls.apply(a, second)
            return right if left is None else left if right is None else left + right

    class Output(_Map):
        @staticmethod
        def forward(x: Tensor, w: Tensor) -> Tensor:
            return to_output(x, w)

        @staticmethod
        def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor | None]:
            x, w = ctx.saved_tensors
            need_x, need_w = ctx.needs_input_grad
            return Input.apply(u, w) if need_x else None, Weight.apply(u, x) if need_w else None

        @staticmethod
        def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None) -> Tensor | None:
            return Output.tangent(ctx, dx, dw)

    class Input(_Map):
        @staticmethod
        def forward(g: Tensor, w: Tensor) -> Tensor:
            return to_input(g, w)

        @staticmethod
        def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor | None]:
            g, w = ctx.saved_tensors
            need_g, need_w = ctx.needs_input_grad
            return Output.apply(u, w) if need_g else None, Weight.apply(g, u) if need_w else None

        @staticmethod
        def jvp(ctx: Any, dg: Tensor | None, dw: Tensor | None) -> Tensor | None:
            return Input.tangent(ctx, dg, dw)

    class Weight(_Map):
        @staticmethod
        def forward(g: Tensor, x: Tensor) -> Tensor:
            return to_weight(g, x)

        @staticmethod
        def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, Tensor | None]:
            g, x = ctx.saved_tensors
            need_g, need_x = ctx.needs_input_grad
            return Output.apply(x, u) if need_g else None, Input.apply(g, u) if need_x else None

        @staticmethod
        def jvp(ctx: Any, dg: Tensor | None, dx: Tensor | None) -> Tensor | None:
            return Weight.tangent(ctx, dg, dx)

    apply: Kernel = Output.apply
    return apply


def convolution(kernel: int, padding: int) -> Kernel:
    """The differentiable convolution (x, w) ↦ y of stride 1, without bias, for a square kernel.

    x is (n, channels, height, width), w is (out, channels, kernel, kernel); channels_last is kept where it is given.
    """

    def to_weight(g: Tensor, x: Tensor) -> Tensor:
        w = g.new_empty(g.shape[1], x.shape[1], kernel, kernel)
        gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
            g, x, w, None, [1, 1], [padding, padding], [1, 1], False, [0, 0], 1, [False, True, False]
        )
        return gradients[1]

    return _closed(
        to_output=lambda x, w: F.conv2d(x, w, padding=padding),
        to_input=lambda g, w: F.conv2d(g, w.flip(2, 3).transpose(0, 1), padding=kernel - 1 - padding),
        to_weight=to_weight,
    )


def max_pool(x: Tensor) -> Tensor:
    """The maximum over 2×2 windows; an odd last row or column is dropped, as torch.nn.MaxPool2d(2) does.

    Where several corners of a window hold the maximum, one of them takes it all. The corners' masks are floats of 0 and
    1 made by arithmetic: comparing and selecting with booleans is several times slower on a CPU.
    """
    size = x.shape[2:]
    a, b, c, d = _corners(x.detach(), size)
    left, right = torch.maximum(a, b), torch.maximum(c, d)
    is_b = (left - a).sign_()
    is_d = (right - c).sign_()
    is_right = (torch.maximum(left, right) - left).sign_()
    in_d = is_d.mul_(is_right)
    in_c = is_right - in_d
    in_b = is_b.addcmul_(is_b, is_right, value=-1)
    in_a = is_right.neg_().add_(1).sub_(in_b)
    y: Tensor = _Gather.apply(x, in_a, in_b, in_c, in_d)
    return y


def _corners(x: Tensor, size: tuple[int, ...]) -> list[Tensor]:
    height, width = size[0] // 2 * 2, size[1] // 2 * 2
    return [x[:, :, i:height:2, j:width:2] for j in (0, 1) for i in (0, 1)]


class _Gather(Function):
    """y = Σ_k mask_k · x at corner k of each window."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, *masks: Tensor) -> Tensor:
        corners = _corners(x, x.shape[2:])
        y = corners[0] * masks[0]
        for corner, mask in zip(corners[1:], masks[1:], strict=True):
            y = y.addcmul(corner, mask)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, *masks = inputs
        ctx.size = x.shape[2:]
        ctx.save_for_backward(*masks)
        ctx.save_for_forward(*masks)

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        return _Scatter.apply(ctx.size, u, *ctx.saved_tensors), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, *_: None) -> Tensor:
        dy: Tensor = _Gather.apply(dx, *ctx.saved_tensors)
        return dy


class _Scatter(Function):
    """The adjoint of _Gather: each value goes to the marked corner of its window, zeros elsewhere."""

    generate_vmap_rule = True

    @staticmethod
    def forward(size: tuple[int, ...], g: Tensor, *masks: Tensor) -> Tensor:
        whole = size[0] % 2 == 0 and size[1] % 2 == 0
        channels_last = g.is_contiguous(memory_format=torch.channels_last)
        x = torch.empty(
            *g.shape[:2],
            *size,
            dtype=g.dtype,
            device=g.device,
            memory_format=torch.channels_last if channels_last else torch.contiguous_format,
        )
        if not whole:
            x.zero_()
        for corner, mask in zip(_corners(x, size), masks, strict=True):
            torch.mul(g, mask, out=corner)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[2:])
        ctx.save_for_forward(*inputs[2:])
        ctx.size = inputs[0]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        return None, _Gather.apply(u, *ctx.saved_tensors), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, _size: None, dg: Tensor, *_: None) -> Tensor:
        dx: Tensor = _Scatter.apply(ctx.size, dg, *ctx.saved_tensors)
        return dx
