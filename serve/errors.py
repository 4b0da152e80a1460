"""The errors that only a server has, and the one table from error type to HTTP status."""

from dataclasses import dataclass
from typing import Any

from rerank.errors import (
    DeadlineError,
    EngineLostError,
    InputError,
    ModelError,
    OverloadedError,
    RerankError,
    UnavailableError,
)


class UnknownModelError(RerankError):
    """A model name that this server does not serve."""

    code = "unknown_model"


class TooLargeError(RerankError):
    """A request body that is larger than this server accepts."""

    code = "too_large"


class UnsupportedEncodingError(RerankError):
    """A request body that is compressed in a way that this server does not read."""

    code = "unsupported_encoding"


class SlowUploadError(RerankError):
    """A request body that did not arrive within the time limit."""

    code = "slow_upload"


class KilledWorkersError(RerankError):
    """A request that was being scored when two replicas died or lost their device; it is not tried again."""

    code = "killed_worker"


class UnauthorizedError(RerankError):
    """The API key is missing or unknown."""

    code = "unauthorized"


class NotJsonError(InputError):
    """A request body that is not a JSON object."""

    code = "not_json"


class LimitError(InputError):
    """A list or text that is longer than this server accepts."""

    code = "limit"


class EmptyError(InputError):
    """An empty list, in a protocol that has a separate status for that."""

    code = "empty"


_STATUS: dict[type[RerankError], int] = {
    InputError: 400,
    UnauthorizedError: 401,
    UnknownModelError: 404,
    SlowUploadError: 408,
    TooLargeError: 413,
    UnsupportedEncodingError: 415,
    KilledWorkersError: 422,
    OverloadedError: 429,
    ModelError: 500,
    EngineLostError: 503,
    UnavailableError: 503,
    DeadlineError: 504,
    RerankError: 500,
}


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error that a wire turns into its own error body."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the response headers that the status requires."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.status == 408:
            headers["Connection"] = "close"  # the rest of the body may still arrive, and nobody reads it
        if self.status == 415:
            headers["Accept-Encoding"] = "gzip"  # what a request may use: RFC 9110, 12.5.3
        return headers if self.retry_after_s is None else {**headers, "Retry-After": str(self.retry_after_s)}


INTERNAL = ErrorResponse(500, "internal", "internal error; find it in the server's log by the X-Request-Id")

_MESSAGE_CHARACTERS = 500  # a message quotes names from the body, which may be as long as the body


def error_response(error: RerankError) -> ErrorResponse:
    """Return the response for an error, with the status of its type or of the closest base class in the table."""
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    retry_after_s: Any = getattr(error, "retry_after_s", 1 if status == 503 else None)
    message = str(error)
    if len(message) > _MESSAGE_CHARACTERS:
        message = f"{message[:_MESSAGE_CHARACTERS]}..."
    return ErrorResponse(status, error.code, message, retry_after_s)


def body_for_all(failure: ErrorResponse) -> dict[str, Any]:
    """Return an error body with `message`, `detail` and `error`, because each SDK reads a different one."""
    return {
        "message": failure.message,
        "detail": failure.message,
        "error": {"message": failure.message, "type": failure.code, "code": failure.status},
    }
