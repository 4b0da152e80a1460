"""Models of every kind in int8: near their float32 scores, whatever else is scored, or refused."""

import logging

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import kendalltau

from rerank.config import ScorerConfig
from rerank.engines.device import choices
from rerank.engines.device.choices import pick_dtype, pick_precision
from rerank.engines.kernels import library
from rerank.errors import ConfigError
from rerank.reranker import Reranker
from tests.jobs.runs import CRANFIELD
from tests.language_models import make_language_model
from tests.models import CORPUS
from tests.rerank.engines.int8 import needs_int8
from tests.rerank.test_oracle import DOCS_MINI, PAIRS, bundled, encoded, exact, score
from tests.text_models import make_late_interaction, make_vectors

CPU = torch.device("cpu")
TOLERANCE = 0.25  # of the spread of the logits: random weights, ten times as wide as a model's, make errors as wide


def int8(config):
    return config.model_copy(update={"dtype": "int8-float32"})


@pytest.fixture(params=["qwen3-prompt", "qwen3-dense", "tokens", "vectors"])
def folder(request, folder_of, tmp_path):
    if request.param == "tokens":
        make_late_interaction(folder_of("bert"), tmp_path)
    elif request.param == "vectors":
        make_vectors(folder_of("bert"), tmp_path)
    else:
        make_language_model(request.param, tmp_path)
    return tmp_path


def logits_of(reranker):
    queries, documents = zip(*PAIRS[:10], strict=True)
    rows = np.arange(10, dtype=np.int32)
    return reranker.engine.score(reranker.encoder.encode(queries, documents, rows, rows)).logits


def assert_near_float32(folder):
    reranker, expected = Reranker(int8(exact(folder))), logits_of(Reranker(exact(folder)))
    assert reranker.engine.description["dtype"] == "int8-float32"
    errors = logits_of(reranker) - expected
    assert np.abs(errors).max() > 0 and errors.std() < TOLERANCE * expected.std()


@needs_int8
def test_every_family_is_near_float32(model_folder):
    assert_near_float32(model_folder)


@needs_int8
def test_every_other_kind_is_near_float32(folder):
    assert_near_float32(folder)


@needs_int8
@bundled
@pytest.mark.parametrize(("dtype", "most"), [("int8-float32", 0.15), ("int8-bfloat16", 0.4)])
def test_the_bundled_model_is_near_float32(dtype, most):
    config = exact(DOCS_MINI)
    reranker = Reranker(config.model_copy(update={"dtype": dtype}))
    np.testing.assert_allclose(score(reranker, PAIRS), score(Reranker(config), PAIRS), rtol=0, atol=most)


@needs_int8
@bundled
@pytest.mark.skipif(not CRANFIELD.exists(), reason="Cranfield is not there")
def test_on_cranfield_the_order_stays():
    """On all of it tau is 0.971 (docs/performance.md); these are 20 candidates of each of 3 queries."""
    table = pq.read_table(CRANFIELD / "candidates.parquet", columns=["query", "text"]).to_pylist()
    pairs = [(row["query"], row["text"]) for start in range(0, 300, 100) for row in table[start : start + 20]]
    config = ScorerConfig(device="cpu", max_length=128)
    rankings = (
        score(Reranker(config.model_copy(update={"dtype": dtype})), pairs).reshape(3, 20)
        for dtype in ("float32", "int8")
    )
    assert np.mean([kendalltau(*orders).statistic for orders in zip(*rankings, strict=True)]) > 0.96


@needs_int8
@bundled
def test_a_pair_does_not_depend_on_its_company():
    config = exact(DOCS_MINI, deterministic=True).model_copy(update={"dtype": "int8"})
    reranker = Reranker(config)
    pairs = encoded(reranker, [(query, text) for query in CORPUS[:3] for text in CORPUS])
    logits = reranker.engine.score(pairs).logits
    for chosen in ([0], [7, 1], list(range(20, 5, -1))):
        assert reranker.engine.score(pairs.take(np.array(chosen))).logits.tolist() == logits[chosen].tolist()


def test_on_other_devices_int8_is_refused():
    with pytest.raises(ConfigError, match="dtype: int8 runs on a CPU only, got the device cuda"):
        pick_precision("int8", torch.device("cuda"))


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_processor_with_kernels_takes_int8(monkeypatch, has_bf16):
    monkeypatch.setattr(choices, "why_no_kernels", lambda: None)
    monkeypatch.setattr(choices, "_cpu_has_bf16", lambda: has_bf16)
    between = "bfloat16" if has_bf16 else "float32"
    assert pick_precision("int8", CPU) == f"int8-{between}"
    assert pick_precision("int8-float32", CPU) == "int8-float32"
    assert pick_dtype("int8", CPU) == getattr(torch, between)
    assert pick_precision("auto", CPU) == between


@pytest.mark.parametrize(
    ("has_vnni", "reason"),
    [
        (False, "this processor has no AVX-512 VNNI"),
        (True, "not_compiled is not installed, which installing rerank compiles if there is a C compiler"),
    ],
)
def test_without_the_kernel_the_log_says_once_what_computes_instead(monkeypatch, caplog, has_vnni, reason):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: has_vnni)
    monkeypatch.setattr(library, "_LIBRARY", "not_compiled")
    library.library.cache_clear()
    monkeypatch.setattr(choices, "_cpu_has_bf16", lambda: False)
    choices._without_int8.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [pick_precision("int8", CPU) for _ in range(3)] == ["float32"] * 3
    assert [record.message for record in caplog.records] == [f"dtype: int8 becomes float32 here, because {reason}"]
    with pytest.raises(ConfigError, match=f"there is no int8-float32 here, because {reason}; accepted are auto"):
        pick_precision("int8-float32", CPU)


@needs_int8
def test_a_model_that_only_its_own_code_runs_is_refused(folder_of, monkeypatch):
    monkeypatch.setattr("rerank.engines.cross_encoder.family_of", lambda model: None)
    with pytest.raises(
        ConfigError, match="cannot run in int8, because BertForSequenceClassification is not of a family"
    ):
        assert Reranker(int8(exact(folder_of("bert")))).engine
