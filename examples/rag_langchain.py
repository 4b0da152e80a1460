"""Retrieval-augmented generation with LangChain: a first stage, the rerank server as compressor, a language model.

serve run serve.app:build
python examples/rag_langchain.py "How do I delete a folder and all its files?"
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import bm25s
from langchain_classic.chains import create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM, LanguageModelLike
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_voyageai import VoyageAIRerank

PAGES = Path(__file__).with_name("pages.json")
QUESTION = "How do I copy a database that is in use?"
PROMPT = ChatPromptTemplate.from_template("Answer from these pages:\n\n{context}\n\nQuestion: {input}")


def first_stage(documents: list[Document], *, depth: int = 10) -> Runnable[str, list[Document]]:
    """Return a BM25 retriever. Any retriever goes here: `vector_store.as_retriever(search_kwargs={"k": 50})`."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize([page.page_content for page in documents], show_progress=False), show_progress=False)

    def retrieve(question: str) -> list[Document]:
        rows, _ = index.retrieve(bm25s.tokenize(question, show_progress=False), k=depth, show_progress=False)
        return [documents[row] for row in rows[0]]

    return RunnableLambda(retrieve)


def build_chain(url: str, llm: LanguageModelLike, *, model: str = "docs-mini", top_k: int = 3) -> Runnable[Any, Any]:
    """Return a chain from {"input": question} to a dictionary with `answer` and the pages it used, `context`.

    `url` is the rerank server's. VoyageAIRerank posts to `{base_url}/rerank`; the key matters only if the server has
    keys.
    """
    pages = json.loads(PAGES.read_text(encoding="utf-8"))
    documents = [Document(page.pop("text"), metadata=page) for page in pages]
    retriever = ContextualCompressionRetriever(
        base_retriever=first_stage(documents),
        base_compressor=VoyageAIRerank(
            base_url=f"{url}/v1", model=model, top_k=top_k, api_key=os.environ.get("RERANK_API_KEY", "none")
        ),
    )
    return create_retrieval_chain(retriever, create_stuff_documents_chain(llm, PROMPT))


def main(question: str = QUESTION) -> None:
    """Print the pages that a language model would read, and its answer."""
    llm = FakeListLLM(responses=["(your language model's answer)"])  # for example ChatOpenAI(model="…")
    chain = build_chain(os.environ.get("RERANK_URL", "http://localhost:8000"), llm)
    result = chain.invoke({"input": question})
    print(question)
    for page in result["context"]:
        print(f"{page.metadata['relevance_score']:8.3f}  {page.metadata['title']:28} {page.metadata['url']}")
    print(result["answer"])


if __name__ == "__main__":
    main(*sys.argv[1:])
