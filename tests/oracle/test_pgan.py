"""pGAN: gradients against finite differences, steps against torch's modules and optimizers, D's optimum, labels."""

from __future__ import annotations

import math
from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

from poisonbench.attacks.pgan.attack import PGAN
from poisonbench.attacks.pgan.conditional_gan import ConditionalGAN, ConvolutionalGAN, DenseGAN, gan_for
from poisonbench.attacks.pgan.game import Rows, ThreePlayers
from poisonbench.attacks.pgan.weight_adam import adam_step, moments
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import Model, linear_init
from poisonbench.models.lr import LogisticRegression
from poisonbench.plugins.registry import load
from poisonbench.problem.budget import Budget
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

CLASSES, LATENT, ROWS = 3, 5, 6
f64 = torch.float64


class Toy:
    """Three players with float64 weights, a minibatch of each kind, and z."""

    def __init__(self, model: str = "nn", shape: tuple[int, int, int] = (1, 4, 4), radius: float | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.gan = gan_for(shape, CLASSES, LATENT)
        self.model: Model = load("model", model)(shape, CLASSES, (0.5,) * shape[0], (0.5,) * shape[0])
        self.budget = Budget(0.25, 40, CLASSES, ThreatModel(), radius)
        self.theta, self.phi, self.w = (
            {name: value.double().requires_grad_() for name, value in init(generator).items()}
            for init in (self.gan.init_generator, self.gan.init_discriminator, self.model.init)
        )
        self.z = torch.randn(ROWS, LATENT, generator=generator, dtype=f64)
        x = torch.rand(3, ROWS, *shape, generator=generator, dtype=f64)
        y = torch.arange(3 * ROWS).view(3, ROWS) % CLASSES
        self.genuine, self.start = (x[0], y[0]), Samples(x[1], y[1], y[1])
        self.clean = self.model.normalise(x[2]), y[2]

    def game(self, alpha: float, saturating: bool = False) -> ThreePlayers:
        return ThreePlayers(self.gan, self.model, self.budget, alpha, saturating)

    def made(self) -> Rows:
        return self.game(0.5).images(self.theta, self.z, self.start), self.start.y

    def generator_gradient(self, game: ThreePlayers) -> list[Tensor]:
        loss = game.generator_loss(self.phi, self.w, self.made())
        return list(torch.autograd.grad(loss, list(self.theta.values())))


def objective(toy: Toy, alpha: float, saturating: bool) -> float:
    """α V + (1 − α) W as it is written, V's second term swapped if not saturating: probabilities and logarithms."""
    x, y = toy.made()
    D = torch.sigmoid(toy.gan.scores(toy.phi, x, y))
    real = torch.sigmoid(toy.gan.scores(toy.phi, *toy.genuine))
    V = torch.log(real).mean() + (torch.log(1 - D).mean() if saturating else -torch.log(D).mean())
    share = toy.budget.n_poison / (toy.budget.n_train + toy.budget.n_poison)
    on_made = toy.model.losses(toy.model.forward(toy.w, toy.model.normalise(x)), y).mean()
    on_clean = toy.model.losses(toy.model.forward(toy.w, toy.clean[0]), toy.clean[1]).mean()
    return float(alpha * V - (1 - alpha) * (share * on_made + (1 - share) * on_clean))


@pytest.mark.parametrize("saturating", [True, False])
@pytest.mark.parametrize(
    ("model", "shape", "radius"),
    [("lr", (1, 4, 4), None), ("nn", (1, 4, 4), 0.2), ("svm", (1, 4, 4), None), ("cnn", (3, 8, 8), None)],
)
def test_the_generators_gradient_against_finite_differences(
    model: str, shape: tuple[int, int, int], radius: float | None, saturating: bool
) -> None:
    """Of the whole objective: what generator_loss leaves out does not depend on θ. Central differences with h = 1e-6,
    which crosses no kink of the (leaky) ReLUs here: rounding is 1e-10 beside values near 1, truncation less; the
    largest slopes are 5e-4 and more, so 1e-6 of them is a margin of 5."""
    toy, h = Toy(model, shape, radius), 1e-6
    found = toy.generator_gradient(toy.game(0.3, saturating))
    largest = max(float(part.abs().max()) for part in found)
    for weight, part in zip(toy.theta.values(), found, strict=True):
        for entry in (0, int(part.abs().argmax())):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    weight.view(-1)[entry] += sign * h
                    ends.append(objective(toy, 0.3, saturating))
                    weight.view(-1)[entry] -= sign * h
            assert abs((ends[0] - ends[1]) / (2 * h) - float(part.reshape(-1)[entry])) < 1e-6 * largest


@given(alpha=st.floats(0, 1), saturating=st.booleans())
@settings(max_examples=10, deadline=None)
def test_alpha_mixes_the_gradients_of_v_and_of_w(alpha: float, saturating: bool) -> None:
    """Linear in α between plain V and plain W; float64."""
    toy = Toy("lr")
    mixed, of_v, of_w = (toy.generator_gradient(toy.game(a, saturating)) for a in (alpha, 1.0, 0.0))
    expected = [alpha * v + (1 - alpha) * w for v, w in zip(of_v, of_w, strict=True)]
    torch.testing.assert_close(mixed, expected, rtol=1e-10, atol=1e-14)


@given(epsilon=st.floats(0.01, 1.0), n=st.integers(100, 5000))
@settings(max_examples=20, deadline=None)
def test_lambda_is_the_poison_fraction_of_the_training_set(epsilon: float, n: int) -> None:
    budget = Budget(epsilon, n, CLASSES, ThreatModel())
    share = replace(Toy("lr").game(0.5), budget=budget).share
    assert share == budget.n_poison / (n + budget.n_poison)
    assert abs(share - epsilon / (1 + epsilon)) < 1 / n


def test_v_and_w_are_what_they_are_called() -> None:
    """By hand, row by row."""
    toy = Toy("nn")
    game, made = toy.game(0.5), (toy.made()[0].detach(), toy.made()[1])
    for weights in (toy.phi, toy.w):
        for value in weights.values():
            value.requires_grad_(False)
    D = torch.sigmoid(toy.gan.scores(toy.phi, *made)).tolist()
    real = torch.sigmoid(toy.gan.scores(toy.phi, *toy.genuine)).tolist()
    V = sum(math.log(p) for p in real) / ROWS + sum(math.log(1 - p) for p in D) / ROWS
    assert float(game.value(toy.phi, toy.genuine, made)) == pytest.approx(V, rel=1e-12)

    def mean_loss(z: Tensor, y: Tensor) -> float:
        chances = torch.softmax(toy.model.forward(toy.w, z), 1).tolist()
        return -sum(math.log(row[label]) for row, label in zip(chances, y.tolist(), strict=True)) / len(y)

    of_made, of_clean = mean_loss(toy.model.normalise(made[0]), made[1]), mean_loss(*toy.clean)
    assert float(game.poison_loss(toy.w, made)) == pytest.approx(of_made, rel=1e-12)
    W = -(0.2 * of_made + 0.8 * of_clean)  # 10 poison points, 40 clean ones
    assert float(-game.classifier_loss(toy.w, toy.clean, made)) == pytest.approx(W, rel=1e-12)


class Net(nn.Module):
    """DenseGAN's layers as a module."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        sizes = [tuple(weights[f"layer{index}.weight"].shape) for index in (1, 2, 3)]
        self.layers = nn.ModuleList(nn.Linear(n_in, n_out) for n_out, n_in in sizes)
        self.load_state_dict({f"layers.{int(name[5]) - 1}{name[6:]}": value for name, value in weights.items()})

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        hidden = torch.cat([x, torch.eye(4)[y]], 1)
        for layer in self.layers[:-1]:
            layer_out = layer(hidden)
            hidden = torch.where(layer_out > 0, layer_out, 0.2 * layer_out)
        out: Tensor = self.layers[-1](hidden)
        return out


def by_hand(attack: PGAN, game: Game) -> tuple[Tensor, Tensor]:
    """pGAN on lr in float32 with torch's modules, autograd and optimizers; without C if α = 1."""
    seen, generator = game.attacker(ThreatModel()), child_generator(0, "attack")
    gan, n, n_poison = DenseGAN(game.shape, 4, attack.latent), game.n_train, game.budget(ThreatModel()).n_poison
    G, D = Net(gan.init_generator(generator)), Net(gan.init_discriminator(generator))
    C = nn.Linear(16, 4)
    weight, bias = (next(part for part in seen.weights.values() if part.dim() == dim) for dim in (2, 1))
    C.load_state_dict({"weight": weight, "bias": bias})
    of_g = torch.optim.Adam(G.parameters(), attack.lr_g, betas=(0.5, 0.999))
    of_d = torch.optim.Adam(D.parameters(), attack.lr_d, betas=(0.5, 0.999))
    of_c = torch.optim.SGD(C.parameters(), attack.lr_c or game.recipe.lr)
    share, x, y = n_poison / (n + n_poison), seen.train.x.flatten(1), seen.train.y
    poisoned = torch.tensor([row for row in range(n) if not attack.Y_p or int(y[row]) in attack.Y_p])
    for _ in range(attack.steps):
        among = (poisoned, poisoned, torch.arange(n))
        genuine, start, clean = (
            rows[torch.randint(len(rows), (attack.batch_size,), generator=generator)] for rows in among
        )
        z = torch.randn(attack.batch_size, attack.latent, generator=generator)
        made = (torch.tanh(G(z, y[start])) + 1) / 2
        ones = torch.ones(attack.batch_size, 1)
        seen_as = F.binary_cross_entropy_with_logits
        of_d.zero_grad()
        real, fake = D(2 * x[genuine] - 1, y[genuine]), D(2 * made.detach() - 1, y[start])
        (seen_as(real, ones) + seen_as(fake, 0 * ones)).backward()
        of_d.step()
        if attack.alpha < 1:
            of_c.zero_grad()
            on_clean, on_made = C((x[clean] - 0.5) / 0.5), C((made.detach() - 0.5) / 0.5)
            (share * F.cross_entropy(on_made, y[start]) + (1 - share) * F.cross_entropy(on_clean, y[clean])).backward()
            of_c.step()
        of_g.zero_grad()
        loss = attack.alpha * seen_as(D(2 * made - 1, y[start]), ones)
        if attack.alpha < 1:
            loss = loss - (1 - attack.alpha) * share * F.cross_entropy(C((made - 0.5) / 0.5), y[start])
        loss.backward()
        of_g.step()
    rows = poisoned[torch.randperm(len(poisoned), generator=generator)[:n_poison]]
    z = torch.randn(n_poison, attack.latent, generator=generator)
    return ((torch.tanh(G(z, y[rows])) + 1) / 2).detach().view(-1, *game.shape), y[rows]


class Watched(LogisticRegression):
    """Says what it was called with: rows, and whether batch statistics are taken."""

    def forward(self, weights: Weights, z: Tensor, training: bool = False) -> Tensor:
        calls.append((len(z), training))
        return super().forward(weights, z, training)


calls: list[tuple[int, bool]] = []


def test_batch_statistics_are_of_clean_points() -> None:
    toy = Toy("lr")
    game = replace(toy.game(0.5), model=Watched(toy.model.shape, CLASSES, (0.5,), (0.5,)))
    x, y = toy.made()
    calls.clear()
    game.classifier_loss(toy.w, toy.clean, (x[:4], y[:4]))
    assert sorted(calls) == [(4, False), (ROWS, True)]
    calls.clear()
    game.generator_loss(toy.phi, toy.w, (x, y))
    assert calls == [(ROWS, False)]


def test_a_classifier_with_buffers() -> None:
    """They are statistics: moved, not differentiated; the clean weights stay."""
    poison = craft(PGAN(steps=1, batch_size=4, latent=4), Game(model="resnet18", shape=(3, 8, 8), n_train=10))
    assert bool(torch.isfinite(poison.x).all())


def craft(attack: PGAN, game: Game) -> PoisonSet:
    budget = game.budget(attack.threat)
    return attack.craft(game.attacker(attack.threat), budget, Stage(child_generator(0, "attack")))


@pytest.mark.parametrize(("alpha", "Y_p"), [(1.0, ()), (0.3, ()), (0.3, (1, 3))])
def test_steps_against_torchs_modules_and_optimizers(alpha: float, Y_p: tuple[int, ...]) -> None:
    """Three steps of each player; with α = 1 the reference is a conditional GAN without a classifier. float32: every
    step moves a weight by about 0.01, another order of sums moves a pixel by 1e-6; a step of other size, sign, order
    or batch by 1e-3 and more."""
    attack = PGAN(alpha=alpha, steps=3, batch_size=8, latent=6, lr_g=0.01, lr_d=0.01, Y_p=Y_p)
    found, (x, y) = craft(attack, Game()), by_hand(attack, Game())
    assert torch.equal(found.y, y)
    torch.testing.assert_close(found.x, x, rtol=0, atol=2e-5)


def test_with_alpha_1_the_classifier_is_irrelevant() -> None:
    """Byte for byte, whatever it is and however it learns; with a smaller α both matter."""
    plain = PGAN(alpha=1.0, steps=3, batch_size=8, latent=6)
    for attack, same in ((plain, True), (replace(plain, alpha=0.5), False)):
        first = craft(attack, Game()).x
        assert torch.equal(craft(replace(attack, lr_c=3.0), Game()).x, first) is same
        assert torch.equal(craft(attack, Game(model="svm")).x, first) is same


def test_adam_against_torchs() -> None:
    """Four steps from zero moments, float64: the same operations."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        "a": torch.randn(3, 2, generator=generator, dtype=f64),
        "b": torch.randn(2, generator=generator, dtype=f64),
    }
    state = {f"G/{name}": value for name, value in moments(weights).items()}
    theirs = [value.clone().requires_grad_() for value in weights.values()]
    optimizer = torch.optim.Adam(theirs, 0.1, betas=(0.5, 0.999))
    for step in range(4):
        slopes = [torch.randn(part.shape, generator=generator, dtype=f64) for part in theirs]
        adam_step(weights, state, "G", slopes, 0.1, step)
        for part, slope in zip(theirs, slopes, strict=True):
            part.grad = slope
        optimizer.step()
        torch.testing.assert_close(list(weights.values()), [part.detach() for part in theirs], rtol=1e-14, atol=0)


class Table(ConditionalGAN):
    """D as a table: one score for each of K points (pixel 0 of x is the point's number / K) and class."""

    K = 4

    def init_generator(self, generator: torch.Generator) -> Weights:
        return linear_init(generator, "unused", 1, 1)

    def init_discriminator(self, generator: torch.Generator) -> Weights:
        return {"scores": torch.randn(self.classes, self.K, generator=generator)}

    def images(self, theta: Weights, z: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("the points are given, not generated")

    def scores(self, phi: Weights, x: Tensor, y: Tensor) -> Tensor:
        return phi["scores"][y, (x.flatten(1)[:, 0] * self.K).round().long()]


def test_the_discriminator_approaches_p_over_p_plus_q() -> None:
    """Against a fixed generator with q, points of p, each point as often as its chance says: D* = p / (p + q) for each
    class (Goodfellow et al., 2014, Proposition 1). V is concave in a table's scores; Adam's last steps are of 0.05."""
    table = Table((1, 1, 1), 2, 1)
    p, q = torch.tensor([[4, 3, 2, 1], [1, 1, 4, 4]]), torch.tensor([[1, 2, 3, 4], [4, 1, 1, 4]])

    def rows(counts: Tensor) -> Rows:
        point = torch.arange(Table.K).repeat(2).repeat_interleave(counts.flatten())
        return (point.double() / Table.K).view(-1, 1, 1, 1), torch.arange(2).repeat_interleave(counts.sum(1))

    game = replace(Toy("lr").game(0.5), gan=table)
    phi = {"scores": table.init_discriminator(torch.Generator().manual_seed(0))["scores"].double().requires_grad_()}
    state = {f"D/{name}": value for name, value in moments(phi).items()}
    for step in range(200):
        V = game.value(phi, rows(p), rows(q))
        adam_step(phi, state, "D", torch.autograd.grad(-V, list(phi.values())), 0.05, step)
    torch.testing.assert_close(torch.sigmoid(phi["scores"]).detach(), (p / (p + q)).double(), rtol=0, atol=1e-3)


def test_labels_have_the_frequencies_of_the_training_set() -> None:
    """Drawn without repetition: with ε = 1 exactly; with 0.3, 5 standard deviations of the hypergeometric law."""

    class Unbalanced(Game):
        def samples(self, name: str, n: int) -> Samples:
            rows = super().samples(name, n)
            return replace(rows, y=(torch.arange(n) % 10).clamp(max=3))

    small = PGAN(steps=1, batch_size=8, latent=4)
    all_of_them = craft(small, Unbalanced(n_train=600, epsilon=1.0))
    assert torch.bincount(all_of_them.y).tolist() == [60, 60, 60, 420]
    some = craft(small, Unbalanced(n_train=600, epsilon=0.3))
    chances = torch.tensor([0.1, 0.1, 0.1, 0.7])
    deviation = (180 * chances * (1 - chances) * 420 / 599).sqrt()
    assert bool(((torch.bincount(some.y) - 180 * chances).abs() <= 5 * deviation).all())
    assert len(set(some.y[:20].tolist())) > 1


def test_poisoned_classes_can_be_chosen() -> None:
    """Labels come from Y_p alone, and more points than rows of Y_p are no trouble."""
    chosen = craft(PGAN(steps=1, batch_size=8, latent=4, Y_p=(1, 2)), Game(epsilon=1.0))
    assert torch.bincount(chosen.y, minlength=4).tolist() == [0, 30, 30, 0]


@pytest.mark.parametrize("wrong", [(4,), (-1, 2)])
def test_classes_that_there_are_not(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"attack\.Y_p: expected classes of D_tr, 0 to 3, got \("):
        craft(PGAN(steps=1, Y_p=wrong), Game())


def test_sources_are_named_where_there_is_a_radius_only() -> None:
    attack = PGAN(steps=2, batch_size=8, latent=4)
    assert set(craft(attack, Game()).source.tolist()) == {-1}
    near, train = craft(attack, Game(radius=0.05)), Game().attacker(attack.threat).train
    assert torch.equal(near.y, train.y[near.source])
    assert float((near.x - train.x[near.source]).abs().max()) <= 0.05 + 1e-6


def test_a_bad_step_size_is_refused() -> None:
    with pytest.raises(DivergedError, match=r"pgan diverged: .* at step [1-4] of 9\. Lower attack\.lr_c"):
        craft(PGAN(steps=9, batch_size=8, latent=4, lr_c=1e38), Game(model="nn"))
    with pytest.raises(DivergedError, match=r"at step 1 of 1"):
        craft(PGAN(steps=1, batch_size=8, latent=4, lr_g=1e38), Game())


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_is_a_weight(alpha: float) -> None:
    with pytest.raises(ConfigError, match=r"attack\.alpha: expected a number in \[0, 1\], got"):
        PGAN(alpha=alpha)


@pytest.mark.parametrize(
    ("shape", "kind"), [((3, 16, 8), ConvolutionalGAN), ((3, 12, 12), DenseGAN), ((1, 8, 8), DenseGAN)]
)
def test_networks_see_noise_image_and_label(shape: tuple[int, int, int], kind: type) -> None:
    """Images in the box; every input matters to every output, one row to no other's."""
    toy = Toy("nn", shape)
    assert isinstance(toy.gan, kind)
    x, y = toy.made()
    assert x.shape == (ROWS, *shape)
    assert bool(((x > 0) & (x < 1)).all())
    other_y, other_z, other_x = (y + 1) % CLASSES, toy.z.flip(1), 1 - x
    assert bool((toy.gan.images(toy.theta, toy.z, other_y) != x).flatten(1).any(1).all())
    assert bool((toy.gan.images(toy.theta, other_z, y) != x).flatten(1).any(1).all())
    scores = toy.gan.scores(toy.phi, x, y)
    assert scores.shape == (ROWS,)
    assert bool((toy.gan.scores(toy.phi, x, other_y) != scores).all())
    assert bool((toy.gan.scores(toy.phi, other_x, y) != scores).all())
    alone = toy.gan.images(toy.theta, toy.z[:1], y[:1])
    torch.testing.assert_close(alone, x[:1], rtol=1e-10, atol=1e-12)
