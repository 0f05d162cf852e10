"""The bibliography, once."""

from importlib.resources import files

import pytest
import yaml


@pytest.fixture(scope="session")
def bibliography() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(files("poisonbench").joinpath("bibliography.yaml").read_text("utf-8"))
    return found
