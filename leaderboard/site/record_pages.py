"""The pages of a board's records in one value: pieces that many of them share, and which of these each has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment

from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.leaderboard.site.gallery import Picture
from poisonbench.leaderboard.site.record_view import RecordViews
from poisonbench.leaderboard.site.training_svg import traces, trajectory
from poisonbench.leaderboard.values import attacked_rows
from poisonbench.store.record import Record


class RecordPages:
    """Makes the pages of one site, in which every text is escaped."""

    def __init__(self, environment: Environment, catalogue: Catalogue, gallery: Mapping[str, Picture]) -> None:
        self._views = RecordViews(environment, catalogue, gallery)
        self._head = environment.get_template("record_head.html")
        self._run = environment.get_template("record_run.html")

    def of(self, records: Iterable[Record]) -> dict[str, Any]:
        """`pieces`, texts of HTML, and `records`: by id the title, then the numbers of its pieces, in order."""
        pieces: dict[str, int] = {}
        found = {
            record.record_id: [_title(record), *(pieces.setdefault(one, len(pieces)) for one in self._pieces(record))]
            for record in records
        }
        return {"pieces": list(pieces), "records": found}

    def _pieces(self, record: Record) -> Iterator[str]:
        view = self._views.view(record)
        yield self._head.render(view=view, record=record, attacked=attacked_rows(record))
        yield view.siblings
        yield view.certified
        yield trajectory(record)
        yield traces(record)
        yield self._run.render(view=view)
        yield view.configuration
        yield view.classes
        yield '<div class="facts">\n'
        yield from view.facts
        yield "</div>\n"
        yield view.citations


def _title(record: Record) -> str:
    return f"{record.attack.name} against {record.defense.name}, seed {record.seeds.run}"
