"""What the demo leaves behind, and that the commands it prints work as printed."""

import json
import re
import shlex
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from jobs.cli import app
from jobs.demo.command import show_results
from jobs.demo.first_stage import load_qrels, load_questions, retrieve
from jobs.formats.qrels import read_qrels


@pytest.fixture(scope="module")
def folder(corpus: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo folder whose ranking is BM25's, the wrong way round."""
    folder: Path = tmp_path_factory.mktemp("demo")
    sets = retrieve(corpus, load_questions(), depth=20)
    pq.write_table(sets, folder / "candidates.parquet")
    rows = [
        {
            "query_id": row["query_id"],
            "doc_id": candidate["doc_id"],
            "rank": len(row["candidates"]) - place,
            "logit": float(place),
            "source_rank": place + 1,
        }
        for row in sets.to_pylist()
        for place, candidate in enumerate(row["candidates"])
    ]
    (folder / "ranked").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "ranked" / "part-0.parquet")
    manifest = {"source": str(folder / "candidates.parquet"), "pairs_ranked": len(rows)}
    (folder / "ranked" / "_manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def printed(folder: Path) -> str:
    stream = StringIO()
    summary = {"pairs_scored": 7, "store_hits": 3, "pairs_ranked": 10, "seconds": {"total": 2.0}}
    show_results(Console(file=stream, soft_wrap=True, width=200), folder, summary)
    return stream.getvalue()


def test_says_what_changed_and_what_to_open(printed: str, folder: Path) -> None:
    assert re.search(r"nDCG@10 .* 0\.\d{3} .* -0\.\d{3}", printed), "the ranking is worse than BM25's"
    assert "10 pairs in 2 s: 7 scored, 3 found in the score store" in printed
    assert f"Open {folder / 'report.html'} in a browser" in printed
    assert "Reranking did harm: nDCG@10 went from" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_judgements_are_those_of_the_questions(printed: str, folder: Path) -> None:
    judged = {(row["query_id"], row["doc_id"]): row["relevance"] for row in load_qrels().to_pylist()}
    qrels = read_qrels(str(folder / "qrels.tsv"))
    assert {(query, doc): grade for query, grades in qrels.items() for doc, grade in grades.items()} == judged


@pytest.mark.parametrize("name", ["evaluate", "tune"])
def test_the_commands_work_as_printed(printed: str, name: str) -> None:
    line = next(line for line in printed.splitlines() if f"rerank {name} " in line)
    arguments = shlex.split(line, comments=True)[1:]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert "104 judged queries" in done.stdout
