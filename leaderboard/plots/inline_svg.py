"""An SVG file of matplotlib's to one that is a part of a web page."""

from __future__ import annotations

import hashlib
import re
from xml.etree import ElementTree

INK = "#010203"
"""Drawn with it is what shall have the colour of the page's text; a black that no palette has."""

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_STYLE = "max-width: 100%; height: auto; stroke-linejoin: round; stroke-linecap: butt"
"""The last two stand in the file's style sheet, which as a part of a page would be the whole page's."""

_FAMILY = re.compile(r"font-family:[^;]*;? ?")
_FONT = re.compile(r"\bfont: (?:(\w+) )?([\d.]+px)[^;]*")
"""Up to matplotlib 3.9 weight, size and family were one property."""

_REFERENCE = re.compile(r"(?<=url\()#[^)]+|^#(?![0-9a-fA-F]{6}$)\S+$")


def inline(svg: bytes) -> bytes:
    """The picture as an element of a page: no declaration, metadata, comments nor font; ink is `currentColor`.

    Ids begin with a hash of the content, for a page may hold several pictures; those that nothing names are left out.
    The root has role "img", and its first child is the title, if there is one.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314 -- matplotlib has just written it
    prefix = hashlib.sha256(svg).hexdigest()[:8]
    for left_out in (root.find(f"{_SVG}metadata"), root.find(f"{_SVG}defs")):
        if left_out is not None:
            root.remove(left_out)
    named = {name for element in root.iter() for value in element.attrib.values() for name in _REFERENCE.findall(value)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = {
            key.removeprefix(_XLINK): _value(key, value, prefix)
            for key, value in element.attrib.items()
            if key != "id" or f"#{value}" in named
        }
    root.attrib |= {"xmlns": _SVG[1:-1], "role": "img", "style": _STYLE}
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=False)
    return text


def _value(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key == "style":
        value = _FONT.sub(lambda font: f"font-weight: {font[1] or 400}; font-size: {font[2]}", _FAMILY.sub("", value))
    return _REFERENCE.sub(lambda found: f"#{prefix}-{found[0][1:]}", value).replace(INK, "currentColor")
