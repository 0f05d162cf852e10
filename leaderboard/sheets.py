"""A table of texts, and how it is written for a terminal, in Markdown and in LaTeX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": r"$-$", "–": "--", "ε": r"$\varepsilon$",
    "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "←": r"$\leftarrow$", "→": r"$\rightarrow$", "∞": r"$\infty$",
    "α": r"$\alpha$", "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}",
    "[": "{[}", "*": "{*}",  # at the head of a row, \\ before it would take either as its argument
    "\N{NO-BREAK SPACE}": "~", "\n": " ",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """A table of texts.

    Attributes:
        title: what it shows.
        headings: of the columns.
        left: how many columns are labels, set left; the others hold numbers, set right.
        rows: as many texts each as there are headings.
        groups: indices of rows that begin a group; a rule goes before them.
        notes: below the table.
    """

    title: str
    headings: tuple[str, ...]
    left: int
    rows: tuple[tuple[str, ...], ...]
    groups: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def terminal(sheet: Sheet) -> Group:
    """As a rich table between its title and its notes, which may be wider than it."""
    looks: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(**looks)
    for index, heading in enumerate(sheet.headings):
        table.add_column(Text(heading), justify="left" if index < sheet.left else "right", overflow="fold")
    for index, row in enumerate(sheet.rows):
        if index and index in sheet.groups:
            table.add_section()
        table.add_row(*map(Text, row))
    return Group(Text(sheet.title, style="bold"), table, *(Text(note, style="dim") for note in sheet.notes))


def markdown(sheet: Sheet) -> str:
    """As a Markdown table between its title and its notes."""
    marks = ["---" if index < sheet.left else "---:" for index in range(len(sheet.headings))]
    lines = [f"**{sheet.title}**", "", _piped(sheet.headings), _piped(marks), *map(_piped, sheet.rows)]
    return "\n".join([*lines, "", *(f"{note}  " for note in sheet.notes)]).rstrip() + "\n"


def latex(sheet: Sheet) -> str:
    """As a table environment for the packages booktabs and amsmath's fonts; compiles as it is."""
    columns = "l" * sheet.left + "r" * (len(sheet.headings) - sheet.left)
    lines = [r"\begin{table}", r"  \centering", rf"  \caption{{{tex(sheet.title)}}}"]
    lines += [rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule", _ampersands(sheet.headings), r"    \midrule"]
    for index, row in enumerate(sheet.rows):
        if index and index in sheet.groups:
            lines.append(r"    \addlinespace")
        lines.append(_ampersands(row))
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [rf"  \par\footnotesize {tex(note)}" for note in sheet.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def tex(text: str) -> str:
    """A text with what LaTeX reads otherwise written out."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _piped(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in cells) + " |"


def _ampersands(cells: tuple[str, ...]) -> str:
    return "    " + " & ".join(map(tex, cells)) + r" \\"
