"""litellm, by every provider whose rerank API it can point at another server. Usage: with_litellm.py URL"""

import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no look-up on the internet

import litellm

DOCUMENTS = ["four", "sixsix", "five5"]


def main(url: str) -> None:
    for provider, base in (
        ("cohere", url),
        ("jina_ai", url),
        ("hosted_vllm", url),
        ("voyage", f"{url}/v1"),
        ("huggingface", url),
    ):
        ranked = litellm.rerank(
            model=f"{provider}/length", query="q", documents=DOCUMENTS, top_n=2, api_base=base, api_key="secret"
        )
        assert [place["index"] for place in ranked.results] == [1, 2], (provider, ranked)
        assert abs(ranked.results[0]["relevance_score"] - 0.95257413) < 1e-6, (provider, ranked)


main(sys.argv[1])
