"""Tables of texts in every spelling: nothing is lost, and nothing in a text is taken for markup."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console

from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.leaderboard.tables.sheet_csv import csv_text
from poisonbench.leaderboard.tables.sheet_html import html
from poisonbench.leaderboard.tables.sheet_latex import latex, tex
from poisonbench.leaderboard.tables.sheet_markdown import markdown
from poisonbench.leaderboard.tables.sheets import Sheet, Span
from poisonbench.terminal.sheet import terminal

SMALL = Sheet(
    title="Attacks, ε = 3 %",
    headings=("", "attack", "drop", "n"),
    left=2,
    rows=(("LR", "flip", "1.52±0.10", "3"), ("", "TGDA", "−2.55[2.55]", "3"), ("NN", "flip", "–", "0 of 3")),
    groups=frozenset({0, 2}),
    notes=("One.", "Two & more."),
)
MARKED = Sheet(
    title="Marks",
    headings=("model", "attack", "acc2", "drop", "acc2", "drop"),
    left=2,
    rows=(("LR", "flip", "1", "2", "3", "4"), ("", "TGDA", "5", "6", "7", "8"), ("NN", "flip", "9", "10", "11", "12")),
    groups=frozenset({0, 2}),
    marks={(0, 2): Mark.BEST, (1, 5): Mark.TIED},
    over=((Span("no defense", 2), Span("loss (k=1)", 2)),),
)


def printed(sheet: Sheet, width: int = 200) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(terminal(sheet))
    return file.getvalue()


def test_what_marks_mean_is_left_out_where_none_is_seen() -> None:
    sheet = replace(SMALL, notes=("One.", "Bold: best.", "Two."), legend=frozenset({"Bold: best."}))
    shown = [io.StringIO(), io.StringIO()]
    for file, styled in zip(shown, (True, False), strict=True):
        Console(file=file, width=80, color_system=None).print(terminal(sheet, styled))
    with_marks, without = (file.getvalue().splitlines() for file in shown)
    assert with_marks[-3:] == ["One.", "Bold: best.", "Two."]
    assert without == [line for line in with_marks if line != "Bold: best."]


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


letters = st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"])
cells = st.text(letters | st.sampled_from([*'|\\{}$&%#_^~[]*<>"` ']), max_size=12)
hostile = settings(max_examples=100, deadline=None)


def rendered(sheet: Sheet) -> str:
    """The HTML that a reader of the Markdown sees."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown(sheet))


@hostile
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4))
def test_markdown_renders_as_the_texts_of_the_sheet(rows: list[tuple[str, str]]) -> None:
    found = rendered(Sheet("T", ("a", "b"), 1, tuple(rows)))
    cell = re.compile(r"<td(?: style=\"text-align:right\")?>(.*?)</td>")
    assert [unescape(text) for text in cell.findall(found)] == [text.strip() for row in rows for text in row]


@hostile
@given(cells, cells)
def test_titles_and_notes_of_markdown_are_no_markup(title: str, note: str) -> None:
    found = rendered(Sheet(f"a{title}a", ("h",), 1, (("b",),), notes=(f"c{note}c",)))
    assert f"a{title}a" in unescape(found)
    assert f"c{note}c" in unescape(found)


def test_a_link_in_a_text_is_not_one() -> None:
    found = rendered(Sheet("T", ("h",), 1, (("![x](https://example.org/x.png)",), ("a_b_c",))))
    assert "<img" not in found
    assert "<a " not in found
    assert "| a_b_c |" in markdown(Sheet("T", ("h",), 1, (("a_b_c",),)))  # as it is where that does no harm


def test_marks_and_headings_of_several_lines() -> None:
    lines = markdown(MARKED).splitlines()
    assert lines[2] == (
        "| model | attack | no defense · acc2 | no defense · drop | loss (k=1) · acc2 | loss (k=1) · drop |"
    )
    assert lines[4:6] == ["| LR | flip | **1** | 2 | 3 | 4 |", "|  | TGDA | 5 | 6 | 7 | <ins>8</ins> |"]
    source = latex(MARKED)
    assert (
        "     &  & \\multicolumn{2}{c}{no defense} & \\multicolumn{2}{c}{loss (k=1)} \\\\\n"
        "    \\cmidrule(lr){3-4} \\cmidrule(lr){5-6}\n"
        "    model & attack & acc2 & drop & acc2 & drop \\\\\n"
    ) in source
    assert "LR & flip & \\textbf{1} & 2 & 3 & 4 \\\\" in source
    assert " & TGDA & 5 & 6 & 7 & \\underline{8} \\\\" in source
    file = io.StringIO()
    Console(file=file, width=200, force_terminal=True, color_system="standard").print(terminal(MARKED))
    assert "\x1b[1m1\x1b[0m" in file.getvalue()
    assert "\x1b[4m8\x1b[0m" in file.getvalue()


def test_a_wide_table_can_be_scaled_to_the_page() -> None:
    assert "resizebox" not in latex(MARKED)
    wide = latex(MARKED, fit=True)
    assert wide.count("{") == wide.count("}")
    assert "\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n  \\begin{tabular}{llrrrr}\n" in wide
    assert "  \\end{tabular}}\n" in wide


def test_columns_that_do_not_fit_the_terminal_go_below() -> None:
    sheet = Sheet("T", ("attack", *"abcdefgh"), 1, tuple((name, *["2.79 ± 0.07 (3)"] * 8) for name in ("flip", "tgda")))
    lines = [line.rstrip() for line in printed(sheet, 80).splitlines()]
    assert max(map(cell_len, lines)) <= 80
    heads = [line.split() for line in lines if line.startswith("attack")]
    assert heads == [["attack", *"abcd"], ["attack", *"efgh"]]
    assert sum(line.count("2.79 ± 0.07 (3)") for line in lines) == 16
    assert len([line for line in printed(sheet, 200).splitlines() if line.startswith("attack")]) == 1


@pytest.mark.parametrize("width", [20, 40, 80])
def test_long_labels_leave_room_for_numbers(width: int) -> None:
    label = "gradient-matching (adversary=reverse, matched=union, rate=0.1)"
    lines = printed(Sheet("T", ("attack", "none"), 1, ((label, "2.79"),)), width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "2.79" in "".join(lines)
    shown = "".join(lines).replace(" ", "").replace("none:", "").replace("2.79", "")
    assert shown.endswith(label.replace(" ", ""))


class Page(HTMLParser):
    """What a page holds: the tags with their attributes, and its texts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip("\n"))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def test_html_says_what_every_cell_is_of() -> None:
    page = Page(html("Tables", [MARKED, SMALL]))
    assert page.all("html") == [{"lang": "en"}]
    assert page.texts.count("Tables") == 2  # title and heading
    assert {"name": "color-scheme", "content": "light dark"} in page.all("meta")
    assert [page.texts.count(sheet.title) for sheet in (MARKED, SMALL)] == [1, 1]
    assert [caption["id"] for caption in page.all("caption")] == ["table-1", "table-2"]
    assert all("scope" in heading for heading in page.all("th"))
    first = page.all("th")[: 2 + 2 + 4]
    assert [(one["scope"], one.get("rowspan"), one.get("colspan")) for one in first] == [
        *[("col", "2", None)] * 2,
        *[("colgroup", None, "2")] * 2,
        *[("col", None, None)] * 4,
    ]
    labels = [one for one in page.all("th") if str(one["scope"]).startswith("row")][:5]
    assert [(one["scope"], one.get("rowspan")) for one in labels] == [
        ("rowgroup", "2"), ("row", None), ("row", None), ("row", None), ("row", None),
    ]  # fmt: skip
    source = html("T", [MARKED])
    assert '<td><strong>1<span class="unseen"> (best)</span></strong></td>' in source
    assert '<td><u>8<span class="unseen"> (tied with the best)</span></u></td>' in source
    assert not re.search(r"(src|href|url\()", source)  # nothing is fetched
    assert "<p>No records.</p>" in html("T", [])
    empty = Page(html("T", [Sheet("T", ("a", "n"), 1, (("x", "1"), ("", "2")))]))  # no label is not the label above
    assert [one.get("rowspan") for one in empty.all("th") if one["scope"] == "row"] == [None, None]


html_pieces = st.lists(
    st.sampled_from(
        ["<script>", "</td>", "</caption>", "<b", '"', "'", "&lt;", "&amp;", "{{ title }}", "{% if %}", "x "]
    )
    | st.text(letters, max_size=3),
    max_size=5,
).map(lambda pieces: f"x{''.join(pieces)}x")


@hostile
@given(html_pieces, html_pieces, html_pieces, html_pieces)
def test_html_shows_texts_and_takes_none_for_a_tag(title: str, heading: str, label: str, note: str) -> None:
    plain = Page(html("T", [Sheet("T", ("h", "n"), 1, (("l", "1"),), notes=("n",), over=((Span("s", 1),),))]))
    sheet = Sheet(title, (heading, heading), 1, ((label, label),), notes=(note,), over=((Span(heading, 1),),))
    page = Page(html(title, [sheet]))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    text = "".join(page.texts)
    for shown, times in ((title, 3), (heading, 3), (label, 2), (note, 1)):
        assert text.count(shown) >= times


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"), ("+cmd", "'+cmd"), ("-2+3", "'-2+3"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "'\t=1"),
        ("\r=1", "'\n=1"), ("a\rb", "a\nb"),
        ("\n=1", "'\n=1"), ("-", "'-"), ("-1_0", "'-1_0"), ("-inf", "'-inf"), ("-٣", "'-٣"),
        ("-2.5", "-2.5"), ("+3", "+3"), ("-1e-05", "-1e-05"), ("-.5", "-.5"), ("tgda", "tgda"), ("a=1", "a=1"),
        ("", ""), ("−0.3", "−0.3"), ("'=1", "'=1"),
    ],
)  # fmt: skip
def test_csv_holds_no_formula(text: str, written: str) -> None:
    assert list(csv.reader(io.StringIO(csv_text(("a", "b"), [(text, -2.5)]), newline=""))) == [
        ["a", "b"], [written, "-2.5"],
    ]  # fmt: skip


def test_csv_leaves_open_what_is_not_there() -> None:
    assert csv_text(("a", "b"), [(None, 1.5), ("x,y", 3)]) == 'a,b\n,1.5\n"x,y",3\n'


def test_a_line_break_does_not_break_a_table() -> None:
    sheet = Sheet("T", ("a", "b"), 1, (("x\ny", "z"),))
    assert "| x y | z |" in markdown(sheet)
    assert "    x y & z \\\\\n" in latex(sheet)


SPECIAL = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"$\pm$": "±", r"$-$": "−", r"$\varepsilon$": "ε", r"$\times$": "×", r"$\leq$": "≤",
    r"$\geq$": "≥", r"$\leftarrow$": "←", r"$\rightarrow$": "→", r"$\infty$": "∞", r"$\alpha$": "α", r"$\cdot$": "·",
    "{[}": "[", "{*}": "*", r"\textbar{}": "|", **{f"\\{letter}": letter for letter in "&%$#_{}"},
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


ascii_letters = st.characters(codec="ascii", exclude_categories=["Cc"])


@hostile
@given(st.text(ascii_letters | st.sampled_from("".join(SPECIAL.values()) + "\N{NO-BREAK SPACE} "), max_size=40))
def test_latex_prints_the_text_and_nothing_of_it_is_a_command(text: str) -> None:
    assert read(tex(text)) == text


@hostile
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_latex_is_ascii_whatever_the_letters(text: str) -> None:
    source = tex(text)
    assert source.isascii()
    assert source.isprintable()
    rest = re.sub(r"\\[\\&%$#_{}]", "", source)
    assert rest.count("{") == rest.count("}")
    assert "$" not in re.sub(r"\$[^$]+\$", "", rest)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("café", r"caf\'{e}"), ("Müller", r"M\"{u}ller"), ("Łódź", r"\L{}\'{o}d\'{z}"), ("ï", r"\"{\i}"),
        ("į", "U+012F"), ("ç", r"\c{c}"), ("ị", r"\d{i}"), ("straße", r"stra\ss{}e"), ("λ", r"$\lambda$"),
        ("Ω", r"$\Omega$"),
        ("中文", "U+4E2DU+6587"), ("😀", "U+1F600"), ("\x00", "U+0000"), ("e\u0301", r"\'{e}"), ("K", "K"),
        ("‮", "U+202E"), ("\\input{x}", r"\textbackslash{}input\{x\}"),
    ],
)  # fmt: skip
def test_letters_beyond_ascii_in_latex(text: str, source: str) -> None:
    assert tex(text) == source


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
