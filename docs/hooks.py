"""What MkDocs does not do by itself: formulas without JavaScript, and links out of docs/ that hold in the checkout too.

A page may link to any text file of the repository as it would on a code host. On the site a Markdown file beside
README.md is a page of its own, and any other file a page with its text.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")
"""The target of a Markdown link without a scheme: its path, and perhaps its anchor."""

PROJECT = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
"""Files beside README.md that the site has as they are."""

ELSEWHERE = {"README.md": "index.md"}
"""One that it has otherwise."""

LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".csv": "text", ".cff": "yaml"}


def path_of(page: str) -> str:
    """The path in the repository of a page of the site, by its name there."""
    return page if (ROOT / page).is_file() and "/" not in page else f"docs/{page}"


def page_of(path: str) -> str:
    """The name on the site of a file of the repository.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not (ROOT / path).is_file():
        raise FileNotFoundError(path)
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if "/" not in path and path.endswith(".md"):
        return ELSEWHERE.get(path, path)
    return f"source/{path}.md"


def targets(page: str, text: str) -> Iterator[str]:
    """Paths in the repository of the files that a page links to."""
    for match in LINK.finditer(_without_code(text)):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(path_of(page)), match[1]))


def on_files(files: Any, config: Any) -> Any:
    """Add a page for every file out of docs/ that some page leads to."""
    from mkdocs.structure.files import File, InclusionLevel

    waiting = list(PROJECT)
    for file in files.documentation_pages():
        waiting += targets(file.src_uri, Path(file.abs_src_path).read_text("utf-8"))
    while waiting:
        path = waiting.pop()
        if path.startswith("docs/") or not (ROOT / path).is_file() or files.get_file_from_path(page_of(path)):
            continue
        name, text = page_of(path), (ROOT / path).read_text("utf-8")
        if name.startswith("source/"):
            file = File.generated(config, name, content=_listing(path, text), inclusion=InclusionLevel.NOT_IN_NAV)
        else:
            file = File.generated(config, name, content=text)
            waiting += targets(name, text)
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to files of the repository into links to their pages; one that leads nowhere is MkDocs's to refuse."""
    name = page.file.src_uri
    if name.startswith("source/"):
        return markdown

    def moved(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path_of(name)), match[1]))
        if not (ROOT / path).is_file():
            return match[0]
        return posixpath.relpath(page_of(path), posixpath.dirname(name) or ".") + (match[2] or "")

    return LINK.sub(moved, markdown)


def on_page_content(html_: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers draw by themselves."""
    from latex2mathml.converter import convert

    def drawn(match: re.Match[str]) -> str:
        drawing = str(convert(html.unescape(match[2]), display="inline" if match[1] == "(" else "block"))
        if "\\" in drawing:
            raise ValueError(f"A formula has a command that is not known: {match[2]}")
        return drawing

    return re.sub(r'(?<=class="arithmatex">)\\([(\[])(.*?)\\[)\]](?=</)', drawn, html_, flags=re.S)


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def _listing(path: str, text: str) -> str:
    """A page with a file's text, which search leaves out."""
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"---\nsearch: {{exclude: true}}\nhide: [navigation]\n---\n\n# {path}\n\n````{language}\n{text}````\n"
