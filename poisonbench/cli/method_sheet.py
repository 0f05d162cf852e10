"""The attacks or the defenses as a Markdown table: what each assumes, as the paper's Table 1 has it, and its paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from poisonbench.plugins.declared_knowledge import declared_knowledge, declared_labels, declared_text, declared_trust

if TYPE_CHECKING:
    from poisonbench.plugins.registry import Entry

KNOWS = {"training-data-only": "data", "training-only": "model"}
HEADINGS = {
    "attacks": ("attack", "knows", "labels", "problem", "models", "paper"),
    "defenses": ("defense", "trusted rows", "paper"),
}


def method_sheet(plural: str) -> str:
    """The table of the built-in attacks or defenses, in the registry's order, without an end of line.

    Args:
        plural: attacks or defenses.
    """
    from poisonbench.plugins.built_in import BUILT_IN
    from poisonbench.plugins.registry import entries

    kind, headings = plural.removesuffix("s"), HEADINGS[plural]
    known = entries(kind)
    lines = [headings, ("---",) * len(headings), *(_row(known[name]) for name in sorted(BUILT_IN[kind]))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(entry: Entry) -> tuple[str, ...]:
    paper = "; ".join(_references(entry)) or entry.summary.rstrip(".")
    if entry.kind == "defense":
        return f"`{entry.name}`", _either(["yes" if one else "no" for one in declared_trust(entry)]), paper
    return (
        f"`{entry.name}`",
        _either([KNOWS[one] for one in declared_knowledge(entry)]),
        _either(["clean" if one else "dirty" for one in declared_labels(entry)]),
        declared_text(entry, "formulation") or "–",
        declared_text(entry, "models") or "–",
        paper,
    )


def _either(words: Sequence[str]) -> str:
    """One word, or several of which the fields choose one."""
    return " or ".join(words) or "–"


def _references(entry: Entry) -> Iterator[str]:
    """Authors, title and year of the method's paper."""
    from poisonbench.leaderboard.declarations import citations
    from poisonbench.leaderboard.references import reference

    return map(reference, citations(entry.kind, entry.name))
