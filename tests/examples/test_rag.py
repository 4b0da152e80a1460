"""Both pipelines against one server; the language models repeat their prompt."""

import pytest
from langchain_core.runnables import RunnableLambda
from llama_index.core.llms import MockLLM

from examples import rag_langchain, rag_llama_index

QUESTION = "How do I copy a database that is in use?"
BEST = "sqlite3.Connection.backup"
TEXT = "Create a backup of an SQLite database."


def test_langchain_reads_the_reranked_pages(rerank_url):
    chain = rag_langchain.build_chain(rerank_url, RunnableLambda(lambda prompt: prompt.to_string()), top_k=2)
    result = chain.invoke({"input": QUESTION})
    scores = [page.metadata["relevance_score"] for page in result["context"]]
    assert len(scores) == 2 and 1 > scores[0] > scores[1] > 0
    assert result["context"][0].metadata["title"] == BEST
    assert TEXT in result["answer"] and QUESTION in result["answer"]
    assert result["answer"].count("\n\n") == 3  # of the ten candidates, only two pages stand in the prompt


def test_llama_index_reads_the_reranked_pages(rerank_url):
    response = rag_llama_index.build_query_engine(rerank_url, MockLLM(), top_n=2).query(QUESTION)
    scores = [source.score for source in response.source_nodes]
    assert len(scores) == 2 and 1 > scores[0] > scores[1] > 0
    assert response.source_nodes[0].metadata["title"] == BEST
    assert TEXT in str(response) and QUESTION in str(response)
    assert str(response).count("title: ") == 2


@pytest.mark.parametrize("name", ["rag_langchain.py", "rag_llama_index.py"])
def test_the_commands_print_the_pages_with_their_scores(name, rerank_url, run_example, monkeypatch):
    monkeypatch.setenv("RERANK_URL", rerank_url)
    lines = run_example(name, "How do I delete a folder and all its files?")
    assert lines[0] == "How do I delete a folder and all its files?"
    assert [len(line.split()) for line in lines[1:4]] == [3, 3, 3]
    assert lines[1].split()[1:] == ["shutil.rmtree", "library/shutil.html"]
