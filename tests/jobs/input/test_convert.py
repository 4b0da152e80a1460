"""Text files as people have them become the candidate sets that the same rows in Parquet are."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.text_tables import delimited, json_lines
from jobs.input.candidates import Input, open_input, text_tables
from jobs.input.convert import TextConverter
from jobs.input.source import Source
from jobs.input.splits import plan_splits, read_split
from rerank.errors import ConfigError, InputError, RerankError
from rerank.paths import locate
from tests.jobs.input.test_join import group_without_ray

PAIRS = [
    {"query_id": "007", "query": "who?", "doc_id": "01", "text": 'a "quoted" text, with a comma', "year": "2020-01-01"},
    {"query_id": "007", "query": "who?", "doc_id": "02", "text": "été \u2028 漢字", "year": "2021-01-01"},
    {"query_id": "1e5", "query": "how much?", "doc_id": "01", "text": 'a "quoted" text, with a comma', "year": None},
]
NAMES = ["query_id", "query", "doc_id", "text"]
FRAME = pd.DataFrame(PAIRS)
POLARS = pl.DataFrame(PAIRS)
MS_MARCO = "".join(f"{p['query_id']}\t{p['doc_id']}\t{p['query']}\t{p['text']}\n" for p in PAIRS)


def opened(folder: Path, uri: object, *, columns: dict[str, tuple[str, ...]] | None = None, **options: Any) -> Input:
    return open_input(str(uri), texts=TextConverter(lambda: locate(str(folder / "scratch")), columns), **options)


def pairs_of(read: Input) -> list[dict[str, Any]]:
    """The pairs of an input, as dictionaries of what is not null; those of a join in the order of query ids."""
    if isinstance(read.source, Source):
        splits = plan_splits(read.source, target_pairs=1)
        sets = [row for split in splits for table in read_split(read.source, split) for row in table.to_pylist()]
    else:
        sets = sorted(group_without_ray(read.source), key=lambda row: str(row["query_id"]))
    assert len(sets) == read.queries
    pairs = [
        {**{name: value for name, value in row.items() if name != "candidates"}, **candidate}
        for row in sets
        for candidate in row["candidates"]
    ]
    assert len(pairs) == read.pairs
    return [{n: v for n, v in pair.items() if v is not None and n != "_refused"} for pair in pairs]


def plain(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: pair[name] for name in NAMES} for pair in pairs]


def as_queries() -> list[dict[str, Any]]:
    return [
        {
            "query_id": query_id,
            "query": rows["query"].iloc[0],
            "candidates": [{"doc_id": d, "text": t} for d, t in zip(rows.doc_id, rows.text, strict=True)],
        }
        for query_id, rows in FRAME.groupby("query_id", sort=False)
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))


def split_in_parts(folder: Path) -> None:
    write_lines(folder / "in" / "a.jsonl", PAIRS[:1])
    write_lines(folder / "in" / "b.jsonl", [{"text": p["text"], **p, "new": 1} for p in PAIRS[1:]])
    (folder / "in" / "README.txt").write_text("no table")
    (folder / "in" / "_done.jsonl").write_text("{}")


def duckdb_copies(target: str) -> Callable[[Path], object]:
    return lambda folder: duckdb.from_arrow(pa.Table.from_pylist(PAIRS)).query(
        "pairs", f"COPY (FROM pairs) TO '{folder}/{target}'"
    )


Write = Callable[[Path], object]
TABLES: dict[str, tuple[str, Write, dict[str, Any]]] = {
    "pandas, JSON lines": ("a.jsonl", lambda f: FRAME.to_json(f / "a.jsonl", orient="records", lines=True), {}),
    "pandas, .json": ("a.json", lambda f: FRAME.to_json(f / "a.json", orient="records", lines=True), {}),
    "pandas, gzip": ("a.jsonl.gz", lambda f: FRAME.to_json(f / "a.jsonl.gz", orient="records", lines=True), {}),
    "pandas, CSV": ("a.csv", lambda f: FRAME.to_csv(f / "a.csv", index=False), {}),
    "pandas, CSV with its index, zstd": ("a.csv.zst", lambda f: FRAME.to_csv(f / "a.csv.zst"), {}),
    "Polars, JSON lines": ("a.ndjson", lambda f: POLARS.write_ndjson(f / "a.ndjson"), {}),
    "Polars, CSV": ("A.CSV", lambda f: POLARS.write_csv(f / "A.CSV"), {}),
    "Polars, TSV": ("a.tsv", lambda f: POLARS.write_csv(f / "a.tsv", separator="\t", quote_style="never"), {}),
    "DuckDB, JSON lines": ("a.json", duckdb_copies("a.json"), {}),
    "DuckDB, CSV": ("a.csv", duckdb_copies("a.csv"), {}),
    "DuckDB, gzip": ("a.csv.gz", duckdb_copies("a.csv.gz"), {}),
    "queries layout": ("a.jsonl", lambda f: write_lines(f / "a.jsonl", as_queries()), {}),
    "queries layout, other names": (
        "a.jsonl",
        lambda f: (f / "a.jsonl").write_text(
            "\n".join(map(json.dumps, as_queries())).replace('"doc_id"', '"docid"').replace('"text"', '"contents"')
        ),
        {},
    ),
    "PyTerrier": (
        "a.csv",
        lambda f: FRAME.rename(columns={"query_id": "qid", "doc_id": "docno"}).to_csv(f / "a.csv"),
        {},
    ),
    "MS MARCO's top1000.dev": (
        "top1000.dev",
        lambda f: (f / "top1000.dev").write_text(MS_MARCO),
        {"columns": {"": ("qid", "pid", "query", "passage")}},
    ),
    "renamed columns": (
        "a.csv",
        lambda f: FRAME.rename(columns={"query_id": "number", "text": "body"}).to_csv(f / "a.csv"),
        {"renames": {"query_id": "number", "text": "body"}},
    ),
    "a folder, with a column more in the second file": ("in", split_in_parts, {}),
    "a glob": ("in/*.jsonl", split_in_parts, {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_as_its_rows_in_parquet_are(tmp_path: Path, name: str) -> None:
    uri, write, options = TABLES[name]
    write(tmp_path)
    read = opened(tmp_path, tmp_path / uri, **options)
    assert plain(pairs_of(read)) == plain(PAIRS)
    assert isinstance(read.source, Source) and read.source.location.uri == str(tmp_path / uri)
    assert (read.queries, len(read.repeated)) == (2, 0)


@pytest.mark.parametrize("uri", ["in", "in/*/*.jsonl"])
def test_files_stay_in_the_folders_of_their_partitions(tmp_path: Path, uri: str) -> None:
    (tmp_path / "in").mkdir()
    for number in (0, 2):
        write_lines(tmp_path / "in" / f"date=2026-01-0{number}" / "a.jsonl", PAIRS[number : number + 2])
    read = opened(tmp_path, tmp_path / uri)
    assert isinstance(read.source, Source) and plain(pairs_of(read)) == plain(PAIRS)
    written = [str(Path(group.path).parent.relative_to(tmp_path / "scratch")) for group in read.source.row_groups]
    folders = [f"candidates.parquet/date=2026-01-0{number}" for number in (0, 2)]
    assert list(dict.fromkeys(written)) == folders


def test_pairs_in_any_order_are_regrouped(tmp_path: Path) -> None:
    FRAME.iloc[[0, 2, 1]].to_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"a.csv: rows are not clustered by query"):
        opened(tmp_path, tmp_path / "a.csv")
    assert plain(pairs_of(opened(tmp_path, tmp_path / "a.csv", regroup=True))) == plain(PAIRS)


def test_other_columns_are_carried_as_they_are_written(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", PAIRS)
    FRAME.assign(score=[2, 1, 3]).to_csv(tmp_path / "a.csv", index=False)
    years = [{"year": pair["year"]} if pair["year"] else {} for pair in PAIRS]
    for name, scores in (("a.jsonl", [{}] * 3), ("a.csv", [{"score": 2.0}, {"score": 1.0}, {"score": 3.0}])):
        expected = [
            {**{name: pair[name] for name in NAMES}, **year, **score}
            for pair, year, score in zip(PAIRS, years, scores, strict=True)
        ]
        assert pairs_of(opened(tmp_path, tmp_path / name)) == expected


RUN = "007 Q0 01 1 2.5 t\n007 Q0 02 2 2.25 t\n1e5 Q0 01 1 0.5 t\n"
SCORED = [
    {"query_id": "007", "doc_id": "02", "score": 2.25},
    {"query_id": "007", "doc_id": "01", "score": 2.5},
    {"query_id": "1e5", "doc_id": "01", "score": 0.5},
]
CORPUS = [{"doc_id": d, "text": t} for d, t in {p["doc_id"]: p["text"] for p in PAIRS}.items()]
QUERIES = [{"query_id": q, "query": t} for q, t in {p["query_id"]: p["query"] for p in PAIRS}.items()]


def write_beir(folder: Path, packed: str = "") -> None:
    """A folder of BEIR with a run of its queries."""
    corpus = [
        {"_id": d["doc_id"], **dict(zip(("title", "text"), d["text"].split(" ", 1), strict=True)), "metadata": {}}
        for d in CORPUS
    ]
    queries = [{"_id": q["query_id"], "text": q["query"], "metadata": {}} for q in QUERIES]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        content = "\n".join(map(json.dumps, rows)).encode()
        (folder / f"{name}.jsonl{packed}").write_bytes(gzip.compress(content) if packed else content)
    (folder / "run.trec").write_text(RUN)


def write_ms_marco(folder: Path) -> None:
    (folder / "collection.tsv").write_text("".join(f"{d['doc_id']}\t{d['text']}\n" for d in CORPUS))
    (folder / "queries.dev.tsv").write_text("".join(f"{q['query_id']}\t{q['query']}\n" for q in QUERIES))
    (folder / "run.txt.gz").write_bytes(gzip.compress(RUN.encode()))


def write_tables(folder: Path) -> None:
    """A run, a corpus and queries as Parquet, JSON lines and CSV."""
    for name, rows in (("run", SCORED), ("corpus", CORPUS), ("queries", QUERIES)):
        frame = pd.DataFrame(rows)
        frame.to_parquet(folder / f"{name}.parquet")
        frame.to_csv(folder / f"{name}.csv", index=False)
        frame.to_json(folder / f"{name}.jsonl", orient="records", lines=True)


JOINS: dict[str, tuple[Write, tuple[str, str, str], dict[str, Any]]] = {
    "BEIR": (write_beir, ("run.trec", "corpus.jsonl", "queries.jsonl"), {}),
    "MS MARCO": (
        write_ms_marco,
        ("run.txt.gz", "collection.tsv", "queries.dev.tsv"),
        {"columns": {"corpus": ("pid", "text"), "queries": ("qid", "query")}},
    ),
    "CSV": (write_tables, ("run.csv", "corpus.csv", "queries.csv"), {}),
    "JSON lines": (write_tables, ("run.jsonl", "corpus.jsonl", "queries.jsonl"), {}),
    "a mixture": (write_tables, ("run.csv", "corpus.parquet", "queries.jsonl"), {}),
    "Parquet": (write_tables, ("run.parquet", "corpus.parquet", "queries.parquet"), {}),
}


@pytest.mark.parametrize("name", JOINS)
def test_a_run_is_joined_with_its_texts(tmp_path: Path, name: str) -> None:
    write, (run, corpus, queries), options = JOINS[name]
    write(tmp_path)
    places = {"corpus": str(tmp_path / corpus), "queries": str(tmp_path / queries)}
    pairs = pairs_of(opened(tmp_path, tmp_path / run, **places, **options))
    assert plain(pairs) == plain(PAIRS)
    assert [pair["source_score"] for pair in pairs] == [2.5, 2.25, 0.5]


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_folder_of_beir_has_a_corpus_and_queries(tmp_path: Path, packed: str) -> None:
    write_beir(tmp_path, packed)
    found = tuple(str(tmp_path / f"{name}.jsonl{packed}") for name in ("corpus", "queries"))
    assert text_tables(None, None, str(tmp_path)) == found
    assert text_tables("mine", None, str(tmp_path)) == ("mine", found[1])
    with pytest.raises(InputError, match=r"is no folder of BEIR: there is no corpus.jsonl in it"):
        text_tables(None, None, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(("run_ids", "text_ids"), [(pa.uint64(), pa.string()), (pa.string(), pa.int32())])
@pytest.mark.parametrize("limit", [None, 1])
def test_ids_that_are_numbers_in_one_table_and_strings_in_the_other_are_compared_as_strings(
    tmp_path: Path, run_ids: pa.DataType, text_ids: pa.DataType, limit: int | None
) -> None:
    tables = {
        "run": {
            "query_id": (["7", "8"], run_ids),
            "doc_id": (["1", "2"], run_ids),
            "score": (["1", "2"], pa.float64()),
        },
        "corpus": {"doc_id": (["2", "1"], text_ids), "text": (["two", "one"], pa.string())},
        "queries": {"query_id": (["8", "7"], text_ids), "query": (["eight", "seven"], pa.string())},
    }
    for name, columns in tables.items():
        arrays = {column: pa.array(values).cast(kind) for column, (values, kind) in columns.items()}
        pq.write_table(pa.table(arrays), tmp_path / f"{name}.parquet")
    places = {name: str(tmp_path / f"{name}.parquet") for name in ("corpus", "queries")}
    read = opened(tmp_path, tmp_path / "run.parquet", limit=limit, **places)
    pairs = [(pair["query_id"], pair["query"], pair["doc_id"], pair["text"]) for pair in pairs_of(read)]
    kind = str if run_ids == pa.string() else int
    assert pairs == [(kind(7), "seven", kind(1), "one"), (kind(8), "eight", kind(2), "two")][:limit]


def test_columns_that_only_later_lines_have_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "_BYTES_PER_BLOCK", 1)
    rows: list[dict[str, Any]] = [
        {"a": None, "n": 1, "s": {"x": 1}},
        {"n": 2.5, "s": None, "late": [1]},
        {"a": "text", "s": {"y": "z"}},
    ]
    lines = [{**pair, **row} for pair, row in zip(PAIRS, rows, strict=True)]
    write_lines(tmp_path / "a.jsonl", lines)
    read = pairs_of(opened(tmp_path, tmp_path / "a.jsonl"))
    assert [{name: pair[name] for name in ("a", "n", "late") if name in pair} for pair in read] == [
        {"n": 1.0},
        {"n": 2.5, "late": [1]},
        {"a": "text"},
    ]
    assert [pair.get("s") for pair in read] == [{"x": 1, "y": None}, None, {"x": None, "y": "z"}]


@pytest.mark.parametrize(("name", "queries"), [("pairs.jsonl", 1), ("pairs.jsonl", 2), ("sets.jsonl", 1), ("a.csv", 1)])
def test_a_limit_reads_no_further_than_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, queries: int
) -> None:
    monkeypatch.setattr(json_lines, "_BYTES_PER_BLOCK", 1)
    monkeypatch.setattr(json_lines, "_THREADS", 1)
    monkeypatch.setattr(delimited, "_BYTES_PER_BLOCK", 64)
    more = [{**PAIRS[0], "query_id": f"q{number}", "text": "long " * 20} for number in range(50)]
    write_lines(tmp_path / "pairs.jsonl", PAIRS + more)
    empty = [{"query_id": f"{number}", "query": "?", "candidates": []} for number in range(50)]
    write_lines(tmp_path / "sets.jsonl", as_queries() + empty)
    pd.DataFrame(PAIRS + more).to_csv(tmp_path / "a.csv", index=False)
    with (tmp_path / name).open("a") as file:
        file.write('\n{"broken\n')
    read = opened(tmp_path, tmp_path / name, limit=queries)
    assert plain(pairs_of(read)) == plain(PAIRS)[: queries + 1]
    with pytest.raises(InputError, match="line"):
        opened(tmp_path, tmp_path / name)


def write_refused(folder: Path) -> None:
    write_beir(folder)
    (folder / "headless.tsv").write_text(MS_MARCO)
    write_lines(folder / "mixed" / "a.jsonl", PAIRS)
    FRAME.to_csv(folder / "mixed" / "b.csv")
    write_lines(folder / "types" / "a.jsonl", [{**PAIRS[0], "year": 2020}])
    write_lines(folder / "types" / "b.jsonl", PAIRS)
    (folder / "empty.jsonl").write_text("\n")
    (folder / "header.csv").write_text(",".join(NAMES) + "\n")
    (folder / "bad.jsonl").write_text(json.dumps(PAIRS[0]) + '\n{"query_id": \n')
    (folder / "nan.trec").write_text("q Q0 d 1 nan t\n")
    FRAME.to_parquet(folder / "a.parquet")


TEXTS = {"corpus": "corpus.jsonl", "queries": "queries.jsonl"}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no header": ("headless.tsv", {}, "line 1 names no column 'query_id', found 007, 01, who?"),
    "no header: what to type": ("headless.tsv", {}, "give --columns query_id,query,doc_id,text, its columns in their"),
    "two formats": ("mixed", {}, "mixed: holds files of several formats (CSV, JSON lines), expected one table"),
    "two types": ("types", {}, "types: b.jsonl: a column of rows 1 to 2 has another type than before them: "),
    "no rows": ("empty.jsonl", {}, "empty.jsonl: holds no rows"),
    "a header alone": ("header.csv", {}, "header.csv: holds no rows"),
    "a bad line": ("bad.jsonl", {}, "bad.jsonl: line 2: cannot be read as JSON lines"),
    "a run without texts": ("run.trec", {}, "a TREC run has no texts: give --corpus and --queries, or --beir"),
    "a run as corpus": ("run.trec", {**TEXTS, "corpus": "run.trec"}, "is a TREC run by its name"),
    "NaN": ("nan.trec", TEXTS, "line 1: score must be a number, got 'nan'"),
    "names for Parquet": ("a.parquet", {"columns": {"": ("a", "b")}}, "--columns names the columns of CSV and TSV"),
    "nothing": ("nowhere.jsonl", {}, "no such file or directory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_refused(tmp_path)
    uri, options, sentence = REFUSED[name]
    with pytest.raises((InputError, ConfigError)) as caught:
        opened(tmp_path, uri, **options)
    assert sentence in str(caught.value)
    assert not list((tmp_path / "scratch").rglob("candidates.parquet/*"))


def test_without_a_converter_text_is_not_read(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", PAIRS)
    with pytest.raises(RerankError, match="not a readable Parquet file"):
        open_input(str(tmp_path / "a.jsonl"))
