"""Finding and checking input: a refusal is one sentence: what is wrong, what was found, what is accepted."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.formats.columns import Layout
from jobs.input.query_ids import read_query_ids
from jobs.input.source import open_source
from jobs.input.splits import plan_splits, read_split
from rerank.errors import InputError
from rerank.ranking.candidates import CandidateSets
from tests.fakes import candidate_sets
from tests.jobs.tables import pairs_table, write_parts

ROWS = [("q1", "one", [("a", "x"), ("b", "y")]), ("q2", "two", [("a", "x")])]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.parquet"
    pq.write_table(pairs_table(ROWS), path)
    return path


def test_recognises_the_layout_from_the_column_types(pairs: Path, tmp_path: Path) -> None:
    nested = tmp_path / "queries.parquet"
    pq.write_table(candidate_sets(ROWS), nested)
    assert open_source(str(pairs)).layout is Layout.PAIRS
    assert open_source(str(nested)).layout is Layout.QUERIES


def test_counts_pairs_from_footers(pairs: Path, tmp_path: Path) -> None:
    nested = tmp_path / "queries.parquet"
    pq.write_table(candidate_sets(ROWS), nested)
    assert open_source(str(pairs)).pairs == open_source(str(nested)).pairs == 3


@pytest.mark.parametrize("pattern", ["in", "in/", "in/*.parquet", "in/**/part-0.parquet", "in/part-0.parquet"])
def test_takes_a_directory_a_glob_or_a_file(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "in" / "_errors").mkdir(parents=True)
    pq.write_table(pairs_table(ROWS), tmp_path / "in" / "part-0.parquet")
    pq.write_table(pairs_table(ROWS), tmp_path / "in" / "_errors" / "part-0.parquet")
    (tmp_path / "in" / "_SUCCESS").touch()
    assert len(open_source(f"{tmp_path}/{pattern}").row_groups) == 1


def test_a_glob_goes_down_only_where_it_says_so(pairs: Path, tmp_path: Path) -> None:
    for name in ("in/a.parquet", "in/out/part-0.parquet", "in/day=1/x.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(pairs.read_bytes())

    def found(pattern: str) -> list[str]:
        groups = open_source(f"{tmp_path}/{pattern}").row_groups
        return [str(Path(group.path).relative_to(tmp_path)) for group in groups]

    assert found("in/*.parquet") == ["in/a.parquet"]
    assert found("in/day=*") == found("in/day*/*.parquet") == ["in/day=1/x.parquet"]
    assert found("in/**/*.parquet") == ["in/a.parquet", "in/day=1/x.parquet", "in/out/part-0.parquet"]


def test_lists_and_texts_may_have_any_of_arrows_types(tmp_path: Path) -> None:
    entry = pa.struct([("doc_id", pa.large_string()), ("text", pa.large_string())])
    table = candidate_sets(ROWS)
    table = table.set_column(2, "candidates", table["candidates"].cast(pa.large_list(entry)))
    for name in ("query_id", "query"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string_view()))
    pq.write_table(table, tmp_path / "in.parquet")
    source = open_source(str(tmp_path))
    (read,) = source.read(source.row_groups[0])
    assert (source.layout, read_query_ids(source).queries, read.to_pylist()) == (Layout.QUERIES, 2, table.to_pylist())


def test_what_cannot_be_read_any_more_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pairs_table(ROWS * 1000), path, compression="zstd", use_dictionary=False)
    source = open_source(str(path))
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\x00" * (len(content) // 2) + content[100 + len(content) // 2 :])
    with pytest.raises(InputError, match=r"in\.parquet: cannot be read: "):
        list(source.read(source.row_groups[0]))
    path.unlink()
    with pytest.raises(InputError, match=r"in\.parquet: cannot be read: .*No such file"):
        list(source.read(source.row_groups[0]))


def test_row_groups_of_a_file_are_read_together(tmp_path: Path) -> None:
    table = pairs_table(ROWS * 20)
    write_parts(table, tmp_path, cuts=[50], row_group_size=3)
    source = open_source(str(tmp_path))
    assert len(source.row_groups) == 21
    (first, second) = source.read(*source.row_groups)
    assert pa.concat_tables([first, second])["doc_id"].to_pylist() == table["doc_id"].to_pylist()
    for count in (1, 4, 1000):
        runs = source.runs(count)
        assert [group for run in runs for group in run] == list(source.row_groups)
        assert all(len({group.path for group in run}) == 1 for run in runs)
        assert len(runs) >= min(count, 21)


def test_the_head_of_a_row_group(pairs: Path) -> None:
    source = open_source(str(pairs))
    head = source.row_groups[0].head(2)
    assert (head.rows, head.pairs) == (2, 2)
    assert pa.concat_tables(source.read(head))["doc_id"].to_pylist() == ["a", "b"]
    assert source.row_groups[0].head(3) is source.row_groups[0]


def test_opens_a_file_uri(pairs: Path) -> None:
    assert open_source(pairs.as_uri()).pairs == 3


def test_renames_columns(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pairs_table(ROWS).rename_columns(["qid", "query", "doc_id", "body", "bm25"]), path)
    source = open_source(str(path), renames={"query_id": "qid", "text": "body"})
    (table,) = source.read(source.row_groups[0])
    assert table.column_names == ["query_id", "query", "doc_id", "text", "bm25"]


def test_renames_the_fields_of_candidates(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    rows = [{"query_id": 1, "query": "one", "hits": [{"id": 7, "body": "x"}]}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    source = open_source(str(path), renames={"candidates": "hits", "doc_id": "id", "text": "body"})
    (table,) = source.read(source.row_groups[0])
    assert table.to_pylist() == [{"query_id": 1, "query": "one", "candidates": [{"doc_id": 7, "text": "x"}]}]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (pa.table({"id": [1]}), r"no candidate sets: expected .* found id: int64"),
        (pa.table({"doc_id": ["a"], "text": ["x"], "query": ["q"]}), r"column 'query_id' is missing, found doc_id"),
        (pairs_table(ROWS).set_column(3, "text", pa.array([1, 2, 3])), r"'text' must be a string, found int64"),
        (
            pairs_table(ROWS).set_column(0, "query_id", pa.array([0.5, 1.5, 2.5])),
            r"'query_id' must be a string or an integer, found double",
        ),
        (
            pa.table({"query_id": [1], "query": ["q"], "candidates": pa.array([[{"text": "x"}]])}),
            r"column 'doc_id' is missing, found text: string",
        ),
    ],
)
def test_refuses_columns_with_a_sentence(tmp_path: Path, table: pa.Table, sentence: str) -> None:
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match=sentence):
        open_source(str(tmp_path / "in.parquet"))


def test_refuses_a_declared_layout_that_is_not_there(pairs: Path) -> None:
    with pytest.raises(InputError, match=re.escape("candidates must be list<struct<doc_id, text, …>>, found no such")):
        open_source(str(pairs), layout=Layout.QUERIES)


def test_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or directory"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no Parquet files"):
        open_source(str(tmp_path))
    with pytest.raises(InputError, match="cannot be opened"):
        open_source("nonsense://bucket/path")


@pytest.mark.parametrize("table", [pairs_table([]), candidate_sets([])])
def test_refuses_what_holds_no_rows(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"in\.parquet: holds no rows"):
        open_source(str(tmp_path / "in.parquet"))


def test_names_the_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(InputError, match=r"bad\.parquet: not a readable Parquet file"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("renames", [{}, {"text": "body"}])
def test_refuses_two_columns_of_one_name(tmp_path: Path, renames: dict[str, str]) -> None:
    table = pairs_table(ROWS).append_column("body" if renames else "text", pa.array(["1", "2", "3"]))
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match="two columns are called 'text', expected one"):
        open_source(str(tmp_path), renames=renames)


def test_refuses_a_rename_from_a_column_that_is_not_there(pairs: Path) -> None:
    with pytest.raises(InputError, match="no column 'body' to read as 'text'; found query_id, query, doc_id, text"):
        open_source(str(pairs), renames={"text": "body"})


def nested(pairs: pa.Table) -> pa.Table:
    """The pairs of ROWS as one row per query."""
    queries = pairs.select(["query_id", "query"]).take([0, 2])
    return CandidateSets(queries, pairs.drop_columns(["query_id", "query"]), np.array([0, 2, 3])).to_table()


VECTORS = [[[1.0, 2.0], [3.0, 4.0]], None, [[5.0, 6.0]]]


@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float16(), 2)), pa.large_list(pa.large_list(pa.float64()))],
    ids=str,
)
def test_vectors_are_read_with_a_text_or_without(tmp_path: Path, kind: pa.DataType, layout: Layout, *, with_text: bool):
    table = pairs_table(ROWS).append_column("vectors", pa.array(VECTORS, kind))
    table = table if with_text else table.drop_columns(["text"])
    pq.write_table(nested(table) if layout is Layout.QUERIES else table, tmp_path / "in.parquet")
    source = open_source(str(tmp_path))
    assert source.layout is layout
    read = pa.concat_tables(read_split(source, plan_splits(source, target_pairs=1)[0]))
    candidates = CandidateSets.from_table(read).candidates
    assert candidates["vectors"].to_pylist() == VECTORS
    assert ("text" in candidates.column_names) == with_text
    width = {pa.float16(): 2, pa.float32(): 4, pa.float64(): 8}[kind.value_type.value_type]
    assert source.vector_bytes == pytest.approx(6 * width / 3, rel=0.2)  # a null list counts as a float


@pytest.mark.parametrize("layout", Layout)
def test_vectors_of_another_type_are_refused(tmp_path: Path, layout: Layout):
    table = pairs_table(ROWS).append_column("vectors", pa.array(["x", "y", "z"]))
    pq.write_table(nested(table) if layout is Layout.QUERIES else table, tmp_path / "in.parquet")
    with pytest.raises(
        InputError, match="column 'vectors' must be lists of floats, or lists of such lists, found string"
    ):
        open_source(str(tmp_path))
    assert open_source(str(tmp_path), renames={"other": "vectors"}).layout is layout
