"""Logits against sentence-transformers' CrossEncoder: every family, every batch, every length."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.reranker import Reranker
from tests.fakes import candidate_sets
from tests.models import CORPUS, MAX_LENGTH

TOLERANCE = 1e-4
LONG = " ".join(CORPUS)
PAIRS = [
    *zip(CORPUS, CORPUS[3:] + CORPUS[:3], strict=True),
    ("?", "!"),
    ("x", LONG * 2),
    (LONG * 2, "x"),
    (LONG, LONG[::-1]),
    (CORPUS[0], LONG[:150]),
    ("a text with [SEP] </s> <|im_end|> inside", "and <pad> [PAD] another 🙂"),
]
DOCS_MINI = ScorerConfig().location
bundled = pytest.mark.skipif(
    not Path(DOCS_MINI, "model.safetensors").exists(), reason="the bundled model has not been trained in this checkout"
)


def oracle(model: CrossEncoder, pairs: list[tuple[str, str]]) -> np.ndarray:
    return model.predict(pairs, activation_fn=torch.nn.Identity())


def encoded(reranker: Reranker, pairs: list[tuple[str, str]]) -> EncodedPairs:
    rows = np.arange(len(pairs), dtype=np.int32)
    queries, documents = (reranker.encoder.tokenize(texts) for texts in zip(*pairs, strict=True))
    return reranker.encoder.pair(queries, documents, rows, rows)


def score(reranker: Reranker, pairs: list[tuple[str, str]]) -> np.ndarray:
    return reranker.engine.score(encoded(reranker, pairs)).logits


def exact(folder: Path | str, **options: object) -> ScorerConfig:
    return ScorerConfig(model=str(folder), device="cpu", dtype="float32", threads=1, **options)


@pytest.fixture(scope="module")
def reranker(model_folder):
    return Reranker(exact(model_folder))


@pytest.fixture(scope="module")
def cross_encoder(reranker, model_folder):
    return CrossEncoder(str(model_folder), device="cpu")


@pytest.fixture(scope="module")
def expected(cross_encoder):
    logits = oracle(cross_encoder, PAIRS)
    assert np.ptp(logits) > 0.5, "logits that hardly differ prove nothing"
    return logits


def test_logits_equal_the_oracles(reranker, expected):
    np.testing.assert_allclose(score(reranker, PAIRS), expected, rtol=0, atol=TOLERANCE)


def test_a_ranked_table_holds_the_oracles_logits(reranker, expected):
    table = candidate_sets((row, query, [(row, text)]) for row, (query, text) in enumerate(PAIRS))
    rows = reranker.rank_table(table)["candidates"].to_pylist()
    np.testing.assert_allclose([row[0]["logit"] for row in rows], expected, rtol=0, atol=TOLERANCE)


def test_logits_do_not_depend_on_the_company(reranker, expected):
    tiled = score(reranker, PAIRS * 4)
    np.testing.assert_allclose(tiled, np.tile(expected, 4), rtol=0, atol=TOLERANCE)
    shuffled = np.random.default_rng(5).permutation(len(PAIRS))
    np.testing.assert_allclose(
        score(reranker, [PAIRS[place] for place in shuffled]), expected[shuffled], rtol=0, atol=TOLERANCE
    )
    alone = [score(reranker, [pair])[0] for pair in PAIRS]
    np.testing.assert_allclose(alone, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("batch_tokens", [1, 100, 1_000_000])
def test_logits_do_not_depend_on_the_batch_size(reranker, expected, model_folder, batch_tokens):
    engine = CrossEncoderEngine(exact(model_folder, batch_tokens=batch_tokens))
    scores = engine.score(encoded(reranker, PAIRS))
    np.testing.assert_allclose(scores.logits, expected, rtol=0, atol=TOLERANCE)


def test_the_length_limit_is_the_oracles(reranker, cross_encoder):
    assert reranker.encoder.max_length == cross_encoder.max_seq_length == MAX_LENGTH


def test_a_length_limit_of_the_users_is_kept(model_folder):
    short = CrossEncoder(str(model_folder), device="cpu", max_length=23)
    ours = Reranker(exact(model_folder, max_length=23))
    assert ours.encoder.max_length == short.max_seq_length == 23
    np.testing.assert_allclose(score(ours, PAIRS), oracle(short, PAIRS), rtol=0, atol=TOLERANCE)


def test_positions_that_cannot_be_reached_do_not_count(folder_of, tmp_path):
    """RoBERTa's first positions are for padding. The oracle fails on long pairs where the tokeniser names no limit."""
    shutil.copytree(folder_of("xlm-roberta"), tmp_path, dirs_exist_ok=True)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["model_max_length"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = Reranker(exact(tmp_path))
    assert ours.encoder.max_length == MAX_LENGTH
    assert np.isfinite(score(ours, PAIRS)).all()
    with pytest.raises((IndexError, RuntimeError)):
        oracle(CrossEncoder(str(tmp_path), device="cpu"), PAIRS)


def test_relevance_is_the_sigmoid_whatever_the_model_names(folder_of, tmp_path):
    shutil.copytree(folder_of("bert"), tmp_path, dirs_exist_ok=True)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    by_default = CrossEncoder(str(tmp_path), device="cpu").predict([("a", text) for text in CORPUS])
    assert by_default.min() < 0, "the oracle gives logits here"
    ranked = Reranker(exact(tmp_path)).rank("a", CORPUS).ranked
    order = [document.index for document in ranked]
    assert order == np.argsort(-by_default, kind="stable").tolist()
    np.testing.assert_allclose([document.logit for document in ranked], by_default[order], atol=TOLERANCE)
    np.testing.assert_allclose(
        [document.score for document in ranked], 1 / (1 + np.exp(-by_default[order])), atol=TOLERANCE
    )


def test_bf16_costs_no_more_than_it_costs_the_oracle(reranker, cross_encoder, model_folder):
    """Over 400 pairs the two are off by the same 2 to 10 % of the logits' deviation; a single logit proves nothing."""
    chosen = random.Random(3)
    words = LONG.split()
    pairs = [tuple(" ".join(chosen.choices(words, k=chosen.randint(1, most))) for most in (20, 30)) for _ in range(400)]
    exactly = oracle(cross_encoder, pairs)
    rough_oracle = CrossEncoder(str(model_folder), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    rough = CrossEncoderEngine(exact(model_folder).model_copy(update={"dtype": "bfloat16"}))
    error = rough.score(encoded(reranker, pairs)).logits - exactly
    oracles_error = oracle(rough_oracle, pairs) - exactly
    assert 0 < np.sqrt(np.mean(error**2)) < 1.2 * np.sqrt(np.mean(oracles_error**2))


@bundled
def test_the_bundled_model_equals_the_oracle():
    pairs = [*PAIRS, (CORPUS[0], " ".join(CORPUS * 8))]
    model, ours = CrossEncoder(DOCS_MINI, device="cpu"), Reranker(exact(DOCS_MINI))
    assert ours.encoder.max_length == model.max_seq_length
    np.testing.assert_allclose(score(ours, pairs), oracle(model, pairs), rtol=0, atol=TOLERANCE)


@bundled
def test_the_bundled_model_is_close_in_bf16():
    """On 200 pairs of Cranfield: at most 0.14 off, 0.05 in the mean, where logits have a deviation of 1.5."""
    ours = Reranker(exact(DOCS_MINI))
    rough = CrossEncoderEngine(exact(DOCS_MINI).model_copy(update={"dtype": "bfloat16"}))
    pairs = encoded(ours, PAIRS[: len(CORPUS)])
    np.testing.assert_allclose(rough.score(pairs).logits, ours.engine.score(pairs).logits, rtol=0, atol=0.1)
