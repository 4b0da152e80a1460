"""Judgements as people have them, and what is said of files that are none."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.qrels import QrelsFormat, read_qrels
from rerank.errors import InputError
from tests.jobs.runs import QRELS, write_qrels

ROWS = [(q, d, r) for q, judged in QRELS.items() for d, r in judged.items()]


def lines(form: str, *, header: str = "") -> str:
    return header + "".join(form.format(q=q, d=d, r=r) + "\n" for q, d, r in ROWS)


def frame(query_id: str, doc_id: str, relevance: str, **more: Any) -> pd.DataFrame:
    return pd.DataFrame(ROWS, columns=[query_id, doc_id, relevance]).assign(**more)


TEXTS = {
    "BEIR's test.tsv": ("test.tsv", lines("{q}\t{d}\t{r}", header="query-id\tcorpus-id\tscore\n")),
    "BEIR's test.tsv from Windows": (
        "test.tsv",
        "\ufeff" + lines("{q}\t{d}\t{r}\r", header="query-id\tcorpus-id\tscore\r\n"),
    ),
    "TREC": ("some.qrels", lines("{q} 0 {d} {r}")),
    "TREC with tabs and blanks": ("declared", lines("{q} 0\t{d}  {r}")),
    "MS MARCO's qrels.dev.small.tsv": ("qrels.dev.small.tsv", lines("{q}\t0\t{d}\t{r}")),
    "TREC with relevance 1.0": ("some.txt", lines("{q} Q0 {d} {r}.0")),
    "PyTerrier's get_qrels, by to_csv": ("qrels.csv", frame("qid", "docno", "label").to_csv(index=False)),
    "PyTerrier's, with an index": ("qrels.csv", frame("qid", "docno", "label").to_csv()),
    "ir_datasets' columns": ("qrels.tsv", frame("query_id", "doc_id", "relevance", iteration="0").to_csv(sep="\t")),
    "our columns between blanks": ("qrels", lines("{q} {d} {r}", header="query_id doc_id relevance\n")),
    "columns in another order": ("qrels.csv", lines('{r}.0,"{d}",{q}', header="label,docno,qid\n")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_files_declare_what_they_are(tmp_path: Path, name: str) -> None:
    file, content = TEXTS[name]
    (tmp_path / file).write_text(content, encoding="utf-8", newline="")
    assert read_qrels(str(tmp_path / file)) == QRELS
    (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content.encode()))
    assert read_qrels(str(tmp_path / f"{file}.gz")) == QRELS


PARQUET: dict[str, Callable[[Path], object]] = {
    "ours": write_qrels,
    "BEIR": lambda path: frame("query-id", "corpus-id", "score").to_parquet(path),
    "PyTerrier, by pandas": lambda path: frame("qid", "docno", "label").to_parquet(path),
    "ir_datasets, by DuckDB": lambda path: duckdb.from_df(  # type: ignore[no-untyped-call]
        frame("query_id", "doc_id", "relevance", iteration="0")
    ).write_parquet(str(path)),
    "floats, which pandas makes": lambda path: frame("qid", "docno", "label").astype({"label": float}).to_parquet(path),
}


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_has_the_column_names_of_any_of_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    PARQUET[name](tmp_path / "folder" / "part-0.parquet")
    assert read_qrels(str(tmp_path / "folder" / "part-0.parquet")) == read_qrels(str(tmp_path / "folder")) == QRELS


@pytest.mark.parametrize(("separator", "name"), [("\t", "a.tsv"), (",", "a.csv"), (" ", "a")])
def test_three_columns_without_a_header_are_read_where_that_is_said(tmp_path: Path, separator: str, name: str) -> None:
    (tmp_path / name).write_text(lines(separator.join(["{q}", "{d}", "{r}"])))
    with pytest.raises(InputError, match=r"line 1 does not say how .*--qrels-format beir reads 3 columns"):
        read_qrels(str(tmp_path / name))
    assert read_qrels(str(tmp_path / name), QrelsFormat.BEIR) == QRELS


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.qrels", "q 0 d", "line 1 does not say how the judgements are written: expected the 4 columns of TREC"),
        ("a.qrels", "q 0 d 1\nq 0 d", "line 2: expected judgements in 4 columns, query_id 0 doc_id relevance; found 3"),
        ("a.qrels", "q 0 d yes", "line 1: relevance must be a whole number, got 'yes'"),
        ("a.qrels", "q 0 d 0.5", "line 1: relevance must be a whole number, got '0.5'"),
        ("a.qrels", "q 0 d 1\nq 0 e nan", "line 2: relevance must be a whole number, got 'nan'"),
        ("a.tsv", "q\td\t1", "line 1 does not say how the judgements are written"),
        ("a.csv", "qid,docno,label\nq,d", "line 2: expected judgements in 3 columns; found 2: 'q,d'"),
        ("a.qrels", "\n", "holds no judgements"),
        ("a.qrels", "q 0 d 1\nq 0 d 2", "query_id 'q' has two different judgements of doc_id 'd'"),
        ("a.json", "{}", "line 1 does not say how the judgements are written"),
        ("a.parquet", "no", "not readable as Parquet"),
    ],
)
def test_what_is_no_judgements_is_a_sentence(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read_qrels(str(tmp_path / name))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"qid": ["q"], "docno": ["d"]}, "judgements must have the columns query_id, doc_id, relevance; query-id,"),
        ({"qid": ["q"], "docno": ["d"], "label": ["1"]}, "column 'label' must hold whole numbers, found string"),
        ({"qid": ["q"], "docno": ["d"], "label": [0.5]}, "column 'label' must hold whole numbers: Float value 0.5"),
    ],
)
def test_parquet_that_is_no_judgements_is_a_sentence(tmp_path: Path, columns: Any, sentence: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError) as caught:
        read_qrels(str(tmp_path / "a.parquet"))
    assert sentence in str(caught.value)
