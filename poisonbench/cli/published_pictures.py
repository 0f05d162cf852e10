"""`python -m poisonbench.cli.published_pictures STORE…`: draw pictures of the published poison sets that stores hold.

For whoever publishes records, from a checkout. Each attack of a board gets one, of its lowest seed that is there,
beside the records in leaderboard/results/; one that has a picture keeps it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

from poisonbench.cli.reading import reading
from poisonbench.cli.thumbnail import thumbnail
from poisonbench.leaderboard.images.shipped import ship, shipped_picture
from poisonbench.leaderboard.published import published
from poisonbench.leaderboard.site.catalogue import catalogue
from poisonbench.leaderboard.site.gallery import poison_of, wanted
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.terminal.consoles import note


def drawn(records: Sequence[Record], stores: Sequence[Store], folder: Path) -> Path | None:
    """Ship a picture of the first of these poison sets that one of the stores holds; gives its path."""
    for record in records:
        for store in stores:
            if painted := thumbnail(store, record):
                return ship(folder, poison_of(record), *painted)
    return None


def main(stores: Sequence[str]) -> None:
    """Draw what is missing, and say what was drawn and what is missing still."""
    folder = Path(str(files("poisonbench.leaderboard").joinpath("results")))
    with ExitStack() as stack:
        opened = [stack.enter_context(reading(name)) for name in stores]
        for (title, attack), records in wanted(catalogue(published())).items():
            if not any(shipped_picture(poison_of(record)) for record in records):
                path = drawn(records, opened, folder)
                note(f"{title} · {attack}: {path.name if path else 'no poison set here'}")


if __name__ == "__main__":
    main(sys.argv[1:])
