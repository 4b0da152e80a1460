"""langchain-nvidia-ai-endpoints: its compressor, pointed at our URL. Usage: with_langchain_nvidia.py URL"""

import sys

from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank


def main(url: str) -> None:
    ranker = NVIDIARerank(model="length", base_url=f"{url}/v1", api_key="secret", top_n=2)
    assert "length" in [model.id for model in ranker.available_models]
    found = [Document(text, metadata={"source": f"{text}.txt"}) for text in ("four", "sixsix", "", "five5")]
    kept = ranker.compress_documents(found, "q")
    assert [document.page_content for document in kept] == ["sixsix", "five5"]
    assert [document.metadata["relevance_score"] for document in kept] == [3, 2]
    assert kept[0].metadata["source"] == "sixsix.txt"
    # A batch holds one document, and batches are merged by their logits.
    ranker.max_batch_size = 1
    assert [document.page_content for document in ranker.compress_documents(found, "q")] == ["sixsix", "five5"]


main(sys.argv[1])
