"""Online batching: the pairs and texts of all queued requests share the engine's batches, fairly.

`rerank.batching.fair_queue` decides what is in a batch. The engine gets the next batch as soon as it is free; an engine
with lanes gets one per lane, and no lane waits for another. This module knows neither models nor protocols.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from math import ceil
from time import perf_counter, time
from typing import Any, NoReturn, TypeVar

from rerank.arrays import FloatArray
from rerank.batching.admission import MAX_WAITING_BYTES, AbandonedError, Admissions, AdmittedRequest
from rerank.batching.compute import compute
from rerank.batching.fair_queue import Batch, QueuedRequest, Work, next_batch
from rerank.batching.throughput import ThroughputEstimate
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.reading import Checkpoint
from rerank.encoding.texts import Texts
from rerank.engines import ThreadLanes
from rerank.engines.device.cores import lower_priority
from rerank.errors import DeadlineError, EngineLostError, InputError
from rerank.types import BatchReport, BatchTiming, EncodeRequest, RerankRequest, Timings

Value = TypeVar("Value")

_SWITCH_S = 0.0002  # how long a thread may keep the interpreter; lanes need it briefly after every operation
_TOKENIZER_THREADS = 4  # a short request waits to be tokenised only if four long ones are being tokenised


@dataclass(frozen=True, slots=True)
class Scored:
    """A request's pairs in document order, their logits [pairs], and its timings."""

    pairs: EncodedPairs
    logits: FloatArray
    timings: Timings


@dataclass(frozen=True, slots=True)
class EncodedVectors:
    """A request's texts, the vectors of each of them, and its timings."""

    texts: Texts
    vectors: tuple[FloatArray, ...]
    timings: Timings


def _no_texts(*_: object) -> NoReturn:
    raise InputError("this model does not encode texts by themselves")


class Batcher:
    """The queue of one engine. Requests are tokenised in some threads while the engine computes in others."""

    def __init__(
        self,
        encode: Callable[[RerankRequest, Checkpoint], EncodedPairs],
        score: Callable[[EncodedPairs], FloatArray],
        *,
        encode_texts: Callable[[EncodeRequest, Checkpoint], Texts] = _no_texts,
        vectors: Callable[[Texts], list[FloatArray]] = _no_texts,
        lanes: Callable[[], ThreadLanes | None] = lambda: None,
        batch_tokens: int | None = None,
        max_waiting_pairs: int = 16_384,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        on_batch: Callable[[BatchReport], None] | None = None,
    ) -> None:
        """Tokenise requests by `encode` and score their pairs by `score`, in the engine's `lanes` if it has any.

        Requests for vectors are tokenised by `encode_texts` and computed by `vectors`, in the same batches.
        `batch_tokens` fixes the tokens of a batch; None: they adapt to the engine's speed. Requests are refused if
        there would be more than `max_waiting_pairs` unfinished pairs, or texts of more than `max_waiting_bytes`; a text
        to encode counts as a pair. `encode` and `encode_texts` call their second argument before each chunk of work,
        and pass on what that raises. `on_batch` is called after each batch, also one that failed.
        """
        self._encode, self._score = encode, score
        self._encode_texts, self._vectors = encode_texts, vectors
        self._lanes, self._on_batch = lanes, on_batch
        self._throughput = ThroughputEstimate(batch_tokens)
        self._admissions = Admissions(max_pairs=max_waiting_pairs, max_bytes=max_waiting_bytes)
        self._queue: deque[QueuedRequest[Any]] = deque()
        self._tokenizing: set[asyncio.Task[Any]] = set()
        self._running: set[asyncio.Task[None]] = set()  # batches being scored: one on all cores, or one per lane
        self._has_all_cores = False
        # The event loop has the highest priority, so that a flood of requests can at least be refused.
        self._tokenizers, self._engine = (
            ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=lower_priority, initargs=(niceness,))
            for name, threads, niceness in (("tokenize", _TOKENIZER_THREADS, 5), ("engine", 1, 10))
        )

    def call(self, function: Callable[[], Value]) -> Value:
        """Run a function in the thread that scores and return its result. Blocks: not to be called in an event loop."""
        return self._engine.submit(function).result()

    @property
    def waiting_pairs(self) -> int:
        """Return the pairs of all unfinished requests: being tokenised, queued or being scored.

        Those that are still being tokenised or scored for a caller that left are counted too.
        """
        return self._admissions.pairs

    async def score(self, request: RerankRequest) -> Scored:
        """Return the scored pairs of a request. Cancelling the call drops the pairs that are not scored yet.

        Raises OverloadedError at once if too many pairs or bytes are queued, DeadlineError after the request's
        `timeout_s` seconds, and whatever `encode` or `score` raises for this request.
        """
        queued, timings = await self._compute_all(request, partial(self._encode, request))
        return Scored(queued.work, queued.results, timings)

    async def encode(self, request: EncodeRequest) -> EncodedVectors:
        """Return the vectors of a request. Cancelling the call drops the texts that are not encoded yet.

        Raises as `score` does, and whatever `encode_texts` or `vectors` raises for this request.
        """
        queued, timings = await self._compute_all(request, partial(self._encode_texts, request))
        return EncodedVectors(queued.work, tuple(queued.results), timings)

    async def _compute_all(
        self, request: RerankRequest | EncodeRequest, tokenize: Callable[[Checkpoint], Work]
    ) -> tuple[QueuedRequest[Work], Timings]:
        """Return a request when all of its rows have their results, and its timings."""
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))  # here and not on import: only servers need it
        admitted = self._admissions.admit(request, self._throughput.pairs_per_second)
        try:
            async with asyncio.timeout(request.timeout_s) as limit:
                return await self._tokenize_and_wait(tokenize, admitted)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(f"the answer was not ready within {request.timeout_s:g} seconds") from None
        finally:
            self._admissions.leave(admitted)

    async def _tokenize_and_wait(
        self, tokenize: Callable[[Checkpoint], Work], admitted: AdmittedRequest
    ) -> tuple[QueuedRequest[Work], Timings]:
        arrived, arrived_at = perf_counter(), time()
        tokenizing = asyncio.create_task(self._tokenize(tokenize, admitted))
        self._tokenizing.add(tokenizing)
        tokenizing.add_done_callback(self._tokenizing.discard)
        work = await asyncio.shield(tokenizing)  # the thread goes on until its next checkpoint if the caller leaves
        assert work is not None
        admitted.pairs = max(admitted.pairs, len(work))  # passages count as pairs once they are known
        queued = QueuedRequest.of(work, admitted)
        self._queue.append(queued)
        self._start_batches()
        try:
            await queued.done
        finally:
            with suppress(ValueError):  # it is still in the queue if the caller left or the time is up
                self._queue.remove(queued)
        ended = perf_counter()
        return queued, Timings(
            queued.queued_at - arrived,
            queued.started_at - queued.queued_at,
            ended - queued.started_at,
            arrived_at,
            tuple(BatchTiming(start - arrived, end - arrived, *pairs) for start, end, *pairs in queued.batches),
        )

    async def _tokenize(self, tokenize: Callable[[Checkpoint], Work], admitted: AdmittedRequest) -> Work | None:
        """Return the pairs or texts of a request, None if its caller left before they were complete."""
        loop = asyncio.get_running_loop()
        with self._admissions.counting(admitted, admitted.pairs):
            try:
                return await loop.run_in_executor(self._tokenizers, tokenize, admitted.check_not_abandoned)
            except AbandonedError:
                return None

    def _start_batches(self) -> None:
        """Start a batch in every part of the engine that is free, as long as requests are queued."""
        lanes = self._lanes()
        while self._queue and not self._has_all_cores and len(self._running) < (lanes.count if lanes else 1):
            budget, batch_lanes = self._throughput.budget(len(self._queue)), lanes
            if lanes is not None:
                tokens = max(1, sum(request.remaining_tokens for request in self._queue))
                lane_tokens = lanes.split_evenly(tokens)
                budget = min(budget, lane_tokens)
                if not self._running and not lanes.is_faster_in_parallel(ceil(tokens / lane_tokens)):
                    batch_lanes = None
            self._has_all_cores = batch_lanes is None
            batch = next_batch(self._queue, budget)
            task = asyncio.create_task(self._run(batch, batch_lanes))
            self._running.add(task)
            task.add_done_callback(partial(self._end, batch, perf_counter()))

    def _end(self, batch: Batch, started: float, task: asyncio.Task[None]) -> None:
        """Start what follows a batch, and report it: the requests that it finished wait no more by now."""
        self._running.discard(task)
        self._has_all_cores = False
        self._start_batches()
        if self._on_batch is not None:
            pairs = sum(len(rows) for _, rows in batch)
            self._on_batch(BatchReport(pairs, perf_counter() - started, self.waiting_pairs))

    async def _run(self, batch: Batch, lanes: ThreadLanes | None) -> None:
        """Score a batch in one of the lanes, or without lanes on all cores."""
        with ExitStack() as counted:
            for request, rows in batch:
                counted.enter_context(self._admissions.counting(request.admitted, len(rows)))
            try:
                await self._score_batch(batch, lanes)
            except Exception as error:
                await self._score_separately(batch, lanes, error)

    async def _score_batch(self, batch: Batch, lanes: ThreadLanes | None) -> None:
        """Compute a batch in a thread of the engine and store the results in its requests."""
        started = perf_counter()
        for request, _ in batch:
            request.started_at = request.started_at or started
        loop, threads = asyncio.get_running_loop(), lanes.threads if lanes else self._engine
        results, tokens = await loop.run_in_executor(threads, compute, batch, self._score, self._vectors)
        size, ended = sum(len(rows) for _, rows in batch), perf_counter()
        self._throughput.update(size, tokens, ended - started, lanes=lanes.count if lanes else 1)
        for request, rows in batch:
            request.batches.append((started, ended, len(rows), size))
            request.store(rows, results[request])

    async def _score_separately(self, batch: Batch, lanes: ThreadLanes | None, error: Exception) -> None:
        """Score each request of a failed batch by itself, so that only those that fail by themselves get an error.

        If the engine is lost, the requests of the batch all get the same error: any of them may be the cause.
        """
        for request, rows in batch:
            if request.done.done():
                continue
            if len(batch) > 1 and not isinstance(error, EngineLostError):
                try:
                    await self._score_batch([(request, rows)], lanes)
                    continue
                except Exception as own_error:
                    error = own_error
            with suppress(ValueError):
                self._queue.remove(request)
            if not request.done.done():
                request.done.set_exception(error)
