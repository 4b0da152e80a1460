"""TREC run files: trec_eval reads our ranking from them, also where logits are equal."""

import gzip
from itertools import pairwise
from pathlib import Path

import ir_measures
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.columns import Layout
from jobs.pipeline.staging import PartReport, WrittenFile
from jobs.pipeline.trec_run import check_trec, write_trec
from rerank.errors import OutputError
from rerank.paths import locate

LOGITS = {"q1": [2.0, 2.0, 2.0, -0.0, 0.0, -1.5], "7": [40.0, 39.999996, 39.999996], "q3": [1e-45, 0.0, 0.0]}


def write_part(folder: Path, layout: Layout, *, row_group_size: int = 1_000_000) -> list[PartReport]:
    entries = {
        query_id: [{"doc_id": f"d{9 - at}", "rank": at + 1, "logit": logit} for at, logit in enumerate(logits)]
        for query_id, logits in LOGITS.items()
    }
    if layout is Layout.PAIRS:
        table = pa.Table.from_pylist([{"query_id": q, **entry} for q, found in entries.items() for entry in found])
        table = table.set_column(3, "logit", table["logit"].cast(pa.float32()))
    else:
        kind = pa.list_(pa.struct([("doc_id", pa.string()), ("rank", pa.int32()), ("logit", pa.float32())]))
        lists = pa.array([*entries.values(), []], kind)
        table = pa.table({"query_id": [*entries, "nothing"], "candidates": lists})
    pq.write_table(table, folder / "part-0.parquet", row_group_size=row_group_size)
    files = (WrittenFile("part-0.parquet", table.num_rows), WrittenFile("_errors/part-0.parquet", 1))
    return [PartReport(files, {})]


@pytest.mark.parametrize("layout", [Layout.PAIRS, Layout.QUERIES])
@pytest.mark.parametrize("row_group_size", [1, 4, 100])
def test_scores_order_as_ranks_do(tmp_path: Path, layout: Layout, row_group_size: int) -> None:
    parts = write_part(tmp_path, layout, row_group_size=row_group_size)
    target = tmp_path / "run.trec"
    write_trec(locate(str(target)), locate(str(tmp_path)), parts, layout)
    rows = [line.split(" ") for line in target.read_text().splitlines()]
    assert [row[0] for row in rows] == [query_id for query_id, logits in LOGITS.items() for _ in logits]
    assert {(row[1], row[5]) for row in rows} == {("Q0", "rerank")}
    for query_id, logits in LOGITS.items():
        mine = [row for row in rows if row[0] == query_id]
        assert [int(row[3]) for row in mine] == list(range(1, len(logits) + 1))
        scores = [float(row[4]) for row in mine]
        assert all(above > below for above, below in pairwise(scores))
        assert scores == pytest.approx(logits, rel=1e-6, abs=1e-40)
    assert not list(tmp_path.glob("_tmp-*"))


def test_trec_eval_reads_our_order(tmp_path: Path) -> None:
    target = tmp_path / "run.trec.gz"
    write_trec(locate(str(target)), locate(str(tmp_path)), write_part(tmp_path, Layout.PAIRS), Layout.PAIRS)
    run = list(ir_measures.read_trec_run(gzip.decompress(target.read_bytes()).decode()))
    qrels = [ir_measures.Qrel("q1", "d8", 1)]  # the second of three equal logits; ordered by doc_id it would be third
    assert ir_measures.calc_aggregate([ir_measures.RR], qrels, run)[ir_measures.RR] == 0.5


def test_an_id_with_white_space_is_a_sentence(tmp_path: Path) -> None:
    table = pa.table({"query_id": ["q 1"], "doc_id": ["d"], "rank": [1], "logit": pa.array([1.0], pa.float32())})
    pq.write_table(table, tmp_path / "part-0.parquet")
    with pytest.raises(OutputError, match="cannot hold the query_id 'q 1'"):
        parts = [PartReport((WrittenFile("part-0.parquet", 1),), {})]
        write_trec(locate(str(tmp_path / "run")), locate(str(tmp_path)), parts, Layout.PAIRS)


def test_targets_are_checked_before_anything_is_scored(tmp_path: Path) -> None:
    output = locate(str(tmp_path / "out"))
    (tmp_path / "folder").mkdir()
    check_trec(locate(str(tmp_path / "run.trec")), output, overwrite=False)
    for name, sentence in [
        ("out/run.trec", "whose files readers take for Parquet"),
        ("folder", "is a folder, expected a file"),
        ("nowhere/run.trec", "there is no folder"),
    ]:
        with pytest.raises(OutputError, match=sentence):
            check_trec(locate(str(tmp_path / name)), output, overwrite=True)
