"""What an attack or a defense knows, proves and costs: as its class declares it, and as its records measured it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from poisonbench.leaderboard.boards import Board
from poisonbench.leaderboard.declarations import citations, declaration
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.references import reference
from poisonbench.leaderboard.site.record_facts import Rows
from poisonbench.plugins.declared_knowledge import (
    declared_flag,
    declared_knowledge,
    declared_labels,
    declared_proof,
    declared_trust,
)
from poisonbench.plugins.registry import Entry, entries
from poisonbench.store.record import Record

_KNOWLEDGE: Mapping[str, str] = {
    "training-data-only": "D_tr alone",
    "training-only": "D_tr, D_v, the model, its recipe and the clean weights",
}
_SCORES = {True: "from a model that is trained on the rows", False: "from the pixels, without a model"}
_MODES = {"addition": "adds rows", "perturbation": "perturbs rows"}
_LABELS = {True: "clean, those of the sources", False: "dirty, of its choice"}
_PROOF = (
    "for each test image, how many rows anyone may add to the training set or take from it without changing the answer"
)


@dataclass(frozen=True)
class Cost:
    """What a method took on a board: medians over the records of its seeds and opponents, but for the clean cost.

    Attributes:
        board: the board.
        label: of the method.
        records: how many.
        attack_s: seconds of the attack; of a cell whose poison set was there before, about none.
        defense_s: seconds of the defense, trainings left out.
        retrain_s: seconds of the trainings, its own among them.
        memory: peak of the cell for an attack, of the defense with its trainings for a defense, MiB.
        gpu_memory: the same on the GPU.
        clean_cost: points that the defense loses where there is no attack, mean.
    """

    board: Board
    label: str
    records: int
    attack_s: float | None
    defense_s: float | None
    retrain_s: float | None
    memory: float | None
    gpu_memory: float | None
    clean_cost: float | None


def costs(kind: str, results: Iterable[tuple[Board, Experiment[Record]]]) -> tuple[Cost, ...]:
    """What a method took, by board and label, in the order of the results.

    Args:
        kind: attack or defense.
        results: its experiments.
    """
    found: dict[tuple[str, str], tuple[Board, list[Record]]] = {}
    for board, one in results:
        label = one.attack_label if kind == "attack" else one.defense_label
        found.setdefault((board.title, label), (board, []))[1].extend(one.records.values())
    return tuple(_cost(kind, board, label, own) for (_, label), (board, own) in found.items() if own)


def _cost(kind: str, board: Board, label: str, own: Sequence[Record]) -> Cost:
    timing, memory = [record.timing for record in own], [record.memory for record in own]
    clean = [one.clean_cost for record in own if (one := record.metrics) and one.clean_cost is not None]
    attack = kind == "attack"
    return Cost(
        board=board,
        label=label,
        records=len(own),
        attack_s=_median(one.attack_s for one in timing),
        defense_s=_median(one.defense_s for one in timing),
        retrain_s=_median(one.retrain_s for one in timing),
        memory=_median(one.rss_peak_mb if attack else one.defense_rss_peak_mb for one in memory),
        gpu_memory=_median(one.cuda_peak_mb if attack else one.defense_cuda_peak_mb for one in memory),
        clean_cost=fmean(clean) if clean else None,
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def facts(kind: str, name: str, results: Sequence[Experiment[Record]]) -> Rows:
    """What a method is allowed and promises, as names and values; none if it is not installed here.

    Args:
        kind: attack or defense.
        name: of one method, not of several joined by +.
        results: of all that have it as a part.
    """
    entry = entries(kind).get(name)
    if entry is None or entry.broken:
        return ()
    declared = declaration(kind, name).defaults
    own = _attack(entry, declared, results) if kind == "attack" else _defense(entry, declared, results)
    papers = "; ".join(reference(text).replace("*", "") for text in citations(kind, name))
    rows = (*own, ("cost", _text(declared, "cost")), ("paper", papers))
    return tuple((key, value) for key, value in rows if value)


def _attack(
    entry: Entry, declared: Mapping[str, object], results: Sequence[Experiment[Record]]
) -> Iterator[tuple[str, str]]:
    modes = sorted({record.threat.mode for one in results for record in one.records.values()})
    yield "knows", _either([_KNOWLEDGE[one] for one in declared_knowledge(entry)])
    yield "labels", _either([_LABELS[one] for one in declared_labels(entry)])
    yield "mode", " or ".join(_MODES[mode] for mode in modes)
    yield "problem", _text(declared, "formulation")
    yield "models", _text(declared, "models")


def _defense(
    entry: Entry, declared: Mapping[str, object], results: Sequence[Experiment[Record]]
) -> Iterator[tuple[str, str]]:
    oracle = True in declared_flag(entry, "oracle")
    yield "trusted rows", _trusted(declared_trust(entry), results)
    yield "which rows are poison", "told: a bound on what defenses can do, never ranked" if oracle else "not told"
    yield "the true ε", "not told"
    yield "a row's score", _either([_SCORES[one] for one in declared_flag(entry, "uses_model")])
    yield "models", _text(declared, "target_models")
    yield "proves", _PROOF if declared_proof(entry) else "nothing"


def _trusted(declared: Sequence[bool], results: Iterable[Experiment[Record]]) -> str:
    """Whether it is shown any, and how many by protocol, as far as records say."""
    shown: dict[str, set[int]] = {}
    for one in results:
        if one.trusted:
            shown.setdefault(one.conditions.protocol, set()).add(one.trusted)
    counts = ", ".join(f"{' or '.join(f'{n:,}' for n in sorted(shown[name]))} under {name}" for name in sorted(shown))
    given = f"the protocol's ({counts})" if counts else "the protocol's"
    return _either([given if one else "none" for one in declared])


def _either(words: Sequence[str]) -> str:
    """One text, or several of which the fields choose one."""
    return " or ".join(words) + (", as its fields say" if len(words) > 1 else "")


def _text(declared: Mapping[str, object], name: str) -> str:
    found = declared.get(name)
    return found if isinstance(found, str) else ""
