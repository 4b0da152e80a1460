"""A model behind a handle: whose errors are raised, and what is asked again."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    RpcError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from rerank.errors import (
    DeadlineError,
    EngineLostError,
    InputError,
    OverloadedError,
    RerankError,
    UnavailableError,
)
from rerank.types import EncodeRequest, EncodeResult, RerankRequest, RerankResult
from serve.deployments import DeploymentScorer
from serve.errors import KilledWorkersError

REQUEST = RerankRequest("q", ("a",))
RESULT = RerankResult((), 1)


@dataclass
class Response:
    """What a handle's method gives: awaited once, or cancelled."""

    outcome: Any
    cancelled: bool = False

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Handle:
    """A handle whose calls end like this, one after the other."""

    outcomes: list[Any]
    expected: RerankRequest | EncodeRequest | None = REQUEST  # None: whatever it is asked
    responses: list[Response] = field(default_factory=list)

    @property
    def rerank(self) -> "Handle":
        return self

    @property
    def encode(self) -> "Handle":
        assert isinstance(self.expected, EncodeRequest)
        return self

    def remote(self, request: RerankRequest | EncodeRequest) -> Response:
        assert self.expected is None or request is self.expected
        self.responses.append(Response(self.outcomes[len(self.responses)]))
        return self.responses[-1]


def raised(cause: Exception) -> RayTaskError:
    """What awaiting a response raises for an error of the replica's own."""
    return RayTaskError("rerank", "Traceback", cause).as_instanceof_cause()


def ask(*outcomes: Any) -> tuple[Any, Handle]:
    """The result or the error, and the handle that was asked."""
    handle = Handle(list(outcomes))
    try:
        return asyncio.run(DeploymentScorer(handle).rerank(REQUEST)), handle
    except Exception as error:
        return error, handle


def broken_off(code: StatusCode) -> AioRpcError:
    """What awaiting a response raises for a gRPC call that ended with this code."""
    return AioRpcError(code, Metadata(), Metadata(), details="ended")


GONE = [
    ActorDiedError(),
    ActorUnavailableError("away", None),
    ObjectLostError("0" * 56, None, ""),
    ReplicaUnavailableError("r"),
    raised(EngineLostError("lost")),
    OutOfMemoryError("killed by the memory monitor"),
    raised(OutOfMemoryError("killed by the memory monitor")),
    WorkerCrashedError(),
    NodeDiedError("gone"),
    RpcError("broken off"),
    TaskCancelledError(),
    RuntimeError("Unexpected error (StatusCode.INTERNAL): "),  # from Serve's own client of gRPC
    *(broken_off(code) for code in (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.CANCELLED, StatusCode.ABORTED)),
]
NO_DEATHS = (ObjectLostError, ReplicaUnavailableError, RpcError, TaskCancelledError)


@pytest.mark.parametrize("gone", GONE, ids=lambda gone: type(gone).__name__)
def test_what_a_replica_leaves_unanswered_is_asked_once_more(gone: Exception) -> None:
    retries: list[int] = []
    handle = Handle([gone, RESULT])
    scorer = DeploymentScorer(handle, on_retry=lambda: retries.append(1))
    assert asyncio.run(scorer.rerank(REQUEST)) is RESULT
    assert len(handle.responses) == 2 and retries == [1]
    error, handle = ask(gone, gone, RESULT)
    is_a_death = not isinstance(gone, NO_DEATHS) and type(gone) is not RuntimeError
    assert isinstance(error, KilledWorkersError if is_a_death else UnavailableError)
    assert len(handle.responses) == 2


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (raised(InputError("bad")), InputError),
        (raised(OverloadedError("full", retry_after_s=7)), OverloadedError),
        (BackPressureError(1, 1), OverloadedError),
        (broken_off(StatusCode.RESOURCE_EXHAUSTED), OverloadedError),
        (broken_off(StatusCode.DEADLINE_EXCEEDED), DeadlineError),
    ],
)
def test_what_was_answered_is_not_asked_again(failure: Exception, kind: type[RerankError]) -> None:
    error, handle = ask(failure, RESULT)
    assert type(error) is kind and len(handle.responses) == 1


@pytest.mark.parametrize(
    ("documents", "timeout_s", "is_asked"), [(2, 9, False), (3, 5, False), (1, 9, True), (2, None, True), (2, 10, True)]
)
def test_a_model_that_is_full_is_not_asked_by_who_asks_for_no_less(
    documents: int, timeout_s: float | None, is_asked: bool
) -> None:
    handle = Handle([raised(OverloadedError("full", retry_after_s=7)), RESULT], expected=None)
    scorer = DeploymentScorer(handle)

    async def scenario() -> None:
        with pytest.raises(OverloadedError):
            await scorer.rerank(RerankRequest("q", ("a", "b"), timeout_s=9))
        try:
            await scorer.rerank(RerankRequest("q", ("a",) * documents, timeout_s=timeout_s))
        except OverloadedError as refused:
            assert (str(refused), refused.retry_after_s) == ("full", 7)

    asyncio.run(scenario())
    assert len(handle.responses) == 1 + is_asked


def test_a_refusal_counts_for_a_moment_only() -> None:
    handle = Handle([raised(OverloadedError("full")), RESULT])
    scorer = DeploymentScorer(handle)

    async def scenario() -> RerankResult:
        with pytest.raises(OverloadedError):
            await scorer.rerank(REQUEST)
        await asyncio.sleep(0.05)
        return await scorer.rerank(REQUEST)

    assert asyncio.run(scenario()) is RESULT


def test_the_error_of_the_second_answer_counts() -> None:
    error, _ = ask(ActorDiedError(), raised(OverloadedError("full", retry_after_s=7)))
    assert isinstance(error, OverloadedError) and error.retry_after_s == 7


def test_a_bug_in_a_replica_is_passed_on() -> None:
    error, handle = ask(raised(ValueError("bug")), RESULT)
    assert isinstance(error, RayTaskError) and len(handle.responses) == 1


def test_a_model_that_was_never_deployed_is_unavailable() -> None:
    never = DeploymentUnavailableError("model")
    assert isinstance(ask(never, never)[0], UnavailableError)


def test_leaving_cancels_the_second_call_too() -> None:
    handle = Handle([ActorDiedError(), asyncio.CancelledError()])
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(DeploymentScorer(handle).rerank(REQUEST))
    assert [response.cancelled for response in handle.responses] == [False, True]


def test_texts_to_encode_are_sent_again_and_refused_as_pairs_are() -> None:
    texts = EncodeRequest(("a", "b"), is_query=True)
    vectors = EncodeResult("dense", (), 2)
    handle = Handle([ActorDiedError(), vectors, ActorDiedError(), ActorDiedError()], expected=texts)
    scorer = DeploymentScorer(handle)

    async def scenario() -> None:
        assert await scorer.encode(texts) is vectors
        for _ in range(2):
            with pytest.raises(KilledWorkersError):
                await scorer.encode(texts)

    asyncio.run(scenario())
    assert len(handle.responses) == 4
