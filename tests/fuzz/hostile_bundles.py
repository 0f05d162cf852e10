"""Hostile bundles without end: a good one, changed in one thing that makes it invalid. Every checksum that does not
stand in the way of the change is right."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from poisonbench.errors import PoisonbenchError
from poisonbench.store.artifacts import from_bytes
from poisonbench.store.canonical import record_id_of
from poisonbench.store.done import NEEDED
from poisonbench.store.record_origin import artifact_path
from poisonbench.submission.bundle import MANIFEST

Document = dict[str, Any]

OBEYED = "\x1b]0;owned\x07\x9b2J\r\x7f\N{RIGHT-TO-LEFT OVERRIDE}\N{ARABIC LETTER MARK}[/x]"
"""A text that a terminal would obey."""

PROVED = {
    "schema_version": [()],
    "status": [()],
    "protocol": [("name",), ("version",), ("hash",), ("locked",), ("deviations",)],
    "dataset": [("name",), ("sha256",), ("n_train",), ("n_val",), ("n_trusted",), ("n_test",)],
    "cell_hash": [()],
    "model": [("name",), ("n_params",)],
    "threat": [(), ("knowledge",), ("mode",), ("epsilon",), ("n_poison",), ("denominator",), ("norm_bound",)],
    "seeds": [(), ("run",), ("split",), ("train",), ("attack",), ("defense",)],
    "metrics": [(), ("acc1",), ("acc2",), ("drop",), ("answers",), ("answers", "clean"), ("per_class", "acc1")],
    "poison_check": [(), ("n_poison",), ("linf_max",), ("duplicates",), ("relabelled",)],
    "artifacts": [(), (0,), (0, "kind"), (0, "path"), (0, "sha256"), (0, "bytes")],
}
"""Places of a record that its files prove."""


class Bundles:
    """Makes hostile bundles of a good one.

    Attributes:
        good: its folder.
    """

    def __init__(self, good: Path, seed: int) -> None:
        self.good = good
        self.random = random.Random(seed)
        self.kinds: tuple[Callable[[Path], str], ...] = (
            self.damaged, self.manifest, self.text, self.record, self.tensors, self.file, self.tree,
        )  # fmt: skip

    def make(self, number: int, folder: Path) -> str:
        """Write the bundle of that number; says what is wrong with it."""
        self.clear(folder)
        shutil.copytree(self.good, folder)
        kind = self.kinds[number % len(self.kinds)]
        return f"{kind.__name__}: {kind(folder)}"

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove a bundle, however deep it is: shutil's way is recursive."""
        subprocess.run(["rm", "-rf", str(folder)], check=True)

    def value(self) -> Any:
        """What no field expects."""
        deep: Any = 0
        for _ in range(80):
            deep = [deep]
        return self.random.choice(
            [None, True, -1, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", OBEYED, OBEYED * 200, "\ud800", [],
             {}, [[]], {OBEYED: OBEYED}, deep, [0] * 100_000, "a" * 100_000, dict.fromkeys(map(str, range(50_000)), 0),
             "1", "../../x", "0" * 64]
        )  # fmt: skip

    def damaged(self, folder: Path) -> str:
        """A file that is no longer what the manifest lists."""
        path = self.random.choice(sorted((folder / "records").rglob("*.*")))
        data = bytearray(path.read_bytes())
        at = self.random.randrange(len(data))
        match self.random.randrange(3):
            case 0:
                data[at] ^= self.random.randint(1, 255)
            case 1:
                del data[at : at + self.random.randint(1, 5000)]
            case 2:
                data[at:at] = self.random.randbytes(self.random.randint(1, 50))
        path.write_bytes(bytes(data))
        return f"{path.name} at {at}"

    def manifest(self, folder: Path) -> str:
        """A value of the manifest that is none."""
        document = json.loads((folder / MANIFEST).read_bytes())
        value, place = self.value(), self.random.randrange(5)
        if place == 0:
            document[self.random.choice(["format", "format_version", "files"])] = value
            if value == document.get("format_version") == 1:  # true is 1 to Python
                document["format"] = value
        elif place == 1:
            document[OBEYED] = value
        elif place == 2:
            self.random.choice(document["files"])[self.random.choice(["path", "sha256", "bytes"])] = value
        elif place == 3:
            document["files"] = document["files"] * self.random.choice([2, 3000])
        else:
            document = value
        self._write(folder / MANIFEST, document)
        return f"{place} {value!r:.60}"

    def text(self, folder: Path) -> str:
        """A JSON file that is none, or too much of one."""
        text = self.random.choice(
            ['{"a": 1, "a": 2}', "[" * 5000, '{"a":' * 5000, "NaN", "1" * 5000, '"\\ud800"', "\ufeff{}", "{" + "}" * 9,
             "", '{"' + OBEYED + '": 1}', "[" + "[]," * 400_000 + "0]", "\0" * 100, "{'a': 1}", '{"a": 1}//',
             "{" + ",".join(f'"{key}":0' for key in range(300_000)) + "}", '"' + "\\" * 9999]
        )  # fmt: skip
        if self.random.random() < 0.5:
            (folder / MANIFEST).write_text(text, "utf-8")
        else:
            self._replace(folder, self._record(folder), text.encode())
        return repr(text)[:60]

    def record(self, folder: Path) -> str:
        """A record that says what its files do not show, or nothing that a record says; named by what it says."""
        path = self._record(folder)
        document = json.loads(path.read_bytes())
        key = self.random.choice(list(PROVED))
        place, value = (key, *self.random.choice(PROVED[key])), self.value()
        inner = document
        for part in place[:-1]:
            inner = inner[part]
        was = inner[place[-1]]
        if type(was) is type(value) and was == value:
            value = "another"
        inner[place[-1]] = value
        if place == ("threat", "norm_bound") and value is None:
            document["status"] = "odd"
        self._rename(folder, path, document)
        return f"{place} {value!r:.60}"

    def tensors(self, folder: Path) -> str:
        """A poison set or predictions of other types, shapes and numbers."""
        path = self._record(folder)
        document = json.loads(path.read_bytes())
        artifact = self._artifact(document)
        file = folder / "records" / artifact["path"]
        found = from_bytes(file.read_bytes(), "good")
        name = self.random.choice(sorted(found))
        tensor = found[name]
        changes: list[Callable[[], Any]] = [
            lambda: torch.tensor(3), lambda: tensor[:0], lambda: tensor[:-1], lambda: torch.cat([tensor, tensor]),
            lambda: tensor[None], lambda: tensor.flatten()[:1], lambda: tensor.double(), lambda: tensor.bool(),
            lambda: tensor.to(torch.bfloat16), lambda: tensor.to(torch.complex64), lambda: tensor * 0 - 7,
            lambda: tensor.float() / 0, lambda: torch.full_like(tensor, 10_000), lambda: torch.zeros(0, 2**40),
            lambda: torch.zeros(3_000_000), lambda: tensor.to(torch.float8_e4m3fn),
        ]  # fmt: skip
        which = self.random.randrange(len(changes) + 2)
        if which < len(changes):
            found[name] = changes[which]().contiguous()
        elif which == len(changes):
            del found[name]
        else:
            found[OBEYED] = torch.zeros(1)
        self._swap(folder, path, document, artifact, save(found))
        return f"{artifact['kind']} {name} {which}"

    def file(self, folder: Path) -> str:
        """An artifact under its right name that is no safetensors file, or one whose header lies."""
        path = self._record(folder)
        document = json.loads(path.read_bytes())
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        lies: list[Document] = [
            {"shape": [2**62, 4]}, {"shape": []}, {"shape": [-2]}, {"shape": [0, 2**63]}, {"data_offsets": [8, 0]},
            {"shape": [2**62, 4, 0], "data_offsets": [0, 0]}, {"data_offsets": [0, 2**60]}, {"data_offsets": [-8, 0]},
            {"dtype": "Q7"}, {"dtype": "I128"}, {"dtype": None}, {"strides": [-1]},
        ]  # fmt: skip
        header: Any = self.random.choice(
            [*({"x": entry | lie} for lie in lies), {"x": entry, "y": entry}, {"x": {}}, [], 1, None, {},
             {"__metadata__": {"a": 1}}, {"__metadata__": {"a": OBEYED}}, {OBEYED: entry}]
        )  # fmt: skip
        text = json.dumps(header).encode()
        size = self.random.choice([len(text)] * 6 + [0, 1, 2**31, 2**63, 2**64 - 1])
        whole = struct.pack("<Q", size) + text + b"\0" * 8
        data = self.random.choice([*[whole] * 5, b"", b"\x80\x04.", self.random.randbytes(99)])
        self._swap(folder, path, document, self._artifact(document), data)
        return f"{data[:70]!r}"

    def tree(self, folder: Path) -> str:
        """Something beside what a bundle has."""
        name = self.random.choice(["x", OBEYED.replace("/", ""), "a" * 200, "\udcff", "records/x.json", "-rf", "a\nb"])
        path = folder / name
        match self.random.randrange(8):
            case 0:
                path.symlink_to(self.random.choice(["/etc/passwd", ".", "nowhere", "/dev/zero"]))
            case 1:
                os.mkfifo(path)
            case 2:
                path.write_text(OBEYED, "utf-8")
            case 3:
                self._deep(folder, self.random.choice([5, 300, 1500]))
            case 4:  # a sparse file that no record names
                sha256 = f"{self.random.getrandbits(256):064x}"
                path = folder / "records" / artifact_path(sha256)
                path.parent.mkdir(exist_ok=True)
                with path.open("wb") as file:
                    file.truncate(3 * 2**30)
                self._list(folder, path, sha256)
            case 5:
                shutil.rmtree(folder / "records" / "artifacts")
            case 6:
                (folder / MANIFEST).unlink()
                (folder / MANIFEST).mkdir()
            case 7:
                (folder / "records" / "x.json").write_bytes(self._record(folder).read_bytes())
                self._list(folder, folder / "records" / "x.json")
        return repr(path.name)[:60]

    @staticmethod
    def _deep(folder: Path, levels: int) -> None:
        here = Path.cwd()
        try:
            os.chdir(folder)
            for _ in range(levels):
                Path("d").mkdir()
                os.chdir("d")
        finally:
            os.chdir(here)

    def _artifact(self, document: Document) -> Document:
        """One that the bundle has."""
        found: Document = self.random.choice([one for one in document["artifacts"] if one["kind"] in NEEDED])
        return found

    @staticmethod
    def _record(folder: Path) -> Path:
        (path,) = (folder / "records").glob("*.json")
        return path

    @staticmethod
    def _write(path: Path, document: Any) -> None:
        path.write_text(json.dumps(document), "utf-8")

    def _relist(self, folder: Path, path: Path, new: Path) -> None:
        """Have the manifest list another file in the place of one."""
        manifest = json.loads((folder / MANIFEST).read_bytes())
        name = path.relative_to(folder).as_posix()
        manifest["files"] = [one for one in manifest["files"] if one["path"] != name]
        self._write(folder / MANIFEST, manifest)
        self._list(folder, new)

    def _list(self, folder: Path, path: Path, sha256: str | None = None) -> None:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        digest = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
        entry = {"path": path.relative_to(folder).as_posix(), "sha256": digest, "bytes": path.stat().st_size}
        manifest["files"].append(entry)
        self._write(folder / MANIFEST, manifest)

    def _replace(self, folder: Path, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self._relist(folder, path, path)

    def _rename(self, folder: Path, path: Path, document: Document) -> None:
        """Write a changed record under the name that it has now, if it can be named at all."""
        document.pop("record_id")
        try:
            document["record_id"] = record_id_of(document)
        except (PoisonbenchError, ValueError, TypeError, RecursionError):
            document["record_id"] = path.stem
        new = path.with_name(f"{document['record_id']}.json")
        path.unlink()
        self._write(new, document)
        self._relist(folder, path, new)

    def _swap(self, folder: Path, path: Path, document: Document, artifact: Document, data: bytes) -> None:
        """Put other bytes in the place of an artifact, under their own name, in the record too."""
        old = folder / "records" / artifact["path"]
        sha256 = hashlib.sha256(data).hexdigest()
        artifact.update(sha256=sha256, path=artifact_path(sha256), bytes=len(data))
        new = folder / "records" / artifact["path"]
        new.parent.mkdir(exist_ok=True)
        old.unlink()
        new.write_bytes(data)
        self._relist(folder, old, new)
        self._rename(folder, path, document)
