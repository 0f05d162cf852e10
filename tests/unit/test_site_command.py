"""The command that a record's page gives: what our own command line reads from it is the record's cell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poisonbench.errors import ConfigError
from poisonbench.experiment.cell import Cell, method
from poisonbench.leaderboard.site.settings import command
from poisonbench.plugins.registry import name_of
from poisonbench.store.record import Record

FIXTURE = json.loads(Path(__file__).with_name("test_store_record_v5.json").read_text("utf-8"))
FIXTURE.pop("record_id")


@pytest.fixture
def parsed(asked: Callable[..., list[Cell]]) -> Callable[[str], list[Cell]]:
    """The cells of a command line, as `poisonbench run` would run them."""

    def parse(line: str) -> list[Cell]:
        program, *arguments = shlex.split(line)
        assert program == "poisonbench"
        return asked(*arguments)

    return parse


def recorded(cell: Cell) -> Record:
    """A record of a cell that was not run."""
    rules, threat = cell.settings.protocol, cell.attack.threat
    return Record.create(
        **{
            **FIXTURE,
            "protocol": {
                "name": rules.name,
                "version": rules.version,
                "hash": cell.settings.hash,
                "locked": True,
                "deviations": cell.deviations,
            },
            "model": {"name": name_of(cell.model), "version": 1, "n_params": 1},
            "surrogate": cell.transfer,
            "surrogate_version": 1 if cell.transfer else None,
            "attack": method("attack", cell.attack),
            "defense": method("defense", cell.defense),
            "threat": {**FIXTURE["threat"], "epsilon": rules.threat.epsilon, "mode": threat.mode.value},
            "seeds": {**FIXTURE["seeds"], "run": cell.seed},
        }
    )


@pytest.mark.parametrize(
    "line",
    [
        "--attack tgda",
        "--attack tgda --defense loss+maxup --set defense.loss.fraction=0.1 --set defense.maxup.m=2 --seeds 7",
        "--attack label-flip --set attack.flip=worst --epsilon 0.1 --model nn",
        "--attack tgda --preset paper --model svm --surrogate lr",
        "--attack i-min-max --set attack.quantiles=[[0.2,0.4]] --set attack.repetitions=[[1,2]] --defense influence",
        "--attack emn --protocol digits-unlearnable-v1 --model nn --epsilon 0.4",
        "--attack emn --set attack.mode=perturbation --set attack.radius=1e-3",
        "--attack tgda --set recipe.epochs=5 --set recipe.optimizer=adam --set train_rows=100",
        "--attack label-flip --model resnet18",
    ],
)
def test_the_command_makes_the_same_cell(parsed: Any, line: str) -> None:
    for cell in parsed(f"poisonbench run {line}"):
        said = command(recorded(cell))
        assert [again.hash() for again in parsed(said)] == [cell.hash()], said


def test_a_poison_set_of_ones_own_has_no_place_in_a_record(parsed: Any, tmp_path: Path) -> None:
    """What somebody has of that content stands for FILE; of another content it is refused."""
    file, other = tmp_path / "mine.npz", tmp_path / "other.npz"
    for number, path in enumerate((file, other)):
        np.savez(path, x=np.full((1, 1, 8, 8), 0.5), y=np.array([number]))
    (cell,) = parsed(f"poisonbench run --poison {file} --set attack.mode=perturbation --seeds 3")
    said = command(recorded(cell))
    assert str(tmp_path) not in said
    (again,) = parsed(said.replace("--poison FILE", f"--poison {file}"))
    assert again.hash() == cell.hash()
    with pytest.raises(ConfigError, match=r"has the SHA-256"):
        parsed(said.replace("--poison FILE", f"--poison {other}"))


def test_it_names_no_default(parsed: Any) -> None:
    (cell, *_) = parsed("poisonbench run --attack min-max --defense sever")
    assert "--set" not in command(recorded(cell))


def test_every_published_experiment_is_made_again(parsed: Any, published_records: tuple[Record, ...]) -> None:
    first = {(one.protocol.name, one.model.name, one.attack.name, one.defense.name): one for one in published_records}
    chosen = list(first.values())[::25]
    assert len(chosen) >= 10
    for record in chosen:
        (cell,) = parsed(command(record))
        params = method("attack", cell.attack)["params"]
        if record.attack.version != str(type(cell.attack).version):  # there may be fields now that it had not
            params = {name: params[name] for name in record.attack.params}
        assert params == record.attack.params
        assert method("defense", cell.defense)["params"] == record.defense.params
        assert (cell.seed, cell.settings.protocol.threat.epsilon) == (record.seeds.run, record.threat.epsilon)
        assert cell.deviations == ()


def test_what_a_record_says_is_quoted_and_never_run() -> None:
    fields = {**FIXTURE, "attack": {**FIXTURE["attack"], "params": {"a; rm -rf /": "$(reboot) '\"`\n"}}}
    fields["protocol"] = {**FIXTURE["protocol"], "deviations": ["recipe.epochs: 1 → __import__('os')", "x`y`: 1 → 2"]}
    said = command(Record.create(**fields))
    words = shlex.split(said)
    assert words[:2] == ["poisonbench", "run"]
    assert 'attack.a; rm -rf /="$(reboot) \'\\"`\\n"' in words
    assert not [word for word in words if "__import__" in word or "x`y`" in word]
