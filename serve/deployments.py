"""Models behind Serve handles, which raise our errors instead of Ray's."""

import asyncio
from typing import Any

from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from rerank.errors import OverloadedError, RerankError, UnavailableError
from rerank.types import RerankRequest, RerankResult


class DeploymentScorer:
    """A model behind a Serve handle."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Rank one request. Raises RerankError; a client that hangs up cancels the work."""
        result: RerankResult = await _ours(self._handle.rerank.remote(request))
        return result

    async def describe(self) -> dict[str, Any]:
        """What runs there. Raises UnavailableError."""
        description: dict[str, Any] = await _ours(self._handle.describe.remote())
        return description


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
        raise OverloadedError("too many requests wait for this model, come back later") from full
    except (DeploymentUnavailableError, ReplicaUnavailableError, RayActorError) as gone:
        raise UnavailableError("the model is not running at the moment, come back later") from gone
