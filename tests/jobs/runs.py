"""One small run in each file format, with values worked out by hand."""

from math import exp
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CRANFIELD = Path(__file__).parents[3] / "shared" / "data" / "cranfield"

# The first-stage order of each query, the logits in that order, and the judgements.
FIRST_STAGE = {"q1": ["a", "b", "c", "d"], "q2": ["e", "f", "g"], "q3": ["h", "i"]}
LOGITS = {"q1": [-1.0, 2.0, 3.0, -2.0], "q2": [1.0, 0.0, -1.0], "q3": [0.5, 0.25]}
QRELS = {"q1": {"c": 2, "b": 1, "a": 0}, "q2": {"f": 1}, "q9": {"z": 1}}


def write_ranked(folder: Path, *, top_k: int = 100, pairs_ranked: int = 9) -> Path:
    """Write an output folder as `rerank run` does."""
    rows = []
    for query_id, doc_ids in FIRST_STAGE.items():
        logits = LOGITS[query_id]
        order = sorted(range(len(doc_ids)), key=lambda place: -logits[place])
        for rank, place in enumerate(order[:top_k], start=1):
            rows.append(
                {
                    "query_id": query_id,
                    "doc_id": doc_ids[place],
                    "rank": rank,
                    "score": 1 / (1 + exp(-logits[place])),
                    "logit": logits[place],
                    "source_rank": place + 1,
                }
            )
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-00000.parquet")
    (folder / "_manifest.json").write_text(f'{{"pairs_ranked": {pairs_ranked}}}')
    return folder


def write_candidates(path: Path) -> Path:
    """Write candidate sets in the `pairs` layout."""
    rows = [
        {"query_id": query_id, "query": "?", "doc_id": doc_id, "text": f"text of {doc_id}"}
        for query_id, doc_ids in FIRST_STAGE.items()
        for doc_id in doc_ids
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_qrels(path: Path) -> Path:
    """Write the judgements as Parquet."""
    rows = [
        {"query_id": query_id, "doc_id": doc_id, "relevance": relevance}
        for query_id, judged in QRELS.items()
        for doc_id, relevance in judged.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
