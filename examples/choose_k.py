"""Choose k, the number of documents to show or to hand to a language model: precision and coverage, before and after.

python examples/choose_k.py
python examples/choose_k.py --questions 20 --target 0.7

The questions are about this Python's own documentation. Put your candidate sets and judgements in their place.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from jobs.demo.corpus import stdlib_documents
from jobs.demo.first_stage import load_qrels, load_questions, retrieve
from rerank import Reranker, ScorerConfig

KS = (1, 2, 3, 5, 10, 20)

Ranking = Mapping[str, Sequence[str]]  # query_id -> doc_ids, best first
Relevant = Mapping[str, set[str]]  # query_id -> doc_ids that answer the query


def precision_at(k: int, ranking: Ranking, relevant: Relevant) -> float:
    """Return the share of relevant documents among the first k, averaged over the queries."""
    hits = [len(relevant[query_id].intersection(doc_ids[:k])) for query_id, doc_ids in ranking.items()]
    return sum(hits) / (k * len(hits))


def coverage_at(k: int, ranking: Ranking, relevant: Relevant) -> float:
    """Return the share of queries that have a relevant document among the first k."""
    covered = [not relevant[query_id].isdisjoint(doc_ids[:k]) for query_id, doc_ids in ranking.items()]
    return sum(covered) / len(covered)


def smallest_k(ranking: Ranking, relevant: Relevant, *, target: float) -> int | None:
    """Return the smallest of `KS` whose coverage reaches the target, None if none does."""
    return next((k for k in KS if coverage_at(k, ranking, relevant) >= target), None)


def rerank(sets: list[dict[str, Any]]) -> Ranking:
    """Return the doc_ids of each candidate set, reranked."""
    queries = [row["query"] for row in sets]
    texts = [[candidate["text"] for candidate in row["candidates"]] for row in sets]
    results = Reranker(ScorerConfig(max_length=96)).rank_many(queries, texts)
    return {
        row["query_id"]: [row["candidates"][document.index]["doc_id"] for document in result]
        for row, result in zip(sets, results, strict=True)
    }


def judgements() -> Relevant:
    """Return the relevant doc_ids of each question."""
    relevant: dict[str, set[str]] = {}
    for row in load_qrels().to_pylist():
        relevant.setdefault(row["query_id"], set()).add(row["doc_id"])
    return relevant


def main(arguments: Sequence[str] | None = None) -> None:
    """Print precision and coverage at each k, and the smallest k that covers enough questions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, help="use the first N questions; all 104 if not given")
    parser.add_argument("--target", type=float, default=0.6, help="share of the questions to cover, 0 to 1")
    options = parser.parse_args(arguments)

    questions = load_questions().slice(0, options.questions)
    sets = retrieve(stdlib_documents(), questions, depth=max(KS)).to_pylist()
    relevant = judgements()
    rankings = {
        "BM25": {row["query_id"]: [candidate["doc_id"] for candidate in row["candidates"]] for row in sets},
        "reranked": rerank(sets),
    }
    columns = {
        (name, stage): [measure(k, ranking, relevant) for k in KS]
        for name, measure in (("precision", precision_at), ("coverage", coverage_at))
        for stage, ranking in rankings.items()
    }
    print(pd.DataFrame(columns, index=pd.Index(KS, name="k")).to_string(float_format="%.3f"))
    print(f"\nThe smallest k that covers {options.target:.0%} of {len(sets)} questions:")
    for stage, ranking in rankings.items():
        print(f"{stage:>10}: {smallest_k(ranking, relevant, target=options.target) or f'more than {max(KS)}'}")


if __name__ == "__main__":
    main()
