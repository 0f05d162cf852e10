"""PoisonSVM against finite differences of an exactly re-solved SVM, the KKT conditions and scikit-learn, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from sklearn.svm import SVC
from torch import Tensor

from poisonbench.attacks.poison_svm import dual as svm_dual
from poisonbench.attacks.poison_svm.attack import PoisonSVM
from poisonbench.attacks.poison_svm.dual import SVM, first_working_set, fit, solve_margin
from poisonbench.attacks.poison_svm.gradient import hinge_gradient, hinge_loss
from poisonbench.errors import BudgetError, ConfigError
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.views import AttackerView
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

N, D = 40, 5


def blobs(n: int, d: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two overlapping Gaussian classes, every row of another one."""
    s = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0).double()
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + 0.8 * s[:, None], s


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training rows, every tenth with a wrong label, and held-out rows."""
    generator = torch.Generator().manual_seed(seed)
    z, s = blobs(N, D, generator)
    return z, torch.where(torch.arange(N) % 10 == 0, -s, s), *blobs(30, D, generator)


def solve(z: Tensor, s: Tensor, C: float) -> SVM:
    return fit(z, s, C, first_working_set(s))


def sets(svm: SVM, held_out_z: Tensor, held_out_s: Tensor) -> list[list[bool]]:
    """Which rows are on the margin, which have α > 0, and which held-out rows have a loss."""
    inside = held_out_s * (held_out_z @ svm.w + svm.b) < 1
    return [svm.margin.tolist(), (svm.beta != 0).tolist(), inside.tolist()]


@pytest.mark.parametrize("C", [0.1, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_is_that_of_the_retrained_svm(C: float, seed: int) -> None:
    """Central differences through an exact solve, of every training row in a random direction. ε = 1e-5: the truncation
    is ε² = 1e-10 of the third derivative, the rounding 1e-14 / ε = 1e-9; 1e-7 has room for both. Sets that change
    between −ε and ε would make it wrong, and do not. The last case has d + 1 rows on the margin: they alone determine w
    and b, and rows at the bound move nothing."""
    z, s, held_out_z, held_out_s = problem(seed)
    svm = solve(z, s, C)
    gradient = hinge_gradient(svm, z, slice(0, N), held_out_z, held_out_s)
    at_bound = (svm.beta != 0) & ~svm.margin
    assert min(int(svm.margin.sum()), int(at_bound.sum()), int((svm.beta == 0).sum())) >= 3
    assert float(gradient[svm.margin].norm(dim=1).min()) > 1e-3
    determined = int(svm.margin.sum()) == D + 1
    assert determined == ((seed, C) == (1, 1.0))
    assert bool((gradient[at_bound].norm(dim=1) < 1e-9 if determined else gradient[at_bound].norm(dim=1) > 1e-3).all())

    direction = torch.randn(N, D, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    epsilon = 1e-5
    for row in range(N):
        ends = []
        for sign in (1, -1):
            moved = z.clone()
            moved[row] += sign * epsilon * direction[row]
            again = solve(moved, s, C)
            assert sets(again, held_out_z, held_out_s) == sets(svm, held_out_z, held_out_s)
            ends.append(float(hinge_loss(again, held_out_z, held_out_s)))
        assert (ends[0] - ends[1]) / (2 * epsilon) == pytest.approx(float(gradient[row] @ direction[row]), abs=1e-7)


def test_all_rows_at_once_add_up() -> None:
    """One system serves every row: the change along a joint direction is the sum."""
    z, s, held_out_z, held_out_s = problem()
    gradient = hinge_gradient(solve(z, s, 1.0), z, slice(0, N), held_out_z, held_out_s)
    direction = torch.randn(N, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    up, down = (hinge_loss(solve(z + e * direction, s, 1.0), held_out_z, held_out_s) for e in (1e-6, -1e-6))
    assert float(up - down) / 2e-6 == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


def test_a_row_that_is_no_support_vector_has_no_gradient() -> None:
    z, s, held_out_z, held_out_s = problem()
    svm = solve(z, s, 1.0)
    idle = svm.beta == 0
    assert 0 < int(idle.sum()) < N
    gradient = hinge_gradient(svm, z, slice(0, N), held_out_z, held_out_s)
    assert bool((gradient[idle] == 0).all())
    assert bool((gradient[~idle].abs().amax(1) > 0).all())


def test_without_margin_support_vectors_b_is_held() -> None:
    """Two rows of one label and two of the other, all at the bound: w = Σ β z alone moves."""
    z = torch.tensor([[0.0, 0.1], [0.2, 0.0], [0.1, 0.3], [0.3, 0.2]], dtype=torch.float64)
    s = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    svm = solve(z, s, 0.5)
    assert not svm.margin.any()
    held_out_z, held_out_s = z + 0.05, s
    gradient = hinge_gradient(svm, z, slice(1, 3), held_out_z, held_out_s)
    v = held_out_s @ held_out_z / 4  # every held-out row is inside the margin of so small a w
    assert torch.allclose(gradient, -svm.beta[1:3, None] * v)


def random_problem(n: int, d: int, levels: int, seed: int) -> tuple[Tensor, Tensor]:
    """Few pixel levels make equal rows, affinely dependent margins and rows that touch the margin with α = 0."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(n, d, generator=generator, dtype=torch.float64)
    z = (z * levels).round() / levels if levels else z
    s = torch.where(z[:, 0] + 0.3 * torch.randn(n, generator=generator, dtype=torch.float64) > 0.5, 1.0, -1.0).double()
    s[:2] = torch.tensor([1.0, -1.0])
    return z, s


@pytest.mark.parametrize("levels", [0, 1, 4])
def test_the_solution_is_exact_also_where_it_is_not_unique(levels: int) -> None:
    for seed in range(40):
        assert solve(*random_problem(22, 5, levels, seed), 100.0).tolerance == svm_dual.EXACT
    assert solve(*random_problem(22, 5, 4, 2109), 100.0).tolerance == svm_dual.EXACT


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(4, 60),
    d=st.integers(1, 6),
    levels=st.sampled_from([0, 2, 4, 16]),
    C=st.sampled_from([0.1, 1.0, 10.0, 100.0]),
    seed=st.integers(0, 10_000),
)
def test_solution_satisfies_the_kkt_conditions(n: int, d: int, levels: int, C: float, seed: int) -> None:
    """Whatever the sets are said to be: dual feasible, and no duality gap. Rounding apart, rows are 1e-9 off; a problem
    that is left to libsvm, which none of 3,000 was, has to be as good as its tolerance."""
    z, s = random_problem(n, d, levels, seed)
    svm = solve(z, s, C)
    off = 10 * svm.tolerance
    alpha, shortfall = s * svm.beta, 1 - s * (z @ svm.w + svm.b)
    assert -off <= float(alpha.min()) <= float(alpha.max()) <= C + off
    assert abs(float(svm.beta.sum())) <= off
    assert torch.allclose(svm.w, svm.beta @ z, rtol=0, atol=1e-12)
    primal = svm.w @ svm.w / 2 + C * shortfall.clamp(min=0).sum()
    dual = alpha.sum() - svm.w @ svm.w / 2
    assert abs(float(primal - dual)) <= off * (1 + C * n)
    assert float(shortfall[svm.margin].abs().sum()) <= off * n
    assert bool((svm.margin | (alpha <= off) | (alpha >= C - off)).all())


@pytest.mark.parametrize("growth", [4, 10, 1000])
def test_the_working_set_does_not_change_the_solution(growth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z, s, _, _ = problem()
    everything = fit(z, s, 1.0, torch.ones(N, dtype=torch.bool))
    monkeypatch.setattr(svm_dual, "GROWTH", growth)
    assert int(first_working_set(s).sum()) == min(N, growth)
    svm = solve(z, s, 1.0)
    assert torch.allclose(svm.beta, everything.beta, rtol=0, atol=1e-10)
    assert abs(float(svm.b - everything.b)) < 1e-10
    again = fit(z, s, 1.0, svm.near)
    assert torch.allclose(again.beta, everything.beta, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("is_in", "put_in"), [("S", "0"), ("S", "C"), ("0", "S"), ("C", "S")])
@pytest.mark.parametrize("seed", [1, 2])
def test_polishing_puts_a_row_back_into_its_set(is_in: str, put_in: str, seed: int) -> None:
    """The row of a set that is nearest to being in another; from far away, polishing may not end."""
    z, s, _, _ = problem(seed)
    exact = solve(z, s, 0.1)
    alpha, slack = s * exact.beta, (s * (z @ exact.w + exact.b) - 1).abs()
    members = {"0": alpha == 0, "S": exact.margin, "C": (alpha != 0) & ~exact.margin}[is_in]
    distance = {"0": alpha, "C": 0.1 - alpha, "S": slack}[put_in]
    beta = exact.beta.clone()
    row = distance.masked_fill(~members, torch.inf).argmin()
    beta[row] = {"0": 0.0, "S": 0.05, "C": 0.1}[put_in] * s[row]
    svm = svm_dual._polish(z, s, 0.1, beta, exact.b)
    assert svm is not None
    assert torch.equal(svm.margin, exact.margin)
    assert torch.allclose(svm.beta, exact.beta, rtol=0, atol=1e-9)


def test_a_solution_that_cannot_be_polished_is_libsvms(monkeypatch: pytest.MonkeyPatch) -> None:
    z, s, _, _ = problem()
    exact = solve(z, s, 1.0)
    monkeypatch.setattr(svm_dual, "POLISHING_STEPS", 0)
    svm = solve(z, s, 1.0)
    assert svm.tolerance == svm_dual.TOLERANCES[-1]
    assert torch.equal(svm.margin, exact.margin)
    assert torch.allclose(svm.w, exact.w, rtol=0, atol=1e-5)


def test_the_system_is_solved_where_margin_rows_are_equal() -> None:
    """p is not unique, Z_Sᵀp and q are: those of the system without the copies."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    a, h = torch.tensor([0.3, 0.7], dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
    p, q = solve_margin(z, z @ a, h)
    copied = torch.cat([z, z[:1], z[:1]])
    p_copied, q_copied = solve_margin(copied, copied @ a, h)
    assert torch.allclose(p_copied @ copied, p @ z, atol=1e-9)
    assert abs(float(q_copied - q)) < 1e-9
    dense = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    expected = torch.linalg.solve(dense, torch.tensor([0.3, 0.7, 0.2], dtype=torch.float64))
    assert torch.allclose(torch.cat([p, q.view(1)]), expected, atol=1e-9)


def toy(n: int = 60, n_validation: int = 200) -> tuple[AttackerView, Samples]:
    """Two overlapping classes in the unit square, as images of two pixels; and rows that the attacker does not see."""
    generator = torch.Generator().manual_seed(4)

    def rows(count: int) -> Samples:
        y = torch.arange(count) % 2
        x = torch.where(y == 0, 0.35, 0.65)[:, None] + 0.12 * torch.randn(count, 2, generator=generator)
        return Samples(x.clamp(0, 1).view(count, 1, 1, 2), y, torch.arange(count))

    train, validation, unseen = rows(n), rows(n_validation), rows(1000)
    model = load("model", "svm")((1, 1, 2), 2, (0.5,), (0.5,))
    return AttackerView(train, validation, model, Recipe(), {}, 2), unseen


def craft(attack: PoisonSVM, view: AttackerView, epsilon: float = 0.1) -> PoisonSet:
    budget = Budget(epsilon, len(view.train), view.classes, attack.threat)
    return attack.craft(view, budget, Stage(child_generator(0, "attack")))


def retrained(view: AttackerView, poison: PoisonSet, rows: Samples, C: float = 1.0) -> tuple[float, float]:
    """Mean hinge loss and error of scikit-learn's own SVM, trained on pixels with the poison."""
    x, y = torch.cat([view.train.x, poison.x]).flatten(1).double(), torch.cat([view.train.y, poison.y])
    svc = SVC(C=C, kernel="linear", tol=1e-8, random_state=0).fit(x.numpy(), y.numpy())
    scores = torch.from_numpy(svc.decision_function(rows.x.flatten(1).double().numpy())) * (2 * rows.y - 1)
    return float((1 - scores).clamp(min=0).mean()), float((scores <= 0).double().mean())


@pytest.mark.parametrize("fields", [{}, {"greedy": True, "iterations": 30}, {"attacked": "one"}])
def test_error_rises_on_the_square(fields: dict[str, Any]) -> None:
    """Beyond that of the flipped copies that it starts from, on D_v and on rows that it never saw."""
    attack = PoisonSVM(C=10.0, t=0.05, **fields)
    view, unseen = toy()
    start, poison = craft(replace(attack, t=1e-6, iterations=1), view), craft(attack, view)
    for rows in (view.validation, unseen):
        before, after = retrained(view, start, rows, 10.0), retrained(view, poison, rows, 10.0)
        assert after[0] > before[0] + 0.05
        assert after[1] > before[1] + 0.01


@pytest.mark.parametrize("greedy", [False, True])
def test_evidence_is_what_scikit_learn_finds(greedy: bool) -> None:
    """Its stopping tolerance, 1e-8 of the margin, leaves 1e-6 of the loss."""
    view, _ = toy()
    poison = craft(PoisonSVM(C=2.0, t=0.05, iterations=5, greedy=greedy), view)
    hinge, _ = retrained(view, poison, view.validation, C=2.0)
    assert poison.stats["validation_hinge_last"] == pytest.approx(hinge, abs=1e-6)
    assert poison.stats["kkt_tolerance"] == svm_dual.EXACT
    first = craft(PoisonSVM(C=2.0, t=0.05, iterations=1, greedy=greedy), view).stats["validation_hinge_first"]
    assert poison.stats["validation_hinge_first"] == first
    if not greedy:
        start = craft(PoisonSVM(C=2.0, t=1e-9, iterations=1), view)
        assert first == pytest.approx(retrained(view, start, view.validation, C=2.0)[0], abs=1e-6)


def test_a_step_is_t_pixels_uphill() -> None:
    view, _ = toy()
    poison = craft(PoisonSVM(t=0.01, iterations=1), view)
    start = view.train.x[poison.source]
    assert torch.equal(poison.y, 1 - view.train.y[poison.source])
    moved = (poison.x - start).flatten(1)
    z, y = torch.cat([view.train.x, start]).flatten(1).double(), torch.cat([view.train.y, poison.y])
    s, n = y.double() * 2 - 1, len(view.train)
    held_out = view.validation.x.flatten(1).double(), view.validation.y.double() * 2 - 1
    gradient = hinge_gradient(solve(z, s, 1.0), z, slice(n, len(z)), *held_out)
    assert float(gradient.norm(dim=1).min()) > 0
    expected = 0.01 * gradient / gradient.norm(dim=1, keepdim=True)
    assert torch.allclose(moved.double(), expected, rtol=0, atol=1e-6)  # pixels are float32


def test_the_order_of_solutions_and_where_each_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One point after the other, then all of them; each solution starts at the rows near the last one's margin."""
    seen: list[tuple[int, int]] = []

    def recorded(z: Tensor, s: Tensor, C: float, working: Tensor) -> SVM:
        seen.append((len(z), int(working.sum())))
        return fit(z, s, C, working)

    monkeypatch.setattr("poisonbench.attacks.poison_svm.attack.fit", recorded)
    craft(PoisonSVM(C=100.0, t=0.05, iterations=3, greedy=True), toy()[0], 3 / 60)
    assert [rows for rows, _ in seen] == [61, 61, 61, 62, 62, 62, 63, 63, 63, 63]
    assert seen[0][1] == 61
    assert all(working < 40 for _, working in seen[1:])


def test_greedy_points_do_not_know_the_later_ones() -> None:
    view, _ = toy()
    attack = PoisonSVM(t=0.05, iterations=3, greedy=True)
    one, four = craft(attack, view, 1 / 60), craft(attack, view, 4 / 60)
    assert torch.allclose(four.x[:1], one.x, atol=1e-6)
    together = replace(attack, greedy=False)
    assert not torch.allclose(craft(together, view, 4 / 60).x[:1], craft(together, view, 1 / 60).x, atol=1e-6)


@pytest.mark.parametrize(("attacked", "labels"), [("zero", {1}), ("one", {0}), ("both", {0, 1})])
def test_the_attacked_class(attacked: str, labels: set[int]) -> None:
    view, _ = toy()
    poison = craft(PoisonSVM(attacked=attacked, iterations=1), view, 0.2)
    assert set(poison.y.tolist()) == labels
    assert bool((view.train.y[poison.source] != poison.y).all())
    assert len(set(poison.source.tolist())) == len(poison) == 12


def test_refusals() -> None:
    game = Game()
    view, budget = game.attacker(PoisonSVM.threat), game.budget(PoisonSVM.threat)
    with pytest.raises(
        ConfigError, match=r"poison-svm needs two classes, this dataset has 4\. Use --dataset digits-17"
    ):
        PoisonSVM().craft(view, budget, Stage(child_generator(0, "attack")))
    with pytest.raises(BudgetError, match="class one has 30 rows to copy, 31 are wanted"):
        craft(PoisonSVM(attacked="one"), toy()[0], 31 / 60)
    for field, value, expected in (("C", 0.0, "> 0"), ("t", float("nan"), "> 0"), ("iterations", 0, "≥ 1")):
        with pytest.raises(ConfigError, match=rf"attack\.{field}: expected .* {expected}, got"):
            PoisonSVM(**{field: value})
