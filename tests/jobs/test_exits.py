"""Exceptions as a person reads them: one sentence and an exit code, or a traceback where it is a bug."""

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from jobs.exits import exit_codes
from rerank.errors import InputError, OutputError, OverloadedError, RerankError


def from_a_worker(problem: Exception) -> BaseException:
    """What Ray raises in the driver for an exception in a task."""
    wrapped: BaseException = RayTaskError("task", "Traceback (most recent call last): …", problem).as_instanceof_cause()
    return wrapped


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
    ],
)
def test_known_errors_are_a_sentence(problem, code, sentence, capsys):
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise problem
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


@pytest.mark.parametrize("problem", [ZeroDivisionError(), from_a_worker(ValueError("a bug"))])
def test_bugs_keep_their_traceback(problem):
    with pytest.raises(type(problem)), exit_codes():
        raise problem


def test_ctrl_c_needs_no_traceback():
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise KeyboardInterrupt
    assert ended.value.code == 130
