"""`poisonbench plot …`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poisonbench.cli.axes import AxisFlags, commas
from poisonbench.cli.options import PublishedOption, StoreOption, group_options
from poisonbench.cli.strict_app import StrictApp

if TYPE_CHECKING:
    from poisonbench.cli.plot_request import Request

plot_app = StrictApp(help="Draw what a store's records say.", no_args_is_help=True)

ValueOption = Annotated[str, typer.Option("--value", help="What to draw; as in table.")]


@dataclass(frozen=True)
class Figure:
    """Where a figure goes, and where its records are."""

    output: Annotated[
        list[str],
        typer.Option("--output", "-o", help="File to write: .png, .pdf or .svg; several by comma or by several -o."),
    ]
    published: PublishedOption = False
    store: StoreOption = None

    def of(self, axes: AxisFlags) -> Request:
        """The figure of the records on these axes."""
        from poisonbench.cli.plot_request import Request

        outputs = tuple(Path(name) for text in self.output for name in commas(text, "--output"))
        return Request(outputs, axes.filters(), self.store, self.published)


@plot_app.command()
@group_options
def fraction(figure: Figure, axes: AxisFlags) -> None:
    """Draw drop, clean cost, recall and precision against the fraction of rows that filters removed.

    Make the records with sweep --set 'defense.fraction=[0.03, 0.1]'; `reproduce filters` makes and draws some.
    """
    from poisonbench.cli import draw

    draw.fraction(figure.of(axes))


@plot_app.command()
@group_options
def epsilon(figure: Figure, axes: AxisFlags, value: ValueOption = "drop") -> None:
    """Draw the drop, or another value, against ε: a line each attack, a panel each board, 95 % intervals.

    Of records against no defense, unless --defense names some. Make them with --epsilon 0.01,0.03,0.1.
    """
    from poisonbench.cli import draw

    draw.epsilon(figure.of(axes), value)


@plot_app.command("train-size")
@group_options
def train_size(figure: Figure, axes: AxisFlags, value: ValueOption = "drop") -> None:
    """Draw the drop, or another value, against the size of the training set: a line each attack, 95 % intervals.

    Of records against no defense, unless --defense names some. Make them with sweep --set 'train_rows=[100, 300]'.
    """
    from poisonbench.cli import draw

    draw.train_size(figure.of(axes), value)


@plot_app.command()
@group_options
def pareto(figure: Figure, axes: AxisFlags) -> None:
    """Draw a board's mean drop against the attacks' seconds: what no other attack beats in both is on the front."""
    from poisonbench.cli import draw

    draw.pareto_front(figure.of(axes))


@plot_app.command()
@group_options
def heatmap(figure: Figure, axes: AxisFlags) -> None:
    """Draw a board's mean drops, attacks by defenses, with the numbers in the cells."""
    from poisonbench.cli import draw

    draw.heatmap(figure.of(axes))


@plot_app.command()
@group_options
def standings(figure: Figure, axes: AxisFlags) -> None:
    """Draw a board's attacks by drop and its defenses by residual drop: means, 95 % intervals, every seed, ranks."""
    from poisonbench.cli import draw

    draw.standings(figure.of(axes))


@plot_app.command()
@group_options
def training(
    figure: Figure,
    axes: AxisFlags,
    measure: Annotated[
        str | None, typer.Option(help="Only these measures, in this order, such as accuracy,residual.")
    ] = None,
) -> None:
    """Draw accuracy and losses while a board's attacks ran: a panel each measure, a line each attack."""
    from poisonbench.cli import draw

    draw.training(figure.of(axes), () if measure is None else commas(measure, "--measure"))


@plot_app.command()
@group_options
def certified(figure: Figure, axes: AxisFlags) -> None:
    """Draw the accuracy that a board's defenses prove, against the number of rows added or taken: a step line each.

    Of defenses that certify, such as dpa. The band is that of the seeds; the attack's own number of rows is marked.
    """
    from poisonbench.cli import draw

    draw.certified(figure.of(axes))
