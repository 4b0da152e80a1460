"""Memory and the event loop's pauses stay bounded, whatever is sent."""

import json
import subprocess
import sys

import pytest

ONE_MIB = 250
"""For bodies of 10 MB, one after the other: they took 1,126 MiB once, and take 120 now."""
TOGETHER_MIB = 700
"""For as many bodies at a time as are accepted: 128 MiB of them, their texts, and the chunks that are tokenised."""
PAUSE_MS = 500
"""Such bodies held the event loop for up to 7 seconds; now it is less than 0.1 on a machine that is not busy."""


def measured() -> dict:
    command = [sys.executable, "-m", "tests.serve.http.largest_bodies", "64"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)


def test_the_largest_legal_bodies_fit_into_the_stated_memory_and_leave_the_event_loop_free(record_property):
    for _ in range(2):  # pauses are the machine's as well, so that the better of two counts
        result = measured()
        record_property("largest_bodies", result)
        assert result["one_mib"] < ONE_MIB
        assert result["together_mib"] < TOGETHER_MIB
        statuses = result["statuses"]
        assert statuses.keys() == {"200", "413", "429"} and statuses["413"] == 3, "an ingress admits by bytes"
        if max(result["pauses_ms"].values()) < PAUSE_MS:
            return
    pytest.fail(f"the event loop was held: {result['pauses_ms']}")
