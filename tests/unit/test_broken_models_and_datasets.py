"""The contracts of models and datasets: what breaks one of their rules is named, and nothing else is."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from poisonbench.data.base import DataOptions, DatasetSource, Verified
from poisonbench.errors import DataError
from poisonbench.models.base import Model, linear_init
from poisonbench.plugins.registry import register
from poisonbench.problem.samples import Dataset, Samples, Weights
from poisonbench.testing import DatasetContract, Game, ModelContract
from poisonbench.testing.checklist import Verdict, checks, verdicts
from poisonbench.testing.contract import Checks

SHARED = torch.rand(4, 16)


class Once(Function):
    """tanh, with a gradient that has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * (1 - x.detach().tanh() ** 2).detach()


@register("broken-model")
class Broken(Model):
    """Two layers that break the rule they are told to break."""

    how: ClassVar[str] = "nothing"

    def init(self, generator: torch.Generator) -> Weights:
        drawn = torch.Generator().manual_seed(random.getrandbits(9)) if self.how == "global" else generator
        weights = linear_init(drawn, "hidden", 16, 8) | linear_init(drawn, "output", 8, 4)
        if self.how == "idle":
            weights["idle"] = torch.ones(2)
        if self.how == "double":
            weights["hidden.bias"] = weights["hidden.bias"].double()
        if self.how == "same":
            weights |= {name: torch.full_like(value, 0.1) for name, value in weights.items() if "hidden" in name}
            weights |= {name: torch.full_like(value, 0.2) for name, value in weights.items() if "output" in name}
        if self.how == "shared":
            weights["hidden.weight"] = torch.cat([SHARED, SHARED])[:8]
            weights["output.bias"] = weights["hidden.bias"][:4]
        return weights

    def features(self, weights: Weights, z: Tensor) -> Tensor:
        if self.how == "features":
            return z.flatten(1)[:, :3]
        return self._hidden(weights, z)

    def _hidden(self, weights: Weights, z: Tensor) -> Tensor:
        hidden = F.linear(z.flatten(1), weights["hidden.weight"], weights["hidden.bias"])
        hidden = Once.apply(hidden) if self.how == "once" else hidden.tanh()  # type: ignore[no-untyped-call]
        return hidden.detach() if self.how == "detach" else hidden

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        how = self.how
        if how == "raise":
            raise ValueError("boom\nand more")
        if how == "order":
            weights = dict(
                zip(("hidden.weight", "hidden.bias", "output.weight", "output.bias"), weights.values(), strict=True)
            )
        if how == "moves" and training:
            with torch.no_grad():
                weights["output.bias"].data.add_(1)
        logits = F.linear(self._hidden(weights, z), weights["output.weight"], weights["output.bias"])
        if how == "batch":
            logits = logits - logits.mean(0)
        if how == "noise":
            logits = logits + torch.rand(())
        if how == "float":
            logits = logits.float()
        if how == "round":
            logits = logits + (logits.round(decimals=1) - logits).detach()
        return logits[:, :-1] if how == "shape" else logits / 0 if how == "nan" else logits

    def gradient(self, weights: Weights, z: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        loss, gradients = super().gradient(weights, z, y)
        return loss, [-part for part in gradients] if self.how == "uphill" else gradients


def seen(contract: type[Checks], **fields: Any) -> dict[str, Verdict]:
    made = type("Checked", (contract,), {**fields, "test_fresh_process_same_bytes": lambda self: None})
    return {verdict.check: verdict for verdict in verdicts(made)}


def failed(found: dict[str, Verdict]) -> set[str]:
    return {name for name, verdict in found.items() if verdict.status == "failed"}


@pytest.mark.parametrize(
    ("how", "failing", "reason", "also"),
    [
        ("raise", "test_runs", "broken-model raised ValueError: boom", set()),
        ("shape", "test_runs", "logits have shape (12, 3), expected (12, 4).", None),
        ("nan", "test_runs", "logits are not finite.", None),
        ("double", "test_weights_are_plain", "hidden.bias is torch.float64, expected float32.", None),
        ("shared", "test_weights_share_no_memory", "output.bias shares memory with hidden.bias.", None),
        ("global", "test_init_draws_from_its_generator", "draws from a global random generator", None),
        ("noise", "test_evaluation_is_a_function", "give other logits", None),
        ("moves", "test_training_moves_buffers_alone", "changes parameters or inputs in place", None),
        ("batch", "test_rows_are_independent", "logits of a row alone differ by", None),
        ("order", "test_names_decide", "", None),
        ("float", "test_dtype_is_that_of_the_data", "logits are torch.float32, expected float64.", None),
        ("round", "test_gradient_is_the_losses", "along a random direction the loss rises by", None),
        ("detach", "test_gradient_is_the_losses", "hidden.bias has no influence on the loss", None),
        ("idle", "test_gradient_is_the_losses", "idle has no influence on the loss: leave it out", None),
        ("once", "test_second_derivatives", "a Hessian-vector product differs by", {"test_forward_mode"}),
        ("features", "test_features", "the logits are no affine function of the features.", set()),
        ("linear", "test_linear", "the logits of a mean of two images are not the mean of theirs.", set()),
        ("uphill", "test_trains", "after ten steps the loss on their own rows is", set()),
        ("nothing", "", "", set()),
    ],
)
def test_each_broken_rule_of_a_model_is_named(how: str, failing: str, reason: str, also: set[str] | None) -> None:
    """Others may fail with it, unless none of them can."""
    cls = register("broken-model")(type("Made", (Broken,), {"how": how, "linear": how == "linear"}))
    found = seen(ModelContract, model=cls, game=Game())
    if failing:
        assert found[failing].status == "failed"
        assert reason in found[failing].reason
    if also is not None:
        assert failed(found) == {*also, failing} - {""}


def test_the_same_weights_for_all_seeds_are_a_warning() -> None:
    cls = register("broken-model")(type("Made", (Broken,), {"how": "same"}))
    assert seen(ModelContract, model=cls, game=Game())["test_init_draws_from_its_generator"].status == "warned"


@register("broken-dataset")
class Planted(DatasetSource):
    """A dataset that breaks the rule it is told to break."""

    classes = 3
    mean = (0.5,)
    std = (0.5,)
    file_names = ("planted.bin",)
    how: ClassVar[str] = "nothing"
    file: ClassVar[Path]
    loads = 0

    def load(self, options: DataOptions) -> Dataset:
        how, generator = self.how, torch.Generator().manual_seed(0)
        if how == "raise":
            raise DataError("no file")
        type(self).loads += 1
        x, y = torch.rand(30, 1, 4, 4, generator=generator), torch.arange(30) % 3
        x = {"double": x.double(), "dark": x / 300, "bytes": x * 255, "flat": x.flatten(1)}.get(how, x)
        if how == "changes" and self.loads > 1:
            x = x.flip(0)
        if how == "leak":
            x[25] = x[3]
        y = {"label": y + 1, "absent": y % 2, "int": y.int()}.get(how, y)
        ids = torch.zeros(30, dtype=torch.int64) if how == "ids" else torch.arange(30)
        train, test = Samples(x[:20], y[:20], ids[:20]), Samples(x[20:], y[20:], ids[20:])
        if how == "rows":
            test = replace(test, ids=test.ids[:-1])
        name = "another" if how == "name" else "broken-dataset"
        sha256 = "zz" if how == "sha" else f"{self.loads if how == 'counts' else 0:064x}"
        return Dataset(name, sha256, train, test, 3, (0.0,) if how == "mean" else self.mean, self.std)

    def open(self, options: DataOptions) -> Any:
        found = super().open(options)
        return replace(found, train=found.train.rows(torch.arange(19))) if self.how == "open" else found

    def verify(self, options: DataOptions) -> list[Verified]:
        return [] if self.how == "verify" else [Verified("broken-dataset", self.file, 1, "0" * 64)]


@pytest.mark.parametrize(
    ("how", "failing", "reason", "status"),
    [
        ("raise", "test_loads", "broken-dataset raised DataError: no file", "failed"),
        ("name", "test_loads", "it calls itself 'another'", "failed"),
        ("mean", "test_loads", "the class says otherwise", "failed"),
        ("flat", "test_shapes", "x has shape (20, 16), expected (n, c, h, w).", "failed"),
        ("rows", "test_shapes", "test: ids has 9 rows, y has 10.", "failed"),
        ("double", "test_dtypes", "train: x is torch.float64, expected torch.float32.", "failed"),
        ("int", "test_dtypes", "train: y is torch.int32", "failed"),
        ("bytes", "test_pixels_are_in_the_box", "expected [0, 1].", "failed"),
        ("dark", "test_pixels_are_in_the_box", "no pixel is above", "warned"),
        ("label", "test_labels_are_classes", "train: labels 1 to 3, expected 0 to 2.", "failed"),
        ("absent", "test_labels_are_classes", "train: no row of class 2.", "warned"),
        ("ids", "test_ids_are_unique", "29 ids are there twice.", "failed"),
        ("leak", "test_no_test_image_is_trained_on", "1 of 10 test images are training images as well.", "warned"),
        ("sha", "test_hash_is_the_contents", "sha256 is 'zz', expected 64 hex digits.", "failed"),
        ("counts", "test_hash_is_the_contents", "loaded again, its sha256 is another.", "failed"),
        ("changes", "test_hash_is_the_contents", "its bytes are others under the same sha256.", "failed"),
        ("open", "test_opened_is_loaded", "opened, its rows are others.", "failed"),
        ("verify", "test_verifies", "verify names no file.", "failed"),
        ("reach", "test_files_are_out_of_reach", "which has its test images.", "failed"),
        ("nothing", "", "", "ok"),
    ],
)
def test_each_broken_rule_of_a_dataset_is_named(
    how: str, failing: str, reason: str, status: str, tmp_path: Path
) -> None:
    file = tmp_path / "planted.bin"
    file.write_bytes(b"x")
    fields = {"how": how, "file": file} | ({"file_names": ("other",)} if how == "reach" else {})
    cls = register("broken-dataset")(type("Made", (Planted,), fields))
    found = seen(DatasetContract, dataset=cls())
    if failing:
        assert (found[failing].status, reason in found[failing].reason) == (status, True), found[failing]
    else:
        assert {verdict.status for verdict in found.values()} == {"ok"}


@pytest.mark.parametrize("contract", [ModelContract, DatasetContract])
def test_every_check_has_a_title_and_a_fix(contract: type[Checks]) -> None:
    for verdict in checks(contract):
        assert 5 < len(verdict.title) <= 70, verdict.check
        assert not verdict.title.endswith(".")
        assert getattr(contract, verdict.check).__dict__["fix"]
    titles = [verdict.title for verdict in checks(contract)]
    assert len(set(titles)) == len(titles) > 10
