"""The contract of models: pure functions of weights that are handed in, with the derivatives that methods take."""

from __future__ import annotations

from collections.abc import Callable
from unittest import SkipTest

import torch
from torch import Tensor

from poisonbench.bilevel.forward_mode import along
from poisonbench.errors import ConfigError
from poisonbench.guard.method_errors import told
from poisonbench.identity.tensors import tensor_hash
from poisonbench.models.base import Model
from poisonbench.plugins.registry import name_of, version_of
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Weights
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing.contract import Advice, Checks, fix
from poisonbench.testing.game import CPU, Game
from poisonbench.testing.observation import global_state
from poisonbench.training import train

_ROWS = 12
_MOST_FEATURES = 600
"""Features beyond which as many rows as it takes to tell an affine function are too many for a tiny game."""

_STEP = 1e-6
"""Of central differences in float64: their error is some 1e-9 of the derivative, and few ReLUs change sides."""

_CLOSE = 1e-3


class ModelContract(Checks):
    """The contract that every model must keep. Subclass it in your test suite, under a name that pytest collects.

    Attributes:
        model: the model under test, a class.
        game: gives the shape of the images, their number and that of the classes.
    """

    model: type[Model]
    game: Game = Game(shape=(1, 8, 8))

    @property
    def name(self) -> str:
        """See Checks."""
        return name_of(self.model)

    def _made(self) -> tuple[Model, Weights, Tensor, Tensor]:
        """The model fitted to the game, fresh weights, normalised inputs and labels; a test is skipped if that or a
        forward pass raises: test_runs says why."""
        model, weights = self._drawn()
        try:
            samples = self.game.samples("train", _ROWS)
            z = model.normalise(samples.x)
            model.forward(model.init(child_generator(0, "train")), z.clone())
        except Exception as error:
            raise SkipTest(f"it raised {type(error).__name__}.") from None
        return model, weights, z, samples.y

    def _drawn(self) -> tuple[Model, Weights]:
        """The model and fresh weights; skipped as above."""
        try:
            model = self._built()
            return model, model.init(child_generator(0, "train"))
        except Exception as error:
            raise SkipTest(f"it raised {type(error).__name__}.") from None

    def _built(self) -> Model:
        channels, classes = self.game.shape[0], self.game.classes
        return self.model(self.game.shape, classes, (0.5,) * channels, (0.5,) * channels)

    def _doubled(self) -> tuple[Model, Weights, Tensor, Tensor]:
        """The same in float64, for derivatives."""
        model, weights, z, y = self._made()
        return (
            model,
            {name: value.double() if value.is_floating_point() else value for name, value in weights.items()},
            z.double(),
            y,
        )

    @fix("Derive from pb.Model, write @pb.register(...) above the class, and version: ClassVar[int] = 1 in it.")
    def test_is_a_registered_model(self) -> None:
        """Registered, a model, its version declared."""
        name_of(self.model)
        version_of(self.model)
        assert issubclass(self.model, Model), f"{self.model.__qualname__} is no subclass of Model."

    @fix("Look at the shapes: --game shape=[3,32,32] and --game classes=10 change the images.")
    def test_runs(self) -> None:
        """Runs: an (n, C) matrix of finite logits."""
        n, classes = _ROWS, self.game.classes
        try:
            model, samples = self._built(), self.game.samples("train", n)
            logits = model.forward(model.init(child_generator(0, "train")), model.normalise(samples.x))
        except Exception as error:
            raise AssertionError(f"{self.name} raised {told(error)}") from error
        assert tuple(logits.shape) == (n, classes), f"logits have shape {tuple(logits.shape)}, expected {(n, classes)}."
        assert logits.isfinite().all(), "logits are not finite."

    @fix("Draw weights with torch.rand(..., generator=generator) or pb's linear_init, in float32 on the CPU.")
    def test_weights_are_plain(self) -> None:
        """Weights: named tensors on the CPU, float32 but for buffers."""
        model, weights = self._drawn()
        assert isinstance(weights, dict), f"init returns {type(weights).__name__}, expected a dict."
        assert model.parameters(weights), "there is no parameter."
        for name, value in weights.items():
            assert isinstance(name, str), f"the name {name!r} is no text."
            assert name, "a weight has no name."
            assert isinstance(value, Tensor), f"{name} is {type(value).__name__}, expected a tensor."
            assert value.device == CPU, f"{name} is on {value.device}, expected the CPU."
            assert value.dtype == torch.float32 or name in model.buffers, f"{name} is {value.dtype}, expected float32."
            assert not value.requires_grad, f"{name} requires gradients; the training loop decides that."
        missing = sorted(model.buffers - set(weights))
        assert not missing, f"buffers names {missing[0]}, which is no weight."

    @fix("Make each weight a tensor of its own in `init`: .clone() what two names share, keep none in the class.")
    def test_weights_share_no_memory(self) -> None:
        """Weights share no memory: training changes them in place."""
        model, weights = self._drawn()
        again = model.init(child_generator(0, "train"))
        where = dict[int, str]()
        for name, value in [*weights.items(), *((f"{name} of another draw", value) for name, value in again.items())]:
            place = value.untyped_storage().data_ptr()
            assert not value.numel() or place not in where, f"{name} shares memory with {where[place]}."
            where[place] = name

    @fix("Draw from the generator that `init` is handed, and from nothing else.")
    def test_init_draws_from_its_generator(self) -> None:
        """Determinism: the same generator, the same weights."""
        model, weights = self._drawn()
        state = global_state()
        same, other = model.init(child_generator(0, "train")), model.init(child_generator(1, "train"))
        assert global_state() == state, "init draws from a global random generator."
        assert _hash(same) == _hash(weights), "the same generator gives other weights."
        if _hash(other) == _hash(weights):
            raise Advice("every generator gives the same weights: all seeds begin alike.")

    @fix("Compute the logits from weights and z alone; draw nothing, and change neither.")
    def test_evaluation_is_a_function(self) -> None:
        """Evaluation: the same logits twice, nothing changed, nothing drawn."""
        model, weights, z, _ = self._made()
        before, state = _hash(weights) + tensor_hash(z), global_state()
        first, second = model.forward(weights, z), model.forward(weights, z)
        assert torch.equal(first, second), "the same weights and inputs give other logits."
        assert _hash(weights) + tensor_hash(z) == before, "it changes weights or inputs."
        assert global_state() == state, "it draws from a global random generator."

    @fix("Name what training moves, such as running means, in `buffers`; change nothing else in place.")
    def test_training_moves_buffers_alone(self) -> None:
        """Training mode: moves buffers and nothing else."""
        model, weights, z, _ = self._made()
        before = _hash(model.parameters(weights)) + tensor_hash(z)
        model.forward(weights, z, training=True)
        assert _hash(model.parameters(weights)) + tensor_hash(z) == before, "it changes parameters or inputs in place."

    @fix("In evaluation use running statistics, as batch normalisation does; never those of the batch.")
    def test_rows_are_independent(self) -> None:
        """Rows: logits do not depend on the other rows of the batch."""
        model, weights, z, _ = self._doubled()
        whole = model.forward(weights, z)
        alone = torch.cat([model.forward(weights, row) for row in z.split(1)])
        assert _far(alone, whole) < _CLOSE, f"logits of a row alone differ by {_far(alone, whole):.1e} of their size."

    @fix("Read weights by their names: a file or a caller may have them in any order.")
    def test_names_decide(self) -> None:
        """Names: the order of the weights does not matter."""
        model, weights, z, _ = self._made()
        turned = dict(reversed(weights.items()))
        assert torch.equal(model.forward(turned, z), model.forward(weights, z)), "in another order logits are others."

    @fix("Take device and dtype from weights and z; make constants with z.new_tensor(...).")
    def test_dtype_is_that_of_the_data(self) -> None:
        """Dtype: float64 weights and inputs give float64 logits."""
        model, weights, z, _ = self._made()
        doubled, wide, inputs, _ = self._doubled()
        logits = doubled.forward(wide, inputs)
        assert logits.dtype == torch.float64, f"logits are {logits.dtype}, expected float64."
        far = _far(model.forward(weights, z).double(), logits)
        assert far < _CLOSE, f"float32 differs from float64 by {far:.1e} of the logits."

    @fix("Detach nothing, and round nothing, between weights and loss; a weight without a use is none.")
    def test_gradient_is_the_losses(self) -> None:
        """Gradient: finite, of every parameter, that of the loss."""
        model, weights, z, y = self._doubled()
        names, gradients = self._gradient(model, weights, z, y)
        for name, gradient in zip(names, gradients, strict=True):
            assert gradient.isfinite().all(), f"the gradient of {name} is not finite."
        direction = _direction(gradients)
        claimed = _dot(gradients, direction)
        found = _difference(lambda at: model.loss(model.forward(at, z, training=True), y), model, weights, direction)
        assert abs(float(found - claimed)) <= _CLOSE * _size(gradients), (
            f"along a random direction the loss rises by {float(found):.6g}, its gradient says {float(claimed):.6g}."
        )

    @fix("Use operations that can be differentiated twice: attacks and defenses take Hessian-vector products.")
    def test_second_derivatives(self) -> None:
        """Second derivatives: Hessian-vector products of the loss."""
        model, weights, z, y = self._doubled()
        _, gradients = self._gradient(model, weights, z, y)
        direction = _direction(gradients)
        flat = torch.cat([part.flatten() for part in direction])
        leaves = _leaves(model, weights)
        product = model.hessian(leaves, z, y)(flat)
        found = _difference(
            lambda at: torch.cat([part.flatten() for part in self._gradient(model, at, z, y)[1]]),
            model, weights, direction,
        )  # fmt: skip
        assert product.isfinite().all(), "a Hessian-vector product is not finite."
        far = float((product - found).norm())
        assert far <= _CLOSE * max(float(product.norm()), _size(gradients)), (
            f"a Hessian-vector product differs by {far:.1e} from differences of gradients, whose norm is "
            f"{float(found.norm()):.1e}."
        )

    @fix("Use torch's own operations: a custom autograd.Function needs `jvp` for forward mode.")
    def test_forward_mode(self) -> None:
        """Forward mode: products with the gradients of single rows."""
        model, weights, z, y = self._doubled()
        _, gradients = self._gradient(model, weights, z, y)
        names = list(model.parameters(weights))
        direction = dict(zip(names, _direction(gradients), strict=True))
        rest = {name: value for name, value in weights.items() if name in model.buffers}

        def losses(parameters: Weights) -> Tensor:
            return model.losses(model.forward({**rest, **parameters}, z), y)

        _, found = along(losses, (model.parameters(weights),), (direction,))
        assert tuple(found.shape) == (len(y),), f"losses has shape {tuple(found.shape)}, expected one a row."
        expected = _difference(
            lambda at: model.losses(model.forward(at, z), y), model, weights, list(direction.values())
        )
        scale = max(float(expected.norm()), _size(gradients))
        far = float((found - expected).norm())
        assert far <= _CLOSE * scale, f"forward mode differs by {far:.1e} from differences of the rows' losses."

    @fix("Return in `features` what the last affine layer is given.")
    def test_features(self) -> None:
        """Features: (n, k), of which the logits are an affine function."""
        model, weights, z, _ = self._doubled()
        try:
            width = model.features(weights, z).shape[-1]
        except ConfigError:
            raise SkipTest("it names none: defenses in feature space cannot look at it.") from None
        if width > _MOST_FEATURES:
            raise SkipTest(f"{width} features are too many for a tiny game.")
        z = model.normalise(self.game.samples("features", width + 20).x.double())
        features, logits = model.features(weights, z), model.forward(weights, z)
        assert tuple(features.shape) == (len(z), width), f"features have shape {tuple(features.shape)}."
        columns = torch.cat([features, features.new_ones(len(z), 1)], 1)
        fitted = columns @ torch.linalg.lstsq(columns, logits, driver="gelsd").solution
        assert _far(fitted, logits) < _CLOSE, "the logits are no affine function of the features."

    @fix("Set linear = True only if the logits are affine in the pixels.")
    def test_linear(self) -> None:
        """Linear, if declared: logits affine in the pixels."""
        model, weights, z, _ = self._doubled()
        if not model.linear:
            raise SkipTest("it does not declare to be linear.")
        first, second = z[: _ROWS // 2], z[_ROWS // 2 :]
        middle = model.forward(weights, (first + second) / 2)
        expected = (model.forward(weights, first) + model.forward(weights, second)) / 2
        assert _far(middle, expected) < _CLOSE, "the logits of a mean of two images are not the mean of theirs."

    @fix("Look at the initial weights and at the loss; a recipe is the protocol's, and tried with lr = 0.05 here.")
    def test_trains(self) -> None:
        """Training: the loss falls, the same bytes twice."""
        model, weights, z, y = self._made()
        samples, recipe = self.game.samples("train", _ROWS), Recipe(lr=0.05, batch_size=_ROWS, epochs=10)

        def trained() -> Weights:
            return train(model, samples, recipe, Stage(child_generator(0, "train")), "train")

        first, second = trained(), trained()
        assert _hash(first) == _hash(second), "two trainings with the same stream end in other weights."
        before, after = (float(model.loss(model.forward(at, z), y)) for at in (weights, first))
        assert after < before, f"after ten steps the loss on their own rows is {after:.4g}, before it was {before:.4g}."

    def _gradient(self, model: Model, weights: Weights, z: Tensor, y: Tensor) -> tuple[list[str], list[Tensor]]:
        """Names and gradients of the parameters, in training mode; a parameter without influence fails."""
        leaves = _leaves(model, weights)
        parameters = model.parameters(leaves)
        loss = model.loss(model.forward(leaves, z, training=True), y)
        assert loss.requires_grad, "the loss does not depend on the weights."
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        idle = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
        assert not idle, f"{idle[0]} has no influence on the loss: leave it out, or name it in buffers."
        return list(parameters), [gradient for gradient in gradients if gradient is not None]


def _leaves(model: Model, weights: Weights) -> Weights:
    """A copy whose parameters are leaves that require gradients."""
    return {name: value.clone().requires_grad_(name not in model.buffers) for name, value in weights.items()}


def _difference(of: Callable[[Weights], Tensor], model: Model, weights: Weights, direction: list[Tensor]) -> Tensor:
    """The derivative along a direction by a central difference."""
    ends = []
    for sign in (1, -1):
        moved = {name: value.clone() for name, value in weights.items()}
        for value, part in zip(model.parameters(moved).values(), direction, strict=True):
            value.add_(part, alpha=sign * _STEP)
        ends.append(of(moved).detach())
    return (ends[0] - ends[1]) / (2 * _STEP)


def _direction(like: list[Tensor]) -> list[Tensor]:
    """A random direction of norm 1."""
    generator = child_generator(0, "direction")
    parts = [torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in like]
    size = _size(parts)
    return [part / size for part in parts]


def _dot(first: list[Tensor], second: list[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()


def _size(parts: list[Tensor]) -> float:
    return float(_dot(parts, parts).sqrt())


def _far(found: Tensor, expected: Tensor) -> float:
    """The largest difference, over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))


def _hash(weights: Weights) -> str:
    return tensor_hash(*(weights[name] for name in sorted(weights)))
