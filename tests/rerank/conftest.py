"""The Hub's cache, for tests of models that are named and not pointed at."""

from pathlib import Path

import pytest


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """The cache of the Hub, as huggingface_hub lays it out, with one model at one commit."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    repo = tmp_path / "models--acme--ranker"
    (repo / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (repo / "snapshots" / ("a" * 40) / "config.json").write_text("{}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    return repo
