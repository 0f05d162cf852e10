"""What the site is about, in one place: records, their boards, their experiments, and the names of their pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from poisonbench.leaderboard.boards import Board, boards
from poisonbench.leaderboard.conditions import Conditions, Kind
from poisonbench.leaderboard.defense_standings import Order
from poisonbench.leaderboard.experiments import NO_STORE, Entries, Experiment
from poisonbench.leaderboard.site.order import in_order
from poisonbench.leaderboard.site.slugs import slugs
from poisonbench.store.record import Record

KINDS = ("attack", "defense")


@dataclass(frozen=True)
class Seat:
    """Where a record stands.

    Attributes:
        board: the board.
        experiment: attack against defense on it.
        latest: the record that counts for its seed there; the record itself, or one that superseded it.
    """

    board: Board
    experiment: Experiment[Record]
    latest: Record


@dataclass(frozen=True)
class Catalogue:
    """What the site is about; what has a page has a slug.

    Attributes:
        records: each once, oldest first.
        boards: in the order of the index.
        order: of the defenses on a board.
        seats: by record id.
        board_slugs: by conditions.
        method_slugs: by kind and name.
        methods: names by kind, in alphabetical order.
    """

    records: tuple[Record, ...]
    boards: tuple[Board, ...]
    order: Order
    seats: Mapping[str, Seat]
    board_slugs: Mapping[Conditions, str]
    method_slugs: Mapping[tuple[str, str], str]
    methods: Mapping[str, tuple[str, ...]]

    @property
    def date(self) -> str:
        """The day of the latest record; empty without records."""
        return self.records[-1].finished_at[:10] if self.records else ""

    def method_page(self, board: Board) -> Callable[[str, str], str]:
        """Where a method is shown that has a label on a board, from the site's root, by kind and label."""
        names = {("attack", one.attack_label): one.attack.name for one in board.experiments}
        names |= {("defense", one.defense_label): one.defense.name for one in board.experiments}
        return lambda kind, label: f"{kind}s/{self.method_slugs[kind, names[kind, label]]}.html"

    def record_page(self, record: Record) -> str:
        """Where a record is shown, from the site's root."""
        return f"record.html#{self.board_slugs[self.seats[record.record_id].board.conditions]}/{record.record_id}"


def catalogue(records: Iterable[Record], order: Order = "mean", entries: Entries = NO_STORE) -> Catalogue:
    """The catalogue of records in any order, some of them more than once; order is that of the defenses, entries those
    of the store that the records are from."""
    unique = {record.record_id: record for record in records}.values()
    found = tuple(sorted(unique, key=lambda record: (record.finished_at, record.record_id)))
    ranked = in_order(boards(found, order, entries))
    names = {
        "attack": tuple(sorted({record.attack.name for record in found})),
        "defense": tuple(sorted({record.defense.name for record in found})),
    }
    texts = slugs({repr(board.conditions): _page_name(board.conditions) for board in ranked})
    return Catalogue(
        records=found,
        boards=ranked,
        order=order,
        seats=_seats(ranked),
        board_slugs={board.conditions: texts[repr(board.conditions)] for board in ranked},
        method_slugs={
            (kind, name): slug for kind in KINDS for name, slug in slugs({one: one for one in names[kind]}).items()
        },
        methods=names,
    )


def _seats(ranked: Iterable[Board]) -> dict[str, Seat]:
    return {
        record.record_id: Seat(board, one, latest)
        for board in ranked
        for one in board.experiments
        for by_seed in ({**one.records, **one.failures},)
        for record, latest in (
            *((record, record) for record in by_seed.values()),
            *((record, by_seed[record.seeds.run]) for record in one.superseded),
        )
    }


def _page_name(conditions: Conditions) -> str:
    """A text for a file's name, which slugs makes unique."""
    tail = "-unlearnable" if conditions.kind is Kind.UNLEARNABLE else ""
    tail += "-earlier-code" if conditions.earlier else ""
    text = f"{conditions.protocol}-{conditions.model}-{conditions.epsilon:g}{tail}".lower()
    return "".join(letter if (letter.isalnum() and letter.isascii()) or letter in ".-" else "-" for letter in text)
