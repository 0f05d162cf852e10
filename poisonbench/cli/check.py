"""`poisonbench check`: the contract on tiny games, as a checklist."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from rich.markup import escape

from poisonbench.errors import ConfigError, UnknownNameError, ValidationError, unknown
from poisonbench.experiment import protocol
from poisonbench.plugins.registry import Entry, configure, entries
from poisonbench.problem.threat import ThreatModel
from poisonbench.terminal import console
from poisonbench.testing.checklist import Verdict
from poisonbench.testing.fast_settings import ATTACKS, GAMES
from poisonbench.testing.game import Game
from poisonbench.testing.inspection import CONTRACTS, Subject, examine

MARKS = {"ok": "[green]✓[/]", "warned": "[yellow]![/]", "failed": "[red]✗[/]", "skipped": "–"}
"""By status."""


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        names: attacks and defenses.
        settings: key=value, fields of the methods, with or without "attack." or "defense." before them.
        game: key=value, fields of testing.Game.
        timeout: seconds that a check may take.
        as_json: print JSON.
    """

    names: tuple[str, ...]
    settings: tuple[str, ...]
    game: tuple[str, ...]
    timeout: float
    as_json: bool


def run(request: Request) -> int:
    """Check every method; 4 if one of them fails.

    Raises:
        UsageError: for a name, a field or a value that is wrong.
    """
    settings, game = _values(request.settings), _values(request.game)
    methods = [entry for name in request.names for entry in _entries(name)]
    subjects = [(entry, _subject(entry, settings, game)) for entry in methods]
    found: list[dict[str, Any]] = []
    for entry, subject in subjects:
        seen = list(_shown(entry, examine(subject, request.timeout), quietly=request.as_json))
        failed = any(verdict.status == "failed" for verdict in seen)
        about = {"name": entry.name, "kind": entry.kind, "distribution": entry.distribution, "release": entry.release}
        found.append({**about, "ok": not failed, "checks": [asdict(verdict) for verdict in seen]})
    if request.as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if all(item["ok"] for item in found) else ValidationError.exit_code


def _entries(name: str) -> Iterator[Entry]:
    """The attack and the defense of that name."""
    known = {kind: entries(kind) for kind in CONTRACTS}
    if not any(name in names for names in known.values()):
        raise UnknownNameError(unknown("attack or defense", name, sorted({*known["attack"], *known["defense"]})))
    return (names[name] for names in known.values() if name in names)


def _subject(entry: Entry, settings: dict[str, Any], game: dict[str, Any]) -> Subject:
    """The method with what was set, the built-ins with settings that are quick."""
    own = {}
    for key, value in settings.items():
        kind, _, field = key.rpartition(".")
        if kind in ("", entry.kind):
            own[field] = value
        elif kind not in CONTRACTS:
            raise ConfigError(f"--set {key}: expected {entry.kind}.{field or 'FIELD'}.")
    if entry.distribution == "poisonbench":
        own = {**(ATTACKS.get(entry.name, {}) if entry.kind == "attack" else {}), **own}
        game = {**GAMES.get(entry.name, {}), **game}
    return Subject(entry.kind, entry.name, own, _game(game))


def _game(values: dict[str, Any]) -> Game:
    known = [item.name for item in fields(Game)]
    for key in values:
        if key not in known:
            raise UnknownNameError(unknown("--game", key, known))
    game = configure(Game, values, "--game")
    if game.model not in entries("model"):
        raise UnknownNameError(unknown("model", game.model, list(entries("model"))))
    game.budget(ThreatModel())
    return game


def _values(texts: Iterable[str]) -> dict[str, Any]:
    return {setting.key: setting.value for setting in map(protocol.parse_setting, texts)}


def _shown(entry: Entry, verdicts: Iterable[Verdict], *, quietly: bool) -> Iterator[Verdict]:
    """The verdicts, each printed as it comes."""
    seen: list[Verdict] = []
    for verdict in verdicts:
        if not quietly:
            if not seen:
                source = escape(f"{entry.distribution} {entry.release}")
                console.print(f"[bold]{entry.name}[/bold], {entry.kind} of {source}", highlight=False)
            _print(verdict)
        seen.append(verdict)
        yield verdict
    if not quietly:
        console.print(f"{_summary(seen)}\n", highlight=False)


def _print(verdict: Verdict) -> None:
    lines = [f"{MARKS[verdict.status]} {escape(verdict.title)}"]
    if verdict.status == "skipped":
        lines = [f"[dim]– {escape(verdict.title)}: {escape(verdict.reason)}[/]"]
    elif verdict.reason:
        lines.append(f"    {escape(verdict.reason)}")
    if verdict.fix:
        lines.append(f"    [bold]Fix:[/] {escape(verdict.fix)}")
    lines += [f"    [dim]{escape(note)}[/]" for note in verdict.notes]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _summary(seen: list[Verdict]) -> str:
    counts = {status: sum(verdict.status == status for verdict in seen) for status in MARKS}
    words = {"ok": "passed", "warned": "with a warning", "failed": "failed", "skipped": "skipped"}
    parts = [f"{count} {words[status]}" for status, count in counts.items() if count]
    return f"{', '.join(parts)}; {sum(verdict.seconds for verdict in seen):.1f} s."
