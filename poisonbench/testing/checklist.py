"""The contract without pytest: each test of a class becomes a line that says how it ended, why, and what to do."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from unittest import SkipTest

from poisonbench.guard.method_errors import first_line, told
from poisonbench.testing.contract import Advice, Checks

Status = Literal["ok", "warned", "failed", "skipped"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        check: the test's name.
        title: what it checks.
        status: ok, warned, failed or skipped.
        reason: why, if it is not ok.
        fix: what to do about a failure or a warning.
        notes: what else was measured.
        seconds: how long it took.
    """

    check: str
    title: str
    status: Status
    reason: str = ""
    fix: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def checks(contract: type[Checks]) -> list[Verdict]:
    """Every test of a contract in order, not run yet: what is shared, then what the result must be, then behaviour."""
    found = {name: None for cls in reversed(contract.__mro__) for name in vars(cls) if name.startswith("test_")}
    return [Verdict(name, _title(getattr(contract, name)), "skipped", "not run") for name in found]


def verdicts(contract: type[Checks]) -> Iterator[Verdict]:
    """Run one test after the other, each with an object of its own, whatever became of those before, up to one that
    ends in an interrupt."""
    for waiting in checks(contract):
        subject, began = contract(), time.monotonic()
        status, reason = _run(subject, waiting.check)
        remedy = getattr(contract, waiting.check).__dict__.get("fix", "") if status in ("failed", "warned") else ""
        seconds = time.monotonic() - began
        yield Verdict(waiting.check, waiting.title, status, reason, remedy, tuple(subject.notes), seconds)
        if reason.startswith(KeyboardInterrupt.__name__):
            return


def _run(subject: Checks, name: str) -> tuple[Status, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Advice)
            getattr(subject, name)()
    except Advice as advice:
        return "warned", str(advice)
    except SkipTest as skip:
        return "skipped", str(skip)
    except AssertionError as failure:
        return "failed", first_line(failure)
    except BaseException as fault:  # whatever a method raises, the other checks go on
        return "failed", told(fault)
    return "ok", ""


def _title(test: object) -> str:
    return (inspect.getdoc(test) or "").partition("\n")[0].removesuffix(".")
