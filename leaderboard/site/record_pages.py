"""The pages of a board's records in one value: pieces that many of them share, and which of these each has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment
from markupsafe import escape

from poisonbench.leaderboard.site.catalogue import Catalogue
from poisonbench.leaderboard.site.gallery import Picture
from poisonbench.leaderboard.site.record_view import RecordView, RecordViews
from poisonbench.leaderboard.site.training_svg import Traces, trajectory
from poisonbench.leaderboard.values import attacked_rows
from poisonbench.store.record import Record
from poisonbench.visible import visible


class RecordPages:
    """Makes the pages of one site, in which every text is escaped."""

    def __init__(self, environment: Environment, catalogue: Catalogue, gallery: Mapping[str, Picture]) -> None:
        self._views = RecordViews(environment, catalogue, gallery)
        self._head = environment.get_template("record_head.html")
        self._traces = Traces()

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
        yield self._traces.of(record)
        yield _run(view)
        yield _picture(view)
        yield view.configuration
        yield view.classes
        yield '<div class="facts">\n'
        yield from view.facts
        yield "</div>\n"
        yield view.citations


def _run(view: RecordView) -> str:
    """How to make it again, written out here, for a template takes ten times as long."""
    hint = f"<p class=quiet>{escape(visible(view.hint))}</p>\n" if view.hint else ""
    return (
        '<h2>Run it again</h2>\n<figure class="code"><pre id="command" tabindex="0">'
        f"{escape(visible(view.command))}</pre>"
        '<button type="button" class="copy" data-copy="command" hidden>Copy</button></figure>\n'
        f"{hint}<p>Record {view.record.record_id}. Its whole document is a line of "
        '<a href="data/records.json.gz">records.json.gz</a>.</p>\n'
    )


def _picture(view: RecordView) -> str:
    if view.picture is None:
        return ""
    return (
        f'<h2>Poisoned points</h2>\n<div class="gallery"><figure><img src="{escape(view.picture.path)}" '
        f'alt="Poisoned points of {escape(visible(view.record.attack.name))}"><figcaption>Seed {view.picture.seed}. '
        f"{escape(visible(view.picture.caption))}</figcaption></figure></div>\n"
    )


def _title(record: Record) -> str:
    return f"{record.attack.name} against {record.defense.name}, seed {record.seeds.run}"
