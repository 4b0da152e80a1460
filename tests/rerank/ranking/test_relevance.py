"""What relevance scores mean, per kind of model, and that pairs with a known logit get the same."""

import numpy as np
import pytest

from rerank.encoding.pairs import Encoder
from rerank.encoding.tokenizer import load_tokenizer
from rerank.prepare import prepare
from rerank.ranking.relevance import Relevance
from rerank.reranker import Reranker
from rerank.store import Hashes, StoredScores
from tests.fakes import ListedEngine, candidate_sets

LOGITS = np.array([-2.0, 0.0, 0.4, 3.0, np.nan], dtype=np.float32)


@pytest.mark.parametrize(
    ("relevance", "expected"),
    [
        (Relevance.SIGMOID, [0.119203, 0.5, 0.598688, 0.952574, np.nan]),
        (Relevance.COSINE, [0, 0, 0.4, 1, np.nan]),
        (Relevance.PER_QUERY_VECTOR, [0, 0, 0.1, 0.75, np.nan]),
    ],
)
def test_each_meaning(relevance, expected):
    np.testing.assert_allclose(relevance.scores(LOGITS, np.full(5, 4)), expected, atol=1e-6)


def test_pairs_with_a_stored_logit_get_the_same_score(folder_of):
    """Their documents are not tokenised, but their query is where the score depends on it."""

    def know_all(hashes: Hashes) -> StoredScores:
        known = np.ones(len(hashes), dtype=np.bool_)
        return StoredScores(np.full(len(hashes), 1.5, dtype=np.float32), known.astype(np.int32), known)

    reranker = Reranker(str(folder_of("bert")), engine=ListedEngine([1.5]))
    reranker.encoder = Encoder(load_tokenizer(reranker.config).backend_tokenizer, max_length=96)
    reranker.encoder.relevance = Relevance.PER_QUERY_VECTOR
    table = candidate_sets([("q", "a parcel", [("d", "x")]), ("none", None, [("d", "x")])])
    stored, scored = (
        reranker.rank_table(prepare(table, reranker.encoder, lookup=lookup))["candidates"].to_pylist()
        for lookup in (know_all, None)
    )
    assert stored == scored
    tokens = len(reranker.encoder.tokenize(["a parcel"]).values)
    assert stored[0][0]["score"] == pytest.approx(1.5 / tokens)
