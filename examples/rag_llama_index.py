"""Retrieval-augmented generation with LlamaIndex: a first stage, the rerank server as postprocessor, a language model.

serve run serve.app:build
python examples/rag_llama_index.py "How do I delete a folder and all its files?"
"""

import json
import os
import sys
from pathlib import Path

import bm25s
from llama_index.core.llms import LLM, MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.jinaai_rerank import JinaRerank

PAGES = Path(__file__).with_name("pages.json")
QUESTION = "How do I copy a database that is in use?"


class FirstStage(BaseRetriever):
    """Retrieve by BM25. Any retriever goes here: `index.as_retriever(similarity_top_k=50)`."""

    def __init__(self, nodes: list[TextNode], *, depth: int = 10) -> None:
        """Index the nodes."""
        super().__init__()
        self._nodes = nodes
        self._depth = depth
        self._index = bm25s.BM25()
        self._index.index(bm25s.tokenize([node.text for node in nodes], show_progress=False), show_progress=False)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        words = bm25s.tokenize(query_bundle.query_str, show_progress=False)
        rows, scores = self._index.retrieve(words, k=self._depth, show_progress=False)
        return [
            NodeWithScore(node=self._nodes[row], score=float(score))
            for row, score in zip(rows[0], scores[0], strict=True)
        ]


def build_query_engine(url: str, llm: LLM, *, model: str = "docs-mini", top_n: int = 3) -> RetrieverQueryEngine:
    """Return an engine whose `query(question)` gives an answer with its `source_nodes`.

    `url` is the rerank server's. JinaRerank posts to `{base_url}/rerank`; the key matters only if the server has keys.
    """
    pages = json.loads(PAGES.read_text(encoding="utf-8"))
    nodes = [TextNode(text=page.pop("text"), metadata=page) for page in pages]
    for node in nodes:
        node.excluded_embed_metadata_keys = list(node.metadata)  # the reranker reads the text alone
    reranker = JinaRerank(
        base_url=f"{url}/v1", model=model, top_n=top_n, api_key=os.environ.get("RERANK_API_KEY", "none")
    )
    return RetrieverQueryEngine.from_args(FirstStage(nodes), llm=llm, node_postprocessors=[reranker])


def main(question: str = QUESTION) -> None:
    """Print the pages that a language model would read, and its answer."""
    llm = MockLLM()  # repeats its prompt; put for example OpenAI(model="…") here
    response = build_query_engine(os.environ.get("RERANK_URL", "http://localhost:8000"), llm).query(question)
    print(question)
    for source in response.source_nodes:
        print(f"{source.score:8.3f}  {source.metadata['title']:28} {source.metadata['url']}")
    print(response)


if __name__ == "__main__":
    main(*sys.argv[1:])
