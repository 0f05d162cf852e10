"""The contract of attacks: the budget's rules, and how a method must behave."""

from __future__ import annotations

from unittest import SkipTest

from poisonbench.attacks.base import Attack
from poisonbench.errors import UndeclaredKnowledgeError, ValidationError
from poisonbench.problem import budget as rules
from poisonbench.problem.budget import Rule
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import Knowledge, ThreatModel
from poisonbench.problem.views import AttackerView, Withheld
from poisonbench.store.canonical import plain
from poisonbench.testing.behaviour import Behaviour
from poisonbench.testing.contract import Contract, fix
from poisonbench.testing.observation import Result, view_of


class _Budgeted(Contract):
    """The tests of the poison set against its budget: the runner applies the same rules."""

    attack: Attack

    @property
    def method(self) -> Attack:
        """The attack under test."""
        return self.attack

    def _poison(self) -> PoisonSet:
        poison = self.observed().result
        assert isinstance(poison, PoisonSet)
        return poison

    def _keep(self, rule: Rule) -> None:
        poison, game, threat = self._poison(), self.game, self.attack.threat
        budget, train = game.budget(threat), game.samples("train", game.n_train)
        for earlier in (rules.shapes, rules.dtypes):
            if earlier is rule:
                break
            try:
                earlier(budget, poison, train, self.name)
            except ValidationError:
                raise SkipTest("its shapes or dtypes are wrong.") from None
        try:
            rule(budget, poison, train, self.name)
        except ValidationError as error:
            raise AssertionError(str(error)) from error

    @fix("Set threat = ThreatModel(...) in the class; poisonbench.problem.threat says what it can declare.")
    def test_declares_its_threat_model(self) -> None:
        """Declares a threat model."""
        assert isinstance(self.attack.threat, ThreatModel), "threat must be a ThreatModel."

    @fix("Use view.train and view.classes alone, or declare Knowledge.TRAINING_ONLY in `threat`.")
    def test_knows_no_more_than_it_declares(self) -> None:
        """Knowledge: no more than it declares.

        One that declares the training data alone is handed no model, recipe, weights or validation set.
        """
        if self.attack.threat.knowledge is Knowledge.TRAINING_ONLY:
            raise SkipTest("it declares to know data, model and recipe.")
        view = view_of(self.attack, self.game)
        assert isinstance(view, AttackerView)
        assert isinstance(view.model, Withheld), "it is handed the model."
        assert isinstance(view.recipe, Withheld), "it is handed the recipe."
        assert not view.weights, "it is handed the clean weights."
        assert len(view.validation) == 0, "it is handed the validation set."
        seen = self._observation()
        if isinstance(seen, UndeclaredKnowledgeError):
            raise AssertionError(str(seen)) from seen

    @fix("Return x (n, channels, height, width), y (n,) and source (n,), with one n.")
    def test_shapes(self) -> None:
        """Shapes: an image, a label and a source a row."""
        self._keep(rules.shapes)

    @fix("Convert with .float() and .long().")
    def test_dtypes(self) -> None:
        """Dtypes: float32 images, int64 labels and sources."""
        self._keep(rules.dtypes)

    @fix("Make budget.n_poison rows, not more.")
    def test_number_of_rows(self) -> None:
        """Budget: at most ε · N rows."""
        self._keep(rules.count)

    @fix("Look for a division by zero, or a learning rate that is too large.")
    def test_pixels_are_finite(self) -> None:
        """Finite: no pixel is NaN or infinite."""
        self._keep(rules.finite)

    @fix("Return budget.project(x, source_images), which clips to the box and to the radius.")
    def test_pixels_are_in_the_box(self) -> None:
        """Box: pixels in [0, 1]."""
        if not self.attack.threat.box:
            raise SkipTest("it declares that its pixels may leave the box: its records are unranked.")
        self._keep(rules.box)

    @fix("Use labels 0 to view.classes − 1.")
    def test_labels_are_classes(self) -> None:
        """Labels are classes."""
        self._keep(rules.labels)

    @fix("A source is the row of view.train that the point was made from, or −1.")
    def test_sources_are_rows(self) -> None:
        """Sources are rows of D_tr, or −1."""
        self._keep(rules.sources)

    @fix("Keep y = view.train.y[source], or declare ThreatModel(clean_label=False).")
    def test_clean_label(self) -> None:
        """Clean label, if declared."""
        if not self.attack.threat.clean_label:
            raise SkipTest("it declares no clean labels.")
        self._keep(rules.clean_label)

    @fix("Return budget.project(x, source_images), where source_images = view.train.x[source].")
    def test_radius(self) -> None:
        """Radius: L∞ distance to the source, if bounded."""
        if self.game.budget(self.attack.threat).bound is None:
            raise SkipTest("neither the attack nor the game sets a radius.")
        self._keep(rules.radius)

    @fix("Return finite numbers, strings and booleans in stats.")
    def test_evidence_is_plain(self) -> None:
        """Evidence in stats is plain JSON."""
        plain(dict(self._poison().stats), "stats")


class AttackContract(Behaviour, _Budgeted):
    """The contract that every attack must keep. Subclass it in your test suite, under a name that pytest collects.

    Attributes:
        attack: the attack under test, an instance.
        game: the game; change it if the attack needs colour images, a network or a radius.
    """

    def agreement(self, here: Result, there: Result) -> float:
        """See Behaviour."""
        assert isinstance(here, PoisonSet)
        assert isinstance(there, PoisonSet)
        assert there.x.device.type == "cuda", "x is not on stage.device."
        if len(here) != len(there):
            return 0.0
        close = (here.x - there.x.cpu()).abs().flatten(1).amax(1) <= 1 / 255
        return float((close & (here.y == there.y.cpu()) & (here.source == there.source.cpu())).float().mean())
