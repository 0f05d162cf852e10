"""Hypergradients against closed forms, full retraining and plain automatic differentiation, in float64.

Central differences have error ε² f‴ / 6 from truncation and δ / ε from rounding (δ the error of one evaluation). Where
retraining is exact to δ ≈ 1e-15, ε = 1e-5 gives about 1e-10 from each; gradients here are of size 1e-2 and more, so a
relative 1e-6 has a margin of 100 — and a wrong sign is off by 200 %.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.bilevel.hvp import Hessian, flatten, mixed_product
from poisonbench.bilevel.implicit import implicit_gradient
from poisonbench.bilevel.solvers import NAMES, solver
from poisonbench.bilevel.unrolled import Step, unrolled_gradient

EPS = 1e-5
EXACT = solver("exact", 0.0, 0, 1e-8)
f64 = torch.float64


def central(f: Callable[[Tensor], float], x: Tensor, entries: list[int]) -> Tensor:
    """Central differences of f at some entries of x."""
    found = []
    for entry in entries:
        step = torch.zeros(x.numel(), dtype=x.dtype)
        step[entry] = EPS
        found.append((f(x + step.view_as(x)) - f(x - step.view_as(x))) / (2 * EPS))
    return torch.tensor(found, dtype=x.dtype)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=f64)


@pytest.mark.parametrize("name", NAMES)
def test_quadratic_bilevel_problem(name: str) -> None:
    """f = ½ wᵀAw − wᵀBθ, ℓ = ½‖w − c‖²: w* = A⁻¹Bθ and D_θ ℓ = BᵀA⁻¹(w* − c)."""
    R, B, theta, c = draw(5, 5, seed=0), draw(5, 3, seed=1), draw(3, seed=2), draw(5, seed=3)
    A = R @ R.T / 5 + torch.eye(5, dtype=f64)  # eigenvalues in [1, 6]: every solver reaches 1e-12
    w = torch.linalg.solve(A, B @ theta).requires_grad_()
    theta.requires_grad_()
    f = w @ A @ w / 2 - w @ B @ theta
    solve = solver(name, 0.0, 1000, 1e-12)
    (found,), solution = implicit_gradient(
        partial(mixed_product, f, [w], [theta]), Hessian(f, [w]), (w - c).detach(), solve
    )
    expected = B.T @ torch.linalg.solve(A, w.detach() - c)
    assert solution.converged
    assert relative(found, expected) < 1e-10  # κ ≤ 6 times the residual


def test_ridge_regression() -> None:
    """Training ‖Xw − y‖² / 2n + λ‖w‖²/2 with one row (x_p, y_p) of X poisoned. With r = x_pᵀw − y_p, v = H⁻¹∇ℓ:
    D_{x_p} ℓ = −(r v + (x_pᵀv) w) / n."""
    X, y, X_v, y_v, damping = draw(12, 4, seed=0), draw(12, seed=1), draw(9, 4, seed=2), draw(9, seed=3), 0.3

    def retrained(x_p: Tensor) -> Tensor:
        rows = torch.cat([X[:-1], x_p[None]])
        return torch.linalg.solve(rows.T @ rows / 12 + damping * torch.eye(4, dtype=f64), rows.T @ y / 12)

    def outer(x_p: Tensor) -> float:
        return float((X_v @ retrained(x_p) - y_v).square().mean() / 2)

    w = retrained(X[-1]).requires_grad_()
    x_p = X[-1].clone().requires_grad_()
    whole = (X @ w - y).square().sum() / 24 + damping * w.square().sum() / 2
    part = (x_p @ w - y[-1]).square() / 24
    gradient = X_v.T @ (X_v @ w.detach() - y_v) / 9
    (found,), _ = implicit_gradient(partial(mixed_product, part, [w], [x_p]), Hessian(whole, [w]), gradient, EXACT)

    H = X.T @ X / 12 + damping * torch.eye(4, dtype=f64)
    v, now = torch.linalg.solve(H, gradient), w.detach()
    expected = -((X[-1] @ now - y[-1]) * v + (X[-1] @ v) * now) / 12
    assert relative(found, expected) < 1e-12  # both are direct solves
    assert relative(found, central(outer, X[-1], [0, 1, 2, 3])) < 1e-6


class Softmax:
    """Multinomial logistic regression, ½λ‖w‖² regularised, with two poison rows; trained by Newton's method."""

    damping = 0.05

    def __init__(self) -> None:
        self.X, self.y = draw(20, 4, seed=0), torch.arange(20) % 3
        self.X_v, self.y_v = draw(15, 4, seed=1), torch.arange(15) % 3
        self.y_p = torch.tensor([1, 2])

    def lower(self, w: Tensor, x_p: Tensor) -> Tensor:
        logits = torch.cat([self.X, x_p]) @ w.view(4, 3)
        return F.cross_entropy(logits, torch.cat([self.y, self.y_p])) + self.damping * w.square().sum() / 2

    def outer(self, w: Tensor) -> Tensor:
        return F.cross_entropy(self.X_v @ w.view(4, 3), self.y_v)

    def retrained(self, x_p: Tensor) -> Tensor:
        w = torch.zeros(12, dtype=f64)
        for _ in range(30):
            w.requires_grad_()
            gradient = torch.autograd.functional.jacobian(lambda w: self.lower(w, x_p), w)
            if gradient.norm() < 1e-13:
                break
            H = torch.autograd.functional.hessian(lambda w: self.lower(w, x_p), w)
            w = (w - torch.linalg.solve(H, gradient)).detach()
        assert gradient.norm() < 1e-12
        return w.detach()


@pytest.mark.parametrize("name", ["exact", "cg", "cgnr"])
def test_logistic_regression_against_full_retraining(name: str) -> None:
    problem, x_p = Softmax(), draw(2, 4, seed=2)
    w, leaf = problem.retrained(x_p).requires_grad_(), x_p.clone().requires_grad_()
    f = problem.lower(w, leaf)
    (gradient,) = torch.autograd.grad(problem.outer(w), w)
    solve = solver(name, 0.0, 60, 1e-10)
    (found,), solution = implicit_gradient(partial(mixed_product, f, [w], [leaf]), Hessian(f, [w]), gradient, solve)
    expected = central(lambda x: float(problem.outer(problem.retrained(x))), x_p, list(range(8))).view(2, 4)
    assert solution.residual < 1e-9
    assert relative(found, expected) < 1e-6


def trained(step: Step, w0: list[Tensor], theta: list[Tensor], steps: int) -> list[Tensor]:
    w = [part.detach().requires_grad_() for part in w0]
    for t in range(steps):
        w = step(w, theta, t)
    return w


def momentum_step(problem: Softmax, state: list[Tensor], theta: list[Tensor], t: int) -> list[Tensor]:
    """SGD with momentum 0.9 and a step size that changes with t; the state is (weights, velocity)."""
    w, velocity = state
    (gradient,) = torch.autograd.grad(problem.lower(w, theta[0]), w, create_graph=True)
    velocity = 0.9 * velocity + gradient
    return [w - 0.1 / (1 + 0.1 * t) * velocity, velocity]


@pytest.mark.parametrize("steps", [1, 2, 5, 7, 9, 13, 30])
def test_unrolled_gradient_is_plain_reverse_mode(steps: int) -> None:
    """The same operations in the same order but for where segments meet: rounding alone, 1e-12."""
    problem, x_p = Softmax(), draw(2, 4, seed=2)
    w0 = [draw(12, seed=3), torch.zeros(12, dtype=f64)]
    step = partial(momentum_step, problem)
    (found,), value, last = unrolled_gradient(step, w0, [x_p], steps, lambda w: problem.outer(w[0]))

    leaf = x_p.clone().requires_grad_()
    end = trained(step, w0, [leaf], steps)
    loss = problem.outer(end[0])
    (expected,) = torch.autograd.grad(loss, leaf)
    assert relative(found, expected) < 1e-12
    assert value == pytest.approx(float(loss.detach()), rel=1e-14)
    assert torch.allclose(last[0], end[0].detach(), rtol=1e-14)
    assert not x_p.requires_grad
    assert not any(part.requires_grad for part in w0)


def test_unrolled_gradient_against_finite_differences_of_the_training_map() -> None:
    problem, x_p, w0 = Softmax(), draw(2, 4, seed=2), [draw(12, seed=3), torch.zeros(12, dtype=f64)]
    step = partial(momentum_step, problem)

    def value(x: Tensor) -> float:
        return float(problem.outer(trained(step, w0, [x], 11)[0]).detach())

    (found,), _, _ = unrolled_gradient(step, w0, [x_p], 11, lambda w: problem.outer(w[0]))
    assert relative(found.flatten(), central(value, x_p, list(range(8)))) < 1e-6


def test_unrolled_gradient_of_several_upper_variables_one_of_them_unused() -> None:
    problem, x_p = Softmax(), draw(2, 4, seed=2)
    rate, unused = torch.tensor(0.2, dtype=f64), torch.zeros(2, dtype=f64)

    def step(w: list[Tensor], theta: list[Tensor], t: int) -> list[Tensor]:
        (gradient,) = torch.autograd.grad(problem.lower(w[0], theta[0]), w[0], create_graph=True)
        return [w[0] - theta[1] * gradient]

    w0 = [draw(12, seed=3)]
    found, _, _ = unrolled_gradient(step, w0, [x_p, rate, unused], 6, lambda w: problem.outer(w[0]))
    leaves = [x_p.clone().requires_grad_(), rate.clone().requires_grad_()]
    expected = torch.autograd.grad(problem.outer(trained(step, w0, leaves, 6)[0]), leaves)
    assert relative(flatten(found[:2]), flatten(expected)) < 1e-12
    assert torch.equal(found[2], torch.zeros(2, dtype=f64))


def test_many_steps_of_training_approach_the_implicit_gradient() -> None:
    """T → ∞ at a fixed point: (1 − ηλ)^T with η = 1, λ = 0.05 is 1e-9 at T = 400 (times T for the derivative)."""
    problem, x_p = Softmax(), draw(2, 4, seed=2)

    def step(w: list[Tensor], theta: list[Tensor], t: int) -> list[Tensor]:
        (gradient,) = torch.autograd.grad(problem.lower(w[0], theta[0]), w[0], create_graph=True)
        return [w[0] - gradient]

    (unrolled,), _, _ = unrolled_gradient(step, [torch.zeros(12, dtype=f64)], [x_p], 400, lambda w: problem.outer(w[0]))
    w, leaf = problem.retrained(x_p).requires_grad_(), x_p.clone().requires_grad_()
    f = problem.lower(w, leaf)
    (gradient,) = torch.autograd.grad(problem.outer(w), w)
    (implicit,), _ = implicit_gradient(partial(mixed_product, f, [w], [leaf]), Hessian(f, [w]), gradient, EXACT)
    assert relative(unrolled, implicit) < 1e-5
