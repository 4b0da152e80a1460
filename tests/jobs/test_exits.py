"""Exceptions as a person reads them: one sentence and an exit code, or a traceback where it is a bug."""

import traceback

import pytest
from ray.exceptions import ActorDiedError, OutOfDiskError, RayTaskError, UserCodeException

from jobs.exits import exit_codes
from rerank.errors import (
    ConfigError,
    InputError,
    ModelError,
    OutputError,
    OverloadedError,
    RerankError,
    UnavailableError,
)


def from_a_worker(problem: Exception) -> BaseException:
    """What Ray raises in the driver for an exception in a task."""
    wrapped: BaseException = RayTaskError("task", "Traceback (most recent call last): …", problem).as_instanceof_cause()
    return wrapped


def at_the_start(problem: Exception) -> Exception:
    """What Ray raises in the driver for an exception in the __init__ of an actor: nothing but its text is left."""
    try:
        raise problem
    except Exception:
        return ActorDiedError(RayTaskError("MapWorker.__init__", traceback.format_exc(), problem))


def while_handling(problem: Exception) -> Exception:
    """A bug in the place where `problem` is handled."""
    try:
        raise problem
    except Exception:
        try:
            raise ZeroDivisionError
        except Exception as bug:
            return bug


def chained(problem: BaseException) -> Exception:
    outer = RuntimeError("the pipeline failed")
    outer.__cause__ = problem
    return outer


@pytest.mark.parametrize(
    ("problem", "code", "sentence"),
    [
        (InputError("no files"), 2, "rerank: no files\n"),
        (OverloadedError("busy"), 1, "rerank: busy\n"),
        (RerankError("lost"), 1, "rerank: lost\n"),
        (from_a_worker(OutputError("disk full")), 2, "rerank: disk full\n"),
        (chained(from_a_worker(OutputError("disk full"))), 2, "rerank: disk full\n"),
        (InputError("gone\nFailed to apply UDF transform after 1/1 attempts.\nTo change …"), 2, "rerank: gone\n"),
        (chained(ActorDiedError()), 1, "rerank: workers died too often (ActorDiedError: "),
        (from_a_worker(from_a_worker(chained(ModelError("no")))), 2, "rerank: no\n"),
        (at_the_start(ConfigError("no GPU")), 2, "rerank: no GPU\n"),
        (at_the_start(InputError("no files")), 2, "rerank: no files\n"),
        (at_the_start(OutputError("disk full")), 2, "rerank: disk full\n"),
        (chained(at_the_start(ModelError("no classifier"))), 2, "rerank: no classifier\n"),
        (at_the_start(UnavailableError("not now")), 1, "rerank: not now\n"),
        (at_the_start(RerankError("lost")), 1, "rerank: lost\n"),
        (OutOfDiskError(), 2, "rerank: the disk of a node is full"),
    ],
)
def test_known_errors_are_a_sentence(problem, code, sentence, capsys):
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise problem
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "problem",
    [
        ZeroDivisionError(),
        from_a_worker(ValueError("a bug")),
        from_a_worker(UserCodeException("a bug")),
        at_the_start(ValueError("a bug")),
        at_the_start(while_handling(ModelError("not the error"))),
    ],
)
def test_bugs_keep_their_traceback(problem):
    with pytest.raises(type(problem)), exit_codes():
        raise problem


def test_ctrl_c_needs_no_traceback():
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise KeyboardInterrupt
    assert ended.value.code == 130
