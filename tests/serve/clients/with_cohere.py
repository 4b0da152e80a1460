"""cohere: v1 and v2 clients, with a base URL that ends in /v1 and one that does not. Usage: with_cohere.py URL"""

import sys

import cohere
from cohere.core.api_error import ApiError

DOCUMENTS = ["four", "sixsix", "five5"]


def main(url: str) -> None:
    for base in (url, f"{url}/v1"):
        first = cohere.Client("secret", base_url=base).rerank(
            model="length", query="q", documents=DOCUMENTS, top_n=2, return_documents=True
        )
        assert [(place.index, place.document.text) for place in first.results] == [(1, "sixsix"), (2, "five5")]
        assert first.meta.billed_units.search_units == 1
        second = cohere.ClientV2("secret", base_url=base).rerank(model="length", query="q", documents=DOCUMENTS)
        assert [place.index for place in second.results] == [1, 2, 0]
        assert second.results[0].relevance_score == 0.95257413
        assert second.id
    expect(url, 404, cohere.NotFoundError, model="rerank-v3.5")
    expect(url, 400, cohere.BadRequestError, documents=[])
    expect(url, 400, cohere.BadRequestError, top_n=0)
    expect(url, 429, cohere.TooManyRequestsError, model="full")
    expect(url, 401, cohere.UnauthorizedError, key="wrong")


def expect(url: str, status: int, kind: type[ApiError], *, key: str = "secret", **change: object) -> None:
    asked = {"model": "length", "query": "q", "documents": DOCUMENTS, "request_options": {"max_retries": 0}, **change}
    try:
        cohere.ClientV2(key, base_url=url).rerank(**asked)
    except kind as error:
        assert error.status_code == status
        assert error.body["message"]
    else:
        raise AssertionError(f"no {kind.__name__}")


main(sys.argv[1])
