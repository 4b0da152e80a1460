"""`rerank report`: a page that stands alone, says the measured numbers, and works with little to go by."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from jobs.console import plural
from jobs.evaluation.ranked import read_ranked
from jobs.report import figures
from jobs.report.command import register
from jobs.report.draw import ticks
from jobs.report.examples import extremes
from jobs.report.moves import moves_of, overlap
from tests.jobs.pages import Page
from tests.jobs.runs import CRANFIELD, write_candidates, write_qrels, write_ranked


def command(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def page_of(output: Path, *arguments: str | Path) -> Page:
    done = command(output, *arguments)
    assert done.exit_code == 0, done.stderr
    written = Path(json.loads(done.stdout)["report"])
    content = written.read_text(encoding="utf-8")
    assert written == output / "_report.html" and json.loads(done.stdout)["bytes"] == len(content.encode())
    assert not re.search(r"<script|https?://|\bsrc=|@import|url\(", content)
    for svg in re.findall(r"<svg.*?</svg>", content, re.DOTALL):
        ElementTree.fromstring(svg)
    return Page(content)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write_ranked(tmp_path / "out")


def test_with_judgements_it_says_whether_it_helped(output: Path, tmp_path: Path) -> None:
    candidates = write_candidates(tmp_path / "in.parquet")
    qrels = write_qrels(tmp_path / "qrels.parquet")
    page = page_of(output, "--qrels", qrels, "--source", candidates, "--measure", "RR", "--usd-per-hour", "1")
    assert page.headings == [
        "Does it help?",
        "How deep, at what cost?",
        "Which scores does the model give?",
        "What moved?",
        "The largest gains",
        "The largest losses",
        "What could not be ranked?",
    ]
    assert "Reranking made no clear difference: RR went from 0.333 to 0.500" in page.text
    assert "1 query gained, 0 lost, 2 stayed the same" in page.text
    assert "with judgements but not in the run, counted as 0: q9" in page.text
    assert "text of c" in page.text and "1. c relevant (grade 2) rank 3 before" in page.text
    assert "No query lost." in page.text and "Nothing: all candidates are ranked." in page.text
    assert f"texts from {candidates}" in page.text


def test_without_judgements_it_says_what_moved(output: Path) -> None:
    page = page_of(output)
    assert page.headings[0] == "How deep, at what cost?"
    assert "33% of the queries have another document on top" in page.text
    assert "to see whether the new order is better" in page.text
    assert "Only ids are shown, because the texts were not found" in page.text


def test_texts_come_from_the_input_that_the_manifest_names_under_its_column_names(output: Path, tmp_path: Path) -> None:
    table = pq.read_table(write_candidates(tmp_path / "in.parquet")).rename_columns({"text": "body", "query": "q"})
    pq.write_table(table, tmp_path / "in.parquet")
    named = {"source": str(tmp_path / "in.parquet"), "columns": {"text": "body", "query": "q"}}
    (output / "_manifest.json").write_text(json.dumps(named))
    qrels = write_qrels(tmp_path / "qrels.parquet")
    assert "text of c" in page_of(output, "--qrels", qrels).text
    ours = write_candidates(tmp_path / "ours.parquet")
    assert f"texts from {ours}" in page_of(output, "--qrels", qrels, "--source", ours).text


def test_texts_that_the_output_carries_are_read_from_it(output: Path, tmp_path: Path) -> None:
    part = output / "part-00000.parquet"
    table = pq.read_table(part)
    texts = [f"carried {doc_id} <i>&</i>" for doc_id in table.column("doc_id").to_pylist()]
    carried = table.append_column("text", [texts]).append_column("query", [["why?"] * table.num_rows])
    pq.write_table(carried, part)
    page = page_of(output, "--qrels", write_qrels(tmp_path / "qrels.parquet"))
    assert "carried c <i>&</i>" in page.text and "why? (q1)" in page.text


def test_a_cascade_has_stages_in_place_of_depths(tmp_path: Path) -> None:
    output = write_ranked(tmp_path / "out")
    part = output / "part-00000.parquet"
    table = pq.read_table(part)
    stages = [2 if rank <= 2 else 1 for rank in table.column("rank").to_pylist()]
    pq.write_table(table.append_column("stage", pa.array(stages, pa.int32())), part)
    described = [
        {"model": {"name": f"m{stage}"}, "keep": keep, "pairs": 9, "tokens": 1_234, "seconds": 2.0}
        for stage, keep in enumerate([2, None])
    ]
    (output / "_manifest.json").write_text(json.dumps({"pairs_ranked": 9, "stages": described}))
    qrels = write_qrels(tmp_path / "qrels.parquet")
    page = page_of(output, "--qrels", qrels)
    assert "ranked by m0, then m1" in page.text and "What did each stage do?" in page.headings
    assert "How deep, at what cost?" not in page.headings
    done = command(output, "--qrels", qrels, "--depth-figure", tmp_path / "depth.svg")
    assert done.exit_code == 2 and "--depth-figure is for one model" in done.stderr


def test_output_that_was_cut_is_not_compared(tmp_path: Path) -> None:
    output = write_ranked(tmp_path / "out", top_k=2)
    page = page_of(output, "--qrels", write_qrels(tmp_path / "qrels.parquet"))
    assert "no comparison: the run was cut by --top-k or --min-score" in page.text
    assert "Other depths cannot be compared" in page.text
    assert "Reranking helped" not in page.text and "The largest gains" not in page.headings


def test_rejected_rows_are_counted_by_reason(output: Path) -> None:
    (output / "_errors").mkdir()
    rows = {
        "query_id": [1, 2, 3],
        "doc_id": ["a", None, "b"],
        "reason": ["text is null", "no candidates", "text is null"],
    }
    pq.write_table(pa.table(rows), output / "_errors" / "part-0.parquet")
    assert "text is null 2 1 no candidates 1 2" in page_of(output).text


def test_refusals_are_one_sentence(output: Path, tmp_path: Path) -> None:
    (tmp_path / "other.qrels").write_text("x 0 a 1\n")
    for arguments, sentence in (
        ((tmp_path / "nowhere",), "no such file or directory"),
        ((output, "--qrels", tmp_path / "other.qrels"), "no query has judgements: it holds 3 queries"),
        ((output, "--output", tmp_path / "no" / "folder" / "page.html"), "cannot be written"),
    ):
        refused = command(*arguments)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert sentence in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_moves_are_counted_by_hand(output: Path) -> None:
    pairs, _ = read_ranked(str(output))
    moves = moves_of(pairs)
    # q1: a b c d with ranks 3 2 1 4, q2 and q3 unmoved.
    assert moves.labels == ["1", "2 to 3", "4"]
    assert moves.shares.tolist() == [[2 / 3, 1 / 5, 0], [1 / 3, 4 / 5, 0], [0, 0, 1]]
    assert (moves.new_first, moves.kept) == (1 / 3, 1.0)
    assert moves.depths == [4] and moves.within.tolist() == [1.0]
    assert overlap(pairs).tolist() == [1.0, 1.0, 1.0]


def test_the_extremes_are_the_largest_first_and_never_unchanged() -> None:
    differences = np.array([0.0, 0.5, -0.25, 0.75, -1.0, 0.1])
    assert extremes(differences, 2) == ([3, 1], [4, 2])
    assert extremes(np.zeros(3), 2) == ([], [])


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.283, 0.351) == [0.3, 0.32, 0.34]
    assert ticks(2, 2) == [2]


@pytest.mark.parametrize("count", [1, 299, 5_000])
def test_many_queries_are_drawn_as_few_bars(count: int) -> None:
    svg = figures.changes(np.linspace(-0.5, 0.5, count), "nDCG@10")
    assert svg.count("<rect") <= 300 and plural(count, "query") in svg


@pytest.mark.skipif(not CRANFIELD.exists(), reason="Cranfield is not there")
def test_on_cranfield_the_page_is_small_and_whole(tmp_path: Path) -> None:
    table = pq.read_table(CRANFIELD / "candidates.parquet", columns=["query_id", "doc_id", "rank"])
    ranks = table.column("rank").cast(pa.int32())
    noise = np.random.default_rng(1).normal(0, 2, len(ranks))
    logits = pa.array((noise - np.log(ranks.to_numpy())).astype(np.float32))
    (tmp_path / "out").mkdir()
    ranked = table.rename_columns(["query_id", "doc_id", "source_rank"]).set_column(2, "source_rank", ranks)
    ranked = ranked.append_column("logit", logits)
    order = np.lexsort((-logits.to_numpy(), ranked.column("query_id").combine_chunks().dictionary_encode().indices))
    places = np.empty(len(order), dtype=np.int32)
    places[order] = np.arange(len(order))  # any numbers that ascend within a query
    ranked = ranked.append_column("rank", pa.array(places + 1))
    pq.write_table(ranked, tmp_path / "out" / "part-0.parquet")
    page = page_of(
        tmp_path / "out", "--qrels", CRANFIELD / "qrels.parquet", "--source", CRANFIELD / "candidates.parquet"
    )
    assert "225 judged queries" in page.text and "nDCG@10 went from 0.308" in page.text
    assert (tmp_path / "out" / "_report.html").stat().st_size < 200_000


def test_what_was_not_scored_and_how_it_was_mixed_is_told_as_it_was_ranked(output: Path, tmp_path: Path) -> None:
    part = output / "part-00000.parquet"
    rows = pq.read_table(part).to_pylist()
    for row in rows:  # a mixture that changed nothing, and no more than two candidates scored
        row["rank"] = row["source_rank"]
        if row["source_rank"] > 2:
            row["logit"] = row["score"] = None
    pq.write_table(pa.Table.from_pylist(rows), part)
    page = page_of(output, "--qrels", write_qrels(tmp_path / "qrels.parquet"))
    assert "made no clear difference" in page.text
    assert "nan" not in page.text.lower()
    moved = page_of(output)
    assert "nan" not in moved.text.lower()


def test_the_depth_curve_is_a_picture_of_its_own(output: Path, tmp_path: Path) -> None:
    qrels, picture = write_qrels(tmp_path / "qrels.parquet"), tmp_path / "depth.svg"
    assert command(output, "--qrels", qrels, "--depth-figure", picture).exit_code == 0
    svg = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    style = svg[0].text
    assert "prefers-color-scheme: dark" in style and "svg .band" in style and "body" not in style
    assert "candidates reranked per query" in {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    refused = command(output, "--depth-figure", picture)
    assert refused.exit_code == 2 and "--depth-figure needs --qrels" in refused.stderr
