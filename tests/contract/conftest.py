"""The bibliography, once; and which tests of the contract wait for their marker."""

from importlib.resources import files

import pytest
import yaml

MARKS = {"test_cuda_agrees_with_cpu": pytest.mark.gpu, "test_cost_grows_at_most_quadratically": pytest.mark.slow}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a GPU, and what measures for seconds."""
    for item in items:
        if item.name in MARKS:
            item.add_marker(MARKS[item.name])


@pytest.fixture(scope="session")
def bibliography() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(files("poisonbench").joinpath("bibliography.yaml").read_text("utf-8"))
    return found
