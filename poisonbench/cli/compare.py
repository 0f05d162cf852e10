"""`poisonbench compare`: experiments against each other, with intervals and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from poisonbench.cli.axes import AxisFlags
from poisonbench.cli.options import JsonOption, PublishedOption, StoreOption, group_options
from poisonbench.cli.reading import reading
from poisonbench.errors import ConfigError
from poisonbench.terminal.consoles import console, note, write_json
from poisonbench.terminal.fitted import Column, Fitted

if TYPE_CHECKING:
    from poisonbench.leaderboard.comparison import Comparison
    from poisonbench.leaderboard.experiments import Experiment
    from poisonbench.store.record import Record

_ANY_WIDTH = 10_000
"""More than any table is wide."""


@group_options
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="EXPERIMENT",
            help="Each an attack, attack/defense or the start of a record's id; settings as a board prints them: "
            "'tgda (alpha=0.02)'.",
        ),
    ],
    axes: AxisFlags,
    value: Annotated[str, typer.Option(help="What to compare; as in table.")] = "drop",
    published: PublishedOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether experiments differ for other seeds and other test images, with 95 % intervals.

    Of more than two, every pair is tested, and p is adjusted for the family of them, as ranks are.
    """
    from poisonbench.leaderboard import comparison, experiments, gathered, selection, values
    from poisonbench.leaderboard.statistics.verdicts import family, verdict

    shown = values.value(value)
    if len(names) < 2:
        raise ConfigError("Name two experiments or more, such as: poisonbench compare tgda label-flip.")
    with reading(store) as opened:
        records = gathered.gathered(opened, axes.filters(), published)
        found = experiments.experiments(records, opened.entries())
        named = [gathered.named(opened, name, published) if selection.names_a_record(name) else name for name in names]
        chosen = selection.select(found, named)
        compared = comparison.compare(chosen, value)
    for experiment in chosen:
        _note_mixed_code(experiment, compared[0].seeds)
    if as_json:
        write_json(_document(chosen, compared, value))
        return
    console.print(f"{chosen[0].conditions} · {shown.heading}", style="bold")
    console.print(_table(compared, shown.decimals))
    console.print(family(compared[0]), style="dim")
    for pair in compared:
        console.print(f"\n{verdict(pair, value)}")


def _note_mixed_code(experiment: Experiment[Record], seeds: Sequence[int]) -> None:
    if (number := len(experiment.codes_of(seeds))) > 1:
        note(f"{experiment.label}: its seeds were run with {number} versions of its code; run them again.")


def _table(compared: Sequence[Comparison], decimals: int) -> Fitted:
    """As wide as it is where the console has that room; in a narrow one, names are broken where their parts begin."""
    whole = _fitted(compared, decimals, Text)
    wide = console.options.update(max_width=_ANY_WIDTH)
    fits = console.measure(whole, options=wide).maximum <= console.width
    return whole if fits else _fitted(compared, decimals, _wrapped)


def _fitted(compared: Sequence[Comparison], decimals: int, named: Callable[[str], Text]) -> Fitted:
    from poisonbench.leaderboard.statistics.verdicts import p_value

    family, rows = len(compared) > 1, []
    for pair in compared:
        mean, interval = pair.difference.mean, pair.difference.interval
        half = "" if interval is None else f" ± {interval[1] - mean:.{decimals}f}"
        numbers = [str(len(pair.seeds)), f"{mean:.{decimals}f}{half}", p_value(pair.p)]
        numbers += [p_value(pair.adjusted)] * family
        rows.append([named(pair.a), named(pair.b), *map(Text, numbers)])
    headings = ("seeds", "A − B ± 95 %", "p", *["p in family"] * family)
    return Fitted([*map(Column, "AB"), *(Column(heading, "right") for heading in headings)], rows, labels=2, gap=1)


def _wrapped(label: str) -> Text:
    return Text(label.replace("/", "/\n").replace(" (", "\n("))


def _document(chosen: Sequence[Experiment[Record]], compared: Sequence[Comparison], name: str) -> dict[str, Any]:
    from poisonbench.leaderboard.statistics.summaries import LEVEL
    from poisonbench.leaderboard.statistics.verdicts import verdict
    from poisonbench.leaderboard.values import value

    return {
        "value": name,
        "heading": value(name).heading,
        "level": LEVEL,
        "conditions": asdict(chosen[0].conditions)
        | {"deviations": "; ".join(chosen[0].conditions.deviations) or "none"},
        "experiments": [
            {
                "label": one.label,
                "ranked": one.ranked,
                "mixed_code": len(one.codes_of(compared[0].seeds)) > 1,
                "runs": [
                    {"seed": seed, "record_id": record.record_id, name: value(name).of(record)}
                    for seed, record in one.records.items()
                ],
            }
            for one in chosen
        ],
        "comparisons": [
            {
                **asdict(pair),
                "mcnemar": [{"seed": seed, **asdict(test)} for seed, test in pair.mcnemar.items()],
                "verdict": verdict(pair, name),
            }
            for pair in compared
        ],
    }
