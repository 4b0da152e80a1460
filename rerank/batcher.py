"""Online batching: pairs of all waiting requests share the engine's batches, and requests take turns.

Whenever the engine is free it is given the next turn at once: a budget of tokens, split evenly between the requests
that wait, so that a small request is done in its first turn however large its neighbours are. What a request leaves of
its share goes to the others. Where many wait a turn is longer, for batches of more pairs have less padding. It knows
neither models nor protocols.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from time import perf_counter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rerank.cores import give_way
from rerank.encode import EncodedPairs
from rerank.errors import DeadlineError, OverloadedError
from rerank.merge import merge
from rerank.ragged import offsets_of
from rerank.rank import FloatArray
from rerank.types import RerankRequest, Timings

Value = TypeVar("Value")

_FIRST_BUDGET = 4_096
_BUDGETS = (1_024, 262_144)  # tokens of the smallest and of the largest turn that adapting leads to
_TURN_SECONDS = 0.05  # what a turn of one request should take: a small one behind it waits for so long
_MOST_BUDGETS = 4  # in a turn, one for each request that waits beside the first
_HOPED_FOR = 0.5  # share of its deadline after which a request that is taken on should be done: others come after it
_TOKENIZER_THREADS = 4  # so that four long requests must be in the way before a short one waits to be tokenised


@dataclass(frozen=True, slots=True)
class Scored:
    """A request's pairs in document order, their logits of shape [pairs], and where its time went."""

    pairs: EncodedPairs
    logits: FloatArray
    timings: Timings


@dataclass(eq=False, repr=False, slots=True)  # `deque.remove` words its error with the repr of what it did not find
class _Waiting:
    """A tokenised request; `order` lists its pairs longest first, of which the first `taken` have had their turn."""

    pairs: EncodedPairs
    order: npt.NDArray[np.intp]
    tokens: npt.NDArray[np.int64]  # tokens of order[:i], for i from 0 to all
    logits: FloatArray
    done: asyncio.Future[None]
    since: float = field(default_factory=perf_counter)
    begun: float = 0.0
    taken: int = 0
    scored: int = 0

    @classmethod
    def of(cls, pairs: EncodedPairs) -> "_Waiting":
        order = np.argsort(-pairs.lengths, kind="stable")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return cls(pairs, order, offsets_of(pairs.lengths[order]), np.empty(len(pairs), dtype=np.float32), done)

    def take(self, share: int, *, budget: int | None) -> int:
        """Move on by the pairs that fit into `share` tokens, or by one if `budget` has room for it (None: always).

        Returns their tokens.
        """
        start = self.taken
        fits = int(np.searchsorted(self.tokens, self.tokens[start] + share, side="right")) - 1
        if fits == start and (budget is None or self.tokens[start + 1] - self.tokens[start] <= budget):
            fits += 1
        self.taken = fits
        return int(self.tokens[fits] - self.tokens[start])

    @property
    def is_taken(self) -> bool:
        return self.taken == len(self.order)


_Turn = list[tuple[_Waiting, npt.NDArray[np.intp]]]


class Batcher:
    """One engine's queue. Requests are tokenised in threads of their own while the engine is at work in another."""

    def __init__(
        self,
        encode: Callable[[RerankRequest], EncodedPairs],
        score: Callable[[EncodedPairs], FloatArray],
        *,
        turn_tokens: int | None = None,
        max_waiting_pairs: int = 16_384,
    ) -> None:
        """Score what `encode` makes of requests. `turn_tokens` fixes a turn, which adapts to the engine's speed if left
        out; with more than `max_waiting_pairs` at hand a further request is refused.
        """
        self._encode = encode
        self._score = score
        self._fixed = turn_tokens is not None
        self._budget = turn_tokens or _FIRST_BUDGET
        self._max_waiting = max_waiting_pairs
        self._admitted: list[int] = []  # pairs of each request
        self._pairs_per_second = 0.0
        self._queue: deque[_Waiting] = deque()
        self._drain: asyncio.Task[None] | None = None
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
        waiting, rate = self.waiting_pairs, self._pairs_per_second
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
        waiting = _Waiting.of(pairs)
        self._queue.append(waiting)
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._take_turns())
        try:
            await waiting.done
        finally:
            with suppress(ValueError):  # still queued: the caller left or ran out of time
                self._queue.remove(waiting)
        timings = Timings(waiting.since - arrived, waiting.begun - waiting.since, perf_counter() - waiting.begun)
        return Scored(pairs, waiting.logits, timings)

    async def _take_turns(self) -> None:
        while self._queue:
            turn = self._next_turn()
            try:
                await self._run(turn)
            except Exception as error:
                await self._run_apart(turn, error)

    def _next_turn(self) -> _Turn:
        """The pairs of the next turn, shared out in rounds; who could not be served is the first in the next turn."""
        beside = len(self._queue) - 1
        budget = self._budget if self._fixed else self._budget * min(max(1, beside), _MOST_BUDGETS)
        starts: dict[_Waiting, int] = {}
        while self._queue and budget > 0:
            share, served = budget // len(self._queue), 0
            for _ in range(len(self._queue)):
                waiting = self._queue[0]
                start = waiting.taken
                tokens = waiting.take(min(share, max(budget, 0)), budget=budget if starts else None)
                if waiting.taken == start:
                    break
                starts.setdefault(waiting, start)
                budget, served = budget - tokens, served + 1
                self._queue.popleft()
                if not waiting.is_taken:
                    self._queue.append(waiting)
            if not served:
                break
        return [(waiting, waiting.order[start : waiting.taken]) for waiting, start in starts.items()]

    async def _run(self, turn: _Turn) -> None:
        """Score a turn in the engine's thread and hand the logits out."""
        started = perf_counter()
        for waiting, _ in turn:
            waiting.begun = waiting.begun or started
        loop = asyncio.get_running_loop()
        logits, tokens = await loop.run_in_executor(self._engine, self._score_turn, turn)
        self._learn(len(logits), tokens, perf_counter() - started)
        position = 0
        for waiting, rows in turn:
            waiting.logits[rows] = logits[position : position + len(rows)]
            position += len(rows)
            waiting.scored += len(rows)
            if waiting.scored == len(waiting.order) and not waiting.done.done():
                waiting.done.set_result(None)

    async def _run_apart(self, turn: _Turn, error: Exception) -> None:
        """After a failed turn: every request on its own, so that only those which fail alone are told of it."""
        for waiting, rows in turn:
            if waiting.done.done():
                continue
            if len(turn) > 1:
                try:
                    await self._run([(waiting, rows)])
                    continue
                except Exception as own:
                    error = own
            with suppress(ValueError):
                self._queue.remove(waiting)
            if not waiting.done.done():
                waiting.done.set_exception(error)

    def _score_turn(self, turn: _Turn) -> tuple[FloatArray, int]:
        merged = merge([(waiting.pairs, rows) for waiting, rows in turn])
        return self._score(merged), int(merged.lengths.sum())

    def _learn(self, pairs: int, tokens: int, seconds: float) -> None:
        """Note the speed; double or halve the budget where a full turn was much shorter or longer than it should be."""
        rate = pairs / max(seconds, 1e-6)
        self._pairs_per_second += (rate - self._pairs_per_second) * (0.2 if self._pairs_per_second else 1.0)
        if self._fixed or tokens < self._budget // 2:
            return
        planned = _TURN_SECONDS * max(1.0, tokens / self._budget)
        if seconds < planned / 2:
            self._budget = min(self._budget * 2, _BUDGETS[1])
        elif seconds > planned * 2:
            self._budget = max(self._budget // 2, _BUDGETS[0])
