"""A folder with all the files that the pages name, one Ray connection and one server for all of them."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from jobs.bench.server.process import our_server
from jobs.cli import app
from rerank.config import ScorerConfig
from tests.docs.reader import Reader

TEXTS = {
    "copy": "dict.copy() returns a shallow copy of the dictionary.",
    "sort": "list.sort() sorts the items of the list in place.",
    "join": "str.join() concatenates the strings of an iterable.",
    "sockets": "Sockets are end points of a connection.",
}
QUERIES = {"q1": ("how do I copy a dictionary?", "copy"), "q2": ("sort a list in place", "sort")}


@pytest.fixture(scope="package")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidate sets in the shapes that the pages name, their corpus and queries, and judgements."""
    folder = tmp_path_factory.mktemp("reader")
    rows = [
        {"query_id": query_id, "query": query, "doc_id": doc_id, "text": TEXTS[doc_id], "score": 9.0 - place}
        for query_id, (query, _) in QUERIES.items()
        for place, doc_id in enumerate(sorted(TEXTS, reverse=True))
    ]
    pairs = pd.DataFrame(rows)
    pairs.to_parquet(folder / "candidates.parquet")
    pairs.rename(columns={"text": "body"}).to_parquet(folder / "articles.parquet")
    pairs.sort_values("doc_id").to_parquet(folder / "unsorted.parquet")
    pairs[["query_id", "doc_id", "score"]].to_parquet(folder / "run.parquet")
    pd.DataFrame({"doc_id": TEXTS.keys(), "text": TEXTS.values()}).to_parquet(folder / "corpus.parquet")
    queries = {query_id: query for query_id, (query, _) in QUERIES.items()}
    pd.DataFrame({"query_id": queries.keys(), "query": queries.values()}).to_parquet(folder / "queries.parquet")
    lines = ["query-id\tcorpus-id\tscore", *(f"{query_id}\t{answer}\t1" for query_id, (_, answer) in QUERIES.items())]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    """The address of `serve run serve.app:build`."""
    with our_server(ScorerConfig()) as url:
        yield url


@pytest.fixture(scope="module")
def rerank_command(request: pytest.FixtureRequest, workspace: Path) -> Callable[[tuple[str, ...]], str]:
    """Runs a `rerank` command in the reader's folder, once for all pages that show it; gives what it printed."""

    @cache
    def run(words: tuple[str, ...]) -> str:
        request.getfixturevalue("shared_driver")
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}: {result.stderr} {result.exception!r}"
        return result.stdout

    return run


@pytest.fixture
def reader(
    request: pytest.FixtureRequest,
    workspace: Path,
    rerank_command: Callable[[tuple[str, ...]], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Reader:
    """A reader in a folder of files; the server starts when a page asks it."""
    monkeypatch.chdir(workspace)
    return Reader(workspace, rerank_command, lambda: request.getfixturevalue("server"))
