"""Which requests an engine's queue accepts: unfinished work is bounded in pairs, in bytes and in time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from rerank.errors import OverloadedError, RerankError
from rerank.types import EncodeRequest, RerankRequest

MAX_WAITING_BYTES = 256 * 2**20
"""Texts of unfinished requests. Their token ids take less than that again, unless texts are long and models too."""

_DEADLINE_SHARE = 0.5  # accept a request if it should be done within this share of its time limit: others will follow


class AbandonedError(RerankError):
    """The caller of a request has left: its work ends here."""


@dataclass(eq=False, slots=True)
class AdmittedRequest:
    """A request that counts as unfinished, until its caller has left and nothing computes for it any more.

    A text to encode counts as a pair.
    """

    pairs: int
    text_bytes: int
    running_pairs: int = 0  # that threads tokenise or compute now
    is_abandoned: bool = False  # read by other threads

    def check_not_abandoned(self) -> None:
        """Raise AbandonedError if the caller has left."""
        if self.is_abandoned:
            raise AbandonedError("the caller has left")


class Admissions:
    """The unfinished requests of one queue."""

    def __init__(self, *, max_pairs: int, max_bytes: int) -> None:
        self._max_pairs = max_pairs
        self._max_bytes = max_bytes
        self._unfinished: set[AdmittedRequest] = set()

    @property
    def pairs(self) -> int:
        """Return the unfinished pairs."""
        return sum(request.pairs for request in self._unfinished)

    @property
    def text_bytes(self) -> int:
        """Return the memory of the texts of unfinished requests."""
        return sum(request.text_bytes for request in self._unfinished)

    def admit(self, request: RerankRequest | EncodeRequest, pairs_per_second: float) -> AdmittedRequest:
        """Count a request as unfinished until it leaves; one alone is always accepted.

        Raises OverloadedError if it does not fit or would be late at this rate (0: unknown).
        """
        admitted = AdmittedRequest(request.size, request.text_bytes)
        problem = self._problem(admitted, request.timeout_s, pairs_per_second) if self._unfinished else None
        if problem is not None:
            seconds = ceil(self.pairs / pairs_per_second) if pairs_per_second else 1
            raise OverloadedError(f"{problem}, come back later", retry_after_s=min(max(seconds, 1), 60))
        self._unfinished.add(admitted)
        return admitted

    def _problem(self, request: AdmittedRequest, timeout_s: float | None, pairs_per_second: float) -> str | None:
        """Return why a request must be refused, None if it need not."""
        waiting, waiting_bytes = self.pairs, self.text_bytes
        if waiting + request.pairs > self._max_pairs:
            return f"{waiting} pairs wait to be scored and at most {self._max_pairs} may"
        if waiting_bytes + request.text_bytes > self._max_bytes:
            return f"texts of {waiting_bytes} bytes wait to be scored and at most {self._max_bytes} may"
        if timeout_s is None or not pairs_per_second:
            return None
        if self._pairs_until_done(request.pairs) / pairs_per_second <= timeout_s * _DEADLINE_SHARE:
            return None
        return f"{waiting} pairs wait to be scored, too many to be ready within {timeout_s:g} seconds"

    def leave(self, request: AdmittedRequest) -> None:
        """Abandon what is not being computed; what is, counts until it ends."""
        request.is_abandoned = True
        self._release(request)

    @contextmanager
    def counting(self, request: AdmittedRequest, pairs: int) -> Iterator[None]:
        """Count these pairs of a request as unfinished inside the block, even if its caller leaves meanwhile."""
        request.running_pairs += pairs
        try:
            yield
        finally:
            request.running_pairs -= pairs
            self._release(request)

    def _release(self, request: AdmittedRequest) -> None:
        if request.is_abandoned:
            request.pairs = request.running_pairs
            if not request.pairs:
                self._unfinished.discard(request)

    def _pairs_until_done(self, size: int) -> int:
        """Return the pairs scored until a request of `size` pairs is done: of each other request at most `size`."""
        return size + sum(min(size, other.pairs) for other in self._unfinished)
