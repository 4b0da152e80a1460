"""How fast an engine is, and so how long a turn should be and how long a queue takes."""

_FIRST_BUDGET = 4_096
_BUDGETS = (512, 262_144)  # tokens of the smallest and of the largest turn that adapting leads to
_TURN_SECONDS = 0.05  # what a turn of one request should take: a small one behind it waits for so long
_SHARED = (4_096, 8_192)  # tokens to which a turn grows with each request that waits beside the first: a slow engine's,
_SHARED_TIMES = 8  # and a fast one's, if that is no more than so many short turns


class ThroughputEstimate:
    """The tokens of a turn, which adapt to the engine's speed unless they are given, and pairs a second."""

    def __init__(self, turn_tokens: int | None) -> None:
        """Fix a turn's tokens, or begin with a guess."""
        self._is_fixed = turn_tokens is not None
        self._budget = turn_tokens or _FIRST_BUDGET
        self.pairs_per_second = 0.0

    def budget(self, requests: int) -> int:
        """Tokens of a turn while so many requests wait: many share a longer one, whose batches are larger."""
        if self._is_fixed:
            return self._budget
        most = min(max(_SHARED[0], self._budget * _SHARED_TIMES), _SHARED[1])
        return max(self._budget, min(self._budget * (requests - 1), most))

    def update(self, pairs: int, tokens: int, seconds: float, *, lanes: int) -> None:
        """Note the speed of a turn, one of `lanes` at a time. The budget doubles or halves where a full turn was much
        shorter or longer than it should be.
        """
        rate = pairs * lanes / max(seconds, 1e-6)
        self.pairs_per_second += (rate - self.pairs_per_second) * (0.2 if self.pairs_per_second else 1.0)
        if self._is_fixed or tokens < self._budget // 2:
            return
        planned = _TURN_SECONDS * max(1.0, tokens / self._budget)
        if seconds < planned / 2:
            self._budget = min(self._budget * 2, _BUDGETS[1])
        elif seconds > planned * 2:
            self._budget = max(self._budget // 2, _BUDGETS[0])
