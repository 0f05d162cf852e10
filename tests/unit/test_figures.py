"""Looks, texts and the SVG that becomes a part of a page."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from poisonbench.leaderboard.plots.figure_text import name, number, wrapped
from poisonbench.leaderboard.plots.figures import FORMATS, PAPER, SITE, Look, drawing, encode, measured
from poisonbench.leaderboard.plots.inline_svg import INK, inline

HOSTILE = '<script>alert(1)</script> $x_{ id="a" url(#b) "'


def luminance(colour: str) -> float:
    """WCAG's relative luminance."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def drawn(look: Look = PAPER, text: str = "text", title: str | None = "A title.") -> bytes:
    with drawing(look):
        figure = Figure(figsize=(2, 1))
        axis = figure.add_axes((0.2, 0.2, 0.7, 0.7))
        axis.plot([0, 1], **look.line(2))
        axis.text(0.5, 0.5, text, weight="bold")
        return encode(figure, "svg", title, look)


@pytest.mark.parametrize("colour", [colour for colour in SITE.palette if colour != INK])
def test_the_sites_colours_are_seen_on_white_and_on_near_black(colour: str) -> None:
    assert contrast(colour, "#ffffff") >= 3
    assert contrast(colour, "#111111") >= 3


def test_the_same_line_has_the_same_look_but_for_the_shade() -> None:
    for index in range(40):
        paper, site = PAPER.line(index), SITE.line(index)
        assert {key: paper[key] for key in ("marker", "linestyle")} == {
            key: site[key] for key in ("marker", "linestyle")
        }
    assert len({str(PAPER.line(index)) for index in range(14)}) == 14


def test_an_inlined_picture_is_an_element_with_a_title_whose_ink_is_the_pages() -> None:
    file = drawn(SITE)
    root = ElementTree.fromstring(file)
    assert file.startswith(b"<svg ")
    assert (root.get("role"), root[0].text) == ("img", "A title.")
    assert root[0].tag == "{http://www.w3.org/2000/svg}title"
    assert INK.encode() not in file
    assert file.count(b"currentColor") > 5
    for word in (b"DejaVu", b"font-family", b"<style", b"metadata", b"<!--", b"white", b"#ffffff"):
        assert word not in file
    assert b"font-weight: 700" in file


def test_ids_of_two_pictures_are_apart_and_every_reference_has_its_id() -> None:
    ids = []
    for text in ("one", "two"):
        file = drawn(SITE, text).decode()
        found = re.findall(r'\bid="([^"]+)"', file)
        named = re.findall(r'(?:url\(|href=")#([^")]+)', file)
        assert set(found) == set(named)
        assert len(found) == len(set(found)) > 0
        ids.append(set(found))
    assert not ids[0] & ids[1]
    assert drawn(SITE) == drawn(SITE)


@pytest.mark.parametrize("look", [PAPER, SITE], ids=["paper", "site"])
def test_hostile_text_stays_text(look: Look) -> None:
    file = drawn(look, HOSTILE, HOSTILE)
    root = ElementTree.fromstring(file)
    assert b"<script" not in file
    assert not [element for element in root.iter() if "script" in element.tag]
    title = next(element for element in root if element.tag.endswith("title"))
    assert title.text == HOSTILE
    if look is SITE:
        assert [element.text for element in root.iter() if element.tag.endswith("text")][-1] == HOSTILE


def test_the_shorthand_of_older_versions_loses_its_family_as_well() -> None:
    text = b'<text style="font: 700 8px Arial, serif; fill: #010203"/>'
    old = b'<svg xmlns="http://www.w3.org/2000/svg">' + text + b"</svg>"
    assert b'style="font-weight: 700; font-size: 8px; fill: currentColor"' in inline(old)


def test_what_was_set_before_holds_again_afterwards_and_does_not_matter_meanwhile() -> None:
    before = drawn()
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert drawn() == before
        assert matplotlib.rcParams["font.size"] == 30
    assert matplotlib.rcParams["text.parse_math"]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_title_goes_into_every_kind_of_file_and_names_in_other_scripts_are_no_error(format_: str) -> None:
    with drawing():
        figure = Figure(figsize=(1, 1))
        figure.text(0, 0, "中文")
        file = encode(figure, format_, "Über ε.")
        assert file == encode(figure, format_, "Über ε.")
    assert ("Über ε.".encode() in file) == (format_ != "pdf")
    assert b"20" not in re.findall(rb"Date\W{1,9}(..)", file)


def test_texts() -> None:
    assert [number(value) for value in (-0.001, 0.0, -1.236, 2)] == ["0.00", "0.00", "−1.24", "2.00"]
    assert name("a\nb\x00\x1b[1m\u202e c ") == "a b\ufffd\ufffd[1m\ufffd c"
    assert len(name("x" * 99)) == 60
    assert wrapped("one two three", 0.5) == "one two\nthree"
    with drawing():
        sizes = [measured(text) for text in ("a", "aa", "aa\na")]
    assert sizes[0][0] < sizes[1][0] == sizes[2][0]
    assert [tall for _, tall in sizes] == pytest.approx([8.4 / 72, 8.4 / 72, 16.8 / 72])
    assert all(one != other for one, other in itertools.pairwise(sizes))
