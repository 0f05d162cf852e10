"""What all contracts are, and the part that attacks and defenses share.

A test's first line of docstring is its title in the checklist of `poisonbench check`; `@fix` says what to do about a
failure. `unittest.SkipTest` is honoured by pytest; an `Advice` is a warning that it shows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar
from unittest import SkipTest

from poisonbench.guard.method_errors import told
from poisonbench.plugins.parameters import parameters, places
from poisonbench.plugins.registry import configure, name_of
from poisonbench.testing.game import Game
from poisonbench.testing.observation import Method, Observation, observe


class Advice(UserWarning):
    """A warning that a test gives without failing."""


Test = TypeVar("Test", bound=Callable[..., None])


def fix(text: str) -> Callable[[Test], Test]:
    """Say what to do if the test fails."""

    def mark(test: Test) -> Test:
        test.__dict__["fix"] = text
        return test

    return mark


class Checks(ABC):
    """Tests of something registered, each a line of the checklist.

    Attributes:
        limit: seconds that one run may take in a process of its own.
    """

    limit: float = 60.0

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that it is registered under."""

    @property
    def notes(self) -> list[str]:
        """What the last test measured, for the checklist."""
        found: list[str] = self.__dict__.setdefault("_notes", [])
        return found


class Contract(Checks):
    """A method, a game, and one run that the tests share.

    Attributes:
        game: the game; change it if the method needs colour images, a network or a radius.
    """

    game: Game = Game()

    _seen: tuple[Method, Game, Observation | BaseException] | None = None

    @property
    @abstractmethod
    def method(self) -> Method:
        """The method under test."""

    @property
    def name(self) -> str:
        """The name that it is registered under."""
        return name_of(type(self.method))

    def observed(self) -> Observation:
        """The observation of the shared run; a test that needs it is skipped if that raised: test_runs says why."""
        seen = self._observation()
        if isinstance(seen, BaseException):
            raise SkipTest(f"it raised {type(seen).__name__}.")
        return seen

    def _observation(self) -> Observation | BaseException:
        cls, method, game = type(self), self.method, self.game
        if cls._seen is None or cls._seen[0] is not method or cls._seen[1] is not game:
            seen: Observation | BaseException
            try:
                seen = observe(method, game)
            except (Exception, SystemExit) as error:
                seen = error
            cls._seen = method, game, seen
        return cls._seen[2]

    @fix("Write @register(...) above @dataclass(frozen=True), give every field a type, and set cost to one line.")
    def test_is_a_registered_frozen_dataclass(self) -> None:
        """Registered, a frozen dataclass, its fields rebuild it.

        Records and caches rely on it: name and fields say what ran.
        """
        cls = type(self.method)
        name_of(cls)
        declared = getattr(cls, "__dataclass_params__", None)
        assert declared is not None, f"{cls.__qualname__} must be a frozen dataclass."
        assert declared.frozen, f"{cls.__qualname__} must be frozen."
        rebuilt = configure(cls, parameters(self.method) | places(self.method), "method")
        assert rebuilt == self.method, "a record's fields do not rebuild the method."
        assert cls.cost, f"{cls.__qualname__}.cost: say in one line what time and memory it takes."

    @fix("`poisonbench run … --debug` shows the traceback; --game chooses another model, shape or number of classes.")
    def test_runs(self) -> None:
        """Runs on a tiny game."""
        seen = self._observation()
        if isinstance(seen, BaseException):
            raise AssertionError(f"{self.name} raised {told(seen)}") from seen
