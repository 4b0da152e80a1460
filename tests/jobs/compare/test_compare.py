"""`rerank compare`: numbers worked out by hand, what a person reads, and a page that stands alone."""

import json
import re
from math import log2
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from jobs.cli import app
from jobs.compare.differences import moved_documents
from jobs.report.moves import movement_of
from tests.jobs.pages import Page
from tests.jobs.runs import write_candidates, write_qrels, write_ranked


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def summary_of(*arguments: str | Path) -> dict:
    done = command(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def write_run(folder: Path, ranking: dict[str, str], **manifest: object) -> Path:
    """An output folder with these documents of each query, a letter each, best first."""
    rows = [
        {"query_id": query_id, "doc_id": doc_id, "rank": rank, "source_rank": rank, "logit": -float(rank)}
        for query_id, doc_ids in ranking.items()
        for rank, doc_id in enumerate(doc_ids, start=1)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """In the order c b a d, e f g, h i; see tests.jobs.runs."""
    return write_ranked(tmp_path / "before")


@pytest.fixture
def after(tmp_path: Path) -> Path:
    """q1 is reversed, q2 has a document that `before` lacks, q3 is missing, and q4 is new."""
    model = {"name": "other", "max_length": 64}
    return write_run(tmp_path / "after", {"q1": "dabc", "q2": "efx", "q4": "yz"}, model=model, pairs_ranked=9)


def test_the_numbers_are_those_worked_out_by_hand(before: Path, after: Path, tmp_path: Path) -> None:
    summary = summary_of(before, after, "--qrels", write_qrels(tmp_path / "qrels.parquet"))
    assert (summary["queries"], summary["documents"]) == (2, 6)
    assert summary["only_before"] == {"queries": 1, "query_ids": ["q3"], "documents": 1}
    assert summary["only_after"] == {"queries": 1, "query_ids": ["q4"], "documents": 1}
    assert summary["same_first_document"] == 0.5
    assert summary["kendall_tau"]["mean"] == 0.0  # -1 and 1
    assert summary["kendall_tau"]["quantiles"]["0.5"] == 0.0
    assert summary["top_10_overlap"]["mean"] == pytest.approx((1 + 2 / 3) / 2)
    ideal = 2 + 1 / log2(3)
    lost = (2 / log2(5) + 1 / log2(4)) / ideal - 1  # c and b fell from the first two places to the last two
    (quality,) = summary["quality"]["measures"]
    assert quality["measure"] == "nDCG@10"
    assert quality["difference"] == pytest.approx(lost / 3)  # q9 is judged, and in neither
    assert quality["low"] <= quality["difference"] <= quality["high"]
    assert [row["query_id"] for row in summary["moved"]] == ["q2", "q1"]
    assert summary["moved"][1]["change"] == pytest.approx(lost)
    assert summary["moved"][1]["documents"] == [
        {"doc_id": "c", "before": 1, "after": 4},
        {"doc_id": "d", "before": 4, "after": 1},
        {"doc_id": "b", "before": 2, "after": 3},
    ]


def test_a_person_reads_what_is_compared_and_what_is_not(before: Path, after: Path, tmp_path: Path) -> None:
    shown = command(before, after, "--qrels", write_qrels(tmp_path / "qrels.parquet"), "--measure", "RR")
    assert shown.exit_code == 0, shown.stderr
    for line in (
        f"before: {before}",
        f"after:  {after} (other, up to 64 tokens a pair)",
        "2 queries and 6 documents in both; 50.0% of the queries have the same first document",
        "1 query only before, left out: q3",
        "1 document of the common queries only after",
        "1 query with judgements but not in the run, counted as 0: q9",
    ):
        assert line in shown.stdout.splitlines()
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["q2", "0.7", "1.000", "+0.000", "g", "3→none,", "x", "none→3"] in rows
    assert ["q1", "1.0", "-1.000", "-0.667", "c", "1→4,", "d", "4→1,", "b", "2→3"] in rows


def test_the_same_output_twice_did_not_move(before: Path) -> None:
    summary = summary_of(before, before)
    assert summary["moved"] == [] and summary["quality"] is None
    assert summary["kendall_tau"]["mean"] == summary["top_10_overlap"]["mean"] == summary["same_first_document"] == 1
    assert "no query moved" in command(before, before).stdout


def test_what_is_cut_or_has_no_tau_is_said(before: Path, tmp_path: Path) -> None:
    cut = write_ranked(tmp_path / "cut", top_k=1)
    shown = command(before, cut).stdout
    assert "6 documents of the common queries only before" in shown
    assert "3 queries without Kendall's tau: fewer than 2 documents in both" in shown
    assert "--top-k or --min-score cut an output" in shown
    assert summary_of(before, cut)["kendall_tau"]["mean"] is None


def test_a_run_file_is_compared_too(before: Path, tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("q1 Q0 a 1 2.0 x\nq1 Q0 b 2 1.0 x\n")
    assert summary_of(before, tmp_path / "run.trec")["kendall_tau"]["mean"] == -1


@pytest.mark.parametrize("judged", [False, True])
def test_the_page_stands_alone(before: Path, after: Path, tmp_path: Path, judged: bool) -> None:
    candidates = write_candidates(tmp_path / "in.parquet")
    (before / "_manifest.json").write_text(json.dumps({"pairs_ranked": 9, "source": str(candidates)}))
    qrels = ["--qrels", write_qrels(tmp_path / "qrels.parquet")] if judged else []
    done = command(before, after, *qrels, "-o", tmp_path / "page.html")
    assert done.exit_code == 0 and done.stderr == f"reranking: wrote {tmp_path / 'page.html'}\n"
    content = (tmp_path / "page.html").read_text()
    assert not re.search(r"<script|https?://|\bsrc=|@import|url\(", content)
    page = Page(content)
    quality = ["Did the quality change?"] if judged else []
    assert page.headings == ["How far do the orders agree?", *quality, "The queries that moved most"]
    assert "On average 0.833 of a query's top 10 is the same; Kendall's tau is 0.000." in page.text
    assert "c rank 1 before, 4 after text of c" in page.text and "x rank none before, 3 after" in page.text
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("before", "nowhere"), "nowhere: no such file or directory"),
        (("before", "stranger"), "have no query in common: they hold queries such as q1, q2, q3, and s1"),
        (("before", "after", "--measure", "RR"), "--measure RR needs judgements: give --qrels"),
        (("before", "after", "--qrels", "other.qrels"), "no query has judgements"),
        (("before", "after", "-o", "no/folder/page.html"), "cannot be written"),
    ],
)
def test_refusals_are_one_sentence(
    before: Path, after: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(before.parent)
    write_run(Path("stranger"), {"s1": "ab"})
    Path("other.qrels").write_text("x1 0 a 1\n")
    refused = command(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert sentence in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_documents_that_moved_are_those_of_either_top_10() -> None:
    before = [f"d{rank}" for rank in range(1, 31)]
    after = [*before[1:25], before[0], *before[25:]]  # d1 fell to rank 25, the others rose by one
    assert moved_documents(before, after)[0] == ("d1", 1, 25)
    assert moved_documents(before, before) == []
    assert moved_documents(before[:2], ["d2"]) == [("d1", 1, None), ("d2", 2, 1)]


def test_movement_counts_ranks_before_by_ranks_after() -> None:
    labels, shares = movement_of(np.array([1, 2, 3, 12]), np.array([2, 1, 3, 12]))
    assert labels == ["1", "2 to 3", "4 to 5", "6 to 10", "11 to 12"]
    assert shares[:, 0].tolist() == [0, 1, 0, 0, 0] and shares[:, 1].tolist() == [0.5, 0.5, 0, 0, 0]
