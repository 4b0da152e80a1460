"""What `make audit` says of a report of pip-audit."""

from typing import Any

import pytest

from tests.audit import summary

FINE = {"name": "ray", "version": "2.60.0", "vulns": []}
BAD = {"name": "h11", "version": "0.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.2", "0.3"]}]}
OPEN = {"name": "h11", "version": "0.1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("packages", "code", "text"),
    [
        ([FINE, FINE], 0, "2 packages audited, no known vulnerability"),
        ([FINE, BAD], 1, "h11 0.1: PYSEC-1, fixed in 0.2, 0.3"),
        ([OPEN], 1, "h11 0.1: PYSEC-1, fixed in no version yet"),
        ([FINE, UNKNOWN], 1, "not audited, unknown to the index: ours"),
        (
            [UNKNOWN],
            1,
            "nothing was audited: the index of known vulnerabilities (PyPI's JSON API) cannot be reached",
        ),
    ],
)
def test_a_report_is_summed_up(packages: list[dict[str, Any]], code: int, text: str) -> None:
    assert summary({"dependencies": packages, "fixes": []}) == (code, text)
