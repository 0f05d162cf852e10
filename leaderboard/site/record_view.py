"""A record as its page shows it. What many records share is rendered once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment
from markupsafe import Markup

from poisonbench.leaderboard.badges import Tier
from poisonbench.leaderboard.declarations import BENCHMARK, citations
from poisonbench.leaderboard.experiments import Experiment
from poisonbench.leaderboard.site.catalogue import Catalogue, Seat
from poisonbench.leaderboard.site.certified_svg import certified_curve
from poisonbench.leaderboard.site.gallery import Picture, poison_of
from poisonbench.leaderboard.site.record_facts import classes, facts, setting, shortened, table
from poisonbench.leaderboard.site.settings import chosen, command, mode_of
from poisonbench.store.record import Record
from poisonbench.store.record_setup import MethodInfo

_STATUS = {"failed": "failed", "timeout": "timed out", "oom": "out of memory"}


@dataclass(frozen=True)
class RecordView:
    """What the page of a record shows.

    Attributes:
        record: the record.
        seat: where it stands.
        badges: each with its look: good, plain, warn or bad.
        certified: rendered curve of what the defense proves; may be empty.
        siblings: rendered links to all seeds of its experiment, and their mean; empty if none is good.
        command: that makes it again.
        hint: what the command needs besides poisonbench.
        picture: of its poisoned points, or None.
        configuration: rendered tables of the settings.
        classes: rendered table of acc1 and acc2 by class; may be empty.
        facts: rendered tables of names and values, each a piece.
        citations: rendered BibTeX.
    """

    record: Record
    seat: Seat
    badges: tuple[tuple[str, str], ...]
    certified: Markup
    siblings: Markup
    command: str
    hint: str
    picture: Picture | None
    configuration: Markup
    classes: Markup
    facts: tuple[Markup, ...]
    citations: Markup


class RecordViews:
    """Makes the views of one site."""

    def __init__(self, environment: Environment, catalogue: Catalogue, gallery: Mapping[str, Picture]) -> None:
        self._seats, self._gallery = catalogue.seats, gallery
        self._tables = environment.get_template("configuration.html")
        self._entries = environment.get_template("citations.html")
        self._seeds = environment.get_template("siblings.html")
        self._shared: dict[int, Markup] = {}
        self._configuration = cache(self._render_configuration)
        self._citations = cache(self._render_citations)

    def view(self, record: Record) -> RecordView:
        """What the page of a record shows."""
        seat, mode = self._seats[record.record_id], mode_of(record)
        return RecordView(
            record=record,
            seat=seat,
            badges=tuple(_badges(record, seat.latest.record_id != record.record_id)),
            certified=certified_curve(record),
            siblings=self._siblings(seat.experiment),
            command=command(record),
            hint=_hint(record),
            picture=self._gallery.get(poison_of(record)),
            configuration=self._configuration(record.attack.model_dump_json(), record.defense.model_dump_json(), mode),
            classes=classes(record),
            facts=tuple(table(title, rows) for title, rows in facts(record) if rows),
            citations=self._citations(record.attack.name, record.defense.name),
        )

    def _siblings(self, one: Experiment[Record]) -> Markup:
        """Links to an experiment's records, which share them. Experiments live as long as the catalogue: none takes
        another's id."""
        if id(one) not in self._shared:
            self._shared[id(one)] = Markup(self._seeds.render(experiment=one, drop=one.drop))  # noqa: S704 (as below)
        return self._shared[id(one)]

    def _render_configuration(self, attack: str, defense: str, mode: str | None) -> Markup:
        tables = []
        for kind, document in (("attack", attack), ("defense", defense)):
            method = MethodInfo.model_validate_json(document)
            own = chosen(kind, method, mode)
            rows = [
                (key, setting(shortened(value)), setting(value), key in own) for key, value in method.params.items()
            ]
            tables.append((f"{kind.capitalize()} {method.name} ({method.distribution} {method.release})", rows))
        return Markup(self._tables.render(tables=tables))  # noqa: S704 (rendered with autoescape)

    def _render_citations(self, attack: str, defense: str) -> Markup:
        entries = dict.fromkeys([*citations("attack", attack), *citations("defense", defense), BENCHMARK])
        return Markup(self._entries.render(entries=list(entries)))  # noqa: S704 (rendered with autoescape)


def _badges(record: Record, superseded: bool) -> Iterable[tuple[str, str]]:
    if record.status != "ok":
        yield _STATUS[record.status], "bad"
    elif superseded:
        yield "superseded", "warn"
    else:
        yield ("ranked", "good") if record.ranked else ("unranked", "warn")
    yield (Tier.SELF_REPORTED, "plain") if record.verified_by is None else (Tier.VERIFIED, "good")


def _hint(record: Record) -> str:
    others = {record.attack.distribution, record.defense.distribution} - {"poisonbench"}
    hints = [f"Needs {', '.join(sorted(others))}."] if others else []
    if not record.protocol.locked:
        hints.append("The protocol is a file of its author's: give --protocol that file.")
    return " ".join(hints)
