"""What the site is about, in one place: records, their boards, their places on them, and the names of their pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poisonbench.leaderboard.boards import Board, Key, Place, boards
from poisonbench.leaderboard.methods import Method, attack_of, defense_of
from poisonbench.leaderboard.site.slugs import slugs
from poisonbench.store.record import Record

KINDS = ("attack", "defense")


@dataclass(frozen=True)
class Seat:
    """Where a record stands.

    Attributes:
        board: the board.
        place: attack against defense on it.
        latest: the record that counts for its seed there; the record itself, or one that superseded it.
    """

    board: Board
    place: Place
    latest: Record


@dataclass(frozen=True)
class Catalogue:
    """All of it; what has a page has a slug.

    Attributes:
        records: each once, oldest first.
        boards: in the order of the index.
        seats: by record id.
        board_slugs: by key.
        method_slugs: by kind and name.
        methods: names by kind, in alphabetical order.
    """

    records: tuple[Record, ...]
    boards: tuple[Board, ...]
    seats: Mapping[str, Seat]
    board_slugs: Mapping[Key, str]
    method_slugs: Mapping[tuple[str, str], str]
    methods: Mapping[str, tuple[str, ...]]

    @property
    def date(self) -> str:
        """Day of the latest record; empty without records."""
        return self.records[-1].finished_at[:10] if self.records else ""


def catalogue(records: Iterable[Record]) -> Catalogue:
    """Of records in any order, some of them more than once."""
    unique = {record.record_id: record for record in records}.values()
    found = tuple(sorted(unique, key=lambda record: (record.finished_at, record.record_id)))
    ranked = tuple(boards(found))
    names = {
        "attack": tuple(sorted({record.attack.name for record in found})),
        "defense": tuple(sorted({record.defense.name for record in found})),
    }
    texts = slugs({repr(board.key): board.key.slug for board in ranked})
    return Catalogue(
        records=found,
        boards=ranked,
        seats=_seats(found, ranked),
        board_slugs={board.key: texts[repr(board.key)] for board in ranked},
        method_slugs={
            (kind, name): slug for kind in KINDS for name, slug in slugs({one: one for one in names[kind]}).items()
        },
        methods=names,
    )


def _seats(records: tuple[Record, ...], ranked: tuple[Board, ...]) -> dict[str, Seat]:
    found = {
        record.record_id: Seat(board, place, record)
        for board in ranked
        for place in board.places
        for record in (*place.records.values(), *place.failures.values())
    }
    superseded = [record for record in records if record.record_id not in found]
    if superseded:
        latest = {_cell(seat.latest): seat for seat in found.values()}
        found |= {record.record_id: latest[_cell(record)] for record in superseded}
    return found


def _cell(record: Record) -> tuple[Key, Method, Method, tuple[str, ...], bool, int]:
    protocol = record.protocol
    experiment = Key.of(record), attack_of(record), defense_of(record)
    return *experiment, protocol.deviations, record.ranked, record.seeds.run
