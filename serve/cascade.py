"""A cascade of served models: each ranks what the one before it kept, within one deadline."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from rerank.errors import DeadlineError, InputError, RerankError, TooLongError
from rerank.types import CheckedTexts, EncodeRequest, EncodeResult, RankedDocument, RerankRequest, RerankResult, Timings
from serve.models import Scorer

OnStageFailure = Literal["fail", "fallback"]

_RESERVED_SHARE, _RESERVED_S = 0.1, 0.5  # of the time limit: to answer in the earlier order when a stage is too slow


@dataclass(frozen=True, slots=True)
class CascadeStage:
    """A served model with its public name, and how many documents it keeps; None, for the last stage only: all."""

    name: str
    scorer: Scorer
    keep: int | None


@dataclass(frozen=True, slots=True)
class CascadeScorer:
    """Scores by stages. Documents that a stage does not keep follow the others, in its order.

    If a stage after the first fails, the request fails, or with "fallback" it gets the order of the stages before, with
    a warning. An InputError, such as for a pair that is too long, always fails the request.
    """

    stages: Sequence[CascadeStage]
    on_stage_failure: OnStageFailure = "fail"

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank one request. Raises RerankError. `timeout_s` of the request holds for all stages together."""
        clock = asyncio.get_running_loop().time
        started = clock()
        first, *later = self.stages
        result = await first.scorer.rerank(replace(request, top_k=None))
        ranked, keep, warnings = result.ranked, first.keep, list[str]()
        total = replace(result, ranked=())
        for number, stage in enumerate(later, start=2):
            kept = [document.index for document in ranked[:keep]]
            left_s = None if request.timeout_s is None else self._time_left(request.timeout_s, clock() - started)
            try:
                part = await _rank_kept(stage.scorer, request, kept, left_s)
            except InputError:
                raise
            except RerankError as error:
                if self.on_stage_failure == "fail":
                    raise
                warnings.append(
                    f"stage {number} ({stage.name}) failed ({error.code}), the order is that of stage {number - 1}"
                )
                break
            ranked = (*part.ranked, *_below(part.ranked, ranked[keep:]))
            total = replace(total, tokens=total.tokens + part.tokens, timings=_sum(total.timings, part.timings))
            keep = stage.keep
        limits = [limit for limit in (request.top_k, self.stages[-1].keep) if limit is not None]
        return replace(total, ranked=ranked[: min(limits, default=None)], warnings=tuple(warnings))

    def _time_left(self, timeout_s: float, passed_s: float) -> float:
        reserved = min(_RESERVED_S, _RESERVED_SHARE * timeout_s) if self.on_stage_failure == "fallback" else 0.0
        return timeout_s - passed_s - reserved

    async def encode(self, request: EncodeRequest) -> EncodeResult:
        """Raise InputError: a cascade has no vectors."""
        names = ", ".join(repr(stage.name) for stage in self.stages)
        raise InputError(f"this model is a cascade and gives scores but no vectors; ask one of its stages, {names}")

    async def describe(self) -> dict[str, Any]:
        """Describe the last stage, as a cascade. Raises UnavailableError."""
        *_, last = await asyncio.gather(*(stage.scorer.describe() for stage in self.stages))
        return {**last, "kind": f"cascade of {', '.join(stage.name for stage in self.stages)}", "outputs": ["score"]}

    async def is_running(self) -> bool:
        """Return whether all stages run."""
        return all(await asyncio.gather(*(stage.scorer.is_running() for stage in self.stages)))


async def _rank_kept(scorer: Scorer, request: RerankRequest, kept: Sequence[int], left_s: float | None) -> RerankResult:
    """Rank these documents of a request, and return them with their indices in it. Raises RerankError."""
    if left_s is not None and left_s <= 0:
        raise DeadlineError("no time was left for the next stage")
    query = request.query
    part = replace(
        request,
        query=tuple(query[index] for index in kept) if isinstance(query, tuple) else query,
        documents=CheckedTexts(request.documents[index] for index in kept),
        top_k=None,
        timeout_s=left_s,
    )
    try:
        async with _within(left_s):
            result = await scorer.rerank(part)
    except TooLongError as error:
        raise TooLongError(kept[error.index], error.most, error.field) from None
    ranked = tuple(replace(document, index=kept[document.index]) for document in result.ranked)
    return replace(result, ranked=ranked)


@asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[None]:
    """Cancel the block after so many seconds, and raise DeadlineError: a model that hangs raises nothing."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineError("the stage was not ready in time") from None


def _below(ranked: Sequence[RankedDocument], others: Sequence[RankedDocument]) -> list[RankedDocument]:
    """Return the others with no higher score and logit than those above them: clients sort by them."""
    if not ranked:
        return list(others)
    score, logit = min(each.score for each in ranked), min(each.logit for each in ranked)
    return [replace(each, score=min(each.score, score), logit=min(each.logit, logit)) for each in others]


def _sum(total: Timings, stage: Timings) -> Timings:
    return Timings(
        total.tokenize_s + stage.tokenize_s,
        total.queue_s + stage.queue_s,
        total.score_s + stage.score_s,
        stages=(*(total.stages or (total,)), stage),
    )
