"""Each promise names the test that proves it."""

import re

import pytest

from tests.docs.pages import ROOT, inline_code

PAGE = ROOT / "docs/promises.md"


@pytest.fixture(scope="module")
def tests_that_exist() -> set[str]:
    texts = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for text in texts for name in re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE)}


def test_the_tests_that_promises_name_exist(tests_that_exist: set[str]) -> None:
    named = {span for span in inline_code(PAGE) if span.startswith("test_")}
    assert len(named) > 20
    assert not named - tests_that_exist


def test_every_promise_names_a_test() -> None:
    rows = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| what can")
    ]
    assert rows
    assert not [row for row in rows if "`test_" not in row.split(" | ")[-1]]
