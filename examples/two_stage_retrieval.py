"""Two-stage retrieval: BM25 finds candidates, a cross-encoder orders them, metadata stays beside each result.

python examples/two_stage_retrieval.py "How do I delete a folder and all its files?"
"""

import json
import sys
from pathlib import Path
from typing import Any

import bm25s

from rerank import Reranker

PAGES = Path(__file__).with_name("pages.json")
QUERY = "How do I copy a database that is in use?"

Page = dict[str, Any]  # has a `text`; every other field is metadata


class TwoStageSearch:
    """Search pages by BM25, then rerank the candidates with a cross-encoder."""

    def __init__(self, pages: list[Page], reranker: Reranker) -> None:
        """Index the pages for the first stage."""
        self.pages = pages
        self.reranker = reranker
        self.index = bm25s.BM25()
        self.index.index(bm25s.tokenize([page["text"] for page in pages], show_progress=False), show_progress=False)

    def retrieve(self, query: str, *, depth: int = 10) -> list[Page]:
        """Return the `depth` best pages by BM25, best first, each with its `bm25_score`."""
        words = bm25s.tokenize(query, show_progress=False)
        rows, scores = self.index.retrieve(words, k=min(depth, len(self.pages)), show_progress=False)
        return [{**self.pages[row], "bm25_score": float(score)} for row, score in zip(rows[0], scores[0], strict=True)]

    def search(self, query: str, *, depth: int = 10, top_k: int = 3) -> list[Page]:
        """Return the `top_k` best of the `depth` candidates, each with its `rerank_score` (0 to 1)."""
        candidates = self.retrieve(query, depth=depth)
        ranked = self.reranker.rank(query, [page["text"] for page in candidates], top_k=top_k)
        return [{**candidates[document.index], "rerank_score": document.score} for document in ranked]


def main(query: str = QUERY) -> None:
    """Print the best pages before and after reranking."""
    engine = TwoStageSearch(json.loads(PAGES.read_text(encoding="utf-8")), Reranker())
    print(f"{query}\n\nBM25")
    for page in engine.retrieve(query, depth=3):
        print(f"{page['bm25_score']:8.3f}  {page['title']:28} {page['url']}")
    print("\nreranked")
    for page in engine.search(query, top_k=3):
        print(f"{page['rerank_score']:8.3f}  {page['title']:28} {page['url']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
