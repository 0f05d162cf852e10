"""What a forked process finds."""

from __future__ import annotations

from collections.abc import Callable

LOOK = """
import gc, sys
sys.exit(not ("torch" in sys.modules and gc.isenabled() and gc.get_freeze_count() > 100_000))
"""


def test_a_fork_has_torch_and_its_collector_passes_over_what_it_was_given(elsewhere: Callable[..., int | None]) -> None:
    assert elsewhere(LOOK) == 0
