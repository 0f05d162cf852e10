"""`poisonbench check`: the contract on tiny games, as a checklist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from poisonbench.cli.axes import refuse_twice
from poisonbench.cli.options import JsonOption, PluginOption
from poisonbench.errors import ConfigError, UnknownNameError, ValidationError, unknown
from poisonbench.terminal.consoles import console, write_json

if TYPE_CHECKING:
    from poisonbench.plugins.registry import Entry
    from poisonbench.testing.checklist import Verdict
    from poisonbench.testing.game import Game
    from poisonbench.testing.inspection import Subject

MARKS = {"ok": ("✓", "green"), "warned": ("!", "yellow"), "failed": ("✗", "red"), "skipped": ("–", "dim")}
"""By status, with their style."""


def check(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Attacks, defenses, models, datasets.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, fields of the method, such as steps=10.")
    ] = None,
    game: Annotated[
        list[str] | None,
        typer.Option(
            help="key=value of the tiny game: model, shape, classes, n_train, n_validation, epsilon, radius, "
            "augmentation."
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder with the files of datasets.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a check may take.")] = 60.0,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check attacks and defenses on tiny games: budget, box, labels, determinism, resuming, cost, no test data; models:
    rows, dtypes, derivatives; datasets: hash, shapes, ranges, labels, duplicates.

    What fails is shown with the reason and the fix; the exit code is then 4. The same checks are pytest classes:
    poisonbench.testing.AttackContract, DefenseContract, ModelContract and DatasetContract.
    """
    from poisonbench.experiment.settings import parse_settings
    from poisonbench.testing.inspection import examine

    settings, rules = parse_settings(setting or ()), parse_settings(game or (), "--game")
    refuse_twice(names, "NAME")
    methods = [entry for name in names for entry in _entries(name)]
    _refuse_strays(settings, methods)
    _refuse_idle_options(methods, rules, data_dir)
    subjects = [(entry, _subject(entry, settings, rules, data_dir)) for entry in methods]
    found: list[dict[str, Any]] = []
    for entry, subject in subjects:
        seen = list(_shown(entry, examine(subject, timeout), quietly=as_json))
        failed = any(verdict.status == "failed" for verdict in seen)
        about = {"name": entry.name, "kind": entry.kind, "distribution": entry.distribution, "release": entry.release}
        found.append({**about, "ok": not failed, "checks": [asdict(verdict) for verdict in seen]})
    if as_json:
        write_json(found)
    raise typer.Exit(0 if all(item["ok"] for item in found) else ValidationError.exit_code)


def _entries(name: str) -> Iterator[Entry]:
    """The attack, defense, model and dataset of that name."""
    from poisonbench.plugins.registry import entries
    from poisonbench.testing.inspection import CONTRACTS

    known = {kind: entries(kind) for kind in CONTRACTS}
    if not any(name in names for names in known.values()):
        every = sorted({one for names in known.values() for one in names})
        raise UnknownNameError(unknown("attack, defense, model or dataset", name, every))
    return (names[name] for names in known.values() if name in names)


def _refuse_strays(settings: Mapping[str, Any], methods: Sequence[Entry]) -> None:
    """A setting is for a method that is checked, and given once: as steps or as attack.steps."""
    kinds = {entry.kind for entry in methods} - {"model", "dataset"}
    for key in settings:
        if not kinds:
            raise ConfigError(f"--set {key}: models and datasets have no settings.")
        kind, _, field = key.rpartition(".")
        if kind and kind not in kinds:
            expected = " or ".join(f"{one}.{field or 'FIELD'}" for one in sorted(kinds))
            raise ConfigError(f"--set {key}: expected {expected}.")
        if kind and field in settings:
            raise ConfigError(f"--set {key}: {field} is given as well; give one of the two.")


def _refuse_idle_options(subjects: Sequence[Entry], game: Mapping[str, Any], data_dir: Path | None) -> None:
    """A game is for what plays one, and a folder of data for datasets."""
    kinds = {entry.kind for entry in subjects}
    if game and kinds == {"dataset"}:
        raise ConfigError(f"--game {next(iter(game))}: datasets play no game.")
    if "model" in game and kinds <= {"model", "dataset"}:
        raise ConfigError("--game model: a model is checked as it is named; give shape or classes.")
    if data_dir is not None and "dataset" not in kinds:
        raise ConfigError("--data-dir: no dataset is checked.")


def _subject(
    entry: Entry, settings: Mapping[str, Any], game: Mapping[str, Any], data_dir: Path | None = None
) -> Subject:
    """The method with what was set, the built-ins with settings that are quick; a model on images of its contract's
    shape; a dataset from where it may lie."""
    from poisonbench.data.base import DataOptions
    from poisonbench.testing.fast_settings import ATTACKS, DEFENSES, GAMES
    from poisonbench.testing.inspection import Subject
    from poisonbench.testing.model_contract import ModelContract

    if entry.kind == "model":
        return Subject(entry.kind, entry.name, {}, _game({"shape": ModelContract.game.shape, **game}))
    if entry.kind == "dataset":
        return Subject(entry.kind, entry.name, {}, _game({}), DataOptions(data_dir=data_dir))
    own = {}
    for key, value in settings.items():
        kind, _, field = key.rpartition(".")
        if kind in ("", entry.kind):
            own[field] = value
    if entry.built_in:
        own = {**(ATTACKS if entry.kind == "attack" else DEFENSES).get(entry.name, {}), **own}
        game = {**GAMES.get(entry.name, {}), **game}
    return Subject(entry.kind, entry.name, own, _game(game))


def _game(values: Mapping[str, Any]) -> Game:
    from poisonbench.plugins.registry import configure, entries
    from poisonbench.problem.threat import ThreatModel
    from poisonbench.testing.game import Game

    known = [item.name for item in fields(Game)]
    for key in values:
        if key not in known:
            raise UnknownNameError(unknown("--game", key, known))
    game = configure(Game, values, "--game")
    if game.model not in entries("model"):
        raise UnknownNameError(unknown("model", game.model, list(entries("model"))))
    game.budget(ThreatModel())
    return game


def _shown(entry: Entry, verdicts: Iterable[Verdict], *, quietly: bool) -> Iterator[Verdict]:
    """The verdicts, each printed as it comes."""
    seen: list[Verdict] = []
    for verdict in verdicts:
        if not quietly:
            if not seen:
                source = f", {entry.kind} of {entry.distribution} {entry.release}"
                console.print(Text.assemble((entry.name, "bold"), source))
            _print(verdict)
        seen.append(verdict)
        yield verdict
    if not quietly:
        console.print(f"{_summary(seen)}\n")


def _print(verdict: Verdict) -> None:
    if verdict.status == "skipped":
        lines = [Text(f"– {verdict.title}: {verdict.reason}", style="dim")]
    else:
        lines = [Text.assemble(MARKS[verdict.status], f" {verdict.title}")]
        lines += [Text(f"    {verdict.reason}")] if verdict.reason else []
    if verdict.fix:
        lines.append(Text.assemble("    ", ("Fix:", "bold"), f" {verdict.fix}"))
    lines += [Text(f"    {note}", style="dim") for note in verdict.notes]
    console.print(Text("\n").join(lines), soft_wrap=True)


def _summary(seen: list[Verdict]) -> str:
    counts = {status: sum(verdict.status == status for verdict in seen) for status in MARKS}
    words = {"ok": "passed", "warned": "with a warning", "failed": "failed", "skipped": "skipped"}
    parts = [f"{count} {words[status]}" for status, count in counts.items() if count]
    return f"{', '.join(parts)}; {sum(verdict.seconds for verdict in seen):.1f} s."
