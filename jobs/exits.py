"""Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 too many rejected rows, 130 Ctrl-C, 143 SIGTERM."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from ray.exceptions import RayError, RayTaskError

from rerank.errors import ConfigError, InputError, ModelError, OutputError, RerankError, UnavailableError

USAGE = 2
TOO_MANY_REJECTED = 3
INTERRUPTED = 130
_RAYS_ADVICE = "\nFailed to apply UDF"  # Ray 2.60 appends how to have it tried again to what a task raised
_USAGE_ERRORS = (ConfigError, InputError, OutputError, ModelError)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn our errors into one sentence on stderr and an exit code; others are bugs and keep their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as problem:
        known = _ours(problem)
        if known is None:
            raise
        typer.echo(f"rerank: {str(known).partition(_RAYS_ADVICE)[0]}", err=True)
        raise SystemExit(USAGE if isinstance(known, _USAGE_ERRORS) else 1) from None


def _ours(problem: BaseException | None) -> RerankError | None:
    """The error of ours behind those that Ray wrapped round it, or one that says what of Ray died too often."""
    while problem is not None:
        if isinstance(problem, RayTaskError):  # an instance of its cause's class too, whose text is a traceback
            problem = problem.cause
        elif isinstance(problem, RerankError):
            return problem
        elif isinstance(problem, RayError):
            return UnavailableError(
                f"workers died too often ({type(problem).__name__}: {str(problem).splitlines()[0]}); "
                "what was scored is in the score store, start again to go on"
            )
        else:
            problem = problem.__cause__
    return None
