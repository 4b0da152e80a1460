"""`rerank bench startup`: the smallest job, and the first score in Python, against bare Ray; each in a new process."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq

from jobs.bench.options import Lengths, Model, Output, Rounds, report
from jobs.bench.scoring import synthetic_sets
from jobs.bench.turns import in_turns
from jobs.console import say
from jobs.exits import exit_codes
from rerank.config import BUNDLED
from rerank.errors import RerankError

_PAIRS = 8
_BARE_RAY = """
import ray
ray.init(address="local", include_dashboard=False, log_to_driver=False)
ray.get(ray.remote(lambda: None).remote())
ray.shutdown()
"""
_FIRST_SCORE = """
import sys
from rerank import Reranker
Reranker(sys.argv[1]).rank("how to return a parcel", ["Returns are free.", "Our offices are closed."])
"""


def startup(model: Model = BUNDLED, rounds: Rounds = 3, output: Output = None) -> None:
    """Time a job of eight pairs and the first score in Python in turns with bare Ray, which runs one empty task."""
    with exit_codes(), TemporaryDirectory() as folder:
        source, numbers = Path(folder) / "in.parquet", count()
        pq.write_table(synthetic_sets(Lengths.SHORT, _PAIRS), source)

        def rank() -> None:
            _run(["-m", "jobs.run", str(source), str(Path(folder) / f"out-{next(numbers)}"), "--model", model])

        runs: list[tuple[str, Callable[[], None]]] = [
            ("bare Ray", partial(_run, ["-c", _BARE_RAY])),
            (f"job of {_PAIRS} pairs", rank),
            ("first score in Python", partial(_run, ["-c", _FIRST_SCORE, model])),
        ]
        _, seconds = in_turns(runs, rounds=rounds)
        medians = np.median(seconds, axis=0)
        rows = [
            {"name": name, "seconds": round(float(median), 2), "of_bare_ray": round(float(median / medians[0]), 2)}
            for (name, _), median in zip(runs, medians, strict=True)
        ]
        for row in rows:
            say(f"{row['name']}: {row['seconds']:.2f} s, {row['of_bare_ray']:.2f} times bare Ray")
        report(rows, output)


def _run(arguments: Sequence[str]) -> None:
    """Run Python with these arguments. Raises RerankError with the end of its stderr if it fails."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RerankError(f"python {arguments[0]} {arguments[1].strip()[:40]} failed: {done.stderr.strip()[-500:]}")
