"""Nodes that die and join while a job runs on four: nothing is lost or doubled, and a slow engine holds nobody up.

The GPUs are fake and the engines sleep. The job runs in a thread of this process.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from jobs.formats.columns import Layout
from jobs.pipeline.writer import ranked_slices
from rerank import Reranker
from rerank.ranking.candidates import CandidateSets
from tests.fakes import candidate_sets
from tests.forked_workers import LIGHT_NODE
from tests.jobs.faulty import ENGINES, SLOWER, FaultyEngine, slow_of
from tests.jobs.processes import PATIENCE_S, Job, ordered
from tests.jobs.tables import WORDS
from tests.processes import sigterm_kept

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_driver")]

log = logging.getLogger(__name__)  # what was measured: -o log_cli_level=INFO

QUERIES, DOCUMENTS = 60, 20
BLOCKS_PER_TASK = 4  # `jobs.input.splits` reads as many at once
STORE_BYTES = 80 * 2**20  # Ray's least is 75 MiB

ROWS = [
    (f"q{q}", f"how does {WORDS[q % 13]} work?", [(f"d{d}", f"{WORDS[(q + d) % 13]} {q}") for d in range(DOCUMENTS)])
    for q in range(QUERIES)
]


class GpuNodes:
    """Nodes with a fake GPU each, beside the node that all tests have."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._nodes = cluster, dict[str, Any]()

    def add(self) -> str:
        """Start a node and return its id."""
        with sigterm_kept():
            node = self._cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE_BYTES, **LIGHT_NODE)
        self._nodes[node.node_id] = node
        return str(node.node_id)

    def fill(self, count: int) -> None:
        """Start the nodes that are missing to so many."""
        while len(self._nodes) < count:
            self.add()

    def kill(self, node_id: str) -> None:
        """End a node, as a machine does that loses its power."""
        self._cluster.remove_node(self._nodes.pop(node_id), allow_graceful=False)


@pytest.fixture(scope="module")
def gpu_nodes(shared_nodes: Cluster) -> Iterator[GpuNodes]:
    """Fake GPU nodes that the tests of this file share, and that the next file's jobs do not count on."""
    nodes = GpuNodes(shared_nodes)
    yield nodes
    for node_id in list(nodes._nodes):
        nodes.kill(node_id)
    shared_nodes.wait_for_nodes()  # until the cluster has noticed


def start(folder: Path, rows: list[Any], **settings: Any) -> Job:
    """Return a job with one query in each block, so that there are many."""
    job = Job(folder, rows, block_pairs=DOCUMENTS, use_store=False, **settings)
    job.log.write_text("")
    return job


@contextmanager
def running(job: Job) -> Iterator[Future[dict[str, Any]]]:
    """Run the job in a thread while the block runs."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(job.run_here)


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check_whole(job: Job, summary: dict[str, Any], rows: list[Any]) -> None:
    """Check that every pair was ranked, once, and as by a process that nothing happens to."""
    ranked = job.ranked()
    ids = Counter(zip(ranked["query_id"].to_pylist(), ranked["doc_id"].to_pylist(), strict=True))
    assert ids == {(query_id, doc_id): 1 for query_id, _, documents in rows for doc_id, _ in documents}
    reranker = Reranker(engine=FaultyEngine(is_harmless=True))
    slices = ranked_slices(reranker.rank_table(candidate_sets(rows)), Layout.PAIRS, 1_000)
    expected = ordered(pa.concat_tables(slices))
    assert ranked.select(expected.column_names).equals(expected)
    assert (summary["pairs_ranked"], summary["pairs_rejected"]) == (len(rows) * DOCUMENTS, 0)


def test_a_slow_engine_does_not_hold_the_others_up(gpu_nodes: GpuNodes, tmp_path: Path) -> None:
    """One of three is ten times slower: it gets fewer blocks, and holds at most two tasks when the others are done."""
    gpu_nodes.fill(ENGINES)
    block_s, meeting = 0.04, tmp_path / "engines"
    meeting.mkdir()
    job = start(tmp_path, ROWS, seconds_per_pair=block_s / DOCUMENTS, slow=meeting)
    check_whole(job, job.run_here(), ROWS)
    calls, slow = job.noted("end"), slow_of(meeting.iterdir())
    last = {call.process: call.time for call in calls}
    blocks = Counter(call.process for call in calls)
    tail = last.pop(slow) - max(last.values())
    log.info("blocks %s; the slow engine ended %.1f s after the others, %.1f s a block", blocks, tail, SLOWER * block_s)
    assert blocks[slow] < QUERIES / ENGINES
    assert tail < (2 * BLOCKS_PER_TASK + 1) * SLOWER * block_s


def test_blocks_that_an_object_store_cannot_hold(gpu_nodes: GpuNodes, tmp_path: Path) -> None:
    """The actors' nodes have room for two blocks, and an actor has two, and its result."""
    gpu_nodes.fill(ENGINES)
    rows, payload = ROWS[:8], b"x" * 1_500_000  # of a candidate, in a column that is carried along: 30 MB a block
    job = start(tmp_path, rows)
    table = CandidateSets.from_table(candidate_sets(rows))
    carried = pa.array([payload] * table.pair_count)
    table = table.with_candidates(table.candidates.append_column("payload", carried))
    pq.write_table(table.to_table(), tmp_path / "in.parquet", row_group_size=2)
    check_whole(job, job.run_here(), rows)
    assert set(job.ranked()["payload"].to_pylist()) == {payload}


def test_a_node_may_go_away(gpu_nodes: GpuNodes, tmp_path: Path) -> None:
    gpu_nodes.fill(ENGINES)
    job = start(tmp_path, ROWS, seconds_per_pair=0.005)
    with running(job) as done:
        wait_until(lambda: done.done() or len({call.node for call in job.noted("end")}) == ENGINES)
        gpu_nodes.kill(job.noted("end")[-1].node)
        summary = done.result()
    check_whole(job, summary, ROWS)
    log.info("scored %d of %d", job.scored(), QUERIES * DOCUMENTS)


def test_the_only_actor_of_a_pool_is_lost_and_a_node_joins(gpu_nodes: GpuNodes, tmp_path: Path) -> None:
    """A pool of 1 to 3 actors: the first one dies with its node, and the pool grows onto a node that joins.

    The engines wait for each other: the lost one, one on the node that is left, and one on the node that joins.
    """
    gpu_nodes.fill(ENGINES - 1)
    meeting = tmp_path / "engines"
    meeting.mkdir()
    job = start(tmp_path, ROWS, seconds_per_pair=0.001, slow=meeting, pool={"actors": f"1:{ENGINES}"})
    with running(job) as done:
        wait_until(lambda: done.done() or bool(job.noted("begin")))
        gpu_nodes.kill(job.noted("begin")[0].node)
        joined = gpu_nodes.add()
        summary = done.result()
    check_whole(job, summary, ROWS)
    blocks = Counter(call.node for call in job.noted("end"))
    log.info("blocks by node: %s", dict(blocks))
    assert blocks[joined] > 0
