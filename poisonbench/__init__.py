"""poisonbench: indiscriminate data poisoning under one fixed protocol.

    import poisonbench as pb

    print(pb.run("tgda", "sever"))

What is listed here is the public face; where it is defined may change. A name is imported when it is first used:
`import poisonbench` alone imports nothing heavy.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poisonbench.api.names import available
    from poisonbench.api.poison import load_poison
    from poisonbench.api.records import results
    from poisonbench.api.results import Results
    from poisonbench.api.run import run
    from poisonbench.attacks.base import Attack
    from poisonbench.data.base import DataOptions, DatasetSource, Verified
    from poisonbench.defenses.base import Defense, FilterDefense, Scores, Selection, SelectionDefense, TrainingDefense
    from poisonbench.errors import ConfigError, DataError, PoisonbenchError
    from poisonbench.models.base import Model
    from poisonbench.plugins.registry import register
    from poisonbench.problem.budget import Budget
    from poisonbench.problem.predictor import Vote
    from poisonbench.problem.procedure import Batch, Procedure
    from poisonbench.problem.recipe import Recipe
    from poisonbench.problem.samples import Dataset, PoisonSet, Samples, Weights
    from poisonbench.problem.threat import Knowledge, Mode, ThreatModel
    from poisonbench.problem.views import AttackerView, Defended, DefenderView, Train
    from poisonbench.stages.stage import Stage
    from poisonbench.store.database import Store
    from poisonbench.store.record import Record
    from poisonbench.testing.attack_contract import AttackContract
    from poisonbench.testing.dataset_contract import DatasetContract
    from poisonbench.testing.defense_contract import DefenseContract
    from poisonbench.testing.game import Game
    from poisonbench.testing.model_contract import ModelContract

__version__ = "0.1.0"

__all__ = [
    "Attack",
    "AttackContract",
    "AttackerView",
    "Batch",
    "Budget",
    "ConfigError",
    "DataError",
    "DataOptions",
    "Dataset",
    "DatasetContract",
    "DatasetSource",
    "Defended",
    "DefenderView",
    "Defense",
    "DefenseContract",
    "FilterDefense",
    "Game",
    "Knowledge",
    "Mode",
    "Model",
    "ModelContract",
    "PoisonSet",
    "PoisonbenchError",
    "Procedure",
    "Recipe",
    "Record",
    "Results",
    "Samples",
    "Scores",
    "Selection",
    "SelectionDefense",
    "Stage",
    "Store",
    "ThreatModel",
    "Train",
    "TrainingDefense",
    "Verified",
    "Vote",
    "Weights",
    "available",
    "load_poison",
    "register",
    "results",
    "run",
]

_FACE = {
    "Attack": "poisonbench.attacks.base:Attack",
    "AttackContract": "poisonbench.testing.attack_contract:AttackContract",
    "AttackerView": "poisonbench.problem.views:AttackerView",
    "Batch": "poisonbench.problem.procedure:Batch",
    "Budget": "poisonbench.problem.budget:Budget",
    "ConfigError": "poisonbench.errors:ConfigError",
    "DataError": "poisonbench.errors:DataError",
    "DataOptions": "poisonbench.data.base:DataOptions",
    "Dataset": "poisonbench.problem.samples:Dataset",
    "DatasetContract": "poisonbench.testing.dataset_contract:DatasetContract",
    "DatasetSource": "poisonbench.data.base:DatasetSource",
    "Defended": "poisonbench.problem.views:Defended",
    "DefenderView": "poisonbench.problem.views:DefenderView",
    "Defense": "poisonbench.defenses.base:Defense",
    "DefenseContract": "poisonbench.testing.defense_contract:DefenseContract",
    "FilterDefense": "poisonbench.defenses.base:FilterDefense",
    "Game": "poisonbench.testing.game:Game",
    "Knowledge": "poisonbench.problem.threat:Knowledge",
    "Mode": "poisonbench.problem.threat:Mode",
    "Model": "poisonbench.models.base:Model",
    "ModelContract": "poisonbench.testing.model_contract:ModelContract",
    "PoisonSet": "poisonbench.problem.samples:PoisonSet",
    "PoisonbenchError": "poisonbench.errors:PoisonbenchError",
    "Procedure": "poisonbench.problem.procedure:Procedure",
    "Recipe": "poisonbench.problem.recipe:Recipe",
    "Record": "poisonbench.store.record:Record",
    "Results": "poisonbench.api.results:Results",
    "Samples": "poisonbench.problem.samples:Samples",
    "Scores": "poisonbench.defenses.base:Scores",
    "Selection": "poisonbench.defenses.base:Selection",
    "SelectionDefense": "poisonbench.defenses.base:SelectionDefense",
    "Stage": "poisonbench.stages.stage:Stage",
    "Store": "poisonbench.store.database:Store",
    "ThreatModel": "poisonbench.problem.threat:ThreatModel",
    "Train": "poisonbench.problem.views:Train",
    "TrainingDefense": "poisonbench.defenses.base:TrainingDefense",
    "Verified": "poisonbench.data.base:Verified",
    "Vote": "poisonbench.problem.predictor:Vote",
    "Weights": "poisonbench.problem.samples:Weights",
    "available": "poisonbench.api.names:available",
    "load_poison": "poisonbench.api.poison:load_poison",
    "register": "poisonbench.plugins.registry:register",
    "results": "poisonbench.api.records:results",
    "run": "poisonbench.api.run:run",
}
"""Public name → "module:attribute" that it stands for; the imports above say the same to type checkers."""

if not TYPE_CHECKING:  # or no checker would find a misspelt name

    def __getattr__(name: str) -> object:
        if name not in _FACE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        module, _, attribute = _FACE[name].partition(":")
        globals()[name] = value = getattr(import_module(module), attribute)
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
