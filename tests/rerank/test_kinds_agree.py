"""For every kind of model the ways to rank agree: in Python, by table, and by the actor of job and server."""

import asyncio

import numpy as np
import pytest

from rerank.actor import RerankActor
from rerank.config import PassageSettings
from rerank.reranker import Reranker
from rerank.types import RerankRequest
from tests.fakes import candidate_sets
from tests.language_models import make_language_model
from tests.models import CORPUS
from tests.rerank.test_oracle import exact
from tests.text_models import make_late_interaction, make_vectors

QUERY, DOCUMENTS = CORPUS[0], (*CORPUS[1:], CORPUS[1], " ".join(CORPUS))


@pytest.fixture(scope="module", params=["bert", "qwen3-prompt", "qwen3-dense", "tokens", "vectors"])
def config(request, folder_of, tmp_path_factory):
    if request.param == "bert":
        return exact(folder_of("bert"))
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "tokens":
        expansion = {"strategy": "fixed", "length": 24, "token": "[MASK]"}
        make_late_interaction(folder_of("bert"), folder, query_expansion=expansion)
    elif request.param == "vectors":
        make_vectors(folder_of("bert"), folder)
    else:
        make_language_model(request.param, folder)
    return exact(folder)


def test_all_ways_give_the_same_ranking(config):
    table = candidate_sets([("q", QUERY, list(enumerate(DOCUMENTS))), ("r", CORPUS[5], [(0, "x")])])
    reranker = Reranker(config)
    ranked = reranker.rank(QUERY, DOCUMENTS)
    expected = [(document.index, document.score, document.logit) for document in ranked]

    def rows(result) -> list[tuple[int, float, float]]:
        return [(row["doc_id"], row["score"], row["logit"]) for row in result["candidates"].to_pylist()[0]]

    async def requests() -> list[tuple[int, float, float]]:
        results = await asyncio.gather(
            actor.rerank(RerankRequest(QUERY, DOCUMENTS)), actor.rerank(RerankRequest(CORPUS[5], ("x",)))
        )
        return [(document.index, document.score, document.logit) for document in results[0].ranked]

    actor = RerankActor(config)
    assert actor.describe()["kind"] == reranker.engine.description["kind"]
    for other in (rows(reranker.rank_table(table)), rows(RerankActor(config)(table)), asyncio.run(requests())):
        assert [row[0] for row in other] == [row[0] for row in expected]
        np.testing.assert_allclose(other, expected, rtol=0, atol=1e-5)


def test_documents_by_passages_are_as_good_as_their_best_window(config):
    """With each window ranked as a document by itself; the kinds have tokenisers and limits of their own."""
    split = config.model_copy(update={"passages": PassageSettings(tokens=16, overlap=4)})
    reranker, whole = Reranker(split), Reranker(config)
    texts = (" ".join(CORPUS), CORPUS[9], "\n".join(reversed(CORPUS)))
    windows = reranker.splitter.split(texts)
    logits = np.empty(len(windows.document_of), dtype=np.float32)
    for window in whole.rank(QUERY, windows.texts(texts)):
        logits[window.index] = window.logit
    assert windows.counts.min() < 4 < windows.counts.max()
    for results in (
        reranker.rank(QUERY, texts),
        asyncio.run(RerankActor(split).rerank(RerankRequest(QUERY, texts))).ranked,
    ):
        for document in results:
            own = np.flatnonzero(windows.document_of == document.index)
            assert document.passages == len(own)
            assert document.logit == pytest.approx(float(logits[own].max()), abs=1e-5)
            best = own[logits[own].argmax()]
            assert document.best_passage[:2] == (windows.starts[best], windows.ends[best])
