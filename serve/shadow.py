"""Score a share of a model's requests with another model, too, and measure how far the answers differ.

A request is scored after its answer was sent, so the answer does not wait for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from math import isnan
from statistics import fmean

from xxhash import xxh3_64_intdigest

from rerank.errors import OverloadedError, RerankError
from rerank.ranking.agreement import TOP, kendall_tau, top_overlap
from rerank.types import RerankRequest, RerankResult
from serve.telemetry.metrics import Sink

_log = logging.getLogger("rerank.serve")

# Of one ingress replica. What is beyond them is dropped: the texts of these requests are held in memory.
_MOST_REQUESTS = 4
_MOST_BYTES = 16 * 2**20
_PATIENCE_S = 60.0  # for a request that has no time limit

Rank = Callable[[RerankRequest], Awaitable[RerankResult]]


class Shadow:
    """Scores a share of the requests to `model` with the model `name`, through `rank`.

    The share is chosen by a hash of the request's id: the same id is always in it or never. Errors of the shadow are
    only counted.
    """

    def __init__(self, model: str, name: str, rank: Rank, share: float) -> None:
        self._labels = {"model": model, "shadow": name}
        self._rank = rank
        self._share = share
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0

    async def offer(self, request_id: str, request: RerankRequest, answer: RerankResult, sinks: Sequence[Sink]) -> None:
        """Start to score an answered request, if it is in the share and the shadow is not busy; do not wait for it."""
        if not is_in_share(request_id, self._share):
            return
        text_bytes = request.text_bytes
        if len(self._tasks) >= _MOST_REQUESTS or self._bytes + text_bytes > _MOST_BYTES:
            self._count("dropped", sinks)
            return
        self._bytes += text_bytes
        task = asyncio.create_task(self._score(request, answer, sinks))
        self._tasks.add(task)  # the event loop holds tasks only weakly

        def release(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._bytes -= text_bytes

        task.add_done_callback(release)

    async def _score(self, request: RerankRequest, answer: RerankResult, sinks: Sequence[Sink]) -> None:
        """Score all documents of the request, and measure the differences. Raises no errors."""
        try:
            async with asyncio.timeout(request.timeout_s or _PATIENCE_S):
                ranking = await self._rank(replace(request, top_k=None))
        except OverloadedError:
            self._count("dropped", sinks)
        except (RerankError, TimeoutError):
            self._count("failed", sinks)
        except Exception:
            _log.exception("the shadow %s of %s failed", self._labels["shadow"], self._labels["model"])
            self._count("failed", sinks)
        else:
            self._count("scored", sinks)
            self._measure(answer, ranking, sinks)

    def _count(self, outcome: str, sinks: Sequence[Sink]) -> None:
        for sink in sinks:
            sink.add("rerank_shadow_requests", 1, {**self._labels, "outcome": outcome})

    def _measure(self, answer: RerankResult, ranking: RerankResult, sinks: Sequence[Sink]) -> None:
        """Measure the differences over the documents of the answer, which `top_k` may have cut."""
        answered, ranked = ([document.index for document in result.ranked] for result in (answer, ranking))
        logits = {document.index: document.logit for document in ranking.ranked}
        tau = kendall_tau(answered, ranked)
        values = {
            "rerank_shadow_top_10_overlap": top_overlap(answered, ranked, min(TOP, len(answered))),
            "rerank_shadow_discordant_pairs": (1 - tau) / 2,
            "rerank_shadow_logit_difference": fmean(
                abs(logits[document.index] - document.logit) for document in answer.ranked
            ),
        }
        for name, value in values.items():
            for sink in sinks:
                if not isnan(value):  # a single document has no pairs
                    sink.observe(name, value, self._labels)


def is_in_share(request_id: str, share: float) -> bool:
    """Return whether a request id belongs to this share of all ids."""
    return xxh3_64_intdigest(request_id.encode()) < share * 2**64
