"""The site in a browser, from file://, as a visitor uses it; nothing leaves the machine, nothing hostile runs.

Needs Chromium: Debian's, or that of $POISONBENCH_CHROMIUM. With $CI_REQUIRE_BROWSER set its absence is a failure.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest

from poisonbench.leaderboard.site.build import Sources, build
from poisonbench.store.record import Record

CHROMIUM = os.environ.get("POISONBENCH_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"


def hostile(base: Record, seed: int) -> Record:
    """A record with markup wherever a record takes text, its label on boards included."""
    fields = base.document()
    fields.pop("record_id")
    fields["attack"] |= {"params": {**base.attack.params, HOSTILE: HOSTILE}, "release": HOSTILE}
    fields["protocol"] |= {"deviations": [HOSTILE]}
    fields["environment"] |= {"cpu": HOSTILE}
    fields["seeds"] |= {"run": seed}
    return Record.create(**fields)


@pytest.fixture(scope="module")
def site(published_records: tuple[Record, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published digits, with a hostile guest."""
    defenses = ("none", "loss", "influence", "spectral-signatures")
    digits = [
        record
        for record in published_records
        if record.protocol.name == "digits-v1" and record.model.name in ("lr", "svm")
    ]
    records = [record for record in digits if record.defense.name in defenses and record.seeds.run < 3]
    base = next(one for one in records if (one.attack.name, one.defense.name) == ("tgda", "none"))
    return build(Sources([*records, hostile(base, 0)]), tmp_path_factory.mktemp("site") / "out").parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, or a skip that says what is missing."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI_REQUIRE_BROWSER"):
            pytest.fail(f"no browser at {CHROMIUM}")
        pytest.skip(f"no browser at {CHROMIUM}; install Debian's chromium or set POISONBENCH_CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as running:
        # Chromium's sandbox does not work as root, nor in most containers; the pages are ours.
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Any]:
    """Opens a page: `visit("index.html", width=…, scheme=…)`. At the end: no error, no request elsewhere."""
    complaints: list[str] = []
    contexts = []

    def opened(name: str, width: int = 1200, scheme: str = "light", scripts: bool = True) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.on("request", lambda request: _check(request.url))
        page.goto(f"file://{site}/{name}")
        return page

    def _check(url: str) -> None:
        if not url.startswith((f"file://{site}/", "data:image/")):
            complaints.append(f"left the site: {url}")

    yield opened
    for context in contexts:
        for page in context.pages:
            page.wait_for_load_state()  # closed before, it would complain of what it was about to load
        context.close()
    assert complaints == []


def column(page: Any, table: str, number: int) -> list[str]:
    """Texts of a column, from 1."""
    cells = page.locator(f"{table} tbody tr > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def sort(page: Any, header: Any, direction: str) -> None:
    """Click a column's arrow and wait for its order."""
    header.locator(".dt-column-order").click()
    header.locator(f"xpath=self::*[@aria-sort='{direction}']").wait_for()


def test_boards_are_filtered_and_opened(visit: Any) -> None:
    page = visit("index.html")
    assert page.locator(".glimpse:visible").count() == 2
    page.get_by_label("Model", exact=True).select_option("svm")
    assert page.locator(".glimpse:visible").count() == 1
    assert "1 of 2" in page.locator("#shown").inner_text()
    assert page.url.endswith("index.html#model=svm")
    page.reload()
    assert page.locator(".glimpse:visible h3").inner_text().startswith("digits · svm")
    page.get_by_label("Model", exact=True).select_option("lr")
    page.locator(".glimpse:visible h3 a").click()
    assert "digits · lr" in page.locator("h1").inner_text()


def test_a_board_is_sorted_and_searched(visit: Any) -> None:
    page = visit("boards/digits-v1-lr-0.03.html")
    attacks = "table:has(caption:text('strongest first'))"
    before = column(page, attacks, 3)
    values = [float(text.split(" ")[0].replace("−", "-")) for text in before if "off" not in text]
    head = page.locator(f"{attacks} thead th")
    sort(page, head.nth(2), "ascending")
    ascending = [float(text.split(" ")[0].replace("−", "-")) for text in column(page, attacks, 3)]
    assert ascending == sorted(values)
    sort(page, head.nth(2), "descending")
    assert [float(t.split(" ")[0].replace("−", "-")) for t in column(page, attacks, 3)] == sorted(values, reverse=True)
    sort(page, head.nth(6), "ascending")
    assert column(page, attacks, 2)[0] == "label-flip"  # by seconds, not by text: "0.7 ms" before "0.24 s"
    page.get_by_label("Filter").first.fill("gradient-c")
    assert column(page, attacks, 2) == ["gradient-canceling"]


def test_what_a_table_shows_is_in_the_address_and_leaves_as_a_file(visit: Any) -> None:
    page = visit("boards/digits-v1-lr-0.03.html")
    sort(page, page.locator("#attacks ~ .scroll thead th").nth(2), "ascending")
    page.get_by_label("Filter attacks").first.fill("in")
    page.wait_for_url("**#attacks.sort=2-asc&attacks=in")
    names = column(page, "#attacks ~ .scroll table", 2)[:4]
    assert names
    assert all("in" in name for name in names)
    page.reload()
    assert column(page, "#attacks ~ .scroll table", 2)[:4] == names
    found = {}
    for form in ("CSV", "Markdown", "LaTeX"):
        button = page.get_by_role("button", name=f"Download the table attacks as {form}")
        button.focus()
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        found[form] = Path(download.value.path()).read_text("utf-8")
        assert download.value.suggested_filename.startswith("digits-v1-lr-0.03-attacks.")
    head, *rows = csv.reader(io.StringIO(found["CSV"]))
    assert head[:3] == ["rank", "attack", "drop"]
    assert [row[1] for row in rows][:4] == names
    drops = [float(row[2]) for row in rows if row[2]]
    assert drops == sorted(drops)
    assert found["Markdown"].count("\n|") == len(rows) + 2
    assert found["Markdown"].startswith("digits-v1 · lr · ε = 0.03: Attacks\n")
    assert found["LaTeX"].count(r" \\") == len(rows) + 1
    page.get_by_role("link", name="svm", exact=True).click()
    page.locator("h1", has_text="svm").wait_for()
    assert page.url.endswith("digits-v1-svm-0.03.html#attacks.sort=2-asc&attacks=in")
    assert page.get_by_label("Filter attacks").first.input_value() == "in"


def test_no_download_is_a_formula_or_markup(visit: Any) -> None:
    page = visit("boards/digits-v1-lr-0.03.html")
    shown = {"title": "t_1", "headings": ["a|b"], "numeric": [False], "rows": [["=1+1"], ["−0.50 ± 1.00"], ["$x_1$"]]}
    made = {name: page.evaluate(f"shown => poisonbench.{name}(shown)", shown) for name in ("csv", "markdown", "latex")}
    assert made["csv"].splitlines() == ["a|b,a|b ±", "'=1+1,", "-0.50,1.00", "$x_1$,"]
    assert "| a\\|b |" in made["markdown"]
    assert r"\caption{t\_1}" in made["latex"]
    assert r"\$x\_1\$ \\" in made["latex"]
    assert page.evaluate("text => poisonbench.plain(text)", f"a <b>{escape(HOSTILE)}</b>") == f"a {HOSTILE}"


def test_defenses_are_sorted_by_their_worst_attack(visit: Any) -> None:
    page = visit("boards/digits-v1-lr-0.03.html")
    defenses = "table:has(caption:text('without trusted data that are ranked'))"
    before = [float(text.split(" ")[0].replace("−", "-")) for text in column(page, defenses, 7)]
    head = page.locator(f"{defenses} thead th").nth(6)
    assert "its drop" in head.inner_text()
    for direction in ("ascending", "descending"):
        sort(page, head, direction)
        found = [float(text.split(" ")[0].replace("−", "-")) for text in column(page, defenses, 7)]
        assert found == sorted(before, reverse=direction == "descending")
    assert len(set(before)) == 3


def test_a_cell_leads_to_its_record_and_on(visit: Any) -> None:
    page = visit("boards/digits-v1-svm-0.03.html")
    page.locator(".matrix td a").first.click()
    page.locator("#command").wait_for()
    assert "/record.html#digits-v1-svm-0.03/" in page.url
    assert "poisonbench run --protocol digits-v1 --model svm" in page.locator("#command").inner_text()
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").or_(page.get_by_role("button", name="Selected")).first.wait_for()
    title, first = page.title(), page.url
    page.get_by_role("link", name="seed 1", exact=True).click()
    page.locator(".badge", has_text="seed 1").wait_for()
    assert page.url != first
    assert page.title() == title.replace("seed 0", "seed 1") != title
    page.go_back()
    page.locator(".badge", has_text="seed 0").wait_for()
    page.locator("h1 a").first.click()
    assert "/attacks/" in page.url
    page.get_by_role("link", name="digits-v1 · svm · ε = 0.03").first.click()
    assert page.url.endswith("/boards/digits-v1-svm-0.03.html")


def test_all_records_are_searched_and_filtered(visit: Any) -> None:
    page = visit("boards/digits-v1-svm-0.03.html")
    page.get_by_role("link", name="See them all").click()
    page.locator("#records tbody a").first.wait_for()
    assert page.url.endswith("#board=digits-v1-svm-0.03")
    assert page.get_by_label("Board", exact=True).input_value() == "digits-v1-svm-0.03"
    assert set(column(page, "#records", 4)) == {"svm"}
    page.get_by_label("Board", exact=True).select_option("")
    page.get_by_label("Attack", exact=True).select_option("tgda")
    page.get_by_label("Status", exact=True).select_option("unranked")
    assert page.locator("#records tbody tr").count() == 1
    assert HOSTILE in page.locator("#records tbody").inner_text()
    page.get_by_label("Status", exact=True).select_option("")
    page.get_by_label("Search").fill("spectral")
    assert set(column(page, "#records", 7)) == {"spectral-signatures"}
    page.wait_for_url("**#attack=tgda&search=spectral")
    sort(page, page.locator("#records thead th").nth(10), "ascending")
    drops = [float(text.replace("−", "-")) for text in column(page, "#records", 11)]
    assert drops == sorted(drops)
    page.locator("#records tbody a").first.click()
    page.locator("h1", has_text="against").wait_for()


@pytest.fixture(scope="module")
def guest(site: Path, record_pages: Callable[[Path], dict[str, str]]) -> str:
    """The address of the hostile record's page."""
    (record_id,) = (record_id for record_id, text in record_pages(site).items() if "onerror" in text)
    (link,) = {link for link in re.findall(r"record\.html#[^\"]+", _boards(site)) if link.endswith(record_id)}
    return str(link)


def _boards(site: Path) -> str:
    return "".join(path.read_text("utf-8") for path in (site / "boards").iterdir())


def test_nothing_hostile_runs_anywhere(visit: Any, site: Path, guest: str) -> None:
    page = visit(guest)
    page.locator("h1", has_text="onerror").wait_for()
    assert page.evaluate("window.hacked") is None
    guests = [path for path in site.rglob("*.html") if "onerror" in path.read_text("utf-8")]
    assert {path.parent.name for path in guests} == {"attacks", "boards", "defenses"}
    for path in [*guests, site / "records.html"]:
        page.goto(f"file://{path}")
        assert page.evaluate("window.hacked") is None
    page.get_by_label("Status", exact=True).select_option("unranked")
    assert page.evaluate("window.hacked") is None


def test_the_scheme_is_the_system_s_until_one_is_chosen(visit: Any) -> None:
    page = visit("index.html", scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="light scheme").click()
    light = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)" != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="dark scheme").click()
    assert page.evaluate(ground) == dark


def test_it_works_by_keyboard(visit: Any) -> None:
    page = visit("boards/digits-v1-lr-0.03.html#attacks.sort=2-asc")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    assert page.url.endswith("#attacks.sort=2-asc")
    page.locator("thead th:nth-child(3)[aria-sort=ascending]").first.wait_for()
    page.locator("thead th").nth(2).locator(".dt-column-order").focus()
    page.keyboard.press("Enter")
    page.locator("thead th:nth-child(3)[aria-sort=descending]").first.wait_for()
    page.locator("tbody th a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/attacks/*.html")


@pytest.mark.parametrize("name", ["index.html", "boards/digits-v1-lr-0.03.html", "records.html", "about.html"])
def test_a_phone_scrolls_no_page_sideways(visit: Any, name: str) -> None:
    page = visit(name, width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_record_and_a_method_fit_a_phone(visit: Any, guest: str) -> None:
    page = visit(guest, width=360)
    page.locator("#command").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert visit("attacks/tgda.html", width=360).evaluate("document.documentElement.scrollWidth") <= 360


def test_without_scripts_there_are_tables_and_no_dead_controls(visit: Any) -> None:
    page = visit("boards/digits-v1-lr-0.03.html", scripts=False)
    assert page.locator("table").first.locator("tbody tr").count() >= 10
    assert page.locator("button:visible, select:visible, input:visible").count() == 0
    assert visit("records.html", scripts=False).locator("noscript").count() == 1
    assert visit("record.html#digits-v1-lr-0.03/0", scripts=False).locator("noscript").count() == 1


def test_a_record_that_is_not_there_is_said_to_be_so(visit: Any) -> None:
    page = visit("record.html#digits-v1-lr-0.03/0123456789abcdef")
    page.locator("h1", has_text="No such record").wait_for()
    page.goto(page.url.replace("digits-v1-lr-0.03/0123456789abcdef", "../evil/0"))
    page.locator("h1", has_text="No such record").wait_for()


def test_two_are_compared_by_keyboard_and_by_address(browser: Any, certified: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page, errors = context.new_page(), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{certified}/boards/digits-v2-lr-0.03.html")
    page.get_by_role("link", name="Compare two attacks").focus()
    page.keyboard.press("Enter")
    page.locator(".finding").wait_for()
    assert page.title() == "tgda and label-flip · poisonbench"
    assert re.search(r"(are not told apart|is ahead of).*p = ", page.locator(".finding").inner_text())
    cells = page.locator("tr", has_text="drop").locator("td").all_inner_texts()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("One", exact=True).focus()
    page.keyboard.press("l")
    page.wait_for_function("document.title.startsWith('label-flip and tgda')")
    turned = page.locator("tr", has_text="drop").locator("td").all_inner_texts()
    assert (turned[0], turned[1]) == (cells[1], cells[0])
    assert turned[2] == (cells[2][1:] if cells[2].startswith("−") else f"−{cells[2]}")
    page.reload()
    page.wait_for_function("document.title.startsWith('label-flip and tgda')")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the table comparison as CSV").click()
    assert "seed 9" in Path(download.value.path()).read_text("utf-8")
    assert errors == []
    context.close()


@pytest.fixture(scope="module")
def certified(published_records: tuple[Record, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with certificates."""
    records = [
        record
        for record in published_records
        if (record.protocol.name, record.model.name) == ("digits-v2", "lr")
        if record.attack.name in ("label-flip", "tgda") and record.defense.name in ("none", "dpa")
    ]
    return build(Sources(records), tmp_path_factory.mktemp("certified") / "out").parent


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_certified_accuracy_is_read_on_a_phone(
    browser: Any, certified: Path, scheme: str, record_pages: Callable[[Path], dict[str, str]]
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    record = next(record_id for record_id, text in record_pages(certified).items() if 'class="curve"' in text)
    for path in ("boards/digits-v2-lr-0.03.html", "defenses/dpa.html", f"record.html#digits-v2-lr-0.03/{record}"):
        page.goto(f"file://{certified}/{path}")
        drawing = page.get_by_role("img", name="Certified accuracy against the number of rows")
        drawing.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        texts = drawing.locator("text").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
        assert min(texts) >= 9, path
    box, frame = (page.locator(one).first.bounding_box() for one in (".curve:not(.lines) path", ".plot"))
    assert frame["x"] <= box["x"] < box["x"] + box["width"] <= frame["x"] + frame["width"]
    ink = "getComputedStyle(document.querySelector('.curve:not(.lines) path')).stroke"
    assert page.evaluate(ink) == {"light": "rgb(180, 67, 11)", "dark": "rgb(242, 154, 95)"}[scheme]
    context.close()
