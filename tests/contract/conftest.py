"""The bibliography, once; what methods import in their own processes; and which tests wait for their marker."""

from collections.abc import Iterator
from importlib.resources import files

import pytest
import yaml

from poisonbench.process import fork_server

MARKS = {"test_cuda_agrees_with_cpu": pytest.mark.gpu, "test_cost_grows_at_most_quadratically": pytest.mark.slow}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a GPU, and what measures for seconds."""
    for item in items:
        if item.name in MARKS:
            item.add_marker(MARKS[item.name])


@pytest.fixture(scope="session", autouse=True)
def _libraries_imported_once() -> Iterator[None]:
    """L-BFGS and torchvision import torch's compiler, and poison-svm scikit-learn: a second, in the process of each row
    that does. The fork server does so before it forks, if none of another test's was there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fork_server, "_PRELOADS", ("torch._dynamo", "sklearn.svm", *fork_server._PRELOADS))
        yield


@pytest.fixture(scope="session")
def bibliography() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(files("poisonbench").joinpath("bibliography.yaml").read_text("utf-8"))
    return found
