"""Adam on pixels is torch's Adam."""

import torch

from poisonbench.attacks.pixel_adam import adam_descend, pixel_state


def test_a_step_is_torchs_adam() -> None:
    """The same arithmetic, bit for bit, over three steps and a change of rate."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((2, 1, 3, 3), generator=generator)
    before, state = x.clone(), pixel_state(x)
    expected = x.clone().requires_grad_()
    optimizer = torch.optim.Adam([expected], lr=0.1)
    for step, rate in enumerate((0.1, 0.1, 0.01)):
        slope = torch.randn(x.shape, generator=generator)
        adam_descend(state, slope, rate, step)
        expected.grad, optimizer.param_groups[0]["lr"] = slope, rate
        optimizer.step()
    assert torch.equal(state["x"], expected.detach())
    assert torch.equal(x, before)
