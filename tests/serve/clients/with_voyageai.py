"""voyageai, with and without a trailing slash on the base URL. Usage: with_voyageai.py URL"""

import sys

import voyageai
import voyageai.error


def main(url: str) -> None:
    for base in (f"{url}/v1", f"{url}/v1/"):
        client = voyageai.Client(api_key="secret", base_url=base)
        ranked = client.rerank("q", ["four", "sixsix", "five5"], model="length", top_k=2)
        assert [(place.index, place.document) for place in ranked.results] == [(1, "sixsix"), (2, "five5")]
        assert ranked.results[0].relevance_score == 0.95257413
        assert ranked.total_tokens == 15
    instructed = client.rerank("Prefer long answers.\nQuery: q", ["four", "sixsix"], model="length")
    assert [place.document for place in instructed.results] == ["sixsix", "four"]
    for kind, change in (
        (voyageai.error.InvalidRequestError, {"documents": []}),
        (voyageai.error.APIError, {"model": "none"}),
        (voyageai.error.RateLimitError, {"model": "full"}),
    ):
        try:
            client.rerank(**{"query": "q", "documents": ["a"], "model": "length", **change})
        except kind as error:
            assert any(word in str(error) for word in ("at least one", "not served", "full")), error
        else:
            raise AssertionError(f"no {kind.__name__}")


main(sys.argv[1])
