"""Images that are read some rows at a time: the same rows, and never many at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from poisonbench.errors import CorruptFileError, ValidationError
from poisonbench.files.stored_tensor import stored_tensors
from poisonbench.guard.leakage import refuse_test_images
from poisonbench.images import BLOCK, Images, Selection, blocks
from poisonbench.problem.budget import Budget
from poisonbench.problem.open_samples import OpenPoison, OpenSamples
from poisonbench.problem.samples import PoisonSet, Samples
from poisonbench.problem.threat import ThreatModel

N, SHAPE = 1500, (3, 16, 16)
ROWS = BLOCK // (4 * 3 * 16 * 16)
"""Rows of a block: there are several."""


def images(n: int, seed: int) -> Tensor:
    return torch.randint(256, (n, *SHAPE), generator=torch.Generator().manual_seed(seed)) / 255


@dataclass
class Counted:
    """Images that note how many rows were read at once."""

    images: Tensor
    most: int = 0

    @property
    def shape(self) -> torch.Size:
        return self.images.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.images.dtype

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        read = self.images[rows]
        self.most = max(self.most, len(read))
        return read


def poisoned(train: Samples) -> PoisonSet:
    """Most rows with a source; with duplicates, a row of −0 that is one of 0, and other labels."""
    order = torch.randperm(N, generator=torch.Generator().manual_seed(7))
    x, y, source = (train.x[order] * 0.9 + 0.05).contiguous(), train.y[order].clone(), order.clone()
    x[N - 5 :], y[N - 5 :] = x[:5], y[:5]
    x[10], x[N - 10], y[10] = 0.0, -0.0, y[N - 10]
    y[20:30] = (y[20:30] + 1) % 3
    source[40:60] = -1
    return PoisonSet(x, y, source)


@pytest.fixture(scope="module")
def train() -> Samples:
    return Samples(images(N, 0), torch.arange(N) % 3, torch.arange(N))


def test_what_is_seen_block_by_block_is_what_is_there(train: Samples) -> None:
    poison = poisoned(train)
    made_from = poison.source >= 0
    rows = torch.cat([poison.x.flatten(1), poison.y[:, None].float()], 1)
    assert Budget(1.0, N, 3, ThreatModel()).verify(poison, train, "x") == {
        "n_poison": N,
        "linf_max": float((poison.x[made_from] - train.x[poison.source[made_from]]).abs().max()),
        "duplicates": N - len(torch.unique(rows, dim=0)),
        "relabelled": int((poison.y != train.y[poison.source])[made_from].sum()),
    }


@pytest.mark.parametrize("row", [0, ROWS - 1, ROWS, N - 1])
@pytest.mark.parametrize(("value", "said"), [(float("nan"), "1 pixel that is NaN"), (1.5, r"in \[0.05, 1.5\]")])
def test_one_bad_pixel_is_found_in_whatever_block(train: Samples, row: int, value: float, said: str) -> None:
    x = train.x * 0.9 + 0.05
    x[row, 2, 15, 15] = value
    with pytest.raises(ValidationError, match=said):
        Budget(1.0, N, 3, ThreatModel()).verify(PoisonSet(x, train.y, torch.arange(N)), train, "x")


@pytest.mark.parametrize("row", [0, ROWS, N - 1])
def test_one_row_too_far_and_one_test_image_are_found_in_whatever_block(train: Samples, row: int) -> None:
    budget, test = Budget(1.0, N, 3, ThreatModel(), 0.1), images(N, 1)
    x = train.x.clone()
    budget.verify(PoisonSet(x, train.y, torch.arange(N)), train, "x")
    refuse_test_images("x", x, test, (train.x, train.x[:5]))
    x[row] = test[N - 1 - row]
    with pytest.raises(ValidationError, match="breaks its radius"):
        budget.verify(PoisonSet(x, train.y, torch.arange(N)), train, "x")
    with pytest.raises(ValidationError, match="1 row that is an image"):
        refuse_test_images("x", x, test, (train.x, train.x[:5]))
    refuse_test_images("x", x, test, (train.x, x))


@pytest.mark.parametrize("copied", [False, True])
def test_no_set_is_ever_read_as_a_whole(train: Samples, copied: bool) -> None:
    """Neither the poison set, nor D_tr, nor the test set; also where every row is a test image that is known."""
    made = poisoned(train)
    x, rows, test = Counted(train.x if copied else made.x), Counted(train.x), Counted(train.x)
    poison = OpenPoison(x, made.y, torch.arange(N) if copied else made.source)
    known = OpenSamples(rows, train.y, train.ids)
    seen = Budget(1.0, N, 3, ThreatModel(), 1.0 if copied else None).verify(poison, known, "x")
    assert seen["n_poison"] == N
    refuse_test_images("x", x, test, (rows,))
    assert 0 < max(x.most, rows.most, test.most) <= ROWS < N / 2


def test_rows_of_a_file_are_the_tensors(tmp_path: Path, train: Samples) -> None:
    tensors = {"x": train.x, "y": train.y, "b": torch.arange(7, dtype=torch.uint8), "none": torch.zeros(0, 3)}
    save_file({**tensors, "h": torch.rand(5, 2).to(torch.bfloat16)}, tmp_path / "a.safetensors")
    found = stored_tensors(tmp_path / "a.safetensors")
    assert set(found) == {*tensors, "h"}
    for name, tensor in tensors.items():
        assert (tuple(found[name].shape), found[name].dtype) == (tuple(tensor.shape), tensor.dtype)
        for rows in (slice(None), slice(2, 5), slice(4, 2), torch.arange(0)):
            assert torch.equal(found[name][rows], tensor[rows])
    assert torch.equal(found["x"][torch.tensor([4, 0, 4])], train.x[[4, 0, 4]])
    assert found["h"][1:3].dtype == torch.bfloat16


def test_a_file_that_shrinks_or_goes_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.rand(50, 4)}, path)
    x = stored_tensors(path)["x"]
    path.write_bytes(path.read_bytes()[:-4])
    assert len(x[:49]) == 49
    with pytest.raises(CorruptFileError, match=r"changed while it was read: it ends too early\.$"):
        x[:]
    path.unlink()
    with pytest.raises(CorruptFileError, match="changed while it was read"):
        x[torch.tensor([3])]


def test_a_selection_of_a_selection(train: Samples) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    stored: Images = train.x
    chosen = OpenSamples(stored, train.y, train.ids).rows(order[:90]).rows(torch.arange(10, 30))
    assert tuple(chosen.x.shape) == (20, *SHAPE)
    assert torch.equal(chosen.load().x, train.x[order[10:30]])
    assert torch.equal(Selection(stored, order)[torch.tensor([5, 2])], train.x[order[[5, 2]]])
    loaded = OpenPoison(chosen.x, chosen.y, chosen.ids).load()
    assert torch.equal(loaded.source, order[10:30])


def test_blocks_are_all_rows_once() -> None:
    for shape in [(0, 5), (1, 5), (ROWS, *SHAPE), (ROWS + 1, *SHAPE), (3, 1 << 20)]:
        numbers = [number for part in blocks(shape) for number in range(shape[0])[part]]
        assert numbers == list(range(shape[0]))
