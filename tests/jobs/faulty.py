"""A job whose engine fails on certain documents, also as a process: `python -m tests.jobs.faulty SETTINGS [COMMAND]`.

With a shell command it runs twice on one Ray, and the command between the two.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from jobs.exits import exit_codes
from jobs.pipeline import job
from jobs.pipeline.cluster import connect
from jobs.pipeline.job import RunConfig, run
from jobs.pipeline.stages.pool_settings import PoolSettings
from jobs.pipeline.stages.settings import parse_stages
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores
from rerank.errors import EngineLostError
from tests.forked_workers import LIGHT_NODE, give_to_new_nodes

# A document with this many tokens makes the engine fail.
KILLS, RAISES, LOSES_DEVICE = 40, 41, 42


ENGINES, SLOWER = 3, 10
PATIENCE_S = 60


@dataclass(frozen=True)
class FaultyEngine:
    """Compute a logit from the tokens alone; write to `log` which process on which node scored how many pairs.

    One of the `ENGINES` processes that meet in the folder `slow` takes `SLOWER` times as long as the others.
    """

    log: str = os.devnull
    seconds_per_pair: float = 0.0
    is_harmless: bool = False
    slow: str | None = None

    lanes = None

    @property
    def description(self) -> dict[str, str]:
        return {"engine": "faulty"}

    def score(self, pairs: EncodedPairs) -> Scores:
        self._note("begin", pairs)
        time.sleep(self.seconds_per_pair * len(pairs) * (SLOWER if self.slow and _is_slow(self.slow) else 1))
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
        if self.log == os.devnull:
            return
        node = ray.get_runtime_context().get_node_id()
        with Path(self.log).open("a") as log:
            log.write(f"{what} {os.getpid()} {len(pairs)} {time.time():.3f} {node}\n")


_slow_in: dict[str, bool] = {}  # by folder; no functools.cache, which workers cannot unpickle out of `__main__`


def _is_slow(meeting: str) -> bool:
    """Wait until `ENGINES` processes have met in this folder; return whether this one is the slow one."""
    if meeting not in _slow_in:
        mark = Path(meeting, str(os.getpid()))
        mark.touch()
        deadline = time.monotonic() + PATIENCE_S
        while len(met := list(mark.parent.iterdir())) < ENGINES and time.monotonic() < deadline:
            time.sleep(0.02)
        _slow_in[meeting] = slow_of(met) == os.getpid()
    return _slow_in[meeting]


def slow_of(met: Iterable[Path]) -> int:
    """Return the process id of the slow one of the engines that have met."""
    return min(int(mark.name) for mark in met)


def run_job(spec: dict[str, Any]) -> dict[str, Any]:
    """Run the job with these settings of `RunConfig`, and those of the engine under "engine"."""
    settings = {name: value for name, value in spec.items() if name != "engine"}
    if "stages" in settings:
        settings["stages"] = parse_stages(settings["stages"], defaults={})
    if "pool" in settings:
        settings["pool"] = PoolSettings.model_validate(settings["pool"])
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
