"""rerankers: its API ranker, in each dialect that it can send to another server. Usage: with_rerankers.py URL"""

import sys

from rerankers.models.api_rankers import APIRanker

DOCUMENTS = ["four", "sixsix", "five5"]


def main(url: str) -> None:
    for provider, path in (
        ("cohere", "/v1/rerank"),
        ("jina", "/v1/rerank"),
        ("voyage", "/v1/rerank"),
        ("mixedbread.ai", "/v1/reranking"),
        ("text-embeddings-inference", "/rerank"),
    ):
        ranker = APIRanker("length", "secret", provider, verbose=0, url=url + path)
        ranked = ranker.rank(query="q", docs=DOCUMENTS)
        assert [result.document.doc_id for result in ranked.results] == [1, 2, 0], (provider, ranked)
        assert abs(ranked.results[0].score - 0.95257413) < 1e-6, (provider, ranked)


main(sys.argv[1])
