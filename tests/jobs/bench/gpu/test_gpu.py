"""The GPU script, run on a CPU with the smallest models: what it finds, writes, and brings along."""

import json
import sys
from zipfile import ZipFile

import pytest
import torch

from jobs.bench.gpu import exactness
from jobs.bench.gpu.command import machine, write
from jobs.bench.gpu.exactness import check_batches, check_models
from jobs.bench.gpu.speed import Shape, measure_shape, trace
from jobs.bench.gpu.wheels import add_wheels
from jobs.bench.options import Lengths
from jobs.bench.scoring import encode_all, synthetic_sets
from rerank.config import ScorerConfig
from rerank.ranking.candidates import CandidateSets
from rerank.reranker import Reranker

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def test_scores_are_compared_in_every_precision(tmp_path, monkeypatch):
    models = exactness.models

    def few(work):
        return ((name, folder) for name, folder in models(work) if name in {"bert", "qwen3-prompt", "vectors"})

    monkeypatch.setattr(exactness, "models", few)
    rows = check_models(tmp_path, "cpu")
    assert [row["kind"] for row in rows[::3]] == ["sequence classifier", "language model", "one vector per text"]
    assert [row["dtype"] for row in rows] == ["float32", "bfloat16", "float16"] * 3
    assert all(row["passed"] and row["error"] < row["spread"] for row in rows)


def test_a_wrong_score_does_not_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(exactness, "models", lambda work: iter([("bundled", ScorerConfig().location)]))
    monkeypatch.setattr(exactness, "library_logits", lambda *_: torch.zeros(30).numpy())
    assert not any(row["passed"] for row in check_models(tmp_path, "cpu"))


def test_a_deterministic_score_does_not_depend_on_its_company(tmp_path):
    assert [row["passed"] for row in check_batches(tmp_path, "cpu")] == [True, True]


def test_speeds_are_measured_and_written(tmp_path):
    shape = Shape("tiny", "Bert", {**TINY, "vocab_size": 30_522}, 100)
    rows = measure_shape(shape, tmp_path, "cpu", rounds=1, traces=tmp_path)
    assert rows[0]["name"].startswith("rerank packed") and rows[0]["host_share"] > 0
    assert [row["model"] for row in rows] == ["tiny"] * len(rows)
    write({"machine": machine("cpu"), "speed": rows}, tmp_path)
    assert json.loads((tmp_path / "gpu.json").read_text())["speed"] == rows
    assert "pairs_per_second" in (tmp_path / "gpu.txt").read_text()


def test_a_trace_names_the_kernels(tmp_path):
    reranker = Reranker(ScorerConfig(device="cpu"))
    sets = CandidateSets.from_table(synthetic_sets(Lengths.SHORT, 100))
    trace(reranker, encode_all(sets, reranker), tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    kernels = json.loads((tmp_path / "trace.kernels.json").read_text())
    assert 0 < len(kernels) <= 20 and kernels[0].keys() == {"name", "calls", "device_ms"}


@pytest.fixture
def path():
    before = list(sys.path)
    yield sys.path
    sys.path[:] = before


def test_wheels_bring_what_is_missing_and_nothing_else(tmp_path, path):
    for name in ("missing_here", "numpy"):
        with ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "VALUE = 7")
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", "")
    assert add_wheels(tmp_path) == ["missing_here-1.0-py3-none-any.whl"]
    import missing_here

    assert missing_here.VALUE == 7
    assert add_wheels(tmp_path) == []
