"""LlamaIndex: its Cohere postprocessor, pointed at our URL. Usage: with_llama_index.py URL"""

import sys

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank


def main(url: str) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.1) for text in ("four", "sixsix", "five5")]
    ranker = CohereRerank(api_key="secret", base_url=url, model="length", top_n=2)
    kept = ranker.postprocess_nodes(nodes, query_str="q")
    assert [node.node.text for node in kept] == ["sixsix", "five5"]
    assert abs(kept[0].score - 0.95257413) < 1e-6


main(sys.argv[1])
