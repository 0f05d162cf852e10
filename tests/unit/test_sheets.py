"""Tables of texts in their three spellings: nothing is lost, and nothing in a text is taken for markup."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from poisonbench.leaderboard.sheets import Sheet, latex, markdown, terminal, tex

SMALL = Sheet(
    title="Attacks, ε = 3 %",
    headings=("", "attack", "drop", "n"),
    left=2,
    rows=(("LR", "flip", "1.52±0.10", "3"), ("", "TGDA", "−2.55[2.55]", "3"), ("NN", "flip", "–", "0 of 3")),
    groups=frozenset({0, 2}),
    notes=("One.", "Two & more."),
)


def printed(sheet: Sheet, width: int = 200) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(terminal(sheet))
    return file.getvalue()


def test_markdown() -> None:
    assert markdown(SMALL) == (
        "**Attacks, ε = 3 %**\n"
        "\n"
        "|  | attack | drop | n |\n"
        "| --- | --- | ---: | ---: |\n"
        "| LR | flip | 1.52±0.10 | 3 |\n"
        "|  | TGDA | −2.55[2.55] | 3 |\n"
        "| NN | flip | – | 0 of 3 |\n"
        "\n"
        "One.  \n"
        "Two & more.\n"
    )
    assert "\n| a\\|b | &lt;c> |\n" in markdown(Sheet("T", ("a", "b"), 1, (("a|b", "<c>"),)))
    assert markdown(Sheet("T", ("a",), 1, (("b",),))) == "**T**\n\n| a |\n| --- |\n| b |\n"


def test_latex() -> None:
    assert latex(SMALL) == (
        "\\begin{table}\n"
        "  \\centering\n"
        "  \\caption{Attacks, $\\varepsilon$ = 3 \\%}\n"
        "  \\begin{tabular}{llrr}\n"
        "    \\toprule\n"
        "     & attack & drop & n \\\\\n"
        "    \\midrule\n"
        "    LR & flip & 1.52$\\pm$0.10 & 3 \\\\\n"
        "     & TGDA & $-$2.55{[}2.55] & 3 \\\\\n"
        "    \\addlinespace\n"
        "    NN & flip & -- & 0 of 3 \\\\\n"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "  \\par\\footnotesize One.\n"
        "  \\par\\footnotesize Two \\& more.\n"
        "\\end{table}\n"
    )


def test_terminal() -> None:
    shown = [line.rstrip() for line in printed(SMALL).splitlines()]
    assert shown == [
        "Attacks, ε = 3 %",
        "   attack        drop      n",
        "LR flip     1.52±0.10      3",
        "   TGDA   −2.55[2.55]      3",
        "NN flip             – 0 of 3",
        "One.",
        "Two & more.",
    ]


@pytest.mark.parametrize("text", ["[bold]", "[/bold]", "[2.55]", "\\[red]x", "a\\", ":smile:", "[link=x]", "[[a]"])
def test_the_terminal_shows_texts_as_they_are(text: str) -> None:
    sheet = Sheet(text, (f"{text}1", "n"), 1, ((f"{text}2", text),), notes=(f"{text}3",))
    title, head, row, note = (line.rstrip() for line in printed(sheet).splitlines())
    assert (title, note) == (text, f"{text}3")
    assert head.split()[0] == f"{text}1"
    assert row.split() == [f"{text}2", text]


letters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"])
cells = st.text(letters | st.sampled_from([*'|\\{}$&%#_^~[]*<>"` ']), max_size=12)
hostile = settings(max_examples=100, deadline=None)


@hostile
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4))
def test_markdown_has_as_many_cells_as_the_sheet(rows: list[tuple[str, str]]) -> None:
    lines = markdown(Sheet("T", ("a", "b"), 1, tuple(rows))).splitlines()[4:]
    found = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line]
    assert [[cell.replace("\\|", "|").replace("&lt;", "<") for cell in row] for row in found] == [
        [cell.strip() for cell in row] for row in rows
    ]


def test_a_line_break_does_not_break_a_table() -> None:
    sheet = Sheet("T", ("a", "b"), 1, (("x\ny", "z"),))
    assert "| x y | z |" in markdown(sheet)
    assert "    x y & z \\\\\n" in latex(sheet)


SPECIAL = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"$\pm$": "±", r"$-$": "−", r"$\varepsilon$": "ε", r"$\times$": "×", r"$\leq$": "≤",
    r"$\geq$": "≥", r"$\leftarrow$": "←", r"$\rightarrow$": "→", r"$\infty$": "∞", r"$\alpha$": "α", r"$\cdot$": "·",
    "{[}": "[", "{*}": "*", **{f"\\{letter}": letter for letter in "&%$#_{}"},
}  # fmt: skip
"""What LaTeX would print, by hand."""


def read(source: str) -> str:
    """The text that LaTeX prints for a source of `tex`'s; anything else that is special to it is an error."""
    found = ""
    while source:
        for spelling, letter in SPECIAL.items():
            if source.startswith(spelling):
                found, source = found + letter, source[len(spelling) :]
                break
        else:
            assert source[0] not in "\\&%$#_{}^[*<>", source
            found, source = found + ("\N{NO-BREAK SPACE}" if source[0] == "~" else source[0]), source[1:]
    return found


@hostile
@given(st.text(letters | st.sampled_from("".join(SPECIAL.values()) + "\N{NO-BREAK SPACE} "), max_size=40))
def test_latex_prints_the_text_and_nothing_of_it_is_a_command(text: str) -> None:
    assert read(tex(text)) == text.replace("–", "--")


@hostile
@given(cells, st.lists(st.tuples(cells, cells), min_size=1, max_size=4), cells)
def test_braces_and_environments_are_balanced_whatever_the_texts(
    title: str, rows: list[tuple[str, str]], note: str
) -> None:
    source = latex(Sheet(title, ("a", "b"), 1, tuple(rows), frozenset({1}), (note,)))
    depth = 0
    for letter in re.sub(r"\\[\\&%$#_{}]", "", source):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", re.sub(r"\\\\", "", source))) % 2 == 0
    assert source.count("\\begin{") == source.count("\\end{") == 2
    body = source.partition("\\midrule\n")[2].partition("    \\bottomrule")[0].splitlines()
    lines = [line for line in body if line != "    \\addlinespace"]
    assert len(lines) == len(rows)
    for line in lines:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == 1
        assert line.lstrip()[:1] not in ("[", "*")  # or \\ of the line above would take it


@hostile
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=3))
def test_the_terminal_never_stumbles_over_a_text(rows: list[tuple[str, str]]) -> None:
    shown = printed(Sheet("T", ("a", "b"), 1, tuple(rows)))
    for row in rows:
        for cell in row:
            assert cell.strip() in shown
