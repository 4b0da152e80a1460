"""Sentences for a person who watches."""

import pytest

from jobs.console import plural, say


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "split", "1 split"),
        (0, "split", "0 splits"),
        (2_000, "query", "2,000 queries"),
        (1, "query", "1 query"),
        (1.0, "GPU", "1 GPU"),
        (0.5, "CPU", "0.5 CPUs"),
        (8.0, "CPU", "8 CPUs"),
    ],
)
def test_nouns_agree_with_their_count(count: float, noun: str, said: str) -> None:
    assert plural(count, noun) == said


def test_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("2 queries")
    assert capsys.readouterr().err == "reranking: 2 queries\n"
