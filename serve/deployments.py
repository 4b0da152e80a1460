"""Models behind Serve handles: Ray's errors become RerankErrors, and requests that a replica lost are retried once."""

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

_REFUSAL_S = 0.02  # how long a refusal is reused; a full queue advances by only a few requests in that time


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A full model's refusal, reused until `until` for requests that are at least as large and have no more time."""

    error: OverloadedError
    documents: int
    text_bytes: int
    timeout_s: float
    until: float

    @classmethod
    def of(cls, error: OverloadedError, request: RerankRequest) -> "_Refusal":
        return cls(error, len(request.documents), request.text_bytes, _timeout_of(request), monotonic() + _REFUSAL_S)

    def check(self, request: RerankRequest) -> None:
        """Raise OverloadedError for a request that would be refused too: as many documents and bytes, no more time."""
        if monotonic() >= self.until or _timeout_of(request) > self.timeout_s:
            return
        if len(request.documents) >= self.documents and request.text_bytes >= self.text_bytes:
            raise OverloadedError(str(self.error), retry_after_s=self.error.retry_after_s)


def _timeout_of(request: RerankRequest) -> float:
    return inf if request.timeout_s is None else request.timeout_s


class DeploymentScorer:
    """A model behind a Serve handle.

    A request that a replica lost is sent once more, to another replica or to the next one that starts; ranking has no
    side effects, so repeating it is safe. While the model is full, not every request is sent to it: under heavy
    overload, refusing must cost almost nothing.
    """

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._refusal: _Refusal | None = None

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank one request. Raises RerankError. Cancelling the call cancels the work in the replica."""
        if self._refusal is not None:
            self._refusal.check(request)
        try:
            result: RerankResult = await self._call("rerank", request)
        except OverloadedError as error:
            self._refusal = _Refusal.of(error, request)
            raise
        return result

    async def describe(self) -> dict[str, Any]:
        """Return the model, its device, data type and length limit. Raises UnavailableError."""
        description: dict[str, Any] = await self._call("describe")
        return description

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return await _result_of(getattr(self._handle, method).remote(*arguments))
        except (UnavailableError, EngineLostError) as lost:
            _log.warning("retrying %s after: %r", method, lost.__cause__ or lost)
        return await _result_of(getattr(self._handle, method).remote(*arguments))


async def _result_of(response: Any) -> Any:
    """Return the value of a Serve response. Raises RerankErrors in place of Ray's errors."""
    try:
        return await response
    except asyncio.CancelledError:  # the client left or the deadline passed: free the replica's queue too
        response.cancel()
        raise
    except RayTaskError as failure:  # wraps what the actor raised
        if isinstance(failure.cause, RerankError):
            raise failure.cause from None
        raise
    except BackPressureError as error:
        raise OverloadedError("too many requests are waiting for this model, retry later") from error
    except (DeploymentUnavailableError, ReplicaUnavailableError, RayActorError, ObjectLostError) as error:
        raise UnavailableError("the model is not running at the moment, retry later") from error
