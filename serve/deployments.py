"""Models behind Serve handles: Ray's errors become RerankErrors, and requests that a replica lost are retried once."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from grpc import RpcError, StatusCode
from ray import serve
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from rerank.errors import DeadlineError, EngineLostError, OverloadedError, RerankError, UnavailableError
from rerank.types import EncodeRequest, EncodeResult, RerankRequest, RerankResult
from serve.errors import KilledWorkersError

_log = logging.getLogger("rerank.serve")

Request = RerankRequest | EncodeRequest

_DEATHS = 2  # one may be a coincidence, such as a lost node; Ray's memory monitor kills the largest process
_SUSPECTS_AT_ONCE = 8  # retried at a time: those beside a deadly request would be part of its second death, too
_STALE_TRIES, _STALE_PAUSE_S = 20, 0.1  # of requests that Serve sends to a replica that is dead already
_REMEMBER_S = 600.0
_MOST_REMEMBERED = 10_000
_DIED = (
    RayActorError,
    OutOfMemoryError,
    NodeDiedError,
    WorkerCrashedError,
    LocalRayletDiedError,
    RpcError,  # a call that was broken off; Serve replaces it only where its code is UNAVAILABLE
)
_REFUSAL_S = 0.02  # how long a refusal is reused; a full queue advances by only a few requests in that time


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A full model's refusal, reused until `until` for requests that are at least as large and have no more time."""

    error: OverloadedError
    size: int
    text_bytes: int
    timeout_s: float
    until: float

    @classmethod
    def of(cls, error: OverloadedError, request: Request) -> "_Refusal":
        return cls(error, request.size, request.text_bytes, _timeout_of(request), monotonic() + _REFUSAL_S)

    def check(self, request: Request) -> None:
        """Raise OverloadedError for a request that would be refused too: as many texts and bytes, no more time."""
        if monotonic() >= self.until or _timeout_of(request) > self.timeout_s:
            return
        if request.size >= self.size and request.text_bytes >= self.text_bytes:
            raise OverloadedError(str(self.error), retry_after_s=self.error.retry_after_s)


def _timeout_of(request: Request) -> float:
    return inf if request.timeout_s is None else request.timeout_s


class _ReplicaDiedError(UnavailableError):
    """The replica's process ended while it had the request, or before it got it; `replica` names it if Ray does."""

    replica: str | None = None


class _Deaths:
    """The deaths of replicas and engines that a request was part of, by a hash of its content, for ten minutes."""

    def __init__(self) -> None:
        # The replicas that died, and the time of the last death. A name of its own stands for an unknown replica.
        self._deaths: OrderedDict[int, tuple[frozenset[object], float]] = OrderedDict()

    def check(self, request: Request) -> None:
        """Raise KilledWorkersError for a request that was part of too many deaths."""
        if self._deaths and len(self._replicas(request)) >= _DEATHS:
            raise KilledWorkersError(
                f"{_DEATHS} processes of the model died or lost their device while they scored this request, "
                "so it is not tried again for some minutes"
            )

    def add(self, request: Request, replica: str | None) -> None:
        """Count a death; that of a replica counts once, however often the request is sent to it."""
        self._deaths[_hash(request)] = (self._replicas(request) | {replica or object()}, monotonic())
        self._deaths.move_to_end(_hash(request))
        if len(self._deaths) > _MOST_REMEMBERED:
            self._deaths.popitem(last=False)

    def forget(self, request: Request) -> None:
        """Forget a request that was answered: the deaths had another cause."""
        if self._deaths:
            self._deaths.pop(_hash(request), None)

    def _replicas(self, request: Request) -> frozenset[object]:
        replicas, last = self._deaths.get(_hash(request), (frozenset[object](), 0.0))
        return replicas if monotonic() - last < _REMEMBER_S else frozenset()


def _hash(request: Request) -> int:
    if isinstance(request, EncodeRequest):
        return hash((request.texts, request.is_query))
    return hash((request.query, request.documents, request.token_limits))


class DeploymentScorer:
    """A model behind a Serve handle.

    A request that a replica lost is sent once more, to another replica or to the next one that starts; ranking has no
    side effects, so repeating it is safe. A request that was part of two deaths is refused, because it may be their
    cause. While the model is full, not every request is sent to it: under heavy overload, refusing must cost almost
    nothing.
    """

    def __init__(self, handle: DeploymentHandle, *, on_retry: Callable[[], None] = lambda: None) -> None:
        """Take the model's handle; `on_retry` is called for each request that is sent again."""
        self._handle, self._on_retry = handle, on_retry
        self._controller = ThreadPoolExecutor(1, thread_name_prefix="controller")  # it may not answer
        self._refusal: _Refusal | None = None
        self._deaths = _Deaths()
        self._free_for_suspects = asyncio.Semaphore(_SUSPECTS_AT_ONCE)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank one request. Raises RerankError. Cancelling the call cancels the work in the replica."""
        result: RerankResult = await self._answer("rerank", request)
        return result

    async def encode(self, request: EncodeRequest) -> EncodeResult:
        """Encode the texts of one request. Raises RerankError. Cancelling the call cancels the work in the replica."""
        result: EncodeResult = await self._answer("encode", request)
        return result

    async def _answer(self, method: str, request: Request) -> Any:
        if self._refusal is not None:
            self._refusal.check(request)
        self._deaths.check(request)
        try:
            result = await self._send_again(method, request)
        except OverloadedError as error:
            self._refusal = _Refusal.of(error, request)
            raise
        self._deaths.forget(request)
        return result

    async def describe(self) -> dict[str, Any]:
        """Return the model, its device, data type and length limit. Raises UnavailableError."""
        try:
            description: dict[str, Any] = await _result_of(self._handle.describe.remote())
        except (UnavailableError, EngineLostError) as lost:
            _log_retry("describe", lost)
            description = await _result_of(self._handle.describe.remote())
        return description

    async def is_running(self) -> bool:
        """Return whether a replica of the model runs, however busy it is."""
        return await asyncio.get_running_loop().run_in_executor(self._controller, self._has_running_replicas)

    async def _send_again(self, method: str, request: Request) -> Any:
        """Send a request, and once more if a replica lost it."""
        try:
            return await self._send(method, request)
        except (_ReplicaDiedError, EngineLostError) as lost:
            self._note_retry(method, lost)
            async with self._free_for_suspects:
                return await self._send_elsewhere(method, request, getattr(lost, "replica", None))
        except UnavailableError as lost:
            self._note_retry(method, lost)
            return await self._send(method, request)

    def _note_retry(self, method: str, lost: RerankError) -> None:
        _log_retry(method, lost)
        self._on_retry()

    async def _send_elsewhere(self, method: str, request: Request, dead: str | None) -> Any:
        """Send a request until it reaches another replica than the dead one, which Serve may take for alive a while."""
        for _ in range(_STALE_TRIES):
            try:
                return await self._send(method, request)
            except _ReplicaDiedError as lost:
                if dead is None or lost.replica != dead:
                    raise
            await asyncio.sleep(_STALE_PAUSE_S)
        return await self._send(method, request)

    async def _send(self, method: str, request: Request) -> Any:
        try:
            return await _result_of(getattr(self._handle, method).remote(request))
        except (_ReplicaDiedError, EngineLostError) as lost:
            self._deaths.add(request, getattr(lost, "replica", None))
            self._deaths.check(request)
            raise

    def _has_running_replicas(self) -> bool:
        application = serve.status().applications.get(self._handle.app_name)
        deployment = application and application.deployments.get(self._handle.deployment_name)
        return bool(deployment and deployment.replica_states.get("RUNNING"))


def _log_retry(method: str, lost: RerankError) -> None:
    _log.warning("retrying %s after: %r", method, lost.__cause__ or lost)


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
        if isinstance(failure.cause, RayError | RayServeException):
            raise _error_of(failure.cause) from failure
        raise
    except (RayError, RayServeException, RpcError, RuntimeError) as error:  # Serve raises RuntimeError for some codes
        raise _error_of(error) from error


def _error_of(error: Exception) -> RerankError:
    """Return the RerankError for an error of Ray, Serve or gRPC."""
    code = error.code() if isinstance(error, RpcError) else None
    if isinstance(error, BackPressureError) or code == StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError("too many requests are waiting for this model, retry later")
    if code == StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError("the model did not answer in time")
    message = "the model is not running at the moment, retry later"
    if not isinstance(error, _DIED):
        return UnavailableError(message)
    died = _ReplicaDiedError(message)
    actor = getattr(error, "actor_id", None)
    died.replica = None if actor is None else str(actor)
    return died
