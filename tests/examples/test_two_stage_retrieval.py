"""BM25, then the bundled cross-encoder, over the pages of the examples."""

import json

from examples.two_stage_retrieval import PAGES, TwoStageSearch
from rerank import Reranker


def test_the_right_page_moves_to_the_top(run_example):
    lines = run_example("two_stage_retrieval.py", "How do I copy a database that is in use?")
    before, after = lines.index("BM25"), lines.index("reranked")
    assert "sqlite3.Connection.backup" not in lines[before + 1]
    assert "sqlite3.Connection.backup" in lines[after + 1]


def test_results_keep_the_metadata_of_their_page():
    pages = json.loads(PAGES.read_text(encoding="utf-8"))
    results = TwoStageSearch(pages, Reranker()).search("insert into a sorted list", depth=len(pages) + 1, top_k=4)
    scores = [page.pop("rerank_score") for page in results]
    assert scores == sorted(scores, reverse=True) and len(scores) == 4
    assert [page.pop("bm25_score") >= 0 for page in results] == [True] * 4
    assert all(page in pages for page in results)
    assert results[0]["title"] == "bisect.insort"
