"""Projections: inside their set, idempotent, non-expansive, and nearest."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poisonbench.bilevel.projections import project_box, project_linf

RADIUS = 0.3
CENTRE = torch.rand(5, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PROJECTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "box": project_box,
    "linf": lambda x: project_linf(x, CENTRE, RADIUS),
}
each = pytest.mark.parametrize("name", PROJECTIONS)
seeds = st.integers(0, 10_000)
scales = st.sampled_from([1e-9, 0.1, 1.0, 30.0])


def point(seed: int, scale: float) -> Tensor:
    return CENTRE + scale * torch.randn(
        CENTRE.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def inside(name: str, x: Tensor) -> bool:
    offset = (x - CENTRE).flatten(1)
    if name == "box":
        return bool(((x >= 0) & (x <= 1)).all())
    return float(offset.abs().max()) <= RADIUS * (1 + 1e-12)  # centre ± radius rounds


@each
@settings(max_examples=60, deadline=None)
@given(a=seeds, b=seeds, scale=scales)
def test_inside_idempotent_and_non_expansive(name: str, a: int, b: int, scale: float) -> None:
    project, x, y = PROJECTIONS[name], point(a, scale), point(b, scale)
    px, py = project(x), project(y)
    assert inside(name, px)
    assert torch.allclose(project(px), px, rtol=0, atol=1e-15)
    # Row by row, which implies it for the whole; 1e-12 for rounding at distances of up to 100.
    assert bool(((px - py).flatten(1).norm(dim=1) <= (x - y).flatten(1).norm(dim=1) + 1e-12).all())
    if inside(name, x):
        assert torch.allclose(px, x, rtol=0, atol=1e-15)


@each
@settings(max_examples=40, deadline=None)
@given(a=seeds, b=seeds, scale=scales)
def test_nothing_inside_is_nearer(name: str, a: int, b: int, scale: float) -> None:
    project, x = PROJECTIONS[name], point(a, scale)
    other = project(point(b, 0.3))
    nearest = (x - project(x)).flatten(1).norm(dim=1)
    assert bool((nearest <= (x - other).flatten(1).norm(dim=1) + 1e-12).all())


def test_the_centre_is_its_own_projection_and_inputs_stay() -> None:
    x = point(1, 3.0)
    before = x.clone()
    for project in PROJECTIONS.values():
        project(x)
    assert torch.equal(x, before)
    assert torch.equal(project_linf(CENTRE, CENTRE, RADIUS), CENTRE)
