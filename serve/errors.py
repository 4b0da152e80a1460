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
    """A model name that this server does not answer to."""

    code = "unknown_model"


class TooLargeError(RerankError):
    """A body of more bytes than this server takes."""

    code = "too_large"


class UnauthorizedError(RerankError):
    """No key, or one that is not on the list."""

    code = "unauthorized"


class NotJsonError(InputError):
    """A body that is not a JSON object."""

    code = "not_json"


class LimitError(InputError):
    """A list or text that is longer than this server takes."""

    code = "limit"


class EmptyError(InputError):
    """A list without entries, where a protocol has a status of its own for that."""

    code = "empty"


_STATUS: dict[type[RerankError], int] = {
    InputError: 400,
    UnauthorizedError: 401,
    UnknownModelError: 404,
    TooLargeError: 413,
    OverloadedError: 429,
    ModelError: 500,
    EngineLostError: 503,
    UnavailableError: 503,
    DeadlineError: 504,
    RerankError: 500,
}


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What went wrong, for a wire to put in its own shape."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the status."""
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return headers if self.retry_after_s is None else {**headers, "Retry-After": str(self.retry_after_s)}


INTERNAL = ErrorResponse(500, "internal", "internal error; the server's log has it under the X-Request-Id")

_MESSAGE = 500  # characters: a message quotes names, which a body may make as long as itself


def error_response(error: RerankError) -> ErrorResponse:
    """The nearest row of the table: the error's own type, or its closest ancestor there."""
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    retry: Any = getattr(error, "retry_after_s", 1 if status == 503 else None)
    message = str(error)
    return ErrorResponse(status, error.code, message if len(message) <= _MESSAGE else f"{message[:_MESSAGE]}...", retry)


def body_for_all(problem: ErrorResponse) -> dict[str, Any]:
    """`message`, `detail` and `error` together: each SDK reads a different one."""
    return {
        "message": problem.message,
        "detail": problem.message,
        "error": {"message": problem.message, "type": problem.code, "code": problem.status},
    }
