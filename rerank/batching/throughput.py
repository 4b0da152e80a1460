"""How fast an engine is, and from that the tokens of a batch and the time until a queue is empty."""

_FIRST_BUDGET = 4_096
_BUDGETS = (512, 262_144)  # tokens: the smallest and the largest budget that adapting leads to
_BATCH_SECONDS = 0.05  # what a batch for one request should take, because a small request behind it waits that long
# With several requests in the queue the budget grows up to this many tokens (a slow engine's, a fast engine's), …
_SHARED_BUDGETS = (4_096, 8_192)
_SHARED_GROWTH = 8  # … of which a fast engine's is at most this many times the budget of one request


class ThroughputEstimate:
    """The tokens of a batch, which adapt to the engine's speed unless they are fixed, and the pairs per second."""

    def __init__(self, batch_tokens: int | None) -> None:
        """Fix the tokens of a batch; None: start with a guess and adapt."""
        self._is_fixed = batch_tokens is not None
        self._budget = batch_tokens or _FIRST_BUDGET
        self.pairs_per_second = 0.0

    def budget(self, requests: int) -> int:
        """Return the tokens of the next batch if this many requests are queued: more requests share a larger batch."""
        if self._is_fixed:
            return self._budget
        largest = min(max(_SHARED_BUDGETS[0], self._budget * _SHARED_GROWTH), _SHARED_BUDGETS[1])
        return max(self._budget, min(self._budget * (requests - 1), largest))

    def update(self, pairs: int, tokens: int, seconds: float, *, lanes: int) -> None:
        """Learn from a batch, one of `lanes` at a time.

        The budget doubles or halves if a full batch took less than half or more than twice the time it should.
        """
        rate = pairs * lanes / max(seconds, 1e-6)
        self.pairs_per_second += (rate - self.pairs_per_second) * (0.2 if self.pairs_per_second else 1.0)
        if self._is_fixed or tokens < self._budget // 2:
            return
        planned = _BATCH_SECONDS * max(1.0, tokens / self._budget)
        if seconds < planned / 2:
            self._budget = min(self._budget * 2, _BUDGETS[1])
        elif seconds > planned * 2:
            self._budget = max(self._budget // 2, _BUDGETS[0])
