"""Models behind Serve handles, which raise our errors instead of Ray's and ask again where a replica died."""

import asyncio
import logging
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from ray.exceptions import ObjectLostError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from rerank.errors import EngineLostError, OverloadedError, RerankError, UnavailableError
from rerank.types import RerankRequest, RerankResult

_log = logging.getLogger("rerank.serve")

_FULL_S = 0.02  # how long a refusal counts for others; a queue that is full moves by a few requests in that time


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a full model answered: for a moment it would answer as much to whoever asks for no less."""

    problem: OverloadedError
    documents: int
    timeout_s: float
    until: float

    @classmethod
    def of(cls, problem: OverloadedError, request: RerankRequest) -> "_Refusal":
        return cls(problem, len(request.documents), _timeout_of(request), monotonic() + _FULL_S)

    def check(self, request: RerankRequest) -> None:
        """Raise OverloadedError for a request that would be refused too."""
        is_no_less = len(request.documents) >= self.documents and _timeout_of(request) <= self.timeout_s
        if is_no_less and monotonic() < self.until:
            raise OverloadedError(str(self.problem), retry_after_s=self.problem.retry_after_s)


def _timeout_of(request: RerankRequest) -> float:
    return inf if request.timeout_s is None else request.timeout_s


class DeploymentScorer:
    """A model behind a Serve handle. What a replica leaves unanswered is asked once more, of the others that run or of
    the next that starts: a ranking changes nothing, so that asking twice does no harm. A model that is full is not
    asked by every request: under a flood, saying no must cost next to nothing.
    """

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._refusal: _Refusal | None = None

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank one request. Raises RerankError; a client that hangs up cancels the work."""
        if self._refusal is not None:
            self._refusal.check(request)
        try:
            result: RerankResult = await self._ask("rerank", request)
        except OverloadedError as problem:
            self._refusal = _Refusal.of(problem, request)
            raise
        return result

    async def describe(self) -> dict[str, Any]:
        """What runs there. Raises UnavailableError."""
        description: dict[str, Any] = await self._ask("describe")
        return description

    async def _ask(self, method: str, *values: Any) -> Any:
        try:
            return await _ours(getattr(self._handle, method).remote(*values))
        except (UnavailableError, EngineLostError) as gone:
            _log.warning("%s is asked again: %r", method, gone.__cause__ or gone)
        return await _ours(getattr(self._handle, method).remote(*values))


async def _ours(response: Any) -> Any:
    """The response's value, with Ray's errors turned into ours."""
    try:
        return await response
    except asyncio.CancelledError:  # the client hung up or the deadline passed: free the pairs over there too
        response.cancel()
        raise
    except RayTaskError as failure:  # wraps what the actor raised
        if isinstance(failure.cause, RerankError):
            raise failure.cause from None
        raise
    except BackPressureError as full:
        raise OverloadedError("too many requests are waiting for this model, retry later") from full
    except (DeploymentUnavailableError, ReplicaUnavailableError, RayActorError, ObjectLostError) as gone:
        raise UnavailableError("the model is not running at the moment, retry later") from gone
