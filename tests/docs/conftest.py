"""A folder with all the files that the pages name; one Ray connection, one score store and one server for all pages."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.pipeline.output import SCORES
from jobs.pipeline.score_lookup import ScoreLookup, open_score_lookup
from rerank.actor import RerankActor
from rerank.fingerprint import ModelIdentity
from serve.http.api import create_api
from serve.http.endpoint import Server
from serve.models import Models
from serve.settings import parse_settings
from tests.docs.reader import Reader
from tests.serve.standins import in_a_thread

TEXTS = {
    "copy": "dict.copy() returns a shallow copy of the dictionary.",
    "sort": "list.sort() sorts the items of the list in place.",
    "join": "str.join() concatenates the strings of an iterable.",
    "sockets": "Sockets are end points of a connection.",
}
QUERIES = {"q1": ("how do I copy a dictionary?", "copy"), "q2": ("sort a list in place", "sort")}


class LocalActor(RerankActor):
    """An actor in this process that is called as through a handle of Serve, which makes all methods asynchronous."""

    async def describe(self) -> dict[str, Any]:
        return super().describe()


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
    dated = pairs.assign(date=pairs["query_id"].map({"q1": "2026-01-01", "q2": "2026-01-02"}))
    dated.to_parquet(folder / "events", partition_cols=["date"])
    pairs[["query_id", "doc_id", "score"]].to_parquet(folder / "run.parquet")
    pd.DataFrame({"doc_id": TEXTS.keys(), "text": TEXTS.values()}).to_parquet(folder / "corpus.parquet")
    queries = {query_id: query for query_id, (query, _) in QUERIES.items()}
    pd.DataFrame({"query_id": queries.keys(), "query": queries.values()}).to_parquet(folder / "queries.parquet")
    lines = ["query-id\tcorpus-id\tscore", *(f"{query_id}\t{answer}\t1" for query_id, (_, answer) in QUERIES.items())]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="package")
def server() -> Iterator[str]:
    """The address of the application that `serve run serve.app:build` starts, here in a thread."""
    (model,) = parse_settings({}).models
    with in_a_thread(create_api(Server(Models({model.name: LocalActor(model.scorer)})))) as url:
        yield url


@pytest.fixture(scope="module")
def rerank_command(request: pytest.FixtureRequest, workspace: Path) -> Iterator[Callable[[tuple[str, ...]], str]]:
    """Runs a `rerank` command in the reader's folder, once for all pages that show it; gives what it printed.

    All runs look up and save in the scores of the first one: loading the model takes longer than all else of a run.
    """

    @cache
    def run(words: tuple[str, ...]) -> str:
        request.getfixturevalue("shared_driver")
        result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, f"{' '.join(words)}: {result.stderr} {result.exception!r}"
        return result.stdout

    def open_first(_: str, model: ModelIdentity) -> ScoreLookup:
        return open_score_lookup(str(workspace / "ranked" / SCORES), model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.pipeline.job.open_score_lookup", open_first)
        yield run


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
