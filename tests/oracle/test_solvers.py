"""The linear solvers against torch.linalg.solve, in float64.

Matrices are QΛQᵀ with eigenvalues in [0.5, 2] + λ: condition number κ ≤ 4. Solved to a residual of 1e-10, the error is
at most κ · 1e-10, so 1e-9 relative leaves a factor of two; rounding (1e-16 · κ²) is far below.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poisonbench.bilevel.cg import cg
from poisonbench.bilevel.cgnr import cgnr
from poisonbench.bilevel.exact import LARGEST, exact
from poisonbench.bilevel.neumann import neumann
from poisonbench.bilevel.solution import Solution
from poisonbench.bilevel.solvers import NAMES, solver
from poisonbench.errors import UnknownNameError, UsageError

ITERATIVE = {"cg": cg, "cgnr": cgnr, "neumann": neumann}
ALL = {**ITERATIVE, "exact": exact}
every_solver = pytest.mark.parametrize("name", NAMES)
# For the Neumann series: the default rate 0.1 converges below eigenvalues of 20, as (1 − 0.1 · 0.5)^k.
ENOUGH = 600


def game(seed: int, size: int, low: float = 0.5, high: float = 2.0) -> tuple[Tensor, Tensor]:
    """A symmetric matrix with eigenvalues spread over [low, high], and a right-hand side."""
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    A = Q @ torch.diag(torch.linspace(low, high, size, dtype=torch.float64)) @ Q.T
    return (A + A.T) / 2, torch.randn(size, generator=generator, dtype=torch.float64)


def product(A: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: A @ v


def relative(x: Tensor, y: Tensor) -> float:
    return float(torch.linalg.vector_norm(x - y) / torch.linalg.vector_norm(y))


def true_residual(A: Tensor, damping: float, solution: Solution, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(A @ solution.x + damping * solution.x - b) / torch.linalg.vector_norm(b))


@every_solver
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 24), damping=st.sampled_from([0.0, 1e-3, 0.1, 1.0]))
def test_solves_positive_definite_systems(name: str, seed: int, size: int, damping: float) -> None:
    A, b = game(seed, size)
    solution = solver(name, damping, ENOUGH, 1e-10)(product(A), b)
    expected = torch.linalg.solve(A + damping * torch.eye(size, dtype=A.dtype), b)
    assert solution.converged, solution.reason
    assert relative(solution.x, expected) < 1e-9
    assert solution.residual <= 1e-10
    # The recurrences' residuals drift from the true one by rounding alone: κ · steps · 1e-16 ‖b‖ < 1e-12.
    assert abs(solution.residual - true_residual(A, damping, solution, b)) < 1e-12


@every_solver
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(3, 24), steps=st.integers(1, 4))
def test_the_residual_reported_is_the_true_one_wherever_it_stops(name: str, seed: int, size: int, steps: int) -> None:
    A, b = game(seed, size)
    solution = solver(name, 0.1, steps, 1e-12)(product(A), b)
    assert abs(solution.residual - true_residual(A, 0.1, solution, b)) < 1e-12
    if name != "exact":
        assert solution.steps <= steps
        assert solution.converged == (solution.residual <= 1e-12)
        assert solution.converged or "Raise" in solution.reason


@every_solver
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(2, 16))
def test_an_indefinite_matrix_is_never_a_converged_hypergradient(name: str, seed: int, size: int) -> None:
    A, b = game(seed, size, low=-2.0, high=2.1)
    solution = solver(name, 0.0, ENOUGH, 1e-6)(product(A), b)
    assert not solution.converged
    assert "Raise damping" in solution.reason
    assert torch.isfinite(solution.x).all()


def test_cgnr_sees_negative_curvature_between_its_directions() -> None:
    # Each direction alone curves up here; their span does not.
    A, b = game(113, 5, low=-2.0, high=2.1)
    assert not cgnr(product(A), b, max_steps=ENOUGH, rtol=1e-6).converged


@every_solver
def test_one_negative_curvature_is_enough(name: str) -> None:
    A, b = torch.diag(torch.tensor([1.0, 2.0, 3.0, -0.5], dtype=torch.float64)), torch.ones(4, dtype=torch.float64)
    assert not solver(name, 0.0, ENOUGH, 1e-6)(product(A), b).converged
    assert solver(name, 1.0, ENOUGH, 1e-6)(product(A), b).converged  # damping makes it definite again


@every_solver
def test_zero_has_zero_as_its_answer(name: str) -> None:
    A, b = game(0, 5)
    solution = solver(name, 0.0, 16, 1e-3)(product(A), torch.zeros_like(b))
    assert solution.converged
    assert solution.residual == 0.0
    assert torch.equal(solution.x, torch.zeros_like(b))


@every_solver
def test_the_right_hand_side_is_left_alone_and_products_are_counted(name: str) -> None:
    A, b = game(1, 6)
    before, calls = b.clone(), 0

    def counted(v: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return A @ v

    solution = solver(name, 0.1, 4, 1e-12)(counted, b)
    assert torch.equal(b, before)
    assert solution.products == calls


@pytest.mark.parametrize("name", NAMES)
def test_a_solve_goes_on_from_where_it_is_told(name: str) -> None:
    """A start next to the solution needs next to nothing; the residual is that of the whole problem; b and the start
    stay as they are."""
    A, b = game(1, 6)
    solve = solver(name, 0.1, ENOUGH, 1e-8)
    exact = torch.linalg.solve(A + 0.1 * torch.eye(6, dtype=A.dtype), b)
    start = exact + 1e-3
    kept = start.clone()
    near, far = solve(product(A), b, start), solve(product(A), b)
    assert torch.equal(start, kept)
    assert relative(near.x, exact) < 1e-6
    assert near.steps <= far.steps
    assert abs(near.residual - true_residual(A, 0.1, near, b)) < 1e-9
    at = solve(product(A), b, exact)
    assert relative(at.x, exact) < 1e-8


def test_cg_stops_at_rtol_and_not_before() -> None:
    A, b = game(2, 40, low=0.1, high=10.0)
    loose, tight = cg(product(A), b, max_steps=100, rtol=1e-2), cg(product(A), b, max_steps=100, rtol=1e-6)
    assert 0 < loose.steps < tight.steps < 100
    assert loose.residual <= 1e-2
    assert cg(product(A), b, max_steps=loose.steps - 1, rtol=1e-2).residual > 1e-2


def test_cg_answers_steepest_descent_where_the_first_direction_curves_down() -> None:
    A, b = game(3, 6, low=-2.0, high=-1.0)
    solution = cg(product(A), b)
    assert torch.equal(solution.x, b)
    assert abs(solution.residual - true_residual(A, 0.0, solution, b)) < 1e-12


def test_cgnr_is_the_krylov_least_squares_solution_at_every_step() -> None:
    """Step k minimises ‖Ax − b‖ over span{Ab, A³b, …, A^(2k−1)b}; numpy's lstsq does the same by SVD.

    The Krylov basis, orthonormalised, has condition number 1, so both agree to rounding times κ(A)² = 16.
    """
    A, b = game(4, 12)
    for k in range(1, 8):
        basis = [A @ b]
        for _ in range(k - 1):
            v = A @ (A @ basis[-1])
            basis.append(v / v.norm())
        Q, _ = torch.linalg.qr(torch.stack(basis, dim=1))
        best, *_ = np.linalg.lstsq((A @ Q).numpy(), b.numpy(), rcond=None)
        solution = cgnr(product(A), b, max_steps=k)
        assert relative(solution.x, Q @ torch.from_numpy(best)) < 1e-8
        assert solution.products == 2 * k + 1


def test_cgnr_finds_the_least_squares_solution_of_a_singular_system() -> None:
    A, b = game(5, 8)
    c = torch.ones_like(b)
    A = A - A @ torch.outer(c, c) @ A / (c @ A @ c)  # one direction of curvature 0; the rest stays ≥ 0
    best, *_ = np.linalg.lstsq(A.numpy(), b.numpy(), rcond=1e-10)
    solution = cgnr(product(A), b, max_steps=8)
    assert relative(solution.x, torch.from_numpy(best)) < 1e-9  # κ² of what is left is ≤ 16
    assert not solution.converged


def test_neumann_is_gradient_descent_on_the_quadratic() -> None:
    A, b = game(6, 7)
    x = torch.zeros_like(b)
    for _ in range(9):
        x = x - 0.2 * (A @ x + 0.3 * x - b)
    solution = neumann(product(A), b, damping=0.3, max_steps=9, rtol=0.0, rate=0.2)
    assert relative(solution.x, x) < 1e-13
    assert not neumann(product(A * 100), b, max_steps=50).converged  # 0.1 · 200 > 2: it grows


def test_exact_refuses_what_memory_cannot_hold_and_a_misspelt_solver_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="use 'cg'"):
        exact(lambda v: v, torch.zeros(LARGEST + 1))
    with pytest.raises(UnknownNameError, match="Did you mean 'neumann'"):
        solver("neuman", 0.0, 1, 1e-3)


@pytest.mark.parametrize("name", ITERATIVE)
def test_float32_operators_converge_to_float32(name: str) -> None:
    A, b = game(7, 10)
    solve: Any = ITERATIVE[name]
    solution = solve(product(A.float()), b.float(), max_steps=ENOUGH, rtol=1e-5)
    assert solution.converged
    assert relative(solution.x.double(), torch.linalg.solve(A, b)) < 1e-4  # κ · rtol, and a factor of two
