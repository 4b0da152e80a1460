"""Each alert fires in a test, uses what the code exports, and leads to a section of the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ops.exported import check_expression

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
ALERTS = [rule for group in yaml.safe_load((OPS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


@each_alert
def test_an_alert_uses_what_is_exported(alert: dict[str, Any]) -> None:
    check_expression(alert["expr"])


@each_alert
def test_an_alert_leads_to_a_section_of_the_runbook(alert: dict[str, Any]) -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert alert["annotations"]["runbook"] in {heading.lower().replace(" ", "-") for heading in headings}


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tests = yaml.safe_load((OPS / "alerts_test.yaml").read_text())["tests"]
    rules = [rule for test in tests for rule in test["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}
    assert {rule["alertname"] for rule in rules if "exp_alerts" in rule} == names
    assert {rule["alertname"] for rule in rules if "exp_alerts" not in rule} == names


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "command", [("test", "rules", "alerts_test.yaml"), ("check", "config", "prometheus.yaml")], ids=" ".join
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], cwd=OPS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
