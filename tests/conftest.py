"""Fixtures that several folders share: tiny models made once per session. Nothing is fetched from the Hub."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.models import FAMILIES

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, made when it is first asked for."""

    @cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        FAMILIES[family](folder)
        return folder

    return make


@pytest.fixture(scope="session", params=list(FAMILIES))
def model_folder(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    """A tiny model of each family in turn."""
    return folder_of(request.param)
