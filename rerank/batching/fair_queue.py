"""Fair queue: split the tokens of each batch evenly across the queued requests.

A small request fits into its share, so one batch finishes it, however large the others are. The rest of its share goes
to the others.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from rerank.arrays import offsets_of
from rerank.batching.admission import AdmittedRequest
from rerank.encoding.pairs import EncodedPairs
from rerank.encoding.texts import Texts

Work = TypeVar("Work", EncodedPairs, Texts)

_REQUESTS_PER_ROUND = 256  # at most, because the event loop waits for a round


@dataclass(eq=False, repr=False, slots=True)  # no repr: `deque.remove` would put it into its ValueError
class QueuedRequest(Generic[Work]):
    """A tokenised request: pairs to score or texts to encode.

    `order` lists its rows, pairs or texts, longest first; the first `taken` of them are in batches already.
    """

    work: Work
    order: npt.NDArray[np.intp]
    tokens: npt.NDArray[np.int64]  # [rows + 1]: tokens of order[:i]
    results: npt.NDArray[Any]  # [rows]: logits of pairs, arrays of vectors of texts
    done: asyncio.Future[None]
    admitted: AdmittedRequest
    queued_at: float = field(default_factory=perf_counter)
    started_at: float = 0.0  # when its first batch started; 0: not yet
    taken: int = 0
    computed: int = 0
    batches: list[tuple[float, float, int, int]] = field(default_factory=list)  # start, end, own pairs, all pairs

    @classmethod
    def of(cls, work: Work, admitted: AdmittedRequest) -> "QueuedRequest[Work]":
        """Return a request whose rows are all to be computed."""
        order = np.argsort(-work.lengths, kind="stable")
        results = np.empty(len(work), dtype=np.float32 if isinstance(work, EncodedPairs) else object)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return cls(work, order, offsets_of(work.lengths[order]), results, done, admitted)

    def take(self, share: int, *, budget: int | None) -> int:
        """Take the next rows that fit into `share` tokens, or one row if it fits into `budget` (None: any row).

        Returns their tokens.
        """
        start = self.taken
        stop = int(np.searchsorted(self.tokens, self.tokens[start] + share, side="right")) - 1
        if stop == start and (budget is None or self.tokens[start + 1] - self.tokens[start] <= budget):
            stop += 1
        self.taken = stop
        return int(self.tokens[stop] - self.tokens[start])

    def store(self, rows: npt.NDArray[np.intp], results: npt.NDArray[Any]) -> None:
        """Store the results of these rows; the request is done when all of its rows have theirs."""
        self.results[rows] = results
        self.computed += len(rows)
        if self.computed == len(self.order) and not self.done.done():
            self.done.set_result(None)

    @property
    def remaining_tokens(self) -> int:
        """Return the tokens of the rows that have not been put in a batch yet."""
        return int(self.tokens[-1] - self.tokens[self.taken])

    @property
    def is_exhausted(self) -> bool:
        """Return whether all rows have been put in batches."""
        return self.taken == len(self.order)


Batch = list[tuple[QueuedRequest[Any], npt.NDArray[np.intp]]]


def next_batch(queue: deque[QueuedRequest[Any]], budget: int) -> Batch:
    """Take the rows of the next batch, at least one, from a queue that is not empty; `budget` is in tokens.

    In each round every request gets the same share of the remaining budget. The request whose next row does not fit
    any more stays in front, and is the first one of the next batch.
    """
    starts: dict[QueuedRequest[Any], int] = {}
    while queue and budget > 0:
        request_count = min(len(queue), _REQUESTS_PER_ROUND)
        share = budget // request_count
        for _ in range(request_count):
            request = queue[0]
            start = request.taken
            tokens = request.take(min(share, max(budget, 0)), budget=budget if starts else None)
            if request.taken == start:
                budget = 0  # the next row does not fit into the rest of it
                break
            starts.setdefault(request, start)
            budget -= tokens
            queue.popleft()
            if not request.is_exhausted:
                queue.append(request)
    return [(request, request.order[start : request.taken]) for request, start in starts.items()]
