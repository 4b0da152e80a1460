"""The errors that rerank raises: types with a code, worded for the person who reads them."""


class RerankError(Exception):
    """Base class of all errors that rerank raises on purpose.

    Programs match on the class or on `code`, a short constant string, never on the message.
    """

    code = "internal"


class ConfigError(RerankError):
    """A setting cannot be used: wrong value, unknown key, impossible combination."""

    code = "config"


class InputError(RerankError):
    """The input is not as documented: missing columns, wrong types, no files, a bad request."""

    code = "input"


class TooLongError(InputError):
    """A pair has more than `most` tokens and must not be truncated.

    `index` (from 0) is the place of its document in the request's list `field`.
    """

    code = "too_long"

    def __init__(self, index: int, most: int, field: str = "documents") -> None:
        super().__init__(index, most, field)
        self.index, self.most, self.field = index, most, field

    def __reduce__(self) -> tuple[type["TooLongError"], tuple[int, int, str]]:
        """Pickle without `args`, to which Ray adds text of its own."""
        return type(self), (self.index, self.most, self.field)

    def __str__(self) -> str:
        return (
            f"{self.field}[{self.index}] must have at most {self.most} tokens together with its query, got more, "
            "and truncation is switched off"
        )


class OutputError(RerankError):
    """A place cannot be written to: it holds something else, is full, or is forbidden."""

    code = "output"


class ModelError(RerankError):
    """A model cannot be loaded, is of no kind that is accepted, or gave a score that is not finite."""

    code = "model"


class EngineLostError(RerankError):
    """The engine's device no longer responds; only a new process can score again."""

    code = "engine_lost"


class OverloadedError(RerankError):
    """More pairs are queued than the server accepts. `retry_after_s`: seconds until a retry is worthwhile."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(RerankError):
    """The result was not ready within the time limit that the caller set."""

    code = "deadline"


class UnavailableError(RerankError):
    """The model is not running now: it is starting, restarting or scaled to zero."""

    code = "unavailable"
