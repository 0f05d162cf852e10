"""`python -m poisonbench.plugins.record`: put the code as it stands on record, under the versions that it declares.

For whoever changed the code of something that ships. If its numbers can change, raise its version first; if they are
the same to the bit, this adds the new form of the code to the version that it has. The change of versions.json is what
a reviewer looks at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from poisonbench.identity import versions
from poisonbench.identity.code import code_hash
from poisonbench.plugins.built_in import BUILT_IN
from poisonbench.plugins.registry import load, version_of


def declared() -> Iterator[tuple[str, str, int, str]]:
    """Kind, name, version and code hash of everything that ships."""
    yield "engine", "engine", versions.ENGINE, versions.engine_hash()
    for kind, targets in BUILT_IN.items():
        for name in targets:
            cls = load(kind, name)
            yield kind, name, version_of(cls), code_hash(cls.__module__)


def main() -> None:
    """Add what is not on record, and say so."""
    book = json.loads(json.dumps(versions.book()))
    for kind, name, version, code in declared():
        known = book.setdefault(kind, {}).setdefault(name, {}).setdefault(str(version), [])
        if code not in known:
            known.append(code)
            print(f"{kind} {name} {version}: {code[:16]}")
    path = Path(str(files("poisonbench.identity").joinpath("versions.json")))
    path.write_text(json.dumps(book, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
