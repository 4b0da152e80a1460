"""Whose pairs are scored next: a turn's tokens are shared out evenly between the requests that wait.

So a small request is done in its first turn, however large its neighbours are. Of larger ones a turn takes pairs of
like length if there are enough, so that its batches have little padding.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import numpy.typing as npt

from rerank.encode import EncodedPairs
from rerank.ragged import offsets_of
from rerank.rank import FloatArray

_ALIKE = 0.85  # of the longest: shorter pairs than that are not of like length
_FULL = 0.5  # share of a turn's tokens with which it is left to pairs of like length
_MOST_ASKED = 256  # requests that a round looks at: the event loop waits for it


@dataclass(eq=False, repr=False, slots=True)  # `deque.remove` words its error with the repr of what it did not find
class Waiting:
    """A tokenised request; `order` lists its pairs that had no turn yet, longest first."""

    pairs: EncodedPairs
    order: npt.NDArray[np.intp]
    tokens: npt.NDArray[np.int64]  # tokens of order[:i], for i from 0 to all
    logits: FloatArray
    done: asyncio.Future[None]
    since: float = field(default_factory=perf_counter)
    begun: float = 0.0
    scored: int = 0

    @classmethod
    def of(cls, pairs: EncodedPairs) -> "Waiting":
        """A request of which nothing was taken yet."""
        order = np.argsort(-pairs.lengths, kind="stable")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return cls(pairs, order, offsets_of(pairs.lengths[order]), np.empty(len(pairs), dtype=np.float32), done)

    def take(self, share: int, *, room: int | None, like: int | None) -> npt.NDArray[np.intp]:
        """Take the pairs that fit into `share` tokens, or one if it fits into `room` (None: whatever its length).

        Where not all that had no turn yet fit, only those nearly as long as `like`, and no longer, if given.
        """
        lengths = self.lengths
        first, last = 0, len(lengths)
        if like is not None and self.left > share:
            first, last = np.searchsorted(-lengths, (-like, -_ALIKE * like), side="left").tolist()
        fits = int(np.searchsorted(self.tokens, self.tokens[first] + share, side="right")) - 1
        if fits == first < last and (room is None or lengths[first] <= room):
            fits += 1
        rows = self.order[first : min(fits, last)]
        if len(rows):
            self.order = np.delete(self.order, slice(first, first + len(rows)))
            self.tokens = offsets_of(self.lengths)
        return rows

    def hand_out(self, rows: npt.NDArray[np.intp], logits: FloatArray) -> None:
        """Note the logits of these pairs; with the last of them the request is done."""
        self.logits[rows] = logits
        self.scored += len(rows)
        if self.scored == len(self.pairs) and not self.done.done():
            self.done.set_result(None)

    @property
    def left(self) -> int:
        """Tokens of the pairs that had no turn yet."""
        return int(self.tokens[-1])

    @property
    def lengths(self) -> npt.NDArray[np.integer]:
        """Tokens of each pair that had no turn yet, longest first."""
        return self.pairs.lengths[self.order]


Turn = list[tuple[Waiting, npt.NDArray[np.intp]]]


def next_turn(queue: deque[Waiting], budget: int) -> Turn:
    """Take the pairs of the next turn, at least one, off a queue that is not empty.

    They are shared out in rounds: first pairs about as long as the first request's longest, and where those do not fill
    the turn, any. Who was not served stays in front, and so is the first one soon.
    """
    taken: dict[Waiting, list[npt.NDArray[np.intp]]] = {}
    left, like = budget, int(queue[0].lengths[0]) or None
    while queue and left > 0:
        served = _share_out(queue, left, taken, like)
        left -= served
        if not served:
            if like is None or left < budget * (1 - _FULL):
                break
            like = None
    return [(waiting, np.concatenate(rows)) for waiting, rows in taken.items()]


def _share_out(
    queue: deque[Waiting], budget: int, taken: dict[Waiting, list[npt.NDArray[np.intp]]], like: int | None
) -> int:
    """One round, in which each of the first requests has the same share; returns the tokens taken."""
    asked = min(len(queue), _MOST_ASKED)
    share, left = budget // asked, budget
    passed: list[Waiting] = []
    while asked and left > 0 and (like is not None or not passed):
        asked -= 1
        waiting = queue.popleft()
        rows = waiting.take(min(share, left), room=left if taken else None, like=like)
        if not len(rows):
            passed.append(waiting)
            continue
        taken.setdefault(waiting, []).append(rows)
        left -= int(waiting.pairs.lengths[rows].sum())
        if len(waiting.order):
            queue.append(waiting)
    queue.extendleft(reversed(passed))
    return budget - left
