"""How every figure looks and becomes a file: the same bytes for the same numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from poisonbench.leaderboard.plots.figure_text import lines
from poisonbench.leaderboard.plots.inline_svg import INK, inline

FORMATS = ("png", "pdf", "svg")
WIDTH = 6.5
"""A page's text width, inches."""

DPI = 400
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "text.parse_math": False,  # a $ in an attack's name is a $
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "svg.hashsalt": "poisonbench",
    "image.composite_image": False,  # a PDF would hold one coarse picture of them all
}

MARKERS = "os^DvP*X"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Look:
    """Where a figure is read.

    Attributes:
        ink: colour of text, axes and whatever else is no line of a method; paler parts are ink with an alpha.
        palette: of methods.
        settings: matplotlib's, on top of STYLE.
        inline: whether its SVG is to be a part of a web page.
    """

    ink: str
    palette: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inline: bool = False

    def line(self, index: int) -> dict[str, Any]:
        """Colour, marker and dashes of the line of that index: told apart without colour as well."""
        return {
            "color": self.palette[index % len(self.palette)],
            "marker": MARKERS[index % len(MARKERS)],
            "linestyle": DASHES[index % len(DASHES)],
        }


PAPER = Look("#000000", ("#0072B2", "#E69F00", "#000000", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"))
"""White ground. Okabe and Ito's colours, which stay apart for colour-blind readers, those first that are far apart in
greyscale too. Their yellow is too faint for lines on white."""

SITE = Look(
    INK,
    ("#0072B2", "#BF8300", INK, "#009E73", "#C2669A", "#D55E00", "#3A96CC"),
    {
        "svg.fonttype": "none",
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    },
    inline=True,
)
"""No ground: the page's is seen. Ink is the page's text colour; the same hues as PAPER's, those that are too light on
white darkened until every one has a contrast of 3 to 1 and more on white and on #111. Text is text, in its font."""


@contextmanager
def drawing(look: Look = PAPER) -> Iterator[None]:
    """Within it figures are made and encoded: matplotlib's own defaults, whatever the user's files say, then ours."""
    with warnings.catch_warnings(), matplotlib.style.context(["default", STYLE, dict(look.settings)]):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in Chinese is drawn as boxes
        yield


def encode(figure: Figure, format_: str, title: str | None = None, look: Look = PAPER) -> bytes:
    """The figure as a file of that format, without the date that would make every file another.

    Args:
        figure: made within `drawing`, as this has to be called.
        format_: one of FORMATS.
        title: what it shows, in a sentence, for readers who do not see it; goes into the file.
        look: the one that it was made for.
    """
    file = io.BytesIO()
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(format_, {})
    figure.savefig(file, format=format_, dpi=DPI, metadata={**metadata, **({"Title": title} if title else {})})
    return inline(file.getvalue()) if look.inline and format_ == "svg" else file.getvalue()


def measured(text: str, points: float = 7) -> tuple[float, float]:
    """Width and height of a text of one or more lines, inches; within `drawing`."""
    font = FontProperties(size=points)
    widths = [text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n")]
    return max(widths) / 72, lines(text) * points * 1.2 / 72
