"""`rerank bench durability` writes and publishes, flushed and not, and leaves nothing behind."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app


def test_flushes_in_every_other_turn_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr("os.fsync", flushed.append)
    monkeypatch.setattr("os.sync", lambda: None)
    sizes = ("--parts", "2", "--part-bytes", "100", "--rounds", "1")
    done = CliRunner().invoke(app, ["bench", "durability", str(tmp_path), *sizes])
    assert done.exit_code == 0, done.output
    store, result = json.loads(done.stdout)
    assert (store["parts"], result["name"]) == (2, "result, 100 bytes")
    assert store["added_ms"] == pytest.approx(store["flushed_ms"] - store["unflushed_ms"], abs=0.002)
    assert len(flushed) > 2 * 2 + 2 * 2
    assert not list(tmp_path.iterdir())
