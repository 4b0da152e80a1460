"""Cascades of served models: one order of all stages, one deadline, and what becomes of a stage that fails."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest

from rerank.errors import DeadlineError, InputError, ModelError, OverloadedError, TooLongError, UnavailableError
from rerank.types import EncodeRequest, RankedDocument, RerankRequest, RerankResult, Timings
from serve.cascade import CascadeScorer, CascadeStage, OnStageFailure
from serve.http.endpoint import Server
from serve.models import Models
from tests.serve.standins import LengthScorer, calling

DOCUMENTS = ("a", "ccc", "bb", "eeeee", "dddd")  # as long as their letter says


class ShortScorer(LengthScorer):
    """Ranks the short texts first, with logits far below those of LengthScorer."""

    async def rerank(self, request: RerankRequest) -> RerankResult:
        result = await super().rerank(replace(request, top_k=None))
        short = sorted(result.ranked, key=lambda document: document.logit)
        ranked = (
            RankedDocument(each.index, (10 - len(request.documents[each.index])) / 100, -each.logit - 20)
            for each in short
        )
        return replace(result, ranked=tuple(ranked)[: request.top_k])


def cascade(
    *scorers: LengthScorer, keeps: Sequence[int | None] = (3, None), on_stage_failure: OnStageFailure = "fail"
) -> CascadeScorer:
    stages = [CascadeStage(f"s{n}", scorer, keep) for n, (scorer, keep) in enumerate(zip(scorers, keeps, strict=True))]
    return CascadeScorer(stages, on_stage_failure)


def rank(scorer: CascadeScorer, request: RerankRequest | None = None) -> RerankResult:
    return asyncio.run(scorer.rerank(request or RerankRequest("q", DOCUMENTS)))


def words(result: RerankResult) -> list[str]:
    return [DOCUMENTS[document.index] for document in result.ranked]


def test_the_second_stage_ranks_what_the_first_keeps_and_the_rest_follows() -> None:
    first, second = LengthScorer(), ShortScorer()
    result = rank(cascade(first, second), RerankRequest("q", DOCUMENTS, timeout_s=9))
    assert words(result) == ["ccc", "dddd", "eeeee", "bb", "a"]
    assert second.asked[0].documents == ("eeeee", "dddd", "ccc")  # equal logits keep the order of the stage before
    assert first.asked[0].timeout_s == 9 and 8 < second.asked[0].timeout_s <= 9
    assert result.tokens == 15 + 12 and result.warnings == ()


def test_scores_fall_with_the_rank_because_clients_sort_by_them() -> None:
    ranked = rank(cascade(LengthScorer(), ShortScorer())).ranked
    assert [document.logit for document in ranked] == sorted((document.logit for document in ranked), reverse=True)
    assert [document.score for document in ranked] == sorted((document.score for document in ranked), reverse=True)
    assert ranked[3].logit == ranked[2].logit == -22


@pytest.mark.parametrize(("top_k", "keep", "count"), [(None, 2, 2), (1, 2, 1), (4, None, 4), (9, None, 5)])
def test_keep_of_the_last_stage_and_top_k_limit_the_answer(top_k: int | None, keep: int | None, count: int) -> None:
    result = rank(cascade(LengthScorer(), ShortScorer(), keeps=(3, keep)), RerankRequest("q", DOCUMENTS, top_k))
    assert words(result) == ["ccc", "dddd", "eeeee", "bb", "a"][:count]


def test_three_stages() -> None:
    result = rank(cascade(LengthScorer(), ShortScorer(), LengthScorer(), keeps=(4, 2, None)))
    assert words(result) == ["ccc", "bb", "dddd", "eeeee", "a"]


def test_each_document_keeps_its_own_query_and_timings_are_added() -> None:
    first, second = LengthScorer(timings=Timings(1, 1, 1, 100)), ShortScorer(timings=Timings(1, 2, 3, 101))
    queries = tuple(f"query of {text}" for text in DOCUMENTS)
    result = rank(cascade(first, second), RerankRequest(queries, DOCUMENTS))
    assert second.asked[0].query == ("query of eeeee", "query of dddd", "query of ccc")
    assert result.timings == Timings(2, 3, 4, stages=(first.timings, second.timings))


FAILURES = [UnavailableError("away"), OverloadedError("full"), ModelError("NaN"), DeadlineError("late")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_a_later_stage_that_fails_fails_the_request_or_leaves_the_earlier_order(failure: Exception) -> None:
    failing = ShortScorer(failure=failure)
    with pytest.raises(type(failure)):
        rank(cascade(LengthScorer(), failing))
    result = rank(cascade(LengthScorer(), failing, on_stage_failure="fallback"))
    assert words(result) == ["eeeee", "dddd", "ccc", "bb", "a"]
    assert result.ranked == asyncio.run(LengthScorer().rerank(RerankRequest("q", DOCUMENTS))).ranked
    assert result.warnings == (f"stage 2 (s1) failed ({failure.code}), the order is that of stage 1",)


def test_the_order_of_the_last_stage_that_did_not_fail_is_kept() -> None:
    stages = (LengthScorer(), ShortScorer(), LengthScorer(failure=UnavailableError("away")))
    result = rank(cascade(*stages, keeps=(4, 2, None), on_stage_failure="fallback"))
    assert words(result) == ["bb", "ccc", "dddd", "eeeee", "a"]
    assert result.warnings == ("stage 3 (s2) failed (unavailable), the order is that of stage 2",)


def test_the_first_stage_has_nothing_to_fall_back_to() -> None:
    with pytest.raises(UnavailableError):
        rank(cascade(LengthScorer(failure=UnavailableError("away")), ShortScorer(), on_stage_failure="fallback"))


@pytest.mark.parametrize("on_stage_failure", ["fail", "fallback"])
def test_a_pair_that_is_too_long_is_named_as_in_the_request(on_stage_failure: OnStageFailure) -> None:
    second = ShortScorer(failure=TooLongError(1, 9))
    with pytest.raises(TooLongError) as refused:
        rank(cascade(LengthScorer(), second, on_stage_failure=on_stage_failure))
    assert (refused.value.index, refused.value.most) == (DOCUMENTS.index("dddd"), 9)


def test_a_bug_is_no_failure_to_fall_back_from() -> None:
    with pytest.raises(ZeroDivisionError):
        rank(cascade(LengthScorer(), ShortScorer(failure=ZeroDivisionError()), on_stage_failure="fallback"))


def test_a_stage_that_hangs_leaves_time_to_answer() -> None:
    """The deadline holds for the whole: the second stage is left at nine tenths of it."""
    second, request = ShortScorer(seconds=60), RerankRequest("q", DOCUMENTS, timeout_s=0.2)

    async def timed(scorer: CascadeScorer) -> tuple[RerankResult, float]:
        started = asyncio.get_running_loop().time()
        result = await scorer.rerank(request)
        return result, asyncio.get_running_loop().time() - started

    result, seconds = asyncio.run(timed(cascade(LengthScorer(), second, on_stage_failure="fallback")))
    assert words(result) == ["eeeee", "dddd", "ccc", "bb", "a"]
    assert result.warnings == ("stage 2 (s1) failed (deadline), the order is that of stage 1",)
    assert isinstance(second.left, asyncio.CancelledError)
    assert 0.1 < seconds < 10
    with pytest.raises(DeadlineError, match="the stage was not ready in time"):
        rank(cascade(LengthScorer(), ShortScorer(seconds=60)), request)


def test_a_first_stage_that_takes_all_the_time_leaves_none_for_the_second() -> None:
    second = ShortScorer()
    with pytest.raises(DeadlineError, match="no time was left for the next stage"):
        rank(cascade(LengthScorer(seconds=0.02), second), RerankRequest("q", DOCUMENTS, timeout_s=0.01))
    assert second.asked == []


@pytest.fixture
def call() -> object:
    """Call a server with two models and cascades of them."""
    first, broken = LengthScorer(), ShortScorer(failure=UnavailableError("away"))
    scorers = {
        "length": first,
        "good": cascade(first, ShortScorer()),
        "safe": cascade(first, broken, on_stage_failure="fallback"),
        "strict": cascade(first, broken),
    }
    return calling(Server(Models(scorers)))


def test_a_header_says_that_the_order_is_that_of_an_earlier_stage(call) -> None:
    def ask(model: str) -> httpx.Response:
        return call("/v1/rerank", json={"model": model, "query": "q", "documents": list(DOCUMENTS)})

    good, safe, strict = map(ask, ("good", "safe", "strict"))
    assert [row["index"] for row in good.json()["results"]] == [1, 4, 3, 2, 0]
    assert "X-Rerank-Warning" not in good.headers
    assert [row["index"] for row in safe.json()["results"]] == [3, 4, 1, 2, 0]
    assert safe.headers["X-Rerank-Warning"] == "stage 2 (s1) failed (unavailable), the order is that of stage 1"
    assert strict.status_code == 503


def test_a_cascade_is_described_like_a_model_and_has_no_vectors(call) -> None:
    described = {model["name"]: model for model in call("/v1/models", "GET").json()["models"]}
    assert described["good"]["kind"] == "cascade of s0, s1" and described["good"]["outputs"] == ["score"]
    assert call("/readyz", "GET").status_code == 200
    with pytest.raises(InputError, match="this model is a cascade and gives scores but no vectors"):
        asyncio.run(cascade(LengthScorer(), ShortScorer()).encode(EncodeRequest(("a",))))


def test_a_cascade_runs_while_all_its_stages_do() -> None:
    assert asyncio.run(cascade(LengthScorer(), ShortScorer()).is_running())
    assert not asyncio.run(cascade(LengthScorer(), ShortScorer(runs=False)).is_running())
