"""The Hub's cache, for tests of models that are named and not pointed at, and tiny language models."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from rerank.engines.kinds import declared_by
from rerank.model_files import _from_hub
from tests.language_models import make_language_model


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """The cache of the Hub, as huggingface_hub lays it out, with one model at one commit."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for cached in (_from_hub, declared_by):  # what another cache held
        cached.cache_clear()
    repo = tmp_path / "models--acme--ranker"
    (repo / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (repo / "snapshots" / ("a" * 40) / "config.json").write_text("{}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    return repo


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny language model of this name, made when it is first asked for."""

    @cache
    def folder(name: str) -> Path:
        path = tmp_path_factory.mktemp(name)
        make_language_model(name, path)
        return path

    return folder
