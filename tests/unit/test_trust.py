"""Nobody counts for more by what they type: badges, dates, cells, and what an own record is never replaced by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from poisonbench.cli.main import app
from poisonbench.cli.plot_request import Request
from poisonbench.cli.submit import _fitting
from poisonbench.cli.table_rows import read
from poisonbench.data.base import DataOptions, prepare
from poisonbench.errors import ConfigError, ValidationError
from poisonbench.experiment import cell as cells
from poisonbench.experiment import protocol
from poisonbench.experiment.cell_hash import recorded_cell_hash
from poisonbench.experiment.runner import unfinished
from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.experiments import experiments
from poisonbench.leaderboard.site.catalogue import catalogue
from poisonbench.store import exchange, trusted_keys
from poisonbench.store.canonical import pretty_json, record_id_of
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics
from poisonbench.store.tables import Entry, row_of
from poisonbench.store.trusted_keys import read_keys, verifier
from poisonbench.submission import entry

Planted = Callable[..., Record]
LATE = "2026-11-29T00:00:00Z"
"""After every planted record's own date."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(str(tmp_path / "store")) as opened:
        yield opened


def put(folder: Path, document: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "a.json"
    path.write_text(pretty_json({**document, "record_id": record_id_of(document)}), "utf-8")
    return path


def merged(store: Store, path: Path) -> Record | str:
    """The record as the store has it then, or why it was refused."""
    report = exchange.merge(store, [path], entry.check)
    if report.refused:
        return report.refused[0][1]
    return store.record((report.added or report.already_there)[0])


# Ids.


def test_another_record_with_the_id_of_a_published_one_is_refused(
    planted: Planted, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id is the beginning of a hash; that another record begins with it, too, is made out here."""
    published, other = planted(), planted(defense="loss")
    monkeypatch.setattr(entry, "shipped_ids", lambda: {published.record_id, other.record_id})
    monkeypatch.setattr(entry, "shipped_hashes", lambda: {published.content_hash})
    assert published.content_hash.startswith(published.record_id)
    entry.check(published)
    assert f"it has the id of a published record, {other.record_id}, and is another" in str(
        merged(store, put(tmp_path / "a", other.document()))
    )


# Badges.


def test_a_typed_badge_is_none(planted: Planted, store: Store, tmp_path: Path) -> None:
    document = planted().document()
    typed = {**document, "provenance": {**document["provenance"], "verified_by": "the maintainers"}}
    assert "record.provenance.verified_by: Extra inputs are not permitted" in str(
        merged(store, put(tmp_path / "a", typed))
    )
    old = {key: value for key, value in typed.items() if key != "surrogate_code"} | {"schema_version": 4}
    old["provenance"] = {"source": "paper", "verified_by": "the maintainers"}
    old["dataset"] = {key: value for key, value in old["dataset"].items() if key != "code_hash"}
    found = merged(store, put(tmp_path / "b", old))
    assert isinstance(found, Record)
    assert (found.verified_by, found.provenance.verification, found.provenance.source) == (None, None, "submission")


def test_a_typed_signature_is_refused_wherever_it_is_read(
    planted: Planted, verify: Callable[..., Record], store: Store, tmp_path: Path
) -> None:
    signed = verify(planted()).document()
    for change in (
        lambda d: d["provenance"]["verification"].update(signature="0" * 128),
        lambda d: d["provenance"]["verification"].update(key="00" * 32),
        lambda d: d["provenance"]["verification"]["submitted"].update(record_id="1" * 16),
        lambda d: d.update(metrics=Metrics.of(99.0, 9.0).model_dump()),
        lambda d: d["threat"].update(knowledge="training-data-only"),
        lambda d: d.update(finished_at="2026-11-01T00:00:00.000000Z"),
    ):
        forged = json.loads(json.dumps(signed))
        change(forged)
        path = put(tmp_path / "a", forged)
        assert "the signature is not that of key" in str(merged(store, path))
        into = exchange.merge_into(tmp_path / "into", [path], entry.check)
        assert [reason for _, reason in into.refused] == [str(merged(store, path))]
        with pytest.raises(ValidationError, match="the signature is not that of key"):
            Record.read(json.loads(path.read_text("utf-8")))
    assert store.rows() == []


def test_a_strangers_signature_is_taken_and_has_no_badge(
    planted: Planted, verify: Callable[..., Record], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = verify(planted(seed=0)), verify(planted(seed=1), key=Ed25519PrivateKey.generate())
    for index, record in enumerate((ours, theirs)):
        assert merged(store, put(tmp_path / str(index), record.document())) == record
    assert {row.seed: row.verified_by for row in store.rows()} == {0: "Ada", 1: None}
    assert {record.seeds.run: record.verified_by for record in store.records()} == {0: "Ada", 1: None}
    monkeypatch.setattr(trusted_keys, "trusted_names", dict)  # a key that is withdrawn takes its badges along
    assert [row.verified_by for row in store.rows()] == [None, None]
    monkeypatch.setattr(trusted_keys, "shipped_ids", lambda: {ours.record_id})
    assert verifier(ours.provenance.verification and ours.provenance.verification.key, ours.record_id)
    assert verifier(None, ours.record_id) is None


def test_the_list_of_keys_is_read_strictly(tmp_path: Path) -> None:
    line = f"  - name: Ada\n    key: {'ab' * 32}\n    since: 2026-11-29\n"
    good = tmp_path / "good.yaml"
    good.write_text(f"keys:\n{line}")
    assert [(one.name, one.since) for one in read_keys(good)] == [("Ada", "2026-11-29")]
    for name, text, why in (
        ("twice", f"keys:\n{line}{line}", "a key is there twice"),
        ("short", line.replace("ab" * 32, "ab") and "keys:\n  - {name: A, key: ab, since: 2026-11-29}", "keys.0.key"),
        ("more", "keys: []\ntrust: all\n", "trust: Extra inputs"),
    ):
        (tmp_path / f"{name}.yaml").write_text(text)
        with pytest.raises(ConfigError, match=why):
            read_keys(tmp_path / f"{name}.yaml")
    assert isinstance(trusted_keys.trusted_names(), dict)  # the list that ships


# What is refused at the door.


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"finished_at": "9999-01-01T00:00:00Z"}, "it finished at 9999-01-01T00:00:00.000000Z, which is still to come"),
        ({"finished_at": "2020-01-01T00:00:00Z"}, "before it started at"),
    ],
)
def test_dates_that_cannot_be_are_refused(
    planted: Planted, store: Store, tmp_path: Path, change: dict[str, str], why: str
) -> None:
    path = put(tmp_path / "a", planted(**change).document())
    assert why in str(merged(store, path))
    assert why in exchange.merge_into(tmp_path / "into", [path], entry.check).refused[0][1]


@pytest.mark.parametrize(
    ("attack", "defense", "surrogate"),
    [("tgda", "none", None), ("label-flip", "loss+maxup", "nn"), ("gradient-canceling", "sever:pooled", None)],
)
def test_the_cell_of_a_record_is_the_one_that_ran(attack: str, defense: str, surrogate: str | None) -> None:
    cell = cells.build(protocol.resolve("digits-v2", ()), attack, defense, 0.1, 3, "lr", surrogate)
    dataset, now = prepare("digits", DataOptions()), datetime.now(UTC)
    record = unfinished(cell, dataset, torch.device("cpu"), ValidationError("boom"), now).record
    assert recorded_cell_hash(record) == record.cell_hash == cell.hash()


def test_every_shipped_record_of_declared_versions_is_of_its_cell(published_records: tuple[Record, ...]) -> None:
    for record in published_records[::50]:
        assert recorded_cell_hash(record) == (record.cell_hash if record.engine.version else None)


def test_another_cell_than_that_of_the_records_fields_is_refused(
    published_records: tuple[Record, ...], store: Store, tmp_path: Path
) -> None:
    honest = next(one for one in published_records if one.engine.version and one.defense.name == "sever")
    base = {key: value for key, value in honest.document().items() if key != "record_id"}
    for change in (
        {"cell_hash": "0" * 64},
        {"attack": {**base["attack"], "code_hash": "0" * 64}},
        {"defense": {**base["defense"], "params": {**base["defense"]["params"], "fraction": 0.5}}},
        {"seeds": {**base["seeds"], "run": 99}},
        {"threat": {**base["threat"], "epsilon": 0.5}},
    ):
        forged = Record.create(**base | change)
        assert "its cell_hash is" in str(merged(store, put(tmp_path / "a", forged.document())))
    again = Record.create(**base | {"finished_at": base["started_at"]})
    assert merged(store, put(tmp_path / "a", again.document())) == again


def test_pixels_have_no_other_bounds(planted: Planted, store: Store, tmp_path: Path) -> None:
    document = planted().document()
    typed = {**document, "threat": {**document["threat"], "box": [0.0, 255.0]}}
    assert "record.threat.box: Extra inputs" in str(merged(store, put(tmp_path / "a", typed)))
    old = json.loads(Path(__file__).with_name("test_store_record_v4.json").read_text("utf-8"))
    old["threat"]["box"] = [0.0, 255.0]
    assert "record.threat.box: pixels are in [0, 1]" in str(merged(store, put(tmp_path / "b", old)))


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_what_is_laid_out_as_no_older_version_is_a_line(store: Store, tmp_path: Path, version: int) -> None:
    assert "not laid out as" in str(merged(store, put(tmp_path / "a", {"schema_version": version})))


# Which of two records counts.


def test_a_strangers_record_replaces_no_own_one_anywhere(planted: Planted, store: Store, evidence: Any) -> None:
    kept = evidence(store)
    own = [planted(seed=seed, drop=2.0, artifacts=kept) for seed in range(3)]
    for record in own:
        store.add(record)
    store.add_all([planted(artifacts=kept, seed=seed, drop=60.0, finished_at=LATE) for seed in range(3)])
    cell = own[0].cell_hash
    assert store.for_cell(cell) in own
    name = str(store.home)
    rows, _, _ = read(name, {}, False, ("drop",))
    request, entries = Request((Path("a.png"),), {}, name).records()
    seats = catalogue(store.records(), entries=store.entries()).seats
    assert {seat.latest.record_id for seat in seats.values()} == {record.record_id for record in own}
    for one in (
        experiments(rows)[0],
        experiments(request, entries)[0],
        boards(store.records(), entries=store.entries())[0].experiments[0],
    ):
        assert set(one.drops.values()) == {2.0}
        assert len(one.superseded) == 3
    assert _fitting(store, {})[0] in own
    assert {one.finished_at for one in store.latest(9, computed=True)} == {record.finished_at for record in own}
    shown = CliRunner().invoke(app, ["table", "--store", name, "--format", "json"])
    assert '"mean": 2.0' in shown.output


changes = st.fixed_dictionaries(
    {
        "finished_at": st.datetimes().map(lambda when: when.isoformat() + "Z"),
        "drop": st.sampled_from([50.0, None]),
        "seed": st.integers(0, 2),
    }
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strangers=st.lists(changes, max_size=6), signed=st.booleans(), came=st.permutations(range(6)))
def test_whatever_strangers_type_own_records_count(
    planted: Planted, verify: Callable[..., Record], strangers: list[dict[str, Any]], signed: bool, came: list[int]
) -> None:
    own = {seed: planted(seed=seed, drop=2.0) for seed in range(2)}
    found = [planted(**change) for change in strangers]
    if signed:
        found = [verify(record) if record.metrics else record for record in found]
    entries = {record.record_id: Entry(False, f"{day}") for record, day in zip(found, came, strict=False)}
    (one,) = experiments([*found, *own.values()], entries)
    assert {seed: one.records[seed] for seed in own} == own
    assert not set(one.failures) & set(own)


def test_of_strangers_the_first_that_came_counts_unless_a_trusted_key_signed_another(
    planted: Planted, verify: Callable[..., Record]
) -> None:
    first = planted(drop=1.0, finished_at="2026-06-01T00:00:00Z")
    second = planted(drop=2.0, finished_at="2026-07-01T00:00:00Z")
    third = planted(drop=3.0, finished_at="1970-01-01T00:00:00Z")
    came = {one.record_id: Entry(False, day) for one, day in ((first, "1"), (second, "2"), (third, "3"))}
    assert experiments([third, second, first], came)[0].drops == {0: 1.0}
    signed = verify(planted(drop=4.0))
    assert experiments([third, second, first, signed], came | {signed.record_id: Entry(False, "4")})[0].drops == {
        0: 4.0
    }
    assert experiments([first, second, third])[0].drops == {0: 2.0}  # in no store: all are whoever's who has them


def test_a_stranger_does_not_choose_the_setting_that_is_ranked_by_a_date(planted: Planted) -> None:
    """Neither setting is the default: the oldest is ranked."""
    honest = [planted(seed=seed, params={"alpha": 0.5}, drop=2.0) for seed in range(3)]
    theirs = [
        planted(seed=seed, params={"alpha": 9.0}, drop=60.0, finished_at="1970-01-01T00:00:00Z") for seed in range(3)
    ]
    (board,) = boards([*honest, *theirs], entries={one.record_id: Entry(False, LATE) for one in theirs})
    ranks = {standing.drop and standing.drop.mean: standing.rank for standing in board.attacks}
    assert ranks == {2.0: 1, 60.0: None}


def test_a_list_says_who_is_verified(planted: Planted, verify: Callable[..., Record], store: Store) -> None:
    store.add_all([verify(planted(seed=0)), planted(seed=1)])
    shown = CliRunner().invoke(app, ["results", "show", "--store", str(store.home)], env={"COLUMNS": "200"})
    assert shown.output.count("verified") == 1
    assert row_of(verify(planted())).verified_by == "Ada"
