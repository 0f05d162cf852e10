"""LaTeX that LaTeX takes: the published tables and hostile names, compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from unicodedata import name

import pytest

from poisonbench.cli.table_rows import read
from poisonbench.leaderboard.tables.pivot import pivot
from poisonbench.leaderboard.tables.shapes import PRESETS, Shape
from poisonbench.leaderboard.tables.sheet_latex import latex, tex
from poisonbench.leaderboard.tables.sheets import Sheet, Span
from poisonbench.leaderboard.tables.texts import sheet

pytestmark = pytest.mark.slow

HOSTILE = (
    "[2pt]", "*", "\\", "\\end{tabular}", "}{", "$", "%", "&", "#1", "~^_", "``''", "---", "|x|",
    "\\input{/etc/passwd}", "中文", "Łódź ÅåÄäÖö", "ïîíìjǰ", "ş ţ ų ė ǎ", "αβγ ΩΔ Αο", "😀", "שלום", "\x00\x07\x1b[31m",
    "a\nb\tc\r", "\u202egnp", "²½№", "«»",
)  # fmt: skip


def compiled(sources: list[str], folder: Path) -> str:
    """What pdflatex says of a document with these tables, which is its first line but for hyphenation and figures."""
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    text = "\n\\clearpage\n".join(sources)
    (folder / "t.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n" + text + "\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "t.pdf").stat().st_size > 1000
    return done.stdout


@pytest.mark.parametrize("name", [None, *PRESETS])
def test_the_published_tables_compile(name: str | None, tmp_path: Path) -> None:
    chosen = PRESETS[name] if name else Shape()
    rows, numbers = read(str(tmp_path / "empty"), {}, True, chosen.values)
    rows = [
        row._replace(attack_params='{"a":"中é\\\\_$"}') if row.attack == "tgda" and row.seed else row for row in rows
    ]
    said = compiled([latex(sheet(table), fit=True) for table in pivot(rows, numbers, chosen)], tmp_path)
    assert "Overfull" not in said
    assert "! " not in said


def test_hostile_texts_compile_wherever_they_stand(tmp_path: Path) -> None:
    tables = [
        Sheet(
            text,
            (text, text, text),
            1,
            ((text, text, "1"), (text, "2", text)),
            frozenset({1}),
            (text,),
            over=((Span(text, 2),),),
        )
        for text in HOSTILE
    ]
    tables.append(Sheet("all", HOSTILE, 2, (HOSTILE, HOSTILE)))
    compiled(list(map(latex, tables)), tmp_path)


def test_every_letter_of_the_latin_and_greek_alphabets_compiles(tmp_path: Path) -> None:
    letters = [
        letter
        for code in (*range(0xA0, 0x250), *range(0x370, 0x400), *range(0x1E00, 0x1F00))
        if name(letter := chr(code), "")
    ]
    said = compiled([tex(" ".join(letters))], tmp_path)
    assert "Missing character" not in said
