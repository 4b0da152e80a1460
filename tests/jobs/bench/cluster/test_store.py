"""`rerank bench store` builds, looks up and extends, and leaves nothing behind."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.bench.cluster import store
from jobs.cli import app


def test_builds_looks_up_and_extends_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_in_process", lambda step, *arguments: step(*arguments))
    monkeypatch.setattr("rerank.store.buckets._PAIRS_PER_BUCKET", 1_000)
    sizes = ("--pairs", "3000", "--part-pairs", "500", "--block-pairs", "100", "--new", "0.1")
    done = CliRunner().invoke(app, ["bench", "store", str(tmp_path), *sizes])
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)
    assert (result["build"]["pairs"], result["build"]["buckets"], result["extend"]["pairs"]) == (3_000, 4, 3_300)
    assert (result["lookup"]["known"], result["lookup"]["pairs"]) == (1_000, 2_000)
    assert not list(tmp_path.iterdir())
