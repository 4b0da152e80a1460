"""The runbook quotes messages and names metrics, alerts and panels that exist."""

import re
from pathlib import Path

import pytest

from ops.panels import PANELS
from tests.ops.exported import exported
from tests.ops.test_alerts import ALERTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
RUNBOOK = PAGE.partition("## Runbook")[2].partition("\n## ")[0]
SOURCES = "".join(path.read_text() for room in ("rerank", "jobs", "serve") for path in (ROOT / room).rglob("*.py"))


PROSE = " ".join(re.sub(r"```.*?```|`[^`]*`", "", RUNBOOK, flags=re.DOTALL).split())


@pytest.mark.parametrize("message", re.findall(r'"(.+?)"', PROSE))
def test_a_message_is_one_of_ours(message: str) -> None:
    pieces = re.sub(r'"\s*\n\s*f?"', "", SOURCES)  # of a string that is written in several
    assert message in pieces


def test_panels_and_alerts_exist() -> None:
    titles = {panel.title for panel in PANELS} | {"Slow"}  # a section
    assert set(re.findall(r"\*(.+?)\*", PROSE)) <= titles
    assert set(re.findall(r"[Aa]lert (\w+)", PROSE)) <= {alert["alert"] for alert in ALERTS}


def test_the_page_lists_the_metrics_that_are_exported_and_no_others() -> None:
    listed = {
        f"ray_{name}" for row in re.findall(r"^\| (`rerank_.*?) \|", PAGE, re.M) for name in re.findall("`(.+?)`", row)
    }
    assert listed == {name for name in exported() if not name.endswith("_count")}
