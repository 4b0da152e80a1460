"""Faults: processes and nodes that die, pairs that kill, disks that are full. The output is the same row for row."""

import json
import logging
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.columns import Layout
from jobs.pipeline.writer import ranked_slices
from rerank import Reranker
from rerank.tables.published import STAGING
from tests.fakes import candidate_sets
from tests.jobs.faulty import KILLS, LOSES_DEVICE, RAISES, FaultyEngine, main
from tests.jobs.processes import PATIENCE_S, Job, ordered, titles_below, wait_until_gone
from tests.jobs.tables import WORDS
from tests.processes import completed

pytestmark = pytest.mark.ray

log = logging.getLogger(__name__)  # what was measured: -o log_cli_level=INFO

QUERIES, DOCUMENTS = 60, 20
PAIRS = QUERIES * DOCUMENTS


def text(query: int, document: int) -> str:
    words = (WORDS[(query * 7 + document * 3 + place) % 13] for place in range(2 + (query + document) % 20))
    return " ".join([*words, str(query), str(document)])


ROWS = [
    (f"q{q:02d}", f"how does {WORDS[q % 13]} work?", [(f"d{d}", text(q, d)) for d in range(DOCUMENTS)])
    for q in range(QUERIES)
]


def with_faults() -> list[Any]:
    """The same rows with three documents that are faults, two of them in the same query."""
    rows = [(query_id, query, list(documents)) for query_id, query, documents in ROWS]
    for query, place, tokens in ((7, 3, KILLS), (31, 0, RAISES), (31, 9, LOSES_DEVICE)):
        rows[query][2][place] = (f"d{place}", " ".join(["the"] * tokens))
    return rows


def expected(rows: list[Any]) -> pa.Table:
    """What a process that nothing happens to gives."""
    reranker = Reranker(engine=FaultyEngine(is_harmless=True))
    return ordered(pa.concat_tables(ranked_slices(reranker.rank_table(candidate_sets(rows)), Layout.PAIRS, 1_000)))


@pytest.mark.usefixtures("shared_driver")
def test_stopped_and_killed_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGTERM at a quarter, SIGKILL at a half, and a run to the end."""
    with Job(tmp_path, ROWS, seconds_per_pair=0.005) as job:
        job.wait_until(lambda: job.scored() > PAIRS / 4)
        children = titles_below(job.process.pid)
        job.process.send_signal(signal.SIGTERM)
        stopped = time.monotonic()
        _, err = job.process.communicate(timeout=60)
        took = time.monotonic() - stopped
        wait_until_gone(children)
    log.info(f"SIGTERM to exit: {took:.2f} s")
    assert job.process.returncode == 143
    sentence = re.search(r"rerank: stopped; ([\d,]+) pairs are in the score store, start again to go on\n", err)
    assert sentence, err
    assert "Traceback" not in err
    assert took < 10  # with idle cores below the three seconds that `ray job stop` allows; the log says how long
    kept = job.stored()
    assert PAIRS / 5 < int(sentence[1].replace(",", "")) <= kept < PAIRS

    with Job(tmp_path, ROWS, seconds_per_pair=0.005) as job:
        job.wait_until(lambda: kept + job.scored() > PAIRS / 2)
        children = titles_below(job.process.pid)
        job.process.kill()
        wait_until_gone(children)
    killed_at = job.stored()
    assert killed_at >= PAIRS / 3

    job = Job(tmp_path, ROWS)
    summary = job.run_here()
    log.info(f"in the store when killed: {killed_at}, scored after it: {summary['pairs_scored']} of {PAIRS}")
    assert summary["store_hits"] == killed_at
    assert summary["pairs_scored"] == job.scored() == PAIRS - killed_at
    assert job.ranked().equals(expected(ROWS))
    assert not (tmp_path / "out" / STAGING).exists()


@pytest.mark.usefixtures("shared_driver")
def test_pairs_that_kill_or_fail_are_rejected_alone(tmp_path: Path) -> None:
    rows = with_faults()
    started = time.monotonic()
    job = Job(tmp_path, rows)
    summary = job.run_here()
    deaths = len({process for process, _ in job.calls("begin")}) - 1
    log.info(
        f"{deaths} deaths, {time.monotonic() - started:.0f} s, {job.scored() - summary['pairs_ranked']} scored again"
    )
    errors = pq.read_table(job.output / "_errors").sort_by([("query_id", "ascending"), ("source_rank", "ascending")])
    assert errors.to_pylist() == [
        {"query_id": "q07", "doc_id": "d3", "source_rank": 4, "reason": "scoring it killed the worker"},
        {"query_id": "q31", "doc_id": "d0", "source_rank": 1, "reason": "the engine failed on it"},
        {"query_id": "q31", "doc_id": "d9", "source_rank": 10, "reason": "scoring it killed the worker"},
    ]
    assert summary["pairs_ranked"] == summary["pairs_scored"] + summary["store_hits"] == PAIRS - 3
    wanted = expected(rows).to_pylist()
    faults = {(row["query_id"], row["doc_id"]) for row in errors.to_pylist()}
    kept = [row for row in wanted if (row["query_id"], row["doc_id"]) not in faults]
    found = job.ranked().to_pylist()
    assert [row | {"rank": 0} for row in found] == [row | {"rank": 0} for row in kept]
    assert deaths <= 2 * 4


def test_workers_may_be_killed_at_any_time(tmp_path: Path) -> None:
    """Each process that works for the job is killed once while it runs: the actor, the counts, those that read."""
    with Job(tmp_path, ROWS, seconds_per_pair=0.005, use_store=False) as job:
        job.wait_until(lambda: job.scored() > PAIRS / 6)
        workers = {pid: name for pid, name in titles_below(job.process.pid).items() if name.startswith("ray::")}
        workers = {pid: name for pid, name in workers.items() if "Agent" not in name}  # those are half of a node
        assert {"MapWorker", "CountsActor"} <= {
            found for name in workers.values() for found in re.findall(r"\w+", name)
        }
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        summary = job.finish()
    log.info("killed %s, scored %d of %d", sorted(workers.values()), job.scored(), PAIRS)
    assert summary["pairs_ranked"] == PAIRS
    assert job.ranked().equals(expected(ROWS))


def has_namespaces() -> bool:
    command = ["unshare", "-rUm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not has_namespaces(), reason="takes a file system of its own")
def test_a_full_disk_is_a_sentence_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    job = Job(tmp_path, ROWS, scores=str(tmp_path / "scores"))
    (tmp_path / "out").mkdir()
    place = shlex.quote(str(tmp_path / "out"))
    job_line = shlex.join([*job.command, f"ls {place}; mount -o remount,size=64m {place}"])
    command = ["unshare", "-rUm", "sh", "-c", f"mount -t tmpfs -o size=8k none {place}; exec {job_line} 2>&1"]
    done = completed(command, timeout=2 * PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    first, _, second = done.stdout.partition("exit 2\n")
    assert re.search(r"rerank: .*cannot (be written|note).*No space left", first), done.stdout
    assert "Traceback" not in first
    assert set(second[: second.index("reranking: ")].split()) <= {STAGING}  # no half result
    summary = json.loads(second[second.index("{") :])
    assert (summary["pairs_scored"], summary["store_hits"]) == (0, PAIRS)
    assert summary["pairs_ranked"] == PAIRS


@pytest.mark.usefixtures("shared_driver")
def test_a_place_that_cannot_be_written_to_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    job = Job(tmp_path, ROWS, scores=str(tmp_path / "file" / "scores"))
    with pytest.raises(SystemExit) as ended:
        main(job.spec)
    assert ended.value.code == 2
    err = capfd.readouterr().err
    assert re.search(r"rerank: .*file/scores: cannot write to the score store", err), err
    assert "Traceback" not in err
