"""Say what pip-audit's JSON report means: `python tests/audit.py REPORT`.

pip-audit itself says "No known vulnerabilities found" where its index does not know a single package. Needs nothing but
Python.
"""

import json
import sys
from pathlib import Path
from typing import Any


def summary(report: dict[str, Any]) -> tuple[int, str]:
    """Return the exit code and what to print: 0 if all versions were looked up and none is known to be vulnerable."""
    audited = [package for package in report["dependencies"] if "skip_reason" not in package]
    skipped = [package["name"] for package in report["dependencies"] if "skip_reason" in package]
    if not audited:
        return 1, "nothing was audited: the index of known vulnerabilities (PyPI's JSON API) cannot be reached"
    lines = [
        f"{package['name']} {package['version']}: {problem['id']}, fixed in "
        f"{', '.join(problem['fix_versions']) or 'no version yet'}"
        for package in audited
        for problem in package["vulns"]
    ]
    if skipped:
        lines.append(f"not audited, unknown to the index: {', '.join(skipped)}")
    return (1, "\n".join(lines)) if lines else (0, f"{len(audited)} packages audited, no known vulnerability")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    code, text = summary(json.loads(path.read_text())) if path.exists() else (1, "pip-audit failed: build/audit/log")
    print(text)  # noqa: T201
    sys.exit(code)
