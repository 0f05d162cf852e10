"""What `list` reads of a method's source is what its class declares."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from poisonbench.defenses.base import FilterDefense
from poisonbench.plugins import registry
from poisonbench.plugins.built_in import BUILT_IN
from poisonbench.plugins.declared_knowledge import (
    declared_flag,
    declared_knowledge,
    declared_labels,
    declared_proof,
    declared_text,
    declared_trust,
)
from poisonbench.plugins.registry import Entry, entries, load
from poisonbench.problem.threat import Knowledge

DATA, MODEL = Knowledge.TRAINING_DATA_ONLY, Knowledge.TRAINING_ONLY

PROVING = ("dpa", "finite-aggregation")

PLUGIN = '''
from dataclasses import dataclass
import poisonbench as pb
from poisonbench import Knowledge, ThreatModel

class Common(pb.Attack):
    """Common."""
    threat = pb.ThreatModel(pb.Knowledge.TRAINING_DATA_ONLY)

@pb.register("heir")
class Heir(Common):
    """Inherits."""

@pb.register("own")
class Own(Common):
    """Its own, before what it inherits."""
    threat: ThreatModel = ThreatModel()

@pb.register("silent")
class Silent(pb.Attack):
    """Says nothing."""

@pb.register("branches")
class Branches(pb.Defense):
    """Returns a constant in each branch."""
    @property
    def trusted_data(self):
        if self.how: return True
        return False

@pb.register("always")
class Always(pb.Defense):
    """Always."""
    trusted_data = True

@pb.register("never")
class Never(pb.Defense):
    """Never."""
    def certify(self, votes, classes, rows):
        """Promises, and returns nothing."""
        return None

@pb.register("prover")
class Prover(Never):
    """Proves."""
    def certify(self, votes, classes, rows):
        return votes[0] * 0
'''


@pytest.mark.parametrize("name", sorted(BUILT_IN["attack"]))
def test_a_built_in_attack_knows_what_it_declares(name: str) -> None:
    found = declared_knowledge(entries("attack")[name])
    assert load("attack", name)().threat.knowledge in found
    assert len(found) == (2 if name == "label-flip" else 1)


@pytest.mark.parametrize("name", sorted(BUILT_IN["attack"]))
def test_a_built_in_attack_is_listed_with_its_labels_problem_and_models(name: str) -> None:
    entry, cls = entries("attack")[name], load("attack", name)
    labels = declared_labels(entry)
    assert cls().threat.clean_label in labels
    assert len(labels) == (2 if name == "gradient-canceling" else 1)
    assert declared_text(entry, "formulation") == cls.formulation
    assert declared_text(entry, "models") == cls.models
    assert bool(cls.formulation) == (name != "replay")  # of what made the file nobody can tell


@pytest.mark.parametrize("name", sorted(BUILT_IN["defense"]))
def test_a_built_in_defense_trusts_what_it_declares(name: str) -> None:
    found = declared_trust(entries("defense")[name])
    assert load("defense", name)().trusted_data in found
    assert len(found) == (2 if name == "influence" else 1)


@pytest.mark.parametrize("name", sorted(BUILT_IN["defense"]))
def test_a_built_in_defense_is_an_oracle_scores_and_proves_as_it_declares(name: str) -> None:
    entry, cls = entries("defense")[name], load("defense", name)
    assert declared_flag(entry, "oracle") == (cls().oracle,)
    scores = declared_flag(entry, "uses_model")
    assert bool(scores) == isinstance(cls(), FilterDefense)
    assert not scores or cls().uses_model in scores
    proof = cls().certify(torch.zeros((cls().models if name in PROVING else 1, 1), dtype=torch.int64), 2, 10)
    assert declared_proof(entry) == (proof is not None) == (name in PROVING)


def test_a_plugin_is_read_without_being_imported(tmp_path: Path, plug: Callable[..., None]) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN + "\nraise RuntimeError('imported')\n")
    plug(tmp_path / "mine.py")
    attacks, defenses = registry.entries("attack"), registry.entries("defense")
    assert {name: declared_knowledge(attacks[name]) for name in ("heir", "own", "silent")} == {
        "heir": (DATA,),
        "own": (MODEL,),
        "silent": (),
    }
    assert {name: declared_trust(defenses[name]) for name in ("branches", "always", "never")} == {
        "branches": (True, False),
        "always": (True,),
        "never": (False,),
    }
    assert not declared_proof(defenses["never"])
    assert declared_proof(defenses["prover"])


@pytest.mark.parametrize("broken", [None, "no module"])
def test_of_what_cannot_be_read_nothing_is_said(broken: str | None) -> None:
    entry = Entry("attack", "a", "no_such_module:A", "d", "1", "", broken)
    assert declared_knowledge(entry) == declared_labels(entry) == declared_trust(entry) == ()
    assert declared_text(entry, "formulation") == ""
    assert not declared_proof(entry)
