"""The documentation as it lies in the checkout: links, methods, names that it
promises, forms of issues. `mkdocs build --strict`
looks at the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import poisonbench as pb
from poisonbench.plugins.built_in import BUILT_IN

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}
LINK = re.compile(r"\]\(([^)\s#:]*)(?:#([^)\s]*))?\)")


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", TEXTS[path], flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """What its headings are reached by."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(prose(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path), f"{page}: {target}#{anchor}"


def test_the_reference_has_every_public_name_once() -> None:
    named = re.findall(r"^::: poisonbench\.(\w+)$", TEXTS[CHECKOUT / "docs" / "reference" / "python.md"], re.M)
    assert sorted(named) == sorted(pb.__all__)


METHODS = [(kind, name) for kind in ("attack", "defense") for name in BUILT_IN[kind]]


@pytest.mark.parametrize(("kind", "name"), METHODS, ids=[name for _, name in METHODS])
def test_every_method_has_its_mathematics_beside_its_code(kind: str, name: str) -> None:
    """A section with a formula, and a link to the file that its class is in."""
    page = CHECKOUT / "docs" / "explanation" / f"{kind}s.md"
    file = BUILT_IN[kind][name].partition(":")[0].removeprefix("poisonbench.").replace(".", "/") + ".py"
    skeleton = f"## `{name}`\n\n$$…$$\n\nWhat it does, in a sentence.\n\nCode: [{file}](../../{file}).\n"
    section = re.search(rf"^## `{name}`\n(.*?)(?=^## |\Z)", TEXTS[page], re.M | re.S)
    assert section, f"{page} lacks, in the order of names:\n\n{skeleton}"
    assert re.search(r"^\$\$.+\$\$$", section[1], re.M), f"{name} lacks its formula."
    assert f"](../../{file})" in section[1]


@pytest.mark.parametrize("kind", ["attack", "defense"])
def test_methods_stand_in_the_order_of_their_names_and_are_registered(kind: str) -> None:
    found = re.findall(r"^## `(.*)`$", TEXTS[CHECKOUT / "docs" / "explanation" / f"{kind}s.md"], re.M)
    assert found == sorted(BUILT_IN[kind])


@pytest.mark.parametrize("name", ["bug", "method", "results"])
def test_forms_of_issues_ask_for_what_they_name(name: str) -> None:
    form = yaml.safe_load((CHECKOUT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "labels", "body"} == set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in fields)
    assert len({part["id"] for part in fields}) == len(fields) > 0
