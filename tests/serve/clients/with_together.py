"""together: objects of which `rank_fields` are scored. Usage: with_together.py URL"""

import sys

import together

DOCUMENTS = [{"title": text, "year": 1999} for text in ("four", "sixsix", "five5", "")]


def main(url: str) -> None:
    client = together.Together(api_key="secret", base_url=url, max_retries=0)
    asked = {"model": "length", "query": "q", "documents": DOCUMENTS, "rank_fields": ["title"]}
    ranked = client.rerank.create(**asked, top_n=2, return_documents=True)
    assert [(place.index, place.relevance_score) for place in ranked.results] == [(1, 0.95257413), (2, 0.8807971)]
    assert [place.document.text for place in ranked.results] == ["sixsix", "five5"]
    assert ranked.usage.total_tokens == 15
    try:
        client.rerank.create(**{**asked, "model": "none"})
    except together.NotFoundError as error:
        assert "not served" in str(error), error
    else:
        raise AssertionError("no error")


main(sys.argv[1])
