"""Prefixes that pairs of a query share are computed once per batch, and the logits stay those of every pair alone."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from rerank.batching.merge import merge
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import load_encoder
from rerank.engines.cross_encoder import CrossEncoderEngine
from tests.language_models import LANGUAGE_MODELS, PADDED
from tests.models import CORPUS
from tests.rerank.test_oracle import exact, oracle

TOLERANCE = 1e-4
QUERIES = [CORPUS[0], "how do I find the number under which my parcel is tracked?"]
DOCUMENTS = [text[:60] for text in CORPUS[1:]] + ["x", ""]
SHARED = sorted(set(LANGUAGE_MODELS) - PADDED)


def pairs_of(folder: Path) -> EncodedPairs:
    """Every query with every document, in an order in which queries take turns."""
    document_of, query_of = np.divmod(np.arange(len(QUERIES) * len(DOCUMENTS), dtype=np.int32), np.int32(len(QUERIES)))
    return load_encoder(exact(folder)).encode(QUERIES, DOCUMENTS, query_of, document_of)


def plain(folder: Path) -> CrossEncoderEngine:
    return CrossEncoderEngine(exact(folder), shares_prefixes=False)


@pytest.mark.parametrize("name", SHARED)
def test_logits_equal_the_plain_ones_and_the_oracles(made, name):
    folder = made(name)
    pairs = pairs_of(folder)
    expected = oracle(
        CrossEncoder(str(folder), device="cpu"), [(query, document) for document in DOCUMENTS for query in QUERIES]
    )
    unshared = plain(folder).score(pairs)
    np.testing.assert_allclose(unshared.logits, expected, rtol=0, atol=TOLERANCE)
    for batch_tokens, can_share in ((None, True), (400, True), (150, True), (1, False)):
        scores = CrossEncoderEngine(exact(folder, batch_tokens=batch_tokens)).score(pairs)
        np.testing.assert_allclose(scores.logits, expected, rtol=0, atol=TOLERANCE)
        assert (scores.computed_tokens - scores.padding_tokens < pairs.lengths.sum()) == can_share
    assert unshared.computed_tokens - unshared.padding_tokens == pairs.lengths.sum()


def test_pairs_of_two_requests_share_what_is_their_own(made):
    """A batch of the server has the texts of each request by themselves."""
    folder = made("qwen3-prompt")
    pairs, engine = pairs_of(folder), CrossEncoderEngine(exact(folder))
    first, second = np.arange(6), np.arange(len(pairs))[::-1]
    scores = engine.score(merge([(pairs, first), (pairs, second)]))
    expected = plain(folder).score(pairs).logits
    np.testing.assert_allclose(scores.logits, np.concatenate([expected[first], expected[second]]), rtol=0, atol=1e-5)
    assert scores.computed_tokens < 0.7 * pairs.lengths[np.concatenate([first, second])].sum()


@pytest.mark.parametrize("family", ["qwen3", "mistral", "gemma2"])
def test_classifiers_share_prefixes_too(folder_of, family):
    """Their logit is read from the last token that is not padding, which may be one of the prefix."""
    folder = folder_of(family)
    query_of, document_of = np.repeat(np.arange(2, dtype=np.int32), 4), np.tile(np.arange(4, dtype=np.int32), 2)
    queries = ["what is the rate of shipping to a post office?", "a query of some length <|endoftext|>"]
    documents = ["a b", "x", "<|endoftext|>", "ends with <|endoftext|>"]
    pairs = load_encoder(exact(folder)).encode(queries, documents, query_of, document_of)
    scores, unshared = CrossEncoderEngine(exact(folder)).score(pairs), plain(folder).score(pairs)
    np.testing.assert_allclose(scores.logits, unshared.logits, rtol=0, atol=TOLERANCE)
    assert scores.computed_tokens < unshared.computed_tokens


def test_a_deterministic_score_is_computed_alone(made):
    folder = made("qwen3-prompt")
    pairs, engine = pairs_of(folder), CrossEncoderEngine(exact(folder, deterministic=True))
    together = engine.score(pairs)
    assert together.computed_tokens >= pairs.lengths.sum()
    alone = [engine.score(pairs.take(np.array([row]))).logits[0] for row in range(4)]
    np.testing.assert_array_equal(together.logits[:4], alone)
