"""The contracts of attacks, defenses, models and datasets as ready-made tests: subclass one class, give it yours, run
pytest.

    import poisonbench as pb

    class TestMyAttack(pb.AttackContract):
        attack = MyAttack(epochs=1)

The built-ins pass the same tests, and `poisonbench check NAME` runs them without pytest. Choose settings that finish
within a second; the game is tiny. Your class must be importable by its module and name (from your package, not from the
test file), because some tests start a fresh process.
"""

from poisonbench.testing.attack_contract import AttackContract
from poisonbench.testing.dataset_contract import DatasetContract
from poisonbench.testing.defense_contract import DefenseContract
from poisonbench.testing.game import Game
from poisonbench.testing.model_contract import ModelContract

__all__ = ["AttackContract", "DatasetContract", "DefenseContract", "Game", "ModelContract"]
