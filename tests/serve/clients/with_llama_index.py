"""LlamaIndex: one of its postprocessors, pointed at our URL. Usage: with_llama_index.py URL URL_WITHOUT_KEYS NAME"""

import sys
from typing import Any

from llama_index.core.schema import NodeWithScore, TextNode

KEY = {"api_key": "secret"}
MODEL = {"model": "length", "top_n": 2}


def postprocessor(name: str, url: str, open_url: str) -> Any:
    """The postprocessor of this name: each has its own way to name the server."""
    if name == "cohere":
        from llama_index.postprocessor.cohere_rerank import CohereRerank

        return CohereRerank(base_url=url, **MODEL, **KEY)
    if name == "dashscope":
        import dashscope
        from llama_index.postprocessor.dashscope_rerank import DashScopeRerank

        dashscope.base_http_api_url = f"{url}/api/v1"
        return DashScopeRerank(**MODEL, **KEY)
    if name == "jina":
        from llama_index.postprocessor.jinaai_rerank import JinaRerank

        return JinaRerank(base_url=f"{url}/v1", **MODEL, **KEY)
    if name == "nvidia":
        from llama_index.postprocessor.nvidia_rerank import NVIDIARerank

        return NVIDIARerank(base_url=f"{url}/v1", **MODEL, **KEY)
    if name == "siliconflow":
        from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank

        return SiliconFlowRerank(base_url=f"{url}/v1/rerank", **MODEL, **KEY)
    if name == "tei":
        from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

        return TextEmbeddingInference(base_url=url, auth_token="Bearer secret", top_n=2)
    from llama_index.postprocessor.xinference_rerank import XinferenceRerank

    return XinferenceRerank(base_url=open_url, **MODEL)  # it sends no key


def main(url: str, open_url: str, name: str) -> None:
    texts = ("four", "sixsix", "", "five5")
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.1) for text in texts]
    kept = postprocessor(name, url, open_url).postprocess_nodes(nodes, query_str="q")
    assert [node.node.text for node in kept] == ["sixsix", "five5"], kept
    assert abs(kept[0].score - (3 if name == "nvidia" else 0.95257413)) < 1e-6, kept


main(*sys.argv[1:])
