"""Online batching: pairs of all waiting requests share the engine's batches, and requests take turns
(`rerank.batching.fair_queue`).

Whenever the engine is free it is given the next turn at once; an engine with lanes is given one for each, and no lane
waits for another. It knows neither models nor protocols.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import TypeVar

from rerank.arrays import FloatArray
from rerank.batching.fair_queue import Batch, QueuedRequest, next_batch
from rerank.batching.merge import merge
from rerank.batching.throughput import ThroughputEstimate
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import ThreadLanes
from rerank.engines.device.cores import give_way
from rerank.errors import DeadlineError, OverloadedError
from rerank.types import RerankRequest, Timings

Value = TypeVar("Value")

_HOPED_FOR = 0.5  # share of its deadline after which a request that is taken on should be done: others come after it
_SWITCH_S = 0.0002  # for which a thread may keep the interpreter: lanes want it for a moment after every operation
_TOKENIZER_THREADS = 4  # so that four long requests must be in the way before a short one waits to be tokenised


@dataclass(frozen=True, slots=True)
class Scored:
    """A request's pairs in document order, their logits of shape [pairs], and where its time went."""

    pairs: EncodedPairs
    logits: FloatArray
    timings: Timings


class Batcher:
    """One engine's queue. Requests are tokenised in threads of their own while the engine is at work in others."""

    def __init__(
        self,
        encode: Callable[[RerankRequest], EncodedPairs],
        score: Callable[[EncodedPairs], FloatArray],
        *,
        lanes: Callable[[], ThreadLanes | None] = lambda: None,
        turn_tokens: int | None = None,
        max_waiting_pairs: int = 16_384,
    ) -> None:
        """Score what `encode` makes of requests, in the engine's `lanes` if it has any. `turn_tokens` fixes a turn,
        which adapts to the engine's speed if left out; with more than `max_waiting_pairs` at hand a further request is
        refused.
        """
        self._encode = encode
        self._score = score
        self._lanes = lanes
        self._throughput = ThroughputEstimate(turn_tokens)
        self._max_waiting = max_waiting_pairs
        self._admitted: list[int] = []  # pairs of each request
        self._queue: deque[QueuedRequest] = deque()
        self._turns: set[asyncio.Task[None]] = set()  # what is being scored: one turn on all cores, or one per lane
        self._has_all_cores = False
        # Who reads and answers requests comes first, or a flood of them could not even be refused.
        self._tokenizers, self._engine = (
            ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=give_way, initargs=(niceness,))
            for name, threads, niceness in (("tokenize", _TOKENIZER_THREADS, 5), ("engine", 1, 10))
        )

    def call(self, function: Callable[[], Value]) -> Value:
        """What the function gives or raises, run in the thread that scores; waits for it, so not for an event loop."""
        return self._engine.submit(function).result()

    @property
    def waiting_pairs(self) -> int:
        """Pairs of the requests that are being tokenised, wait or are scored."""
        return sum(self._admitted)

    async def score(self, request: RerankRequest) -> Scored:
        """Score a request's pairs. Cancelling frees them before they are scored.

        Raises OverloadedError at once where too much waits, DeadlineError after the request's `timeout_s`, and whatever
        `encode` or `score` raises for this request.
        """
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))  # here: a job has no event loop to wait for
        size = len(request.documents)
        self._admit(size, request.timeout_s)
        self._admitted.append(size)
        try:
            async with asyncio.timeout(request.timeout_s) as limit:
                return await self._tokenize_and_wait(request)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(f"the answer was not ready within {request.timeout_s:g} seconds") from None
        finally:
            self._admitted.remove(size)

    def _admit(self, size: int, timeout_s: float | None) -> None:
        """Refuse what does not fit beside the others, or would be late; a request alone is always taken on."""
        if not self._admitted:
            return
        waiting, rate = self.waiting_pairs, self._throughput.pairs_per_second
        if waiting + size > self._max_waiting:
            problem = f"{waiting} pairs wait to be scored and at most {self._max_waiting} may"
        elif timeout_s is not None and rate and self._turns_before(size) / rate > timeout_s * _HOPED_FOR:
            problem = f"{waiting} pairs wait to be scored, too many to be ready within {timeout_s:g} seconds"
        else:
            return
        seconds = ceil(waiting / rate) if rate else 1
        raise OverloadedError(f"{problem}, come back later", retry_after_s=min(max(seconds, 1), 60))

    def _turns_before(self, size: int) -> int:
        """Pairs that are scored until a request of this size is done: of no other one more than of it."""
        return size + sum(min(size, other) for other in self._admitted)

    async def _tokenize_and_wait(self, request: RerankRequest) -> Scored:
        arrived = perf_counter()
        pairs = await asyncio.get_running_loop().run_in_executor(self._tokenizers, self._encode, request)
        waiting = QueuedRequest.of(pairs)
        self._queue.append(waiting)
        self._start_turns()
        try:
            await waiting.done
        finally:
            with suppress(ValueError):  # still queued: the caller left or ran out of time
                self._queue.remove(waiting)
        timings = Timings(waiting.since - arrived, waiting.begun - waiting.since, perf_counter() - waiting.begun)
        return Scored(pairs, waiting.logits, timings)

    def _start_turns(self) -> None:
        """Give whatever is free of the engine a turn, as long as pairs wait."""
        lanes = self._lanes()
        while self._queue and not self._has_all_cores and len(self._turns) < (lanes.count if lanes else 1):
            budget, lane = self._throughput.budget(len(self._queue)), lanes
            if lanes is not None:
                tokens = max(1, sum(waiting.remaining_tokens for waiting in self._queue))
                share = lanes.split_evenly(tokens)
                budget = min(budget, share)
                if not self._turns and not lanes.is_faster_in_parallel(ceil(tokens / share)):
                    lane = None
            self._has_all_cores = lane is None
            task = asyncio.create_task(self._take(next_batch(self._queue, budget), lane))
            self._turns.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._turns.discard(task)
        self._has_all_cores = False
        self._start_turns()

    async def _take(self, turn: Batch, lanes: ThreadLanes | None) -> None:
        """Score a turn, in a lane or on all cores."""
        try:
            await self._run(turn, lanes)
        except Exception as error:
            await self._run_apart(turn, lanes, error)

    async def _run(self, turn: Batch, lanes: ThreadLanes | None) -> None:
        """Score a turn in a thread of the engine and hand the logits out."""
        started = perf_counter()
        for waiting, _ in turn:
            waiting.begun = waiting.begun or started
        loop, threads = asyncio.get_running_loop(), lanes.threads if lanes else self._engine
        logits, tokens = await loop.run_in_executor(threads, self._score_turn, turn)
        self._throughput.update(len(logits), tokens, perf_counter() - started, lanes=lanes.count if lanes else 1)
        position = 0
        for waiting, rows in turn:
            waiting.store_logits(rows, logits[position : position + len(rows)])
            position += len(rows)

    async def _run_apart(self, turn: Batch, lanes: ThreadLanes | None, error: Exception) -> None:
        """After a failed turn: every request on its own, so that only those which fail alone are told of it."""
        for waiting, rows in turn:
            if waiting.done.done():
                continue
            if len(turn) > 1:
                try:
                    await self._run([(waiting, rows)], lanes)
                    continue
                except Exception as own:
                    error = own
            with suppress(ValueError):
                self._queue.remove(waiting)
            if not waiting.done.done():
                waiting.done.set_exception(error)

    def _score_turn(self, turn: Batch) -> tuple[FloatArray, int]:
        merged = merge([(waiting.pairs, rows) for waiting, rows in turn])
        return self._score(merged), int(merged.lengths.sum())
