"""langchain-cohere: the compressor of LangChain's two-stage recipe, pointed at our URL. Usage: with_langchain.py URL"""

import sys

from langchain_cohere import CohereRerank
from langchain_core.documents import Document


def main(url: str) -> None:
    # The second stage: what a ContextualCompressionRetriever does with the documents of the first.
    compressor = CohereRerank(base_url=url, model="length", cohere_api_key="secret", top_n=2)
    found = [Document(text, metadata={"source": f"{text}.txt"}) for text in ("four", "sixsix", "five5")]
    kept = compressor.compress_documents(found, "q")

    assert [document.page_content for document in kept] == ["sixsix", "five5"]
    assert [document.metadata["source"] for document in kept] == ["sixsix.txt", "five5.txt"]
    assert abs(kept[0].metadata["relevance_score"] - 0.95257413) < 1e-6


main(sys.argv[1])
