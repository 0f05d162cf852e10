"""What `poisonbench plot` draws: figures of the records that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from poisonbench.cli.figure_file import format_of, write
from poisonbench.cli.plot_request import Request
from poisonbench.errors import ConfigError, UnknownNameError, unknown
from poisonbench.leaderboard.boards import Board, boards
from poisonbench.leaderboard.conditions import newest
from poisonbench.leaderboard.plots import (
    axis_lines,
    certified_figure,
    fraction_figure,
    heatmap_figure,
    lines_figure,
    pareto_figure,
    standings_figure,
    training_figure,
)
from poisonbench.leaderboard.plots.certified import certificates
from poisonbench.leaderboard.plots.fraction import curves
from poisonbench.leaderboard.plots.heatmap import attacks as rows
from poisonbench.leaderboard.plots.heatmap import defenses as columns
from poisonbench.leaderboard.plots.pareto import pareto
from poisonbench.leaderboard.plots.standings import standings as standing_rows
from poisonbench.leaderboard.plots.training import KNOWN, traces
from poisonbench.leaderboard.values import value


def fraction(request: Request) -> None:
    """Draw drop, clean cost and recall against the fraction that filters removed; print where the files are.

    Raises (as every function here):
        UsageError: for a name or file name that will not do, or if there is nothing to draw, or too much.
        StoreError: if the figure cannot be written.
    """
    found = curves(*request.records())
    if not found:
        raise ConfigError(
            "No ranked record of a defense that removed rows. Make some: poisonbench run --attack label-flip "
            "--defense loss,sever --set defense.fraction=0.1"
        )
    _few(len(found), fraction_figure.MOST, "attacks and boards", "--attack, --protocol or --model")
    _write(request, lambda format_: fraction_figure.draw(found, format_))


def epsilon(request: Request, shown: str) -> None:
    """Draw a value against ε, a line each attack, a panel each board."""
    _chart(
        request,
        shown,
        axis_lines.EPSILON,
        "No board with ranked records of two values of ε. Make some: poisonbench run --attack label-flip,tgda "
        "--epsilon 0.01,0.03,0.1",
    )


def train_size(request: Request, shown: str) -> None:
    """Draw a value against the size of the training set, a line each attack, a panel each board."""
    _chart(
        request,
        shown,
        axis_lines.TRAIN_SIZE,
        "No board with records of two sizes of the training set that deviate from the protocol in train_rows alone. "
        "Make some: poisonbench sweep --attack label-flip --set 'train_rows=[100, 300, 1000]'",
    )


def pareto_front(request: Request) -> None:
    """Draw a board's mean drop against the attacks' seconds, with the Pareto front."""
    (defense, *others) = request.defenses
    if others:
        raise ConfigError(f"--defense: a Pareto front is of one defense, got {len(others) + 1}.")
    found = pareto(_board(request), defense)
    if found is None:
        raise ConfigError(
            f"No ranked record of an attack against {defense} with its seconds. Make some: poisonbench run --attack "
            f"label-flip,tgda --defense {defense}"
        )
    _few(len(found.points), pareto_figure.MOST, "attacks", "--attack")
    _write(request, lambda format_: pareto_figure.draw(found, format_))


def heatmap(request: Request) -> None:
    """Draw a board's mean drop, attacks by defenses."""
    board = _board(request)
    _few(len(rows(board)), heatmap_figure.MOST_ATTACKS, "attacks", "--attack")
    _few(len(columns(board)), heatmap_figure.MOST_DEFENSES, "defenses", "--defense")
    _write(request, lambda format_: heatmap_figure.draw(board, format_))


def standings(request: Request) -> None:
    """Draw a board's attacks by drop and its defenses by residual drop, every seed a dot."""
    board = _board(request)
    methods, found = len(board.attacks) + len(board.defenses), standing_rows(board)
    if not any(section.rows for section in found.sections):
        raise ConfigError(
            "No attack here has a ranked record without a defense, and no defense one that can be compared. Make some: "
            "poisonbench run --attack label-flip,tgda --defense none,loss; or give --published."
        )
    _few(methods, standings_figure.MOST, "attacks and defenses", "--attack or --defense")
    _write(request, lambda format_: standings_figure.draw(board, format_))


def training(request: Request, measures: Sequence[str]) -> None:
    """Draw what a board's attacks measured while they ran, a panel each measure."""
    found = traces(_board(request))
    if found is None:
        raise ConfigError(
            "No ranked record here has a trace of its attack; those made by this version or later do, of attacks that "
            "report figures. Make some: poisonbench run --attack tgda,back-gradient --force"
        )
    for measure in measures:
        if measure not in found.measures:
            raise UnknownNameError(unknown("measure", measure, list(found.measures)))
    chosen = found.only(measures or KNOWN)
    chosen = chosen if chosen.measures else found
    _few(len(chosen.measures), training_figure.MOST_MEASURES, "measures", "--measure")
    _few(len(chosen.labels), training_figure.MOST, "attacks", "--attack")
    _write(request, lambda format_: training_figure.draw(chosen, format_))


def certified(request: Request) -> None:
    """Draw what a board's defenses prove against so many rows."""
    found = certificates(_board(request))
    if found is None:
        raise ConfigError(
            "No ranked record here has a certificate; those of defenses that prove something do. Make some: "
            "poisonbench run --attack label-flip --defense dpa"
        )
    _few(len(found.proofs), certified_figure.MOST, "defenses", "--defense")
    _write(request, lambda format_: certified_figure.draw(found, format_))


def _chart(request: Request, shown: str, axis: axis_lines.Axis, nothing: str) -> None:
    value(shown)  # refuses a name that there is none of
    records, entries = request.records()
    found = axis_lines.chart(records, axis, shown, request.defenses, entries)
    if found is None:
        raise ConfigError(nothing)
    _few(len(found.panels), lines_figure.MOST_PANELS, "panels", "--protocol, --model or --epsilon")
    _few(len(found.labels), lines_figure.MOST_LINES, "lines", "--attack or --defense")
    _write(request, lambda format_: lines_figure.draw(found, format_))


def _board(request: Request) -> Board:
    """The only one that has a ranked record; of the code that ships, if one of earlier code is there as well."""
    records, entries = request.records()
    every = [board for board in boards(records, entries=entries) if any(one.ranked for one in board.experiments)]
    found = newest(every, lambda board: board.conditions)
    if not found:
        raise ConfigError(
            "No ranked record fits. Make some: poisonbench run --attack label-flip,tgda --defense none,loss; or give "
            "--published."
        )
    if len(found) > 1:
        named = "; ".join(board.title for board in found[:6]) + (f"; and {len(found) - 6} more" * (len(found) > 6))
        raise ConfigError(f"{len(found)} boards: {named}. Choose one with --protocol, --model and --epsilon.")
    return found[0]


def _few(count: int, most: int, what: str, filters: str) -> None:
    if count > most:
        raise ConfigError(f"{count} {what} are too many for a figure; at most {most}. Use {filters}.")


def _write(request: Request, draw: Callable[[str], bytes]) -> None:
    for output in request.outputs:
        write(output, draw(format_of(output)))
