"""Linear models that are trained on the same few rows and one more, a model for each, all at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from poisonbench.errors import ConfigError
from poisonbench.models.base import Model
from poisonbench.models.linear_losses import has_hinge
from poisonbench.models.linear_risk import matrix
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import Samples, Weights


class Retraining:
    """The models that the recipe makes of rows T and a candidate q, for many q, by their scores of quiz images.

    Descent from W_0 on the mean loss of T ∪ {q} stays at W = c W_0 − α Z_T − β zᵀ_q, with Z_T the inputs of T, α of
    shape (C, |T|), β (C,), and a number c that only weight decay lowers. So a step needs inner products of inputs,
    those of T with T, which all models share, and q's own |T| + 1, and no vector as long as an image: α moves by the
    losses' gradients in the scores of T, β by those of q. Nothing is approximated.

    A step is on all rows, and an epoch as many steps as the recipe has batches of |T| + 1 rows; batches are larger as a
    rule, and this is then the recipe to rounding. It augments nothing.

    Args:
        model: one linear layer.
        weights: W_0.
        recipe: step sizes, epochs, momentum, weight decay.
        rows: T.
        quiz: images that are scored, (m, channels, height, width).
        author: whose it is, for messages.
    Raises:
        ConfigError: for a model without closed form, or a recipe whose steps leave the span (adam).
    """

    def __init__(
        self, model: Model, weights: Weights, recipe: Recipe, rows: Samples, quiz: Tensor, author: str
    ) -> None:
        if recipe.optimizer != "sgd":
            raise ConfigError(f"{author} follows gradient descent; set recipe.optimizer=sgd.")
        self._model, self._recipe, self._y = model, recipe, rows.y
        self._hinge = has_hinge(model, author)
        self._z, self._start, self._quiz = self._inputs(rows.x), matrix(weights), self._inputs(quiz)
        self._products, self._across = self._z @ self._z.T, self._z @ self._quiz.T

    def without(self) -> Tensor:
        """The scores of the model that is trained on T alone, (C, m)."""
        return self._scores(self._z[:1], self._y[:1], 0)[0]

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        """The scores of the models that are trained on T and one of the candidates x (b, channels, height, width), y
        (b,): (b, C, m).

        Cost: steps · b · 2 C |T|² operations; memory of some b C (4 |T| + m) numbers.
        """
        return self._scores(self._inputs(x), y, 1)

    @torch.no_grad()
    def _scores(self, q: Tensor, y: Tensor, count: int) -> Tensor:
        """The same for inputs q, (b, d + 1), that count once, or not at all."""
        recipe, total = self._recipe, len(self._y) + count
        near, square = q @ self._z.T, q.square().sum(1, keepdim=True)
        first, own_first = self._start @ self._z.T, q @ self._start.T
        targets, target = self._y.expand(len(q), -1), y[:, None]
        alpha, beta, c = q.new_zeros(len(q), *first.shape), torch.zeros_like(own_first), 1.0
        moving, own_moving, c_moving = torch.zeros_like(alpha), torch.zeros_like(beta), 0.0
        for epoch in range(recipe.epochs):
            for _ in range(math.ceil(total / recipe.batch_size)):
                scores = torch.matmul(alpha, self._products).addcmul_(beta[:, :, None], near[:, None])
                own = c * own_first - (alpha @ near[:, :, None])[:, :, 0] - beta * square
                slopes = self._slopes(torch.sub(c * first, scores, out=scores), targets).div_(total)
                own_slopes = self._slopes(own[:, :, None], target)[:, :, 0] * (count / total)
                if recipe.weight_decay:
                    slopes.add_(alpha, alpha=-recipe.weight_decay)
                    own_slopes -= recipe.weight_decay * beta
                moving = slopes.add_(moving, alpha=recipe.momentum) if recipe.momentum else slopes
                own_moving = own_slopes + recipe.momentum * own_moving
                c_moving = recipe.weight_decay * c + recipe.momentum * c_moving
                alpha.add_(moving, alpha=recipe.rate(epoch))
                beta += recipe.rate(epoch) * own_moving
                c -= recipe.rate(epoch) * c_moving
        of_rows = c * (self._start @ self._quiz.T) - alpha @ self._across
        return of_rows.addcmul_(beta[:, :, None], (q @ self._quiz.T)[:, None], value=-1.0)

    def _slopes(self, scores: Tensor, y: Tensor) -> Tensor:
        """The gradients of the losses in the scores, (b, C, n), of labels (b, n); classes in the middle, since softmax
        over neighbours in memory takes ten times as long (see LogisticRegression)."""
        own = y[:, None]
        if not self._hinge:
            return torch.softmax(scores, 1).scatter_add_(1, own, scores.new_full((1, 1, 1), -1.0).expand(own.shape))
        others = scores.scatter(1, own, float("-inf"))
        most = others.amax(1, keepdim=True)
        rivals = (others == most).to(scores)  # argmax over the middle takes a hundred times as long as amax
        active = (1 + most - scores.gather(1, own) > 0).to(scores)
        return rivals.mul_(active / rivals.sum(1, keepdim=True)).scatter_add_(1, own, -active)

    def _inputs(self, x: Tensor) -> Tensor:
        """Normalised inputs with a 1 at their end, (n, d + 1)."""
        return F.pad(self._model.normalise(x), (0, 1), value=1.0)
