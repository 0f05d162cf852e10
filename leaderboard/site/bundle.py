"""DataTables as itables ships it, an ES module, made a classic script: browsers load no modules from file://."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from poisonbench.errors import StoreError

_EXPORT = re.compile(r"\bexport\s*\{([^{}]*)\}\s*;?\s*(?=/\*|\Z)")
"""The module's one export; legal comments may follow."""


def script() -> str:
    """A script that defines window.DataTable.

    Raises:
        StoreError: if itables is not installed, or its bundle is not what it was.
    """
    spec = find_spec("itables")  # finding it does not import it, nor pandas
    if spec is None or not spec.origin:
        raise StoreError("The site needs itables. Install it with: pip install 'itables>=2.2'")
    path = Path(spec.origin).with_name("html") / "dt_bundle.js"
    try:
        return classic(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"Cannot read {path}: {error.strerror or error}. Install itables again.") from error
    except ValueError as error:
        raise StoreError(f"{path}: {error}. Install another version of itables.") from error


def classic(module: str) -> str:
    """The module's code as a script that assigns its default export.

    Raises:
        ValueError: if it imports something, or does not have exactly one list of exports with a default.
    """
    found = list(_EXPORT.finditer(module))
    if len(found) != 1 or re.search(r"^\s*import\b[^(]", module, re.MULTILINE):
        raise ValueError(f"expected an ES module that imports nothing and exports once, got {len(found)} exports")
    parts = (part.partition(" as ") for part in found[0][1].split(","))
    names = {public.strip(): own.strip() for own, _, public in parts}
    if "default" not in names:
        raise ValueError(f"expected a default export, got {', '.join(names) or 'none'}")
    code = module[: found[0].start()] + module[found[0].end() :]
    return f'(() => {{"use strict";\n{code}\nwindow.DataTable = {names["default"]};\n}})();\n'
