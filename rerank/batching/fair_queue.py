"""Whose pairs are scored next: a turn's tokens are shared out evenly between the requests that wait.

So a small request, which fits its share, is done in its first turn, however large its neighbours are; what it leaves of
it goes to the others.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray, offsets_of
from rerank.encoding.pairs import EncodedPairs

_MOST_ASKED = 256  # requests that a round looks at: the event loop waits for it


@dataclass(eq=False, repr=False, slots=True)  # `deque.remove` words its error with the repr of what it did not find
class QueuedRequest:
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
    def of(cls, pairs: EncodedPairs) -> "QueuedRequest":
        """A request of which nothing was taken yet."""
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

    def store_logits(self, rows: npt.NDArray[np.intp], logits: FloatArray) -> None:
        """Note the logits of these pairs; with the last of them the request is done."""
        self.logits[rows] = logits
        self.scored += len(rows)
        if self.scored == len(self.order) and not self.done.done():
            self.done.set_result(None)

    @property
    def remaining_tokens(self) -> int:
        """Tokens of the pairs that had no turn yet."""
        return int(self.tokens[-1] - self.tokens[self.taken])

    @property
    def is_exhausted(self) -> bool:
        """Whether all pairs had their turn."""
        return self.taken == len(self.order)


Batch = list[tuple[QueuedRequest, npt.NDArray[np.intp]]]


def next_batch(queue: deque[QueuedRequest], budget: int) -> Batch:
    """Take the pairs of the next turn, at least one, off a queue that is not empty.

    They are shared out in rounds, and who could not be served is the first in the next turn.
    """
    starts: dict[QueuedRequest, int] = {}
    while queue and budget > 0:
        asked = min(len(queue), _MOST_ASKED)
        share = budget // asked
        for _ in range(asked):
            waiting = queue[0]
            start = waiting.taken
            tokens = waiting.take(min(share, max(budget, 0)), budget=budget if starts else None)
            if waiting.taken == start:
                budget = 0  # what is left of it has no room for the pair whose turn it is
                break
            starts.setdefault(waiting, start)
            budget -= tokens
            queue.popleft()
            if not waiting.is_exhausted:
                queue.append(waiting)
    return [(waiting, waiting.order[start : waiting.taken]) for waiting, start in starts.items()]
