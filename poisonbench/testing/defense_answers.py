"""The part of the contract of defenses about what is tested: the images that models are shown, and what is proven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from unittest import SkipTest

import torch
from torch import Tensor

from poisonbench.defenses.base import Defense
from poisonbench.errors import ValidationError
from poisonbench.experiment.certificate import certificate, refuse_refuted
from poisonbench.problem.predictor import models_of, winners
from poisonbench.problem.samples import Samples
from poisonbench.problem.views import Defended, DefenderView
from poisonbench.seeding import child_generator
from poisonbench.testing.contract import Contract, fix
from poisonbench.testing.observation import global_seed, run_method, stage_of, view_of

_ROUNDING = 1e-5
"""Kernels add up in another order where a batch has another size; a grey level of 256 is 4e-3."""


class DefenseAnswers(Contract):
    """The tests of `transform` and `certify`."""

    defense: Defense

    @fix("Return a tensor of the images' shape and dtype without NaN; x.clamp(0, 1) keeps pixels where they belong.")
    def test_transform_gives_images_like_those(self) -> None:
        """Transform: finite images of the same shape and dtype."""
        x = self._images(6)
        shown = self.defense.transform(x.clone())
        assert isinstance(shown, Tensor), f"it is a {type(shown).__name__}, expected a tensor."
        assert (shown.shape, shown.dtype) == (x.shape, x.dtype), (
            f"images of shape {tuple(x.shape)} and {x.dtype} became {tuple(shown.shape)} and {shown.dtype}."
        )
        assert bool(torch.isfinite(shown).all()), "a pixel is not finite."

    @fix("Use no statistics of the batch, no position in it and no random number: a test image comes alone.")
    def test_transform_is_of_each_image_alone(self) -> None:
        """Transform: each image of itself alone, nothing random."""
        x, turned = self._images(6), torch.tensor([3, 5, 0, 4, 1, 2])
        with global_seed(1):
            whole = self._shown(x)
        cases = {
            "a second time": (x, whole),
            "alone": (x[:1], whole[:1]),
            "in another order": (x[turned], whole[turned]),
            "in another batch": (torch.cat([torch.ones_like(x), x[2:]]), whole[2:]),
        }
        for case, (images, expected) in cases.items():
            with global_seed(2):
                found = self.defense.transform(images.clone())[-len(expected) :]
            same = found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=_ROUNDING)
            assert same, f"shown {case}, an image becomes another."

    @fix("Return an int64 tensor with one number of rows ≥ 0 for each column of votes, or None for all of them.")
    def test_certificate_is_a_number_of_rows(self) -> None:
        """Certificate: none, or one number of rows an image."""
        self._certified(self._votes(self._defended()))

    @fix("Compute each image's number from the votes, classes and rows that certify is handed, and from fields.")
    def test_certificate_is_of_the_votes(self) -> None:
        """Certificate: of the votes alone, whatever the images' order."""
        votes = self._votes(self._defended())
        drawn = torch.randint(self.game.classes, votes.shape, generator=child_generator(0, "votes"))
        votes = torch.cat([votes, drawn], dim=1)
        turned = torch.randperm(votes.shape[1], generator=child_generator(0, "turned"))
        with global_seed(1):
            first = self._certified(votes)
        with global_seed(2):
            again, moved = self._certified(votes), self._certified(votes[:, turned])
        assert _listed(again) == _listed(first), "two certificates of the same votes differ."
        expected = first if first is None else first[turned]
        assert _listed(moved) == _listed(expected), "of images in another order it says another."

    @fix("Count every model that a row reaches; which rows a model has must not depend on order or number of others.")
    def test_certificate_stands(self) -> None:
        """Certificate: no change of so few rows refutes it.

        The defense is trained again on the game's rows with 1, 2 and as many as it certifies against planted, removed
        or altered, in random order. That can refute a certificate, and proves none.
        """
        defended, view = self._defended(), view_of(self.defense, self.game)
        assert isinstance(view, DefenderView)
        votes = self._votes(defended)
        radius = self._certified(votes)
        if radius is None:
            raise SkipTest("it certifies nothing.")
        most = min(int(radius.max()), len(view.train) // 2)
        if most == 0:
            raise SkipTest("it certifies no answer here against one row.")
        before = winners(votes, self.game.classes)
        for number in sorted({1, min(2, most), most}):
            for how, changed, rows in _changes(view.train, number, self.game.classes):
                again = run_method(self.defense, self.game, stage_of(self.defense), replace(view, train=rows))
                after = winners(self._votes(again), self.game.classes)
                try:
                    refuse_refuted(self.defense, radius, before, after, changed)
                except ValidationError as error:
                    raise AssertionError(f"{str(error).removesuffix('.')}, {how}.") from error

    def _defended(self) -> Defended:
        defended = self.observed().result
        assert isinstance(defended, Defended)
        return defended

    def _images(self, n: int) -> Tensor:
        return self.game.samples("test", n).x

    def _shown(self, x: Tensor) -> Tensor:
        shown: object = self.defense.transform(x.clone())
        if not isinstance(shown, Tensor) or (shown.shape, shown.dtype) != (x.shape, x.dtype):
            raise SkipTest("transform gives no images like those that it is given.")
        return shown

    def _votes(self, defended: object) -> Tensor:
        """The labels that the models give 200 images, (models, 200)."""
        assert isinstance(defended, Defended)
        model, shown = self.game.target(), self._shown(self._images(200))
        return torch.stack([model.predict(weights, shown).argmax(1) for weights in models_of(defended.predictor)])

    def _certified(self, votes: Tensor) -> Tensor | None:
        try:
            return certificate(self.defense, votes, self.game.classes, len(self.game.defender().train))
        except ValidationError as error:
            raise AssertionError(str(error)) from error


def _listed(radius: Tensor | None) -> list[int] | None:
    return None if radius is None else radius.tolist()


def _changes(rows: Samples, number: int, classes: int) -> Iterator[tuple[str, int, Samples]]:
    """Sets of rows that differ from these: how, by how many added and taken, and the rows, in random order."""
    generator = child_generator(number, "changes")
    order = torch.randperm(len(rows), generator=generator)
    images = torch.rand((number, *rows.x.shape[1:]), generator=generator).round()  # corners of the box pull most
    labels = torch.randint(classes, (number,), generator=generator)
    planted = Samples(images.to(rows.x.dtype), labels, torch.arange(number))
    altered, half = rows.rows(order), number // 2
    altered.x[:half], altered.y[:half] = 1 - altered.x[:half], (altered.y[:half] + 1) % classes
    changed = {
        "removed": (number, rows.rows(order[number:])),
        "planted": (number, rows.plus(planted)),
        "altered": (2 * half, altered),
    }
    for how, (by, found) in changed.items():
        if by:
            shuffled = found.rows(torch.randperm(len(found), generator=generator))
            yield how, by, replace(shuffled, ids=torch.arange(len(found)))
