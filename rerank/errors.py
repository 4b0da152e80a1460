"""The errors that rerank raises: types with a code, worded for the person who reads them."""


class RerankError(Exception):
    """Root of all our errors; `code` is what programs match on, never the message."""

    code = "internal"


class ConfigError(RerankError):
    """A setting that cannot be used: wrong value, unknown key, impossible combination."""

    code = "config"


class InputError(RerankError):
    """Input that does not keep the contract: missing columns, wrong types, no files, a bad request."""

    code = "input"


class TooLongError(InputError):
    """A pair of more than `most` tokens where nothing may be cut; `index` is its document's place in `field`."""

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
    """A place that cannot be written to: it holds something else, is full, or is forbidden."""

    code = "output"


class ModelError(RerankError):
    """A model that cannot be loaded, or that is no cross-encoder with one score per pair."""

    code = "model"


class EngineLostError(RerankError):
    """An engine whose device answers no more: it takes a new process to score again."""

    code = "engine_lost"


class OverloadedError(RerankError):
    """More work waits than the server takes on; `retry_after_s` says when to come back."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineError(RerankError):
    """The answer was not ready in the time that the caller gave."""

    code = "deadline"


class UnavailableError(RerankError):
    """The model is not running now: it starts, restarts or was scaled away."""

    code = "unavailable"
