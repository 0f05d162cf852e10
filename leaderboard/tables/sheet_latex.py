"""A table of texts in LaTeX, for the package booktabs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from poisonbench.leaderboard.tables.marks import Mark
from poisonbench.leaderboard.tables.sheets import Sheet

_FITTED = r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Never larger than it is."""

_LETTERS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": r"$-$", "–": "--", "—": "---",
    "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "←": r"$\leftarrow$", "→": r"$\rightarrow$", "∞": r"$\infty$",
    "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "…": r"\ldots{}",
    "[": "{[}", "*": "{*}",  # at the head of a row, \\ before it would take either as its argument
    "\N{NO-BREAK SPACE}": "~", "\n": " ", "\t": " ", "\r": " ",
    "‘": "`", "’": "'", "“": "``", "”": "''", "°": r"$^\circ$", "µ": r"$\mu$", "†": r"$\dagger$", "√": r"$\surd$",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "ε": r"$\varepsilon$",
}  # fmt: skip
_GREEK = {
    letter: rf"$\{name}$"
    for letters, names in (
        ("αβγδζηθικλμ", r"alpha beta gamma delta zeta eta theta iota kappa lambda mu"),
        ("νξπρστυφχψω", r"nu xi pi rho sigma tau upsilon varphi chi psi omega"),
        ("ΓΔΘΛΞΠΣΥΦΨΩ", r"Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"),
    )
    for letter, name in zip(letters, names.split(), strict=True)
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'", "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "\N{COMBINING TILDE}": "~", "\N{COMBINING DIAERESIS}": '"', "\N{COMBINING RING ABOVE}": "r",
    "\N{COMBINING CARON}": "v", "\N{COMBINING MACRON}": "=", "\N{COMBINING BREVE}": "u",
    "\N{COMBINING DOT ABOVE}": ".", "\N{COMBINING DOUBLE ACUTE ACCENT}": "H", "\N{COMBINING CEDILLA}": "c",
    "\N{COMBINING DOT BELOW}": "d",
}  # fmt: skip
_BELOW = ("c", "d")
_MARKS = {Mark.BEST: r"\textbf{%s}", Mark.TIED: r"\underline{%s}"}


def latex(sheet: Sheet, fit: bool = False) -> str:
    """The table as a LaTeX table environment, in ASCII alone; it compiles as it is.

    Args:
        sheet: the table.
        fit: scale it down to the text's width if it is wider, which takes the package graphicx.
    """
    columns = "l" * sheet.left + "r" * (len(sheet.headings) - sheet.left)
    lines = [r"\begin{table}", r"  \centering", rf"  \caption{{{tex(sheet.title)}}}"]
    lines += [_FITTED] * fit
    lines += [
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        *_over(sheet),
        _ampersands(map(tex, sheet.headings)),
    ]
    lines.append(r"    \midrule")
    for row, texts in enumerate(sheet.rows):
        if row and row in sheet.groups:
            lines.append(r"    \addlinespace")
        marks = (sheet.marks.get((row, index)) for index in range(len(texts)))
        lines.append(_ampersands(_marked(tex(text), mark) for text, mark in zip(texts, marks, strict=True)))
    lines += [r"    \bottomrule", r"  \end{tabular}" + "}" * fit]
    lines += [rf"  \par\footnotesize {tex(note)}" for note in sheet.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def tex(text: str) -> str:
    """A text in ASCII, with what LaTeX reads otherwise written out. A letter that its fonts lack is its code point,
    such as U+4E2D."""
    return "".join(map(_letter, unicodedata.normalize("NFC", text)))


def _letter(letter: str) -> str:
    if letter in _LETTERS:
        return _LETTERS[letter]
    if letter in _GREEK:
        return _GREEK[letter]
    if letter.isascii() and letter.isprintable():
        return letter
    base, *rest = list(unicodedata.normalize("NFD", letter))
    if base.isascii() and base.isalpha() and len(rest) == 1 and rest[0] in _ACCENTS:
        accent = _ACCENTS[rest[0]]
        return rf"\{accent}{{{chr(92) + base if base in 'ij' and accent not in _BELOW else base}}}"
    return f"U+{ord(letter):04X}"


def _marked(text: str, mark: Mark | None) -> str:
    return text if mark is None else _MARKS[mark] % text


def _over(sheet: Sheet) -> list[str]:
    lines = []
    for spans in sheet.over:
        last, rules = sheet.left, []
        for span in spans:
            rules.append(rf"\cmidrule(lr){{{last + 1}-{last + span.width}}}")
            last += span.width
        cells = (rf"\multicolumn{{{span.width}}}{{c}}{{{tex(span.text)}}}" for span in spans)
        lines += [_ampersands([*[""] * sheet.left, *cells]), "    " + " ".join(rules)]
    return lines


def _ampersands(cells: Iterable[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"
