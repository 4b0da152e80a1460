"""Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 too many rejected rows, 130 Ctrl-C, 143 SIGTERM."""

import atexit
import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from ray.exceptions import OutOfDiskError, RayActorError, RayError, RayTaskError, UserCodeException

from rerank.errors import ConfigError, InputError, ModelError, OutputError, RerankError, UnavailableError

USAGE = 2
TOO_MANY_REJECTED = 3
INTERRUPTED = 130
_USAGE_ERRORS = (ConfigError, InputError, OutputError, ModelError)
# Ray 2.60 appends advice about its own retries to the message of an exception that a task raised.
_ADVICE_OF_RAY = "\nFailed to apply UDF"
# The text is all that Ray keeps of an exception that an actor raised in __init__: a traceback, with the error last.
_ERRORS_BY_NAME = {kind.__name__: kind for kind in (*_USAGE_ERRORS, UnavailableError, RerankError)}
_ERROR_IN_TRACEBACK = re.compile(rf"^rerank\.errors\.({'|'.join(_ERRORS_BY_NAME)}): ", re.MULTILINE)


def end_without_collection() -> None:
    """Let this process end without a last search for garbage, which takes a quarter of a second after a job."""
    atexit.register(gc.freeze)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Print errors of ours as one sentence on stderr and exit with their code; others are bugs, with a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as problem:
        error = find_error(problem)
        if error is None:
            raise
        typer.echo(f"rerank: {str(error).partition(_ADVICE_OF_RAY)[0]}", err=True)
        raise SystemExit(USAGE if isinstance(error, _USAGE_ERRORS) else 1) from None


def find_error(problem: BaseException) -> RerankError | None:
    """Return our error behind `problem`, or one that says what of Ray failed; None where `problem` is a bug.

    A worker's error comes back inside exceptions of Ray's, in chains of any depth.
    """
    chain = list(_causes(problem))
    for cause in chain:
        if isinstance(cause, RerankError):
            return cause
    for cause in chain:
        if isinstance(cause, RayActorError) and cause.actor_init_failed:
            return _error_in_traceback(str(cause))
        if isinstance(cause, RayError) and not isinstance(cause, UserCodeException):
            return _failure_of_ray(cause)
    return None


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception and its causes, without Ray's wrappers that only carry a traceback.

    Such a wrapper is an instance of its cause's class too, so it must not be taken for the error itself.
    """
    while problem is not None:
        if isinstance(problem, RayTaskError):
            problem = problem.cause
        else:
            yield problem
            problem = problem.__cause__


def _error_in_traceback(text: str) -> RerankError | None:
    """Return our error that a traceback ends with, None where it ends with another one."""
    matches = list(_ERROR_IN_TRACEBACK.finditer(text))
    if not matches:
        return None
    message = text[matches[-1].end() :].strip()
    return None if "above exception" in message else _ERRORS_BY_NAME[matches[-1][1]](message)


def _failure_of_ray(failure: RayError) -> RerankError:
    if isinstance(failure, OutOfDiskError):
        return OutputError("the disk of a node is full, and Ray needs it for blocks that do not fit in memory")
    first_line = str(failure).strip().partition("\n")[0]
    return UnavailableError(
        f"workers died too often ({type(failure).__name__}: {first_line}); "
        "what was scored is in the score store, start again to go on"
    )
