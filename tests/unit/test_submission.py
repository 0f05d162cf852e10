"""Bundles: what is refused before it is parsed, what their own files disprove, and what only training again does."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from typer.testing import CliRunner

from poisonbench.cli.main import app
from poisonbench.cli.options import Data
from poisonbench.cli.validate import report
from poisonbench.data.base import DataOptions, open_dataset
from poisonbench.errors import ConfigError, PoisonbenchError, StoreError, ValidationError
from poisonbench.experiment import cell as cells
from poisonbench.experiment import protocol
from poisonbench.experiment.runner import Runner
from poisonbench.experiment.victim import answers
from poisonbench.problem.open_samples import OpenDataset
from poisonbench.stages.cache import StageCache
from poisonbench.stages.stage import Deadline, Silent
from poisonbench.store.artifacts import from_bytes
from poisonbench.store.database import Store
from poisonbench.store.done import NEEDED
from poisonbench.store.exchange import merge
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics
from poisonbench.store.signatures import read_key
from poisonbench.submission import bundle, entry
from poisonbench.submission.agreement import Agreement, agreements
from poisonbench.submission.evidence import Validator, rules
from poisonbench.submission.reexecution import Reexecution, reexecute

Tensors = dict[str, Tensor]


def digits(name: str) -> OpenDataset:
    assert name == "digits"
    return open_dataset(name, DataOptions())


@dataclass(frozen=True)
class Made:
    """A store with one good record in it."""

    store: Store
    record: Record

    def tensors(self, kind: str) -> Tensors:
        (artifact,) = (one for one in self.record.artifacts if one.kind == kind)
        return self.store.artifacts.get(artifact.sha256)

    def bundle(self, folder: Path, changed: dict[str, Tensors] | None = None, **fields: Any) -> Path:
        """A bundle whose every checksum is right, of a record with other fields and other tensors by kind."""
        document = {**self.record.document(), **fields}
        document.pop("record_id")
        document["artifacts"] = [
            self.store.artifacts.put(changed[one["kind"]], one["kind"]).model_dump(mode="json")
            if changed and one["kind"] in changed
            else one
            for one in document["artifacts"]
        ]
        bundle.write(self.store, [Record.create(**document)], folder, None)
        return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    resolved = protocol.resolve("digits-v1", ())
    with Store.open(str(tmp_path_factory.mktemp("store"))) as store:
        outcome = Runner(store).run(cells.build(resolved, "label-flip", "loss", 0.03, 0))
        yield Made(store, outcome.record)


@pytest.fixture(scope="module")
def untouched(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.bundle(tmp_path_factory.mktemp("bundles") / "bundle")


@pytest.fixture
def copied(untouched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untouched, tmp_path / "copy"))


def problems(folder: Path) -> list[str]:
    return [one.problem for one in Validator(bundle.read(folder), digits).findings()]


def test_a_bundle_is_what_was_recorded_and_is_valid(made: Made, untouched: Path) -> None:
    opened = bundle.read(untouched)
    (record,) = opened.records
    assert record.provenance.source == "submission"
    assert (record.metrics, record.attack, record.seeds) == (made.record.metrics, made.record.attack, made.record.seeds)
    assert {file.path.rpartition(".")[2] for file in opened.manifest.files} == {"json", "safetensors"}
    assert len(opened.manifest.files) == 1 + len(NEEDED)
    assert problems(untouched) == []


def test_its_folder_is_merged_and_its_manifest_is_not_read(made: Made, untouched: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "other") as other:
        merged = merge(other, [untouched], lambda record: None)
        assert (len(merged.added), merged.refused) == (1, ())
        assert other.check()["damaged_artifacts"] == []


def test_a_folder_that_is_there_is_left_alone(made: Made, untouched: Path) -> None:
    before = {path: path.read_bytes() for path in untouched.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="is there already"):
        bundle.write(made.store, [made.record], untouched, b"@misc{other}")
    assert before == {path: path.read_bytes() for path in untouched.rglob("*") if path.is_file()}


def test_what_a_killed_submit_left_is_in_nobodys_way(
    made: Made, tmp_path: Path, elsewhere: Callable[..., int | None]
) -> None:
    """Killed before the bundle is in its place there is nothing there, and afterwards it is the same bundle."""
    script = f"""
import os, signal, sys
from pathlib import Path
from poisonbench.store.database import Store
from poisonbench.store.done import NEEDED
from poisonbench.submission import bundle
bundle.{{}} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with Store.open({str(made.store.location)!r}) as store:
    bundle.write(store, [store.record({made.record.record_id!r})], Path({str(tmp_path / "bundle")!r}), None)
"""
    for killed_at in ("_listed", "take_place"):
        assert elsewhere(script.format(killed_at)) == -signal.SIGKILL
        for left in tmp_path.iterdir():
            os.utime(left, (0, 0))
    for _ in range(2):
        bundle.write(made.store, [made.record], tmp_path / "bundle", None)
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
        assert problems(tmp_path / "bundle") == []


def test_only_results_with_their_evidence_are_bundled(made: Made, tmp_path: Path) -> None:
    fields = made.record.document()
    fields.pop("record_id")
    failed = Record.create(**{**fields, "status": "failed", "error": "boom", "metrics": None})
    with pytest.raises(ValidationError, match="only results can be submitted"):
        bundle.write(made.store, [failed], tmp_path / "a", None)
    bare = Record.create(**{**fields, "artifacts": [one for one in fields["artifacts"] if one["kind"] != "poison"]})
    with pytest.raises(ValidationError, match=r"is here without its poison\. Run its cell again, or merge"):
        bundle.write(made.store, [bare], tmp_path / "b", None)


def an_artifact(folder: Path) -> Path:
    return sorted(folder.rglob("*.safetensors"))[0]


def a_record(folder: Path) -> Path:
    (path,) = (folder / "records").glob("*.json")
    return path


def relist(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / bundle.MANIFEST
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


def swap(folder: Path, data: bytes) -> None:
    """Another artifact of a right name and hash in the place of one."""
    import hashlib

    old, digest = an_artifact(folder), hashlib.sha256(data).hexdigest()
    new = folder / "records" / "artifacts" / digest[:2] / f"{digest}.safetensors"
    new.parent.mkdir(exist_ok=True)
    old.unlink()
    new.write_bytes(data)
    was = old.relative_to(folder).as_posix()
    entry = {"path": new.relative_to(folder).as_posix(), "sha256": digest, "bytes": len(data)}
    relist(folder, lambda d: d.update(files=[entry if one["path"] == was else one for one in d["files"]]))


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda b: an_artifact(b).write_bytes(an_artifact(b).read_bytes()[:-1]), "bytes, bundle.json says"),
    "changed": (
        lambda b: an_artifact(b).write_bytes(b"\0" + an_artifact(b).read_bytes()[1:]),
        "does not have the hash",
    ),
    "gone": (lambda b: an_artifact(b).unlink(), "is listed in bundle.json and not there"),
    "extra": (lambda b: (b / "records" / "setup.py").write_text("1"), "'records/setup.py' is not listed"),
    "link": (lambda b: (b / "x").symlink_to("/etc/passwd"), "'x' is a link or a special file"),
    "linked folder": (lambda b: (b / "x").symlink_to("/etc"), "'x' is a link or a special file"),
    "fifo": (lambda b: os.mkfifo(b / "x"), "'x' is a link or a special file"),
    "no manifest": (lambda b: (b / bundle.MANIFEST).unlink(), "it has no bundle.json"),
    "not json": (lambda b: (b / bundle.MANIFEST).write_text("{"), "bundle.json: not JSON"),
    "not an object": (lambda b: (b / bundle.MANIFEST).write_text("[]"), "bundle.json: "),
    "nested": (lambda b: (b / bundle.MANIFEST).write_text("[" * 100_000), "bundle.json: nested deeper"),
    "nan": (lambda b: (b / bundle.MANIFEST).write_text('{"tolerance": NaN}'), "bundle.json: "),
    "generous": (lambda b: relist(b, lambda d: d.update(tolerance=50.0)), "bundle.json: tolerance"),
    "later": (lambda b: relist(b, lambda d: d.update(format_version=2)), "bundle.json: format_version"),
    "unknown key": (lambda b: relist(b, lambda d: d.update(run="rm -rf")), "bundle.json: run"),
    "twice": (lambda b: relist(b, lambda d: d["files"].append(d["files"][0])), "lists a file twice"),
    "elsewhere": (lambda b: (b / "setup.py").write_text("1") and relist(b, lambda d: d["files"].append(
        {"path": "setup.py", "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", "bytes": 1}
    )), "'setup.py', which has no place in a bundle"),
    "traversal": (lambda b: relist(b, lambda d: d["files"][0].update(path="records/../../x")), "is not listed"),
    "empty": (lambda b: relist(b, lambda d: d.update(files=[])), "is not listed"),
    "pickle": (lambda b: swap(b, pickle.dumps({"x": 1})), "is named by no record"),
    "record": (lambda b: a_record(b).write_text(a_record(b).read_text("utf-8")[:-1]), "bytes, bundle.json says"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_ends_in_one_line(name: str, copied: Path) -> None:
    change, message = HOSTILE[name]
    change(copied)
    try:
        found = problems(copied)
    except PoisonbenchError as error:
        found = [str(error)]
    assert any(message in one for one in found), found
    assert all("\n" not in one and len(one) < 500 for one in found)


def test_an_archive_is_not_opened(untouched: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "bundle"), "zip", untouched)
    with pytest.raises(PoisonbenchError, match="unpack it first: a bundle is a folder"):
        bundle.read(Path(archive))
    with pytest.raises(PoisonbenchError, match="there is no such folder"):
        bundle.read(tmp_path / "nowhere")


def test_a_pickle_under_an_artifacts_name_is_not_loaded(made: Made, tmp_path: Path) -> None:
    folder = made.bundle(tmp_path / "b")
    (poison,) = (one for one in bundle.read(folder).records[0].artifacts if one.kind == "poison")
    with pytest.raises(PoisonbenchError, match="is not a safetensors file"):
        from_bytes(pickle.dumps({"x": 1}), poison.path)


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_anywhere_is_told_and_never_crashes(untouched: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(untouched, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["byte", "cut", "insert"]))
    if kind == "byte":
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[at : at + data.draw(st.integers(1, 50))]
    else:
        content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    path.write_bytes(bytes(content))
    try:
        found = problems(folder)
    except PoisonbenchError:
        return
    assert found or path.name == bundle.MANIFEST  # white space and the version's text prove nothing


def poisoned(made: Made, **changes: Tensor) -> dict[str, Tensors]:
    return {"poison": made.tensors("poison") | changes}


def changed(tensor: Tensor, index: int, value: float) -> Tensor:
    found = tensor.clone()
    found.view(-1)[index] = value
    return found


POISON: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "too many": (lambda p: {key: torch.cat([value, value[:1]]) for key, value in p.items()}, "28 rows, between 1"),
    "nan": (lambda p: p | {"x": changed(p["x"], 3, float("nan"))}, "1 pixel that is NaN"),
    "box": (lambda p: p | {"x": changed(p["x"], 3, 1.5)}, r"leaves the box: pixels in [0, 1.5]"),
    "dtype": (lambda p: p | {"x": p["x"].double()}, "has dtypes x torch.float64"),
    "labels": (lambda p: p | {"y": changed(p["y"], 0, 10)}, "labels outside 0..9"),
    "source": (lambda p: p | {"source": changed(p["source"], 0, 10**6)}, "source rows outside D_tr"),
    "shape": (lambda p: p | {"x": p["x"].flatten(1)}, "has shapes x (27, 64)"),
    "scalar": (lambda p: p | {"x": torch.zeros(())}, "has shapes x ()"),
    "none": (lambda p: {key: value[:0] for key, value in p.items()}, "0 rows, between 1 and 27"),
    "other names": (lambda p: p | {"code": torch.zeros(1)}, "holds ['code', 'source', 'x', 'y'], expected"),
    "another": (lambda p: p | {"x": 1 - p["x"]}, "its poison_check is not what its poison set shows"),
}  # fmt: skip


@pytest.mark.parametrize("name", POISON)
def test_a_poison_set_out_of_bounds_is_found(name: str, made: Made, tmp_path: Path) -> None:
    change, message = POISON[name]
    (found,) = problems(made.bundle(tmp_path / "b", {"poison": change(made.tensors("poison"))}))
    assert message in found


def other_images(bits: str) -> str:
    """As many right images, in the opposite order but for the last four bits, which are no image's."""
    data = base64.b64decode(bits)
    text = "".join(f"{byte:08b}" for byte in data)[: 8 * len(data) - 4][::-1] + "0000"
    return base64.b64encode(int(text, 2).to_bytes(len(data), "big")).decode("ascii")


RECORD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "clean label": (lambda r: r["threat"].update(clean_label=True), "is declared clean-label, yet 27 of its labels"),
    "epsilon": (lambda r: r["threat"].update(epsilon=0.01), "27 rows, between 1 and 9 allowed"),
    "denominator": (lambda r: r["threat"].update(denominator=100), "fraction of 100 rows, expected 908"),
    "mode": (lambda r: r["threat"].update(mode="perturbation"), "its mode is perturbation, the protocol's addition"),
    "protocol": (lambda r: r["protocol"].update(name="a/../../etc/passwd"), "no protocol 'a/../../etc/passwd' ships"),
    "rules": (lambda r: r["protocol"].update(hash="0" * 64), "another hash or version"),
    "unranked": (lambda r: r["protocol"].update(deviations=["recipe.epochs: 1 → 2"]), "unranked: recipe.epochs: 1 → 2"),
    "unlocked": (lambda r: r["protocol"].update(locked=False), "its protocol is not locked"),
    "model": (lambda r: r["model"].update(name="resnet18"), "has no model 'resnet18'"),
    "data": (lambda r: r["dataset"].update(sha256="0" * 64), "not this machine's digits"),
    "split": (lambda r: r["dataset"].update(n_train=900), "it says |D_tr| = 900"),
    "seed": (lambda r: r["seeds"].update(run=7), "its seeds are not the streams"),
    "per class": (lambda r: r["metrics"]["per_class"]["acc2"].__setitem__(0, 1.0), "by class are not those"),
    "acc2": (lambda r: r.update(metrics=Metrics.of(r["metrics"]["acc1"], 50.0).model_dump()), "its predictions say"),
    "answers": (
        lambda r: r["metrics"]["answers"].update(attacked=other_images(r["metrics"]["answers"]["attacked"])),
        "its answers, by which it is ranked, are not those of its predictions",
    ),
    "no answers": (lambda r: r["metrics"].update(answers=None), "its answers, by which it is ranked"),
    "check": (lambda r: r.update(poison_check=None), "its poison_check is not"),
    "trusted": (lambda r: r["defense_detail"].update(trusted=5), "was shown 5 trusted rows, the protocol gives 389"),
    "removed": (lambda r: r["defense_detail"].update(removed=10**6), "removed 1000000 of 935 rows"),
    "parameters": (lambda r: r["model"].update(n_params=7), "its lr has 7 parameters, this one has 650"),
    "cell": (lambda r: r.update(cell_hash="0" * 64), "its cell_hash is 0000000000000000…, but what it says it ran has"),
    "another's cell": (lambda r: r["attack"]["params"].update(rule="x"), "but what it says it ran has"),
    "year 9999": (lambda r: r.update(finished_at="9999-01-01T00:00:00Z"), "which is still to come. Is this clock"),
    "back in time": (lambda r: r.update(finished_at="2020-01-01T00:00:00Z"), "before it started at"),
}


@pytest.mark.parametrize("name", RECORD)
def test_a_record_that_says_what_its_files_do_not_show_is_found(name: str, made: Made, tmp_path: Path) -> None:
    change, message = RECORD[name]
    document = made.record.document()
    change(document)
    (found,) = problems(made.bundle(tmp_path / "b", **document))
    assert message in found


def test_a_radius_is_measured(made: Made, tmp_path: Path) -> None:
    threat = made.record.document()["threat"] | {"norm_bound": 0.1}
    folder = made.bundle(tmp_path / "b", poisoned(made, x=1 - made.tensors("poison")["x"]), threat=threat)
    assert problems(folder) == ["label-flip's poison set breaks its radius: L∞ distance 1 > 0.1."]


def test_test_images_among_the_poison_are_found(made: Made, tmp_path: Path) -> None:
    test = digits("digits").test.x[:27]
    check = made.record.document()["poison_check"]
    parts = Validator(bundle.read(made.bundle(tmp_path / "a")), digits).split(rules(made.record), 0, digits("digits"))
    linf = float((test - parts.train.x[made.tensors("poison")["source"]]).abs().max())
    folder = made.bundle(tmp_path / "b", poisoned(made, x=test), poison_check={**check, "linf_max": linf})
    (found,) = problems(folder)
    assert found.startswith("label-flip's poison set has 27 rows that are images of the test set")


def test_one_cell_twice_is_found(made: Made, tmp_path: Path) -> None:
    document = made.record.document()
    document.pop("record_id")
    again = Record.create(**{**document, "started_at": "2026-01-01T00:00:00Z"})
    bundle.write(made.store, [made.record, again], tmp_path / "b", None)
    assert problems(tmp_path / "b") == ["the same cell and seed is in the bundle more than once."] * 2
    validator = Validator(bundle.read(tmp_path / "b"), digits)
    with pytest.raises(ValidationError, match="more than once"):  # what is verified is checked by this alone
        validator.check(made.record)


def test_the_rows_of_one_seed_are_kept(made: Made, untouched: Path) -> None:
    validator = Validator(bundle.read(untouched), digits)
    for seed in range(3):
        validator.split(rules(made.record), seed, digits("digits"))
    assert len(validator._splits) == 1


def verdict(folder: Path, store: Path) -> Reexecution:
    opened = bundle.read(folder)
    (record,) = opened.records
    validator = Validator(opened, digits)
    with Store.open(str(store)) as other:
        stages = StageCache(other, torch.device("cpu"), Silent(), Deadline())
        found = validator.check(record)
        return reexecute(record, rules(record), found.load(), digits("digits").load(), stages)


def agreement(found: Reexecution) -> Agreement:
    return agreements([(found.submitted, found.found)])[found.submitted.record_id]


def test_training_again_finds_the_same_bits(untouched: Path, tmp_path: Path) -> None:
    found = verdict(untouched, tmp_path / "store")
    assert len(found.differences) == 5
    assert all(one.submitted == one.found for one in found.differences)
    assert agreement(found).p == 1.0
    p = found.differences[1].found / 100
    assert found.differences[1].tolerance == pytest.approx(200 * (p * (1 - p) / 500) ** 0.5)


def test_the_record_of_a_verification_is_what_the_verifier_measured(
    made: Made, untouched: Path, tmp_path: Path
) -> None:
    again = verdict(untouched, tmp_path / "store")
    honest, found = again.submitted, again.found
    assert found.metrics == honest.metrics
    for part in ("trajectories", "poison_check", "attack", "defense", "model", "threat", "seeds", "cell_hash"):
        assert getattr(found, part) == getattr(honest, part), part
    assert found.timing.attack_s == honest.timing.attack_s
    assert found.timing.retrain_s != honest.timing.retrain_s
    assert found.started_at > honest.finished_at
    assert {one.sha256 for one in found.artifacts} == {one.sha256 for one in honest.artifacts}
    signed = found.signed(Ed25519PrivateKey.generate(), again.said)
    assert signed.provenance.verification
    said = signed.provenance.verification.submitted
    assert (said.record_id, said.metrics.drop) == (honest.record_id, made.record.metrics and made.record.metrics.drop)
    assert signed.record_id not in (found.record_id, honest.record_id)


def invented(made: Made, folder: Path, images: int) -> Path:
    """A bundle that is valid by every file, with acc2 lower by so many images than a training gives."""
    predicted, y = made.tensors("predictions")["predictions"], digits("digits").test.y
    right = (predicted == y).nonzero()[:images, 0]
    other = predicted.clone()
    other[right] = ((y[right] + 1) % 10).to(torch.int16)
    percent = [100.0 * int((other == y)[y == label].sum()) / int((y == label).sum()) for label in range(10)]
    claimed = made.record.metrics
    assert claimed is not None
    assert claimed.per_class is not None
    metrics = Metrics.of(
        claimed.acc1,
        100.0 * int((other == y).sum()) / 500,
        claimed.acc2_undefended,
        claimed.acc1_defended,
        claimed.acc1_padded,
        (claimed.per_class.acc1, percent),
        answers(made.tensors("clean-predictions")["predictions"] == y, other == y),
    )
    made.bundle(folder, {"predictions": {"predictions": other}}, metrics=metrics.model_dump())
    assert problems(folder) == []
    return folder


def test_predictions_that_no_training_gives_are_found_by_training_again(made: Made, tmp_path: Path) -> None:
    found = verdict(invented(made, tmp_path / "b", 50), tmp_path / "store")
    assert [one.name for one in found.differences if not one.within] == ["acc2"]
    assert not found.verified


def test_invented_predictions_within_the_gates_are_told_apart_as_a_board_would(made: Made, tmp_path: Path) -> None:
    found = verdict(invented(made, tmp_path / "b", 8), tmp_path / "store")
    assert found.verified  # 1.6 points are within two standard errors of an accuracy
    assert agreement(found).told_apart
    assert agreement(found).submitted == pytest.approx(agreement(found).found + 1.6)


def test_what_passes_all_gates_is_signed_as_it_was_measured(made: Made, tmp_path: Path) -> None:
    found = verdict(invented(made, tmp_path / "b", 3), tmp_path / "store")
    assert found.verified
    assert not agreement(found).told_apart
    assert found.found.metrics == made.record.metrics  # and not what was submitted
    assert made.record.metrics
    assert found.said.metrics.drop == pytest.approx(made.record.metrics.drop + 0.6)


def test_over_seeds_less_passes_than_of_one(planted: Callable[..., Record]) -> None:
    """5 of 1000 images in each of five seeds: none is told apart on its own, all of them are."""
    pairs = [(planted("tgda", 2.5, seed), planted("tgda", 2.0, seed)) for seed in range(5)]
    assert not any(one.told_apart for pair in pairs for one in agreements([pair]).values())
    (found,) = set(agreements(pairs).values())
    assert (found.seeds, found.told_apart) == (5, True)
    assert (found.submitted, found.found) == (pytest.approx(2.5), pytest.approx(2.0))
    others = [(planted("loss", drop, 0), planted("loss", drop, 0)) for drop in (1.0, 2.0)]
    assert len(set(agreements([*pairs, *others]).values())) == 2


def test_numbers_of_no_image_are_no_agreement(planted: Callable[..., Record]) -> None:
    bare = planted("tgda", 2.04)  # of 1000 images: it has no answers
    assert agreements([(bare, planted("tgda", 2.0))]) == {}


def pem(path: Path, passphrase: bytes | None = None) -> Path:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    data = Ed25519PrivateKey.from_private_bytes(b"3" * 32).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    path.write_bytes(data)
    return path


def command(folder: Path, home: Path, *flags: str, code: int = 0, **options: Any) -> Result:
    arguments = ["verify", str(folder), "--store", str(home), "--offline", *flags]
    result = CliRunner().invoke(app, arguments, **options)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_verify_writes_signed_records_that_are_merged(untouched: Path, tmp_path: Path) -> None:
    key, output = pem(tmp_path / "key.pem", b"secret"), tmp_path / "verified"
    shown = command(untouched, tmp_path / "home", "--key", str(key), "-o", str(output), input="secret\n")
    assert "verified, to the bit" in shown.output
    assert "which is not in trusted_keys.yaml: they have no badge here" in " ".join(shown.output.split())
    (path,) = output.iterdir()
    with Store.open(str(tmp_path / "store")) as store:
        assert merge(store, [output], entry.check).added == (path.stem,)
        (record,) = store.records()
        assert store.for_cell(record.cell_hash) is None
    assert record.verified_by is None
    (told,) = json.loads(command(untouched, tmp_path / "home", "--json").stdout)
    assert (told["verified"], told["over_seeds"]["told_apart"], len(told["differences"])) == (True, False, 5)


def test_verify_signs_nothing_of_a_claim_that_a_board_tells_apart(made: Made, tmp_path: Path) -> None:
    folder, output = invented(made, tmp_path / "b", 8), tmp_path / "verified"
    key = pem(tmp_path / "key.pem")
    shown = command(folder, tmp_path / "home", "--key", str(key), "-o", str(output), code=4)
    assert "a board tells the two apart" in " ".join(shown.output.split())
    assert list(output.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "No such file or directory"),
        ("text", "no private key in PEM. Make one: openssl genpkey -algorithm ed25519"),
        ("rsa", "a key of another kind, expected Ed25519"),
    ],
)
def test_what_is_no_key_is_refused_before_any_work(untouched: Path, tmp_path: Path, name: str, message: str) -> None:
    if name == "text":
        (tmp_path / name).write_text("secret")
    if name == "rsa":
        curve = X25519PrivateKey.generate()
        (tmp_path / name).write_bytes(curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match=message):
        app(["verify", str(untouched), "--key", str(tmp_path / name), "-o", str(tmp_path / "o")], standalone_mode=False)
    assert not (tmp_path / "o").exists()
    pem(tmp_path / "locked", b"secret")
    with pytest.raises(ConfigError, match="another passphrase"):
        read_key((tmp_path / "locked").read_bytes(), "locked", b"wrong")


def test_a_strangers_text_does_not_reach_the_terminal_as_commands(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    relist(copied, lambda d: d.update({"a\n\x1b]0;owned\x07": 1}))
    assert report(copied, Data(offline=True), as_json=False) == 4
    printed = "".join(capsys.readouterr())
    assert "owned" in printed
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_a_folder_that_is_not_there_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(tmp_path / "none", Data(offline=True), as_json=False) == 4
    said = " ".join(capsys.readouterr().out.replace("\n", "").split())
    assert said.count("none") == 1
    assert said.startswith("✗ ")
