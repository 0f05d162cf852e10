"""Total gradient descent ascent: leader and follower of a Stackelberg game, all poison points at once.

Algorithm 1 of Lu, Kamath & Yu, TMLR 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poisonbench.attacks.base import Attack
from poisonbench.attacks.evaluation import accuracy
from poisonbench.attacks.tgda.batches import Batches
from poisonbench.attacks.tgda.follower import Follower
from poisonbench.attacks.tgda.game import Curvature, Stackelberg
from poisonbench.attacks.tgda.health import Health
from poisonbench.attacks.tgda.leader import Leader, autoencoder, drawn, leader_for
from poisonbench.attacks.tgda.past import Past
from poisonbench.bilevel.solvers import NAMES, solver
from poisonbench.errors import ConfigError, DivergedError
from poisonbench.models.base import n_params
from poisonbench.plugins.registry import register
from poisonbench.problem.budget import Budget
from poisonbench.problem.field_checks import check_integers, check_numbers
from poisonbench.problem.recipe import Recipe
from poisonbench.problem.samples import PoisonSet, Samples, Weights
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.problem.views import AttackerView
from poisonbench.stages.stage import Stage


@register("tgda")
@dataclass(frozen=True)
class TGDA(Attack):
    """Poison points D_p = L_θ(D_p⁰), where the leader ascends the total derivative of the validation loss.

        m times:  θ ← θ + α · (−∇²_θw f · (∇²_ww f)⁻¹ · ∇_w ℓ),   n times:  w ← w − β ∇_w f

    with f the mean training loss of a batch of D_tr ∪ D_p and ℓ that of a batch of D_v. L starts as an autoencoder of
    D_tr, F from the clean weights, D_p⁰ = D_tr[0 : εN]; labels are never changed. Every outer step takes one batch of
    each set; the follower's n steps stay on that batch. Where the recipe augments, F meets augmented images of D_tr and
    D_p, by one draw an outer step, through which the leader's gradient goes back; those of D_v stay as they are.

    Departures from the paper, each because the attack fails on networks without it (docs/tgda.md, measured on D_v): a
    step of the leader moves the images by `max_move` at most, since one long step saturates L's tanh, and every point
    becomes one image for ever; ∇²_ww f is its Gauss–Newton part, since networks' Hessians are indefinite, and there is
    no minimum to differentiate through; the solve is plain conjugate gradients, damped, for the mean of ∇_w ℓ over the
    last steps, since one batch's is mostly noise, and goes on from the last solution; n is 1; the follower's gradients
    are clipped to `clip`, which they seldom reach, since poison can raise f's curvature above 2 / β, where descent
    diverges.
    `--preset paper` has none of these. Where the paper is silent: the label enters as y / (C − 1) scaled to [−1, 1] (on
    colour images as one more constant channel), D_v has batches as large as D_tr's, D_p is dealt out anew over an
    epoch's batches, and all is float32.

    `--preset released` is the released code, which does not run as it is: as the paper's, but D_v is the last 30 % of
    D_tr, so F trains on what ℓ is taken of; L is not pretrained; every batch holds the same first points of D_p, so the
    others are what L makes of rows that it never saw; D_p is L(L(D_p⁰)), which is applied twice in its test; 201
    epochs in float64. What it leaves to the protocol: N = |D_tr| (there 60,000 with D_v in it), and the victim's
    recipe (there 100 epochs at a rate of 0.1 on the rows as they come).

    With fr the follower moves by −(∇²_ww f)⁻¹ ∇²_wθ f · (θ's step), which keeps it where ∇_w f = 0; the paper's
    equation 49 prints + for −, the sign of a leader that descends. Within a radius L's images are projected, and pixels
    that this moves have no gradient. A run whose leader saturated all the same says so: `collapsed`.

    Fields:
        alpha: leader's step size α.
        beta: follower's step size β.
        m: leader's steps an outer step.
        n: follower's steps an outer step.
        epochs: passes over D_tr.
        batch_size: rows of D_tr, and of D_v, an outer step; 0 takes the recipe's.
        averaging: weight of the outer steps before in the mean of ∇_w ℓ; its solve goes on from the last step's. At 0
            every step solves for its own ∇_w ℓ, from 0.
        max_move: how far one step of the leader may move D_p, root mean square over the batch's pixels, or null.
        curvature: what stands for ∇²_ww f: gauss-newton or hessian. For lr they are one matrix, for svm both are 0.
        clip: norm to which ∇_w f is clipped in the follower's step, or null.
        solver: cg, cgnr, neumann or exact.
        damping: λ of (∇²_ww f + λI)⁻¹.
        max_steps: most iterations of the solve.
        rtol: residual at which the solve stops early.
        pretrain_epochs: passes over D_tr of the autoencoder's training; 0 leaves L as it is drawn (Table 6).
        pretrain_lr: its step size (Adam).
        objective: ℓ: non-zero-sum is the validation loss, zero-sum is f (Table 5).
        first: who moves first in an outer step, attacker or defender (Table 4).
        start: warm goes on from the follower's last w; cold is the paper's w ← w_pre − β ∇_w f(w) (Table 8); reset puts
            w back to w_pre once an outer step.
        dynamics: tgda; fr, follow the ridge; gdn, gradient descent Newton: w ← w − β (∇²_ww f)⁻¹ ∇_w f (Appendix C).
        held_out: whether ℓ is the loss of D_v; else of the last 30 % of D_tr, and D_v is not looked at.
        dealt: whether every batch has other points of D_p; else each has the first ones.
        passes: how often L is applied to D_p⁰ for the poison set; once to play with.
        precision: float32 or float64, of the whole game.
        partitions: K parts of D_tr, D_v and D_p⁰, each played for itself from the same pretrained L, side by side where
            there are workers (the paper's way to ResNet-18).
        mode: addition adds D_p; perturbation puts it in the place of D_p⁰ (unlearnable examples; the paper's are
            zero-sum, `--preset unlearnable`); the protocol's unless it is set.
        radius: largest change of a pixel, or null.
    """

    version: ClassVar[int] = 3
    paper = "lu2022indiscriminate"
    formulation = "non-zero-sum, zero-sum"
    cost = "epochs · N / batch_size outer steps of (2 + max_steps) m + n gradients; independent of epsilon"

    later_fields: ClassVar[frozenset[str]] = frozenset({"clip"})
    presets = MappingProxyType(
        {
            "paper": {
                "n": 20,
                "alpha": 0.01,
                "batch_size": 0,
                "max_move": None,
                "averaging": 0.0,
                "clip": None,
                "curvature": "hessian",
                "solver": "cgnr",
                "max_steps": 16,
                "damping": 0.0,
                "rtol": 0.0,
            },
            "released": {
                "n": 20,
                "alpha": 0.01,
                "batch_size": 0,
                "max_move": None,
                "averaging": 0.0,
                "clip": None,
                "curvature": "hessian",
                "solver": "cgnr",
                "max_steps": 16,
                "damping": 0.0,
                "rtol": 0.0,
                "epochs": 201,
                "pretrain_epochs": 0,
                "held_out": False,
                "dealt": False,
                "passes": 2,
                "precision": "float64",
            },
            "unlearnable": {"objective": "zero-sum", "mode": "perturbation"},
        }
    )

    alpha: float = 0.3
    beta: float = 0.1
    m: int = 1
    n: int = 1
    epochs: int = 200
    batch_size: int = 500
    max_move: float | None = 0.03
    averaging: float = 0.9
    clip: float | None = 10.0
    curvature: Curvature = "gauss-newton"
    solver: str = "cg"
    damping: float = 0.01
    max_steps: int = 4
    rtol: float = 0.001
    pretrain_epochs: int = 20
    pretrain_lr: float = 0.001
    objective: Literal["non-zero-sum", "zero-sum"] = "non-zero-sum"
    first: Literal["attacker", "defender"] = "attacker"
    start: Literal["warm", "cold", "reset"] = "warm"
    dynamics: Literal["tgda", "fr", "gdn"] = "tgda"
    held_out: bool = True
    dealt: bool = True
    passes: int = 1
    precision: Literal["float32", "float64"] = "float32"
    partitions: int = 1
    mode: Mode = Mode.ADDITION
    radius: float | None = None

    def __post_init__(self) -> None:
        if self.solver not in NAMES:
            raise ConfigError(f"attack.solver: expected one of {', '.join(NAMES)}, got {self.solver!r}.")
        check_integers(self, m=1, n=0, epochs=1, batch_size=0, max_steps=1, pretrain_epochs=0, passes=1, partitions=1)
        check_numbers(self, "> 0", "alpha", "beta", "pretrain_lr")
        for bound in ("max_move", "clip"):
            if getattr(self, bound) is not None:
                check_numbers(self, "> 0", bound)
        check_numbers(self, "≥ 0", "damping", "rtol")
        check_numbers(self, "in [0, 1)", "averaging")
        check_numbers(self, "in (0, 1]", "radius")

    @property
    def threat(self) -> ThreatModel:
        """The declared threat: labels are kept; pixels move freely unless a radius is set."""
        return ThreatModel(mode=self.mode, clean_label=True, radius=self.radius)

    def craft(self, view: AttackerView, budget: Budget, stage: Stage) -> PoisonSet:
        """See Attack; Algorithm 1."""
        view = self._seen(view)
        leader = leader_for(view.model.shape, view.classes)
        solve = solver(self.solver, self.damping, self.max_steps, self.rtol)
        zero_sum, ridge = self.objective == "zero-sum", self.dynamics == "fr"
        game = Stackelberg(
            view.model,
            leader,
            budget,
            self.curvature,
            solve,
            self.alpha,
            self.max_move,
            self.averaging,
            zero_sum,
            ridge,
        )
        newton = game.newton if self.dynamics == "gdn" else None
        follower = Follower(view.model, self.beta, self.clip, self.n, self.start, newton)
        theta = self._pretrain(leader, view, stage)
        K = min(self.partitions, budget.n_poison)
        sources = torch.arange(budget.n_poison, device=stage.device)

        def play(k: int, stage: Stage) -> tuple[Tensor, Tensor, Health, bool]:
            part = replace(view, train=_part(view.train, k, K), validation=_part(view.validation, k, K))
            start = _part(view.train.rows(sources), k, K)
            task = "tgda" if K == 1 else f"tgda {k + 1} of {K}"
            trained, found = self._play(game, follower, theta, start, part, stage, task)
            inputs = leader.inputs(start)
            health = Health.of(leader, trained, inputs)
            collapsed = health.collapsed_from(Health.of(leader, theta, inputs))
            last = leader.inputs(leader.passed(trained, start, self.passes))
            return game.images(trained, last, start.x).detach(), found, health, collapsed

        made = stage.each(play, K)
        x = torch.empty_like(view.train.x[: budget.n_poison])
        for k, (images, *_) in enumerate(made):
            x[k::K] = images
        evidence = torch.cat([found for _, found, _, _ in made])
        stats = {
            "solver_steps": int(evidence[:, 0].max()),
            "solver_residual": float(evidence[:, 1].max()),
            "solver_converged": bool(evidence[:, 2].all()),
            "diversity": min(health.diversity for _, _, health, _ in made),
            "freedom": min(health.freedom for _, _, health, _ in made),
            "collapsed": any(collapsed for *_, collapsed in made),
        }
        return PoisonSet(x.float(), view.train.y[sources], sources, stats)

    def _seen(self, view: AttackerView) -> AttackerView:
        """What the game is played on: D_v as `held_out` has it, and all of the type `precision`."""
        validation = view.validation if self.held_out else view.train.rows(slice(-_share(len(view.train)), None))
        if self.precision == "float32" and self.held_out:
            return view
        dtype = getattr(torch, self.precision)
        return replace(
            view,
            train=replace(view.train, x=view.train.x.to(dtype)),
            validation=replace(validation, x=validation.x.to(dtype)),
            weights={k: v.to(dtype) if v.is_floating_point() else v for k, v in view.weights.items()},
        )

    def _pretrain(self, leader: Leader, view: AttackerView, stage: Stage) -> Weights:
        """The leader's first weights: θ_pre, or θ as it is drawn."""
        if self.pretrain_epochs == 0:
            return drawn(leader, view.train.x.dtype, stage)
        size = view.recipe.batch_size
        recipe = Recipe("adam", lr=self.pretrain_lr, batch_size=size, epochs=self.pretrain_epochs)
        return autoencoder(leader, view.train, recipe, stage)

    def _play(
        self,
        game: Stackelberg,
        follower: Follower,
        theta: Weights,
        start: Samples,
        view: AttackerView,
        stage: Stage,
        task: str,
    ) -> tuple[Weights, Tensor]:
        """Play the game from (θ_pre, w_pre). Returns θ and the last solve's evidence."""
        model, replaced = view.model, self.mode is Mode.PERTURBATION
        size = self.batch_size or view.recipe.batch_size
        batches = Batches.of(view, start, game.leader.inputs(start), size, replaced, self.dealt)
        steps = self.epochs * len(batches)
        state = {f"leader/{name}": value.clone() for name, value in theta.items()}
        state |= {f"follower/{name}": value.clone() for name, value in view.weights.items()}
        state |= {name: torch.arange(n) for name, n in batches.rows.items()}
        state |= Past.begin(n_params(model.parameters(view.weights)), batches.z)
        state["evidence"] = torch.zeros(3, dtype=torch.float64)
        for step in stage.steps(task, steps, state):
            if step % len(batches) == 0:
                orders = {name: torch.randperm(n, generator=stage.generator) for name, n in batches.rows.items()}
                state |= orders
            leader = {name: state[f"leader/{name}"].requires_grad_() for name in theta}
            w = {name: state[f"follower/{name}"].requires_grad_(name not in model.buffers) for name in view.weights}
            batch = batches.at(state, step % len(batches), stage.generator)
            if self.first == "defender":
                game.show(leader, batch)
                follower.respond(w, batch, view.weights)
            for _ in range(self.m):
                loss, solution = game.lead(leader, w, batch, Past.at(state))
            if self.first == "attacker":
                game.show(leader, batch)
                follower.respond(w, batch, view.weights)
            evidence = [solution.steps, solution.residual, solution.converged]
            state["evidence"] = torch.tensor(evidence, dtype=torch.float64)
            stage.report(**{"loss" if game.zero_sum else "validation_loss": loss}, residual=solution.residual)
            if stage.traced(step, steps):
                health = Health.of(game.leader, leader, batches.inputs)
                found = accuracy(model, w, view.validation)
                stage.report(accuracy=found, diversity=health.diversity, freedom=health.freedom)
            if not (math.isfinite(loss) and math.isfinite(solution.residual)):
                raise DivergedError(
                    f"{task} diverged: loss {loss} at step {step + 1}. Lower attack.alpha or attack.beta, or raise "
                    f"attack.damping."
                )
        return {name: state[f"leader/{name}"].detach() for name in theta}, state["evidence"][None]


def _share(n: int) -> int:
    """The rows of D_tr that the released code also has as D_v: 30 %, one at least."""
    return max(1, round(0.3 * n))


def _part(samples: Samples, k: int, K: int) -> Samples:
    """The part of the samples that is every K-th row from the k-th on."""
    return samples if K == 1 else samples.rows(torch.arange(k, len(samples), K, device=samples.y.device))
