"""mixedbread. Usage: with_mixedbread.py URL"""

import sys

import mixedbread


def main(url: str) -> None:
    client = mixedbread.Mixedbread(api_key="secret", base_url=url, max_retries=0)
    ranked = client.rerank(model="length", query="q", input=["four", "sixsix"], top_k=1, return_input=True)
    assert [(place.index, place.score, place.input) for place in ranked.data] == [(1, 0.95257413, "sixsix")]
    assert (ranked.model, ranked.top_k, ranked.return_input) == ("length", 1, True)
    assert ranked.usage.total_tokens == 10
    for kind, change in (
        (mixedbread.NotFoundError, {"model": "none"}),
        (mixedbread.BadRequestError, {"input": []}),
        (mixedbread.RateLimitError, {"model": "full"}),
    ):
        try:
            client.rerank(**{"model": "length", "query": "q", "input": ["a"], **change})
        except kind as error:
            assert error.body["message"]
        else:
            raise AssertionError(f"no {kind.__name__}")


main(sys.argv[1])
