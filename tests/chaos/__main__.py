"""`python -m tests.chaos --seconds 600 --seed N`: exit code 0 if nothing was lost and nobody got a wrong answer.

The seed chooses what is killed next, and when; what runs at that moment is up to the machine.
"""

import argparse
import os
import random
import signal
import sys
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp

from jobs.bench.server.process import ended_by_sigterm
from tests.processes import kill_all, surviving

_TO_END_S = 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to kill; default: 600")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the order of kills; default: any")
    options = parser.parse_args()
    ray_folder = mkdtemp(prefix="ray-")  # the paths of Ray's sockets must be short
    os.environ |= {"RAY_TMPDIR": ray_folder, "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    from tests.chaos.chaos import wreak  # imports Ray, which reads the environment

    say(f"seed {options.seed}")
    try:
        with ended_by_sigterm(), TemporaryDirectory() as folder:
            outcome = wreak(options.seconds, options.seed, Path(folder), say)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        left = surviving(ray_folder, patience_s=_TO_END_S)
        kill_all(list(left))
        rmtree(ray_folder, ignore_errors=True)
    say(f"kills: {dict(outcome.kills)}; jobs: {outcome.jobs}, started again: {outcome.restarts}")
    say(f"answers by status: {dict(outcome.statuses)}")
    for fault in outcome.faults:
        say(f"FAULT {fault}")
    say(f"seed {options.seed}: {len(outcome.faults)} faults")
    return 1 if outcome.faults else 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
