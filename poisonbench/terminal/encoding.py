"""Text as an output shows it: what its encoding lacks is spelled in ASCII, never lost."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

from rich.text import Span, Text

from poisonbench.visible import visible

_NAME = "poisonbench"
_PLAIN = "poisonbench_ascii"
"""ASCII under a name of its own: an output that is ASCII by name, Click takes for a mistake and writes UTF-8 to."""

_ASCII = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "±": "+/-", "×": "x", "·": ".", "…": "...", "≤": "<=", "≥": ">=", "≠": "!=",
    "≈": "~", "∈": "in", "∞": "inf", "∪": "u", "∩": "n", "∂": "d", "∇": "grad ", "∑": "sum", "Σ": "Sum", "∏": "prod",
    "√": "sqrt", "‖": "||", "→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "⟨": "<", "⟩": ">", "⌊": "floor(", "⌋": ")",
    "⌈": "ceil(", "⌉": ")", "⊤": "^T", "ᵀ": "^T", "✓": "+", "✗": "x", "•": "*", "°": " deg", "α": "alpha", "β": "beta",
    "γ": "gamma", "δ": "delta", "Δ": "Delta", "ε": "eps", "ϵ": "eps", "η": "eta", "θ": "theta", "κ": "kappa",
    "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi",
    "χ": "chi", "ψ": "psi", "ω": "omega", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "′": "'", "ı": "i",
    "↦": "|->", "∘": "o", "⋆": "*", "∝": "prop. to",
    "⁻": "^-", "²": "^2", "³": "^3",
    "Γ": "Gamma", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Υ": "Upsilon", "Φ": "Phi", "Ψ": "Psi",
    "Ω": "Omega", "ζ": "zeta", "ι": "iota", "υ": "upsilon", "µ": "mu", "∉": "not in", "∫": "int ", "⊆": "within",
    "⊗": "(x)", "₋": "_-", "†": "[+]", "▽": "v", "◆": "*", "\N{REPLACEMENT CHARACTER}": "?", "Œ": "OE",
    "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "AE", "œ": "oe", "¶": "P", "§": "par. ",
    "─": "-", "━": "=", "│": "|", "┃": "|", "╭": "+", "╮": "+", "╯": "+", "╰": "+", "┌": "+", "┐": "+", "└": "+",
    "┘": "+", "├": "+", "┤": "+", "┬": "+", "┴": "+", "┼": "+", "╸": "=", "╺": "=", "█": "#", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip


def spell_out() -> None:
    """From here on standard output and standard error spell what their encoding lacks in ASCII (− as -, ± as +/-, ε as
    eps). Where they are UTF-8 only halves of surrogate pairs are, as of file names that are not text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_alone = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_PLAIN if ascii_alone else None, errors=_NAME)


def in_letters_of(encoding: str, text: str) -> str:
    """The text as it is shown in an encoding, without what a terminal obeys."""
    text = visible(text)
    return text if text.isascii() else text.encode(encoding, _NAME).decode(encoding)


def text_in_letters_of(encoding: str, text: Text) -> Text:
    """The same of a styled text."""
    if text.plain.isascii() and text.plain.isprintable():
        return text
    lacking = [index for index, letter in enumerate(text.plain) if in_letters_of(encoding, letter) != letter]
    if not lacking:
        return text
    pieces = text.divide(sorted({edge for index in lacking for edge in (index, index + 1)}))
    for piece in pieces:
        spans = [span.style for span in piece.spans]
        if (shown := in_letters_of(encoding, piece.plain)) != piece.plain:
            piece.plain, piece.spans = shown, [Span(0, len(shown), style) for style in spans]
    return text.blank_copy().join(pieces)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_letter, error.object[error.start : error.end])), error.end


def _find(name: str) -> codecs.CodecInfo | None:
    if name != _PLAIN:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        _PLAIN,
    )


codecs.register(_find)
codecs.register_error(_NAME, _spelled)


def _letter(letter: str) -> str:
    if letter in _ASCII or letter.isascii():
        return _ASCII.get(letter, letter)
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode("ascii")
    if plain or unicodedata.combining(letter):
        return plain
    return letter.encode("ascii", "backslashreplace").decode("ascii") if "\ud800" <= letter <= "\udfff" else "?"
