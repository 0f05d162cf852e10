"""Papers in one line, and the documentation's tables of methods."""

from pathlib import Path

import pytest

from poisonbench.cli.method_sheet import method_sheet
from poisonbench.leaderboard.declarations import _bibliography
from poisonbench.leaderboard.references import reference

SHEETS = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "methods.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("authors", "named"),
    [
        ("Lu, Yiwei", "Lu"),
        ("Koh, Pang Wei and Liang, Percy", "Koh & Liang"),
        ("Lu, Yiwei and Kamath, Gautam\n               and Yu, Yaoliang", "Lu, Kamath & Yu"),
        ("A, B and C, D and E, F and G, H", "A et al."),
        (r"Mu{\~n}oz-Gonz{\'a}lez, Luis", "Muñoz-González"),
        (r"Ma\k{d}ry, Aleksander", r"Ma\kdry"),  # an accent that is none of the five stays as it is
    ],
)
def test_authors_are_family_names(authors: str, named: str) -> None:
    entry = f"@article{{key,\n  author = {{{authors}}},\n  title = {{A {{TGDA}}, or Two}},\n  year = {{2022}}\n}}"
    assert reference(entry) == f"{named}, *A TGDA, or Two*, 2022"


def test_every_paper_has_a_reference() -> None:
    for entry in _bibliography().values():
        assert "\\" not in reference(entry)


def test_what_an_entry_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="no author"):
        reference("@misc{key,\n  title = {A},\n  year = {2022}\n}")


@pytest.mark.parametrize("plural", ["attacks", "defenses"])
def test_the_documentation_has_the_table_of_methods_that_list_prints(plural: str) -> None:
    assert f"<!-- {plural} -->\n{method_sheet(plural)}\n<!-- {plural} -->\n" in SHEETS
