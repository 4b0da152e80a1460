"""Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 too many rejected rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from rerank.errors import ConfigError, InputError, ModelError, OutputError, RerankError

USAGE = 2
TOO_MANY_REJECTED = 3
_USAGE_ERRORS = (ConfigError, InputError, OutputError, ModelError)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn our errors into one sentence on stderr and an exit code; others are bugs and keep their traceback."""
    try:
        yield
    except Exception as problem:
        known = _ours(problem)
        if known is None:
            raise
        typer.echo(f"rerank: {known}", err=True)
        raise SystemExit(USAGE if isinstance(known, _USAGE_ERRORS) else 1) from None


def _ours(problem: BaseException | None) -> RerankError | None:
    """The error of ours behind those that Ray wrapped round it."""
    while problem is not None and not isinstance(problem, RerankError):
        problem = problem.__cause__
    return problem
