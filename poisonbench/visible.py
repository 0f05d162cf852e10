"""Text that may come from a stranger, without what a terminal or a browser obeys instead of showing it."""

from __future__ import annotations

import unicodedata

_OBEYED = ("Cc", "Cf", "Zl", "Zp")
"""Unicode's categories of controls, of marks that are not seen (those of writing direction among them) and of breaks of
lines that are no newline."""

_LAID_OUT = "\n\t"


def visible(text: str) -> str:
    """Show controls and unseen marks as �; lines and tabs stay."""
    return text if text.isprintable() else "".join(map(_visible, text))


def one_line(text: str) -> str:
    """Show line breaks and tabs as � too: nobody's text begins a line of ours."""
    return text if text.isprintable() else visible(text.translate(_BROKEN))


def shown(value: object) -> object:
    """Make a value visible that a template prints, if it is plain text; Jinja2's `finalize`."""
    return visible(value) if type(value) is str else value


def escaped(text: str) -> str:
    """Escape in JSON what is not shown: what `json.dumps` writes with `ensure_ascii` has only DEL of it."""
    return text.replace("\x7f", "\\u007f")


_BROKEN = dict.fromkeys(map(ord, _LAID_OUT), "\N{REPLACEMENT CHARACTER}")


def _visible(letter: str) -> str:
    kept = letter in _LAID_OUT or unicodedata.category(letter) not in _OBEYED
    return letter if kept else "\N{REPLACEMENT CHARACTER}"
