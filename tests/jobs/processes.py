"""Jobs that run as processes of their own, so that a test can watch, stop and kill them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import Result

from jobs.bench.memory import descendants
from rerank.store import open_stores
from rerank.store.upkeep import content
from tests.fakes import candidate_sets
from tests.jobs import faulty
from tests.processes import completed, started

PATIENCE_S = 240


def command(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a subcommand of `rerank` as a person types it, in a process of its own; only Ray's workers are forked."""
    line = [sys.executable, "-m", "tests.jobs.forked_cli", name, *map(str, arguments)]
    return completed(line, timeout=PATIENCE_S, env=os.environ)


def summary_of(done: subprocess.CompletedProcess[str] | Result) -> dict[str, Any]:
    """Return the JSON summary of a command that succeeded."""
    assert (done.exit_code if isinstance(done, Result) else done.returncode) == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def ordered(table: pa.Table) -> pa.Table:
    return table.sort_by([("query_id", "ascending"), ("rank", "ascending")])


def titles_below(root: int) -> dict[int, str]:
    """Return the descendants of a process with their command lines."""
    return {pid: " ".join(command) for pid, command in descendants(root).items()}


def wait_until_gone(processes: dict[int, str]) -> None:
    """Wait until Ray's nodes and workers among `processes` have ended; agents and monitors may take a minute more."""
    processes = {
        pid: title for pid, title in processes.items() if re.search(r"ray::(?!\S*Agent)|raylet |gcs_server", title)
    }
    deadline = time.monotonic() + 60
    while left := {pid for pid, title in titles_below(1).items() if processes.get(pid) == title}:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@dataclass(frozen=True)
class EngineCall:
    """What an engine noted of a call: in which process, of how many pairs, when, and on which node."""

    process: int
    pairs: int
    time: float
    node: str


class Job:
    """A job's process, in a folder of its own; at the end of the block it is killed, and the Ray that it started."""

    def __init__(
        self,
        folder: Path,
        rows: list[Any],
        *,
        seconds_per_pair: float = 0.0,
        slow: Path | None = None,
        **settings: Any,
    ) -> None:
        self.folder, self.log, self.output = folder, folder / "log", folder / "out"
        if not (folder / "in.parquet").exists():
            pq.write_table(candidate_sets(rows), folder / "in.parquet", row_group_size=2)
        settings = {"source": str(folder / "in.parquet"), "output": str(self.output), "block_pairs": 64, **settings}
        engine = {"log": str(self.log), "seconds_per_pair": seconds_per_pair, "slow": slow and str(slow)}
        self.spec = {**settings, "engine": engine}
        self.command = [sys.executable, "-m", "tests.jobs.faulty", json.dumps(self.spec)]

    def __enter__(self) -> "Job":
        self.log.write_text("")
        self._running = started(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.process = self._running.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._running.__exit__(*error)

    def run_here(self) -> dict[str, Any]:
        """Run the job in this process, and return its summary."""
        self.log.write_text("")
        return faulty.run_job(self.spec)

    def wait_until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def finish(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, err
        summary: dict[str, Any] = json.loads(out)
        return summary

    def calls(self, what: str) -> list[tuple[int, int]]:
        """Return (process id, pairs) of each call of the engine that began or ended: `what` is "begin" or "end"."""
        return [(call.process, call.pairs) for call in self.noted(what)]

    def noted(self, what: str) -> list[EngineCall]:
        """Return all that is known of each call of the engine that began or ended."""
        lines = [line.split() for line in self.log.read_text().splitlines() if line.startswith(what)]
        return [EngineCall(int(process), int(pairs), float(time), node) for _, process, pairs, time, node in lines]

    def scored(self) -> int:
        return sum(pairs for _, pairs in self.calls("end"))

    def stored(self) -> int:
        return sum(self.stored_by_model().values())

    def stored_by_model(self) -> dict[str, int]:
        """Return how many pairs are in the score store, by the fingerprint of the model."""
        scores = self.output / "_scores"
        # The folder is there a moment before the first store in it.
        stores = open_stores(str(scores)) if any(scores.glob("model=*")) else []
        return {store.fingerprint: content(store).pairs for store in stores}

    def ranked(self) -> pa.Table:
        return ordered(pq.read_table(self.output))
