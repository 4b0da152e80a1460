"""The checks refuse what a page must not show."""

import pytest

from tests.docs.pages import Block, commands
from tests.docs.rules import check, check_span, is_runnable


@pytest.mark.parametrize(
    "line",
    [
        "rerank walk candidates.parquet",
        "make tea",
        "ray job submit --working-dir . -- python -m nowhere.run IN OUT",
        "serve run nowhere.yaml",
        "export RERUNK=1",
        "python -m nowhere.run",
        "wget x",
    ],
)
def test_unknown_commands_are_refused(line: str) -> None:
    with pytest.raises((AssertionError, ModuleNotFoundError)):
        check(line.split())


@pytest.mark.parametrize("line", ["rerank run IN OUT --top-q 3", "ray job submit --wrking-dir . -- python -m jobs.run"])
def test_unknown_options_are_refused(line: str) -> None:
    with pytest.raises(Exception, match="No such option"):
        check(line.split())


def test_options_in_running_text_must_exist() -> None:
    check_span("--top-k 10")
    with pytest.raises(AssertionError, match="no command has"):
        check_span("--top-q")


@pytest.mark.parametrize("line", ["rerank run IN OUT", "rerank run s3://b/in out", "rerank bench scorer"])
def test_what_is_not_here_is_not_run(line: str) -> None:
    assert not is_runnable(line.split())


def test_a_command_goes_on_while_a_quote_is_open() -> None:
    block = Block("page:1", "console", "$ curl -d '{\n  \"a\": 1}'  # why\n{}\n$ make demo\n")
    first, second = commands(block)
    assert first.words == ("curl", "-d", '{\n  "a": 1}')
    assert (first.output, second.words, second.output) == ("{}", ("make", "demo"), "")
