"""A folder with all the files that the pages name, one Ray cluster and one server for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from ray.cluster_utils import Cluster

from jobs.bench.server.process import our_server
from rerank.config import ScorerConfig

TEXTS = {
    "copy": "dict.copy() returns a shallow copy of the dictionary.",
    "sort": "list.sort() sorts the items of the list in place.",
    "join": "str.join() concatenates the strings of an iterable.",
    "sockets": "Sockets are end points of a connection.",
}
QUERIES = {"q1": ("how do I copy a dictionary?", "copy"), "q2": ("sort a list in place", "sort")}


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidate sets in the shapes that the pages name, their corpus and queries, and judgements."""
    folder = tmp_path_factory.mktemp("reader")
    rows = [
        {"query_id": query_id, "query": query, "doc_id": doc_id, "text": TEXTS[doc_id], "score": 9.0 - place}
        for query_id, (query, _) in QUERIES.items()
        for place, doc_id in enumerate(sorted(TEXTS, reverse=True))
    ]
    pairs = pd.DataFrame(rows)
    pairs.to_parquet(folder / "candidates.parquet")
    pairs.rename(columns={"text": "body"}).to_parquet(folder / "articles.parquet")
    pairs.sort_values("doc_id").to_parquet(folder / "unsorted.parquet")
    pairs[["query_id", "doc_id", "score"]].to_parquet(folder / "run.parquet")
    pd.DataFrame({"doc_id": TEXTS.keys(), "text": TEXTS.values()}).to_parquet(folder / "corpus.parquet")
    queries = {query_id: query for query_id, (query, _) in QUERIES.items()}
    pd.DataFrame({"query_id": queries.keys(), "query": queries.values()}).to_parquet(folder / "queries.parquet")
    lines = ["query-id\tcorpus-id\tscore", *(f"{query_id}\t{answer}\t1" for query_id, (_, answer) in QUERIES.items())]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster that all commands share."""
    head = {"num_cpus": 4, "object_store_memory": 500 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of `serve run serve.app:build`."""
    with our_server(ScorerConfig()) as url:
        yield url
