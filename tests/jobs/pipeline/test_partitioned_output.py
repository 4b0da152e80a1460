"""`--partition-by` writes the result in Hive partitions, which all readers read, ours and others."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from jobs.evaluation.ranked import read_ranked
from jobs.evaluation.rankings import read_run
from jobs.formats.columns import Layout
from jobs.input.candidates import open_input
from jobs.pipeline.output import check_output, check_partition_by, stage
from jobs.pipeline.publish import publish
from jobs.pipeline.staging import ERRORS
from jobs.pipeline.writer import RankedSink
from jobs.report.examples import Texts
from rerank.errors import ConfigError, InputError, OutputError
from rerank.paths import locate
from rerank.reranker import Reranker
from tests.fakes import ListedEngine
from tests.jobs.input.test_partitions import write_days
from tests.jobs.tables import pairs_table

DAYS = {"q1": ("2026-01-01", "de"), "q2": ("2026-01-02", "a b/c"), "q3": (None, "de"), "q4": ("2026-01-01", "fr")}
LANGS = {query_id: lang for query_id, (_, lang) in DAYS.items()}


def ranked(*query_ids: str, of_candidates: bool = False) -> pa.Table:
    """Ranked candidate sets with a day and a language, of the queries or of the candidates; one text is null."""
    rows = []
    for query_id in query_ids:
        columns = dict(zip(("day", "lang"), DAYS[query_id], strict=True))
        texts = [("a", "x"), ("b", None), ("c", "z")] if query_id != "q4" else [("a", None)]
        own, of_query = (columns, {}) if of_candidates else ({}, columns)
        candidates = [{"doc_id": doc_id, "text": text, **own} for doc_id, text in texts]
        rows.append({"query_id": query_id, "query": "one", **of_query, "candidates": candidates})
    return Reranker(engine=ListedEngine([0.0, 1.0] * 4)).rank_table(pa.Table.from_pylist(rows))


def write(folder: Path, layout: Layout, *names: str, of_candidates: bool = False) -> list[str]:
    """Publish two parts in these partitions; return the names of all files."""
    staging = stage(locate(str(folder)))
    sink = RankedSink(staging, layout, partition_by=names)
    blocks = [ranked(*ids, of_candidates=of_candidates) for ids in (("q1", "q2"), ("q3", "q4"))]
    parts = [sink.write([block], SimpleNamespace(task_idx=at)) for at, block in enumerate(blocks)]
    names_written = [file.name for part in parts for file in part.files]
    publish(staging, parts, {"pairs_ranked": 6, "files": names_written}, overwrite=True)
    return [name for name in names_written if not name.startswith(ERRORS)]


@pytest.mark.parametrize("of_candidates", [False, True])
@pytest.mark.parametrize("layout", list(Layout))
def test_each_query_lies_in_its_partition(tmp_path: Path, layout: Layout, *, of_candidates: bool) -> None:
    if of_candidates and layout is Layout.QUERIES:
        return  # the candidates' columns are inside of lists there
    names = write(tmp_path, layout, "day", "lang", of_candidates=of_candidates)
    folders = {name.rpartition("/")[0] for name in names}
    expected = {"day=2026-01-01/lang=de", "day=2026-01-02/lang=a%20b%2Fc", "day=__HIVE_DEFAULT_PARTITION__/lang=de"}
    q4 = "day=__HIVE_DEFAULT_PARTITION__/lang=__HIVE_DEFAULT_PARTITION__" if of_candidates else "day=2026-01-01/lang=fr"
    assert folders == {*expected, q4}
    assert all((tmp_path / name).exists() for name in names)
    table = pq.read_table(tmp_path)
    assert {"day", "lang"} <= set(table.column_names)
    rows = {(row["query_id"], row["day"], row["lang"]) for row in table.to_pylist()}
    assert rows >= {(query_id, *DAYS[query_id]) for query_id in ("q1", "q2", "q3")}
    assert "day" not in pq.read_schema(tmp_path / names[0]).names


READERS: dict[str, Callable[[Path], list[dict[str, object]]]] = {
    "pyarrow": lambda folder: pq.read_table(folder).to_pylist(),
    "pandas": lambda folder: pd.read_parquet(folder).to_dict("records"),
    "polars": lambda folder: pl.read_parquet(f"{folder}/lang*/*.parquet", hive_partitioning=True).to_dicts(),
    "duckdb": lambda folder: (
        duckdb.sql(f"select * from read_parquet('{folder}/lang*/*.parquet', hive_partitioning = true)")
        .to_arrow_table()
        .to_pylist()
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_other_readers_find_the_keys(tmp_path: Path, name: str) -> None:
    write(tmp_path, Layout.PAIRS, "lang")
    rows = READERS[name](tmp_path)
    assert len(rows) == 6
    assert all(row["lang"] == LANGS[str(row["query_id"])] for row in rows)


@pytest.mark.parametrize("layout", list(Layout))
def test_our_readers_read_partitions(tmp_path: Path, layout: Layout) -> None:
    write(tmp_path, layout, "lang")
    run = read_run(str(tmp_path))
    assert (run.ranking, run.cut) == ({query_id: ["c", "a"] for query_id in ("q1", "q2", "q3")}, False)
    pairs, manifest = read_ranked(str(tmp_path), only=["q2"])
    assert (pairs.query_ids, manifest["pairs_ranked"]) == (["q2"], 6)
    assert read_run(f"{tmp_path}/lang=fr").ranking == {}
    assert set(read_run(f"{tmp_path}/lang=de").ranking) == {"q1", "q3"}


def test_a_query_id_in_two_partitions_is_not_evaluated(tmp_path: Path) -> None:
    write_days(tmp_path / "in")
    sentence = "query_id 'q2' is in two partitions, day=2026-01-01 and day=2026-01-02; give the folder of one of them"
    with pytest.raises(InputError, match=sentence):
        read_run(str(tmp_path / "in"))
    assert set(read_run(str(tmp_path / "in" / "day=2026-01-02")).ranking) == {"q2", "q3"}
    assert Texts([str(tmp_path / "in" / "day=2026-01-02")], {}, ["q3"]).documents == {("q3", "a"): "x"}


def test_another_result_leaves_no_partition_of_the_earlier_one(tmp_path: Path) -> None:
    write(tmp_path, Layout.PAIRS, "day", "lang")
    check_output(locate(str(tmp_path)), overwrite=True)
    names = write(tmp_path, Layout.PAIRS, "lang")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("[!_]*/**/part-*")) == sorted(names)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        ERRORS,
        "lang=de",
        "lang=fr",
        "lang=a%20b%2Fc",
    }
    write(tmp_path, Layout.PAIRS)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [ERRORS]


def test_files_of_others_in_a_partition_are_kept(tmp_path: Path) -> None:
    write(tmp_path, Layout.PAIRS, "lang")
    (tmp_path / "lang=de" / "notes.txt").touch()
    write(tmp_path, Layout.PAIRS)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.glob("lang=*/*")] == ["lang=de/notes.txt"]


def test_partitions_that_no_run_wrote_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "day=1").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "day=1" / "part-0.parquet")
    with pytest.raises(OutputError, match="holds files that no run left there"):
        check_output(locate(str(tmp_path)), overwrite=True)


def test_candidates_of_one_query_in_two_partitions_are_an_error(tmp_path: Path) -> None:
    candidates = [{"doc_id": doc_id, "text": "x", "lang": lang} for doc_id, lang in (("a", "de"), ("b", "fr"))]
    table = pa.Table.from_pylist([{"query_id": "q", "query": "one", "candidates": candidates}])
    block = Reranker(engine=ListedEngine([0.0, 1.0])).rank_table(table)
    sink = RankedSink(stage(locate(str(tmp_path))), Layout.PAIRS, partition_by=["lang"])
    sentence = "cannot write partitions by 'lang': the candidates of query_id 'q' have 'fr' and 'de', and a query lies"
    with pytest.raises(OutputError, match=sentence):
        sink.write([block], SimpleNamespace(task_idx=0))


@pytest.mark.parametrize(
    ("names", "layout", "sentence"),
    [
        (["lang"], Layout.PAIRS, "--partition-by lang: no such column; the input has bm25, list, _day"),
        (["bm25"], Layout.QUERIES, "--partition-by bm25: no such column; the queries have none"),
        (["query_id"], Layout.PAIRS, "'query_id' stays in the files"),
        (["_day"], Layout.PAIRS, "readers skip folders whose names begin with '_'"),
        (["bm25"], Layout.PAIRS, "expected strings, whole numbers, booleans or dates, got double"),
        (["list"], Layout.PAIRS, "expected strings, whole numbers, booleans or dates, got list<item: int64>"),
    ],
)
def test_what_cannot_be_a_key_is_refused_before_anything_is_scored(
    tmp_path: Path, names: list[str], layout: Layout, sentence: str
) -> None:
    table = pairs_table([("q", "one", [("a", "x")])]).append_column("list", pa.array([[1]]))
    pq.write_table(table.append_column("_day", pa.array(["1"])), tmp_path / "in.parquet")
    with pytest.raises(ConfigError) as caught:
        check_partition_by(names, open_input(str(tmp_path)).source, layout)
    assert sentence in str(caught.value)


@pytest.mark.ray
@pytest.mark.parametrize("arguments", [(), ("--output-layout", "queries", "--regroup")])
def test_a_run_reads_and_writes_partitions(
    tmp_path: Path, rerank_here: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    write_days(tmp_path / "in")
    wrong = pairs_table([("q4", " ", [("a", "x")])]).append_column("rank", pa.array([7]))
    pq.write_table(wrong, tmp_path / "in" / "day=2026-01-02" / "part-1.parquet")
    result = rerank_here(
        tmp_path / "in", tmp_path / "out", "--partition-by", "day", "--max-error-rate", 1, "--no-store", *arguments
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["queries_read"], summary["pairs_ranked"], summary["partition_by"]) == (5, 8, ["day"])
    assert summary["renamed"] == {"rank": "input_rank"}
    assert result.stderr.count("rank is input_rank") == 1
    assert "1 query id found in more than one partition" in result.stderr
    table = pq.read_table(tmp_path / "out")
    found = {(row["query_id"], row["day"]) for row in table.to_pylist()} - {("q4", "2026-01-02")}
    assert found == {("q1", "2026-01-01"), ("q2", "2026-01-01"), ("q2", "2026-01-02"), ("q3", "2026-01-02")}
    (error,) = pq.read_table(tmp_path / "out" / ERRORS).to_pylist()
    assert (error["query_id"], error["day"], error["reason"]) == ("q4", "2026-01-02", "query is blank")
    refused = rerank_here(tmp_path / "in", tmp_path / "other", "--trec", tmp_path / "run.trec")
    assert refused.exit_code == 2
    assert "a TREC run has no column for partitions, found 1 query id in more than one" in refused.stderr
