"""infinity_client. Usage: with_infinity.py URL"""

import sys

from infinity_client import Client
from infinity_client.api.default import rerank
from infinity_client.models import RerankInput


def main(url: str) -> None:
    client = Client(base_url=url, headers={"Authorization": "Bearer secret"}, raise_on_unexpected_status=True)
    asked = RerankInput(query="q", documents=["four", "sixsix", "five5"], model="length", top_n=2)
    ranked = rerank.sync(client=client, body=asked)
    assert [(place.index, place.relevance_score) for place in ranked.results] == [(1, 0.95257413), (2, 0.8807971)]
    assert ranked.usage.total_tokens == 15


main(sys.argv[1])
