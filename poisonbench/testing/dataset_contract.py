"""The contract of datasets: one content under one hash, in the types and ranges that everything else counts on."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor

from poisonbench.data.base import DataOptions, DatasetSource, data_files
from poisonbench.guard.audit import noticed
from poisonbench.guard.method_errors import told
from poisonbench.identity.tensors import tensor_hash
from poisonbench.plugins.child_process import listen
from poisonbench.plugins.registry import name_of, version_of
from poisonbench.problem.samples import Dataset, Samples
from poisonbench.testing.contract import Advice, Checks, fix
from poisonbench.testing.game import CPU

_DARK = 0.1
"""Where the largest pixel is below this, bytes were divided twice, or by too much."""


class DatasetContract(Checks):
    """The contract that every dataset must keep. Subclass it in your test suite, under a name that pytest collects.

    Attributes:
        dataset: the dataset under test, an instance.
        options: where it may be taken from.
    """

    dataset: DatasetSource
    options: DataOptions = DataOptions()

    _seen: tuple[DatasetSource, Dataset | BaseException] | None = None

    @property
    def name(self) -> str:
        """See Checks."""
        return name_of(type(self.dataset))

    def loaded(self) -> Dataset:
        """The dataset, loaded once; a test that needs it is skipped if that raised: test_loads says why."""
        found = self._loaded()
        if isinstance(found, BaseException):
            raise SkipTest(f"it raised {type(found).__name__}.")
        return found

    def _loaded(self) -> Dataset | BaseException:
        cls = type(self)
        if cls._seen is None or cls._seen[0] is not self.dataset:
            found: Dataset | BaseException
            try:
                found = self.dataset.load(self.options)
            except (Exception, SystemExit) as error:
                found = error
            cls._seen = self.dataset, found
        return cls._seen[1]

    def _parts(self) -> list[tuple[str, Samples]]:
        found = self.loaded()
        return [("train", found.train), ("test", found.test)]

    @fix("Derive from pb.DatasetSource; set version, classes, mean and std in the class, as ClassVars.")
    def test_declares_itself(self) -> None:
        """Registered; version, classes, mean and std declared."""
        cls = type(self.dataset)
        name_of(cls)
        version_of(cls)
        classes, mean, std = (getattr(cls, name, None) for name in ("classes", "mean", "std"))
        assert isinstance(classes, int), f"classes is {classes!r}, expected an integer."
        assert classes >= 2, f"classes is {classes}, expected 2 at least."
        for name, values in (("mean", mean), ("std", std)):
            assert isinstance(values, tuple), f"{name} is {values!r}, expected a tuple: a number for each channel."
            assert all(isinstance(value, float) for value in values), f"{name} is {values!r}, expected floats."
        assert isinstance(std, tuple)
        assert min(std, default=0.0) > 0, f"std is {std!r}, expected numbers above 0."

    @fix("`poisonbench data prepare NAME` says the same; --data-dir names the folder with its files.")
    def test_loads(self) -> None:
        """Loads, under its own name."""
        found = self._loaded()
        if isinstance(found, BaseException):
            raise AssertionError(f"{self.name} raised {told(found)}") from found
        assert isinstance(found, Dataset), f"load returns {type(found).__name__}, expected a Dataset."
        assert found.name == self.name, f"it calls itself {found.name!r}, it is registered as {self.name!r}."
        cls = type(self.dataset)
        said = (found.classes, found.mean, found.std)
        assert said == (cls.classes, cls.mean, cls.std), f"classes, mean, std are {said}, the class says otherwise."

    @fix("Return x (n, channels, height, width), y (n,) and ids (n,), of one shape for training and test.")
    def test_shapes(self) -> None:
        """Shapes: an image, a label and an id a row."""
        shapes = set()
        for part, samples in self._parts():
            n = len(samples.y)
            assert n, f"{part} has no row."
            assert samples.x.dim() == 4, f"{part}: x has shape {tuple(samples.x.shape)}, expected (n, c, h, w)."
            for name, tensor, expected in (("x", samples.x[:, 0, 0, 0], (n,)), ("ids", samples.ids, (n,))):
                assert tuple(tensor.shape) == expected, f"{part}: {name} has {len(tensor)} rows, y has {n}."
            shapes.add(tuple(samples.x.shape[1:]))
        assert len(shapes) == 1, f"training and test images have shapes {sorted(shapes)}."
        channels = next(iter(shapes))[0]
        given = len(self.loaded().mean), len(self.loaded().std)
        assert given == (channels, channels), f"mean and std have {given} numbers, images {channels} channels."

    @fix("Convert with .float() and .long(), on the CPU.")
    def test_dtypes(self) -> None:
        """Dtypes: float32 images, int64 labels and ids, on the CPU."""
        for part, samples in self._parts():
            for name, dtype in (("x", torch.float32), ("y", torch.int64), ("ids", torch.int64)):
                tensor: Tensor = getattr(samples, name)
                assert tensor.dtype == dtype, f"{part}: {name} is {tensor.dtype}, expected {dtype}."
                assert tensor.device == CPU, f"{part}: {name} is on {tensor.device}, expected the CPU."

    @fix("Divide bytes by 255, once; mean and std are the model's to apply, not the dataset's.")
    def test_pixels_are_in_the_box(self) -> None:
        """Box: finite pixels in [0, 1]."""
        for part, samples in self._parts():
            assert samples.x.isfinite().all(), f"{part}: pixels are not finite."
            low, high = float(samples.x.min()), float(samples.x.max())
            assert low >= 0, f"{part}: pixels in [{low:g}, {high:g}], expected [0, 1]."
            assert high <= 1, f"{part}: pixels in [{low:g}, {high:g}], expected [0, 1]."
            if high < _DARK:
                raise Advice(f"{part}: no pixel is above {high:.3g} of 1; is it divided by too much?")

    @fix("Use labels 0 to classes − 1, each of them in both parts.")
    def test_labels_are_classes(self) -> None:
        """Labels are classes, and every class occurs."""
        classes = self.loaded().classes
        for part, samples in self._parts():
            low, high = int(samples.y.min()), int(samples.y.max())
            assert low >= 0, f"{part}: labels {low} to {high}, expected 0 to {classes - 1}."
            assert high < classes, f"{part}: labels {low} to {high}, expected 0 to {classes - 1}."
        for part, samples in self._parts():
            absent = (torch.bincount(samples.y, minlength=classes) == 0).nonzero().flatten().tolist()
            if absent:
                raise Advice(f"{part}: no row of class {', '.join(map(str, absent[:5]))}.")

    @fix("Number the rows in the dataset's own order: torch.arange, the test rows' after the training rows'.")
    def test_ids_are_unique(self) -> None:
        """Ids: none below 0, no two alike in training and test."""
        ids = torch.cat([samples.ids for _, samples in self._parts()])
        assert int(ids.min()) >= 0, f"an id is {int(ids.min())}; those below 0 are poison's."
        alike = len(ids) - len(ids.unique())
        assert not alike, f"{alike} ids are there twice."

    @fix("Remove from the training rows what is in the test set, or say that they are two photographs.")
    def test_no_test_image_is_trained_on(self) -> None:
        """Duplicates: no test image among the training images."""
        train, test = ([row.numpy().tobytes() for row in samples.x] for _, samples in self._parts())
        twice = len(set(test) & set(train))
        if twice:
            raise Advice(f"{twice} of {len(set(test))} test images are training images as well.")

    @fix("Hash the content itself, in a fixed order, with hashlib.sha256; sort what a folder lists.")
    def test_hash_is_the_contents(self) -> None:
        """Hash: the same SHA-256 and the same bytes, loaded anew."""
        first = self.loaded()
        assert re.fullmatch(r"[0-9a-f]{64}", first.sha256), f"sha256 is {first.sha256[:80]!r}, expected 64 hex digits."
        second = self.dataset.load(self.options)
        assert second.sha256 == first.sha256, "loaded again, its sha256 is another."
        assert _content(second) == _content(first), "loaded again, its bytes are others under the same sha256."

    @fix("Depend on the files alone: not on hash(), the time, the order of a folder's listing or a set's.")
    def test_fresh_process_same_bytes(self) -> None:
        """Hash in a fresh process."""
        first, cls = self.loaded(), type(self.dataset)
        try:
            (found,) = listen(_answer, (cls.__module__, cls.__qualname__, self.options), self.limit)
        except TimeoutError:
            raise AssertionError(f"in a fresh process it did not end within {self.limit:g} s.") from None
        except ChildProcessError as error:
            raise AssertionError(f"in a fresh process it ended the process ({error}).") from None
        assert "raised" not in found, f"in a fresh process it raised {found.get('raised')}"
        assert found["sha256"] == first.sha256, "in a fresh process its sha256 is another."
        assert found["content"] == _content(first), "in a fresh process its bytes are others."

    @fix("Let `open` be the base class's, or return the rows of `load` in its order.")
    def test_opened_is_loaded(self) -> None:
        """Opened: the same rows as loaded."""
        opened, first = self.dataset.open(self.options).load(), self.loaded()
        assert opened.sha256 == first.sha256, "opened, its sha256 is another."
        assert _content(opened) == _content(first), "opened, its rows are others."

    @fix("Return a Verified for each file that is there, with its path, size and SHA-256; raise DataError if none is.")
    def test_verifies(self) -> None:
        """Verify: names its files, and opens no connection."""
        self.loaded()
        with noticed(()) as acts:
            rows = self.dataset.verify(self.options)
        assert not acts, f"verify {'; '.join(acts)}."
        assert rows, "verify names no file."
        for row in rows:
            assert row.path.is_file(), f"verify names {row.path}, which is no file."

    @fix("Name them in file_names (how their names begin), or their folder in folders(): no method may open them.")
    def test_files_are_out_of_reach(self) -> None:
        """Its files are named, so that no method may open them."""
        self.loaded()
        files = [row.path for row in self.dataset.verify(self.options)]
        known = data_files(self.options)
        names = (*known.names, *type(self.dataset).file_names)
        folders = [folder.resolve() for folder in (*known.folders, *type(self.dataset).folders())]
        for path in files:
            inside = any(path.resolve().is_relative_to(folder) for folder in folders)
            assert inside or path.name.startswith(names), f"methods may open {path}, which has its test images."


def _content(dataset: Dataset) -> str:
    train, test = dataset.train, dataset.test
    return tensor_hash(train.x, train.y, train.ids, test.x, test.y, test.ids)


def _answer(send: Callable[[Any], None], request: tuple[str, str, DataOptions]) -> None:
    module, name, options = request
    try:
        cls: Any = importlib.import_module(module)
        for part in name.split("."):
            cls = getattr(cls, part)
        found = cls().load(options)
        send({"sha256": found.sha256, "content": _content(found)})
    except Exception as error:
        send({"raised": told(error)})
