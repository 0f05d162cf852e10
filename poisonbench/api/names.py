"""`poisonbench.available`: the names of all that can be run."""

from __future__ import annotations

from poisonbench.experiment import protocol
from poisonbench.plugins.registry import GROUPS, entries


def available() -> dict[str, list[str]]:
    """The names of attacks, defenses, models, datasets and protocols, by kind, plugins included. Imports none of them;
    plugins that do not import are left out.
    """
    found = {f"{kind}s": [name for name, entry in entries(kind).items() if entry.broken is None] for kind in GROUPS}
    return found | {"protocols": list(protocol.names())}
