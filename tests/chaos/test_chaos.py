"""The short form of `make chaos`, as a person types it."""

import re
import sys

import pytest

from tests.chaos.place import KINDS
from tests.processes import completed

_SECONDS = 12  # of kills; starting the cluster and the server takes longer


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_job_and_a_server_survive_random_kills():
    command = [sys.executable, "-m", "tests.chaos", "--seconds", str(_SECONDS), "--seed", "7"]
    done = completed(command, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "seed 7: 0 faults" in done.stdout
    killed = re.search(r"kills: {(.*)}; jobs: (\d+)", done.stdout)
    assert killed and set(re.findall(r"'(\w+)'", killed[1])) <= set(KINDS) and int(killed[2]) >= 1
