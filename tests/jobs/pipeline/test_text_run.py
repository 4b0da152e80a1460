"""`rerank run` on text files: the same result as on Parquet, and nothing left of the files in between."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from tests.jobs.processes import summary_of
from tests.jobs.tables import WORDS, pairs_table

pytestmark = pytest.mark.ray

ROWS = [
    (f"0{q}", f"how does {WORDS[q]} work?", [(f"00{d}", " ".join(WORDS[d : d + 3])) for d in range(3 + q)])
    for q in range(4)
]
FLOAT32 = ("--dtype", "float32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same candidates as Parquet, as JSON lines, and as a folder of BEIR with a TREC run and judgements."""
    pairs = pairs_table(ROWS)
    pq.write_table(pairs, tmp_path / "in.parquet")
    pairs.to_pandas().to_json(tmp_path / "in.jsonl.gz", orient="records", lines=True)
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    texts = {doc_id: text for _, _, candidates in ROWS for doc_id, text in candidates}
    split = {doc_id: text.split(" ", 1) for doc_id, text in texts.items()}
    documents = [{"_id": d, "title": title, "text": text, "metadata": {}} for d, (title, text) in split.items()]
    queries = [{"_id": query_id, "text": query} for query_id, query, _ in ROWS]
    for name, objects in (("corpus", documents), ("queries", queries)):
        (beir / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in objects))
    lines = [f"{q} Q0 {d} 0 {-at} bm25\n" for q, _, candidates in ROWS for at, (d, _) in enumerate(candidates)]
    (tmp_path / "run.trec").write_text("".join(lines))
    judged = [f"{query_id}\t{candidates[0][0]}\t1\n" for query_id, _, candidates in ROWS]
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return tmp_path


def ranked(folder: Path) -> pa.Table:
    rows = pq.read_table(folder).sort_by([("query_id", "ascending"), ("rank", "ascending")])
    return rows.select(["query_id", "doc_id", "rank", "score", "logit", "source_rank"])


def test_text_is_ranked_as_parquet_is(folder: Path, rerank_here: Callable[..., Result]) -> None:
    summary_of(rerank_here(folder / "in.parquet", folder / "out", *FLOAT32))
    scores = ("--scores", folder / "out" / "_scores", *FLOAT32)

    with_text = summary_of(rerank_here(folder / "in.jsonl.gz", folder / "text", *scores))
    assert (with_text["pairs_ranked"], with_text["pairs_scored"]) == (sum(len(rows) for *_, rows in ROWS), 0)
    assert with_text["source"] == str(folder / "in.jsonl.gz")
    assert ranked(folder / "text").equals(ranked(folder / "out"))
    assert not (folder / "text" / "_staging").exists()

    line = ("--beir", folder / "beir", "--run", folder / "run.trec", folder / "beir" / "ranked", "--limit", "2")
    summary = summary_of(rerank_here(*line, *scores))
    assert (summary["limit"], summary["queries_read"], summary["pairs_scored"]) == (2, 2, 0)
    rows = ranked(folder / "out")
    assert ranked(folder / "beir" / "ranked").equals(rows.filter(pc.less(rows["query_id"], "02")))
    qrels = ("--qrels", str(folder / "beir" / "qrels" / "test.tsv"), "--json")
    evaluated = json.loads(CliRunner().invoke(app, ["evaluate", str(folder / "beir" / "ranked"), *qrels]).stdout)
    assert (evaluated["queries"], evaluated["left_out_count"], evaluated["missing"]) == (2, 2, [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["in.jsonl.gz"], "OUT is missing: expected IN and OUT, got in.jsonl.gz"),
        (["in.jsonl.gz", "out", "--run", "run.trec"], "expected OUT alone, got in.jsonl.gz and out"),
        (["out", "--run", "run.trec"], "a TREC run has no texts: give --corpus and --queries, or --beir"),
        (["out", "--run", "run.trec", "--beir", "."], "is no folder of BEIR"),
        (
            ["in.jsonl.gz", "out", "--columns", "text=a,b"],
            "--columns must be distinct names such as pid,text, or corpus",
        ),
        (["in.jsonl.gz", "out", "--columns", "a,a"], "--columns must be distinct names"),
    ],
)
def test_a_wrong_line_is_refused_in_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["run", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr
