"""requests, as people write it by hand: a Bearer key, model, query, documents, top_n. Usage: with_requests.py URL"""

import sys

import requests


def main(url: str) -> None:
    asked = {"model": "length", "query": "q", "documents": ["four", "sixsix", "five5"], "top_n": 2}
    answer = requests.post(f"{url}/v1/rerank", headers={"Authorization": "Bearer secret"}, json=asked, timeout=30)
    answer.raise_for_status()
    body = answer.json()
    assert body["results"][0] == {"index": 1, "relevance_score": 0.95257413}
    assert [place["index"] for place in body["results"]] == [1, 2]
    assert body["model"] == "length"
    assert body["usage"]["total_tokens"] == 15
    refused = requests.post(f"{url}/v1/rerank", json=asked, timeout=30)
    assert refused.status_code == 401


main(sys.argv[1])
