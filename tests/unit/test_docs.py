"""The documentation as it lies in the checkout: links, names that it promises, forms of issues. `mkdocs build --strict`
looks at the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import poisonbench as pb

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


@pytest.mark.parametrize("name", ["bug", "method", "results"])
def test_forms_of_issues_ask_for_what_they_name(name: str) -> None:
    form = yaml.safe_load((CHECKOUT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "labels", "body"} == set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in fields)
    assert len({part["id"] for part in fields}) == len(fields) > 0
