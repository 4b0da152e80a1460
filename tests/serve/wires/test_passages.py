"""Options of requests to a model that is served with passages, through its own actor."""

import pytest

from rerank.actor import RerankActor
from rerank.config import ScorerConfig
from rerank.types import PassageLimits, RerankRequest
from serve.http.endpoint import Server
from serve.models import Models
from tests.fakes import HashEngine
from tests.serve.standins import LengthScorer, calling

LONG = " ".join(f"Sentence {n} is about {n * n} dictionaries and {n % 7} sockets." for n in range(60))
QUERY = "how do I copy a dictionary?"
BODY = {"query": QUERY, "documents": [LONG, "dict.copy() returns a shallow copy of the dictionary."]}
DISABLED = {"mode": "disabled"}


class ActorScorer(LengthScorer):
    """A model with passages of 32 tokens whose logits depend on the tokens alone."""

    def __init__(self, aggregate):
        super().__init__()
        passages = {"tokens": 32, "overlap": 4, "aggregate": aggregate, "max_passages": 12}
        self.actor = RerankActor(ScorerConfig(passages=passages), engine=FiniteEngine())

    async def rerank(self, request):
        self.asked.append(request)
        return await self.actor.rerank(request)


class FiniteEngine(HashEngine):
    def score(self, pairs):
        scores = super().score(pairs)
        scores.logits[scores.logits != scores.logits] = -1
        return scores


@pytest.fixture(scope="module", params=["max", "mean", "first"])
def split(request):
    return ActorScorer(request.param)


@pytest.fixture
def post(split):
    split.asked.clear()
    models = Models({"split": split, "whole": LengthScorer()}, with_passages=frozenset({"split"}))
    return calling(Server(models))


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, PassageLimits()),
        ({"max_chunks_per_doc": 3}, PassageLimits(3, None)),
        ({"max_chunks_per_doc": 1024, "overlap_tokens": 20}, PassageLimits(1024, 20)),
        ({"overlap_tokens": 0, "relevant_spans": DISABLED}, PassageLimits(None, 0)),
    ],
)
def test_requests_may_change_how_documents_are_split(post, split, options, limits):
    answer = post("/v1/rerank", json={**BODY, **options})
    assert answer.status_code == 200, answer.text
    assert [request.passage_limits for request in split.asked] == [limits]
    assert all("relevant_spans" not in place for place in answer.json()["results"])
    ranked = split.actor._reranker.rerank(RerankRequest(QUERY, tuple(BODY["documents"]), passage_limits=limits)).ranked
    assert [(place["index"], place["relevance_score"]) for place in answer.json()["results"]] == [
        (found.index, pytest.approx(found.score, abs=1e-7)) for found in ranked
    ]
    most = 1 if split.actor._reranker.config.passages.aggregate == "first" else min(12, limits.most or 12)
    assert {found.index: found.passages for found in ranked} == {0: most, 1: 1}


def test_the_best_passage_is_returned_where_cohere_s_clients_look_for_it(post, split):
    sent = {**BODY, "relevant_spans": {"mode": "enabled", "threshold": 0}}
    results = {place["index"]: place for place in post("/v2/rerank", json=sent).json()["results"]}
    (span,), (whole,) = (results[index]["relevant_spans"] for index in (0, 1))
    assert 0 <= span["start"] < span["end"] < len(LONG) and 0 < span["score"] < 1
    assert (whole["start"], whole["end"], whole["score"]) == (
        0,
        len(BODY["documents"][1]),
        results[1]["relevance_score"],
    )
    is_mean = split.actor._reranker.config.passages.aggregate == "mean"
    assert (span["score"] == results[0]["relevance_score"]) is not is_mean


@pytest.mark.parametrize(("spans", "least"), [({"mode": "enabled"}, 0.1), ({"mode": "enabled", "threshold": 0.7}, 0.7)])
def test_passages_that_are_not_relevant_are_left_out(post, spans, least):
    texts = ["".join(f"{word} {n}. " for n in range(9)) for word in ("dict", "list", "set", "heap", "deque", "tuple")]
    sent = {"query": QUERY, "documents": texts, "relevant_spans": spans}
    results = post("/v1/rerank", json=sent).json()["results"]
    scores = [place["relevant_spans"][0]["score"] for place in results if "relevant_spans" in place]
    assert 0 < len(scores) < len(texts) and min(scores) >= least


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_chunks_per_doc": 0}, "max_chunks_per_doc must be at least 1, got 0"),
        ({"max_chunks_per_doc": "many"}, "max_chunks_per_doc must be an integer, got 'many'"),
        ({"overlap_tokens": -1}, "overlap_tokens must be at least 0, got -1"),
        ({"overlap_tokens": 32}, "the overlap must be smaller than a passage of 32 tokens, got 32"),
        ({"relevant_spans": {"mode": "some"}}, "relevant_spans.mode must be 'enabled' or 'disabled', got 'some'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(post, options, message):
    answer = post("/v1/rerank", json={**BODY, **options})
    assert (answer.status_code, answer.json()["message"]) == (400, message)


@pytest.mark.parametrize("options", [{"max_chunks_per_doc": 3}, {"relevant_spans": {"mode": "enabled"}}])
def test_a_model_without_passages_beside_it_refuses_them(post, options):
    refused = post("/v1/rerank", json={**BODY, **options, "model": "whole"})
    assert refused.status_code == 400 and "this model is served without passages, got" in refused.json()["message"]
    described = post("/v1/models", "GET").json()["models"]
    assert [(model["name"], model["passages"]) for model in described] == [("split", True), ("whole", False)]
