"""A job whose engine fails on certain documents, also as a process: `python -m tests.jobs.faulty SETTINGS [COMMAND]`.

With a shell command it runs twice on one Ray, and the command between the two.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.exits import exit_codes
from jobs.pipeline import job
from jobs.pipeline.cluster import connect
from jobs.pipeline.job import RunConfig, run
from jobs.pipeline.stages.settings import parse_stages
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores
from rerank.errors import EngineLostError
from tests.forked_workers import LIGHT_NODE, give_to_new_nodes

# A document with this many tokens makes the engine fail.
KILLS, RAISES, LOSES_DEVICE = 40, 41, 42


@dataclass(frozen=True)
class FaultyEngine:
    """Compute a logit from the tokens alone; write to `log` which process scored how many pairs."""

    log: str = os.devnull
    seconds_per_pair: float = 0.0
    is_harmless: bool = False

    lanes = None

    @property
    def description(self) -> dict[str, str]:
        return {"engine": "faulty"}

    def score(self, pairs: EncodedPairs) -> Scores:
        self._note("begin", pairs)
        time.sleep(self.seconds_per_pair * len(pairs))
        faults = set() if self.is_harmless else {KILLS, RAISES, LOSES_DEVICE} & set(pairs.document_lengths.tolist())
        if KILLS in faults:
            os.kill(os.getpid(), signal.SIGKILL)
        if LOSES_DEVICE in faults:
            raise EngineLostError("the device answers no more")
        if RAISES in faults:
            raise ValueError("not these pairs")
        ids, _, offsets = pairs.join(np.arange(len(pairs)))
        sums = np.add.reduceat(ids.astype(np.int64), offsets[:-1])
        self._note("end", pairs)
        return Scores((sums % 9973 / 1000 - 5).astype(np.float32), len(ids))

    def _note(self, what: str, pairs: EncodedPairs) -> None:
        with Path(self.log).open("a") as log:
            log.write(f"{what} {os.getpid()} {len(pairs)} {time.time():.3f}\n")


def run_job(spec: dict[str, Any]) -> dict[str, Any]:
    """Run the job with these settings of `RunConfig`, and those of the engine under "engine"."""
    settings = {name: value for name, value in spec.items() if name != "engine"}
    if "stages" in settings:
        settings["stages"] = parse_stages(settings["stages"], defaults={})
    return run(RunConfig(**settings), engine=FaultyEngine(**spec["engine"]))


def main(spec: dict[str, Any]) -> None:
    """Run the job, and end as the command does: a JSON summary or a sentence, and an exit code."""
    with exit_codes():
        with redirect_stdout(sys.stderr):
            summary = run_job(spec)
        sys.stdout.write(json.dumps(summary))


def main_twice(spec: dict[str, Any], command: str) -> None:
    """Run the job, which must fail; write its exit code; run the shell command, and the job again."""
    connect(address=None, verbose=False)
    job.connect = job.disconnect = lambda **_: None
    try:
        main(spec)
    except SystemExit as ended:
        sys.stdout.write(f"exit {ended.code}\n")
        sys.stdout.flush()
    subprocess.run(command, shell=True, check=True)
    main(spec)


if __name__ == "__main__":
    give_to_new_nodes(LIGHT_NODE)
    settings = json.loads(sys.argv[1])
    main_twice(settings, sys.argv[2]) if len(sys.argv) > 2 else main(settings)
