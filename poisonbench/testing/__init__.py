"""The contract of attacks and defenses as ready-made tests: subclass one class, give it your method, run pytest.

    import poisonbench as pb

    class TestMyAttack(pb.AttackContract):
        attack = MyAttack(epochs=1)

The built-ins pass the same tests, and `poisonbench check NAME` runs them without pytest. Choose settings that finish
within a second; the game is tiny. Your class must be importable by its module and name (from your package, not from the
test file), because some tests start a fresh process.
"""

from poisonbench.testing.attack_contract import AttackContract
from poisonbench.testing.defense_contract import DefenseContract
from poisonbench.testing.game import Game

__all__ = ["AttackContract", "DefenseContract", "Game"]
