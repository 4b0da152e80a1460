"""Rows that lie apart become candidate sets: with texts looked up, in first-stage order, and nothing lost."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.input.join import KEY, RunJoin, open_run, open_unclustered
from jobs.input.nest import candidate_sets, shuffled_schemas, with_documents
from rerank.errors import ConfigError, InputError
from rerank.ranking.reject import Reason
from tests.jobs.tables import write_parts

PARTITIONS = 3


def partitioned(*tables: pa.Table) -> list[pa.Table]:
    """What a shuffle by key makes of tables: rows of equal keys in one, backwards, with the columns of those rows."""
    parts = []
    for number in range(PARTITIONS):
        masks = (
            [crc32(str(key).encode()) % PARTITIONS == number for key in table[KEY].to_pylist()] for table in tables
        )
        chosen = [table.filter(pa.array(mask, pa.bool_())) for table, mask in zip(tables, masks, strict=True)]
        whole = pa.concat_tables([part for part in chosen if part.num_rows] or chosen[:1], promote_options="default")
        parts.append(whole.take(pa.array(range(whole.num_rows - 1, -1, -1), pa.int64())))
    return parts


def group_without_ray(join: RunJoin) -> list[dict[str, Any]]:
    """Candidate sets as a run with Ray groups them."""
    schemas = shuffled_schemas(join)
    rows = [table for at in range(len(join.rows.row_groups)) for table in join.read_rows(at)]
    if join.corpus is not None and join.queries is not None:
        texts = [table for at in range(len(join.corpus.row_groups)) for table in join.read_documents(at)]
        parts = partitioned(*rows, *texts)
        rows = [table for part in parts for table in with_documents(part, schema=schemas[0])]
        rows += [table for at in range(len(join.queries.row_groups)) for table in join.read_queries(at)]
    parts = partitioned(*rows)
    sets = [table for part in parts for table in candidate_sets(part, schema=schemas[-1], owner=join.owner)]
    assert len({table.schema for table in sets}) == 1
    return [row for table in sets for row in table.to_pylist()]


def write_run(folder: Path, run: list[dict[str, Any]], *, row_group_size: int = 3, **types: pa.DataType) -> RunJoin:
    kinds = {"query_id": pa.string(), "doc_id": pa.string(), "score": pa.float64(), "tag": pa.string()} | types
    write_parts(
        pa.Table.from_pylist(run, pa.schema(list(kinds.items()))),
        folder / "run",
        cuts=[4],
        row_group_size=row_group_size,
    )
    corpus = pa.table(
        {"doc_id": ["a", "b", "b", "c", None], "text": ["A", "B", "not B", None, "N"], "title": list("tuvwx")}
    )
    queries = pa.table(
        {"query_id": ["q1", "q2", "q2", "q9"], "query": ["one", "two", "not two", "nine"], "lang": list("defg")}
    )
    pq.write_table(corpus, folder / "corpus.parquet", row_group_size=2)
    pq.write_table(queries, folder / "queries.parquet", row_group_size=2)
    places = {name: str(folder / f"{name}.parquet") for name in ("corpus", "queries")}
    return open_run(str(folder / "run"), **places, renames={}, limit=None)


TEXT_OF = {"a": "A", "b": "B", "c": None}
QUERY_OF = {"q1": "one", "q2": "two"}
scores = st.none() | st.sampled_from([0.0, 1.5, -2.0, float("nan")])
run_row = st.tuples(st.none() | st.sampled_from(["q1", "q2", "q3"]), st.none() | st.sampled_from("abcz"), scores)


@settings(max_examples=60)
@given(run=st.lists(run_row, min_size=1, max_size=14), row_group_size=st.integers(1, 6))
def test_a_run_gets_its_texts_and_keeps_every_row(run: list[tuple[Any, ...]], row_group_size: int) -> None:
    with TemporaryDirectory() as folder:
        rows = [{"query_id": q, "doc_id": d, "score": s, "tag": str(at)} for at, (q, d, s) in enumerate(run)]
        join = write_run(Path(folder), rows, row_group_size=row_group_size)
        sets = group_without_ray(join)
    assert len(join.query_ids) == len(sets) == len({row[0] for row in run})
    assert join.pairs == len(run)
    for found in sets:
        mine = [(s, at, d) for at, (q, d, s) in enumerate(run) if q == found["query_id"]]
        mine.sort(key=lambda row: (float("inf") if row[0] is None or row[0] != row[0] else -row[0], row[1]))
        if found["query_id"] is None:
            assert [(c["doc_id"], c["text"], c["tag"]) for c in found["candidates"]] == [
                (d, None, None) for *_, d in mine
            ]
            continue
        assert [(c["tag"], c["doc_id"]) for c in found["candidates"]] == [(str(at), d) for _, at, d in mine]
        assert [c["text"] for c in found["candidates"]] == [TEXT_OF.get(d) for *_, d in mine]
        assert [Reason(c["_refused"]).text for c in found["candidates"]] == [
            "doc_id is not in the corpus" if d == "z" else "" for *_, d in mine
        ]
        assert found["query"] == QUERY_OF.get(found["query_id"])
        assert Reason(found["_refused"]).text == (
            "query_id is not among the queries" if found["query_id"] == "q3" else ""
        )
        assert (found["lang"] is not None) is (found["query"] is not None)
        assert set(found["candidates"][0]) == {"doc_id", "source_score", "tag", "text", "title", "_refused"}


pair = st.tuples(st.none() | st.sampled_from(["q1", "q2", "q3"]), st.sampled_from(["x", "x", "y"]), st.integers(0, 99))


@settings(max_examples=60)
@given(rows=st.lists(pair, min_size=1, max_size=14), limit=st.none() | st.integers(1, 4))
def test_pairs_in_any_order_keep_the_order_of_their_rows(rows: list[tuple[Any, ...]], limit: int | None) -> None:
    columns = zip(*rows, strict=True)
    table = pa.table(dict(zip(("query_id", "query", "doc_id"), columns, strict=True)) | {"text": ["t"] * len(rows)})
    table = table.set_column(0, "query_id", table["query_id"].cast(pa.string()))
    with TemporaryDirectory() as folder:
        write_parts(table, Path(folder), cuts=[3], row_group_size=2)
        join = open_unclustered(folder, renames={}, limit=limit)
        sets = group_without_ray(join)
    wanted = list(dict.fromkeys(row[0] for row in rows))[:limit]
    assert join.query_ids.to_pylist() == wanted
    assert {found["query_id"] for found in sets} == set(wanted)
    assert join.pairs == sum(len(found["candidates"]) for found in sets)
    for found in sets:
        mine = [row for row in rows if row[0] == found["query_id"]]
        if found["query_id"] is None:
            assert (found["query"], [c["doc_id"] for c in found["candidates"]]) == (None, [row[2] for row in mine])
            continue
        assert found["query"] == mine[0][1]
        assert [(c["doc_id"], bool(c["_refused"])) for c in found["candidates"]] == [
            (row[2], row[1] != mine[0][1]) for row in mine
        ]


def test_ids_keep_the_type_that_they_have_in_the_run(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query_id": pa.array([7], pa.int32()), "doc_id": [2**40], "score": [1]}), tmp_path / "run")
    pq.write_table(pa.table({"doc_id": [2**40], "text": ["t"]}), tmp_path / "corpus")
    pq.write_table(pa.table({"query_id": [7], "query": ["q"]}), tmp_path / "queries")
    places = {name: str(tmp_path / name) for name in ("corpus", "queries")}
    join = open_run(str(tmp_path / "run"), **places, renames={}, limit=None)
    (found,) = group_without_ray(join)
    assert (found["query_id"], found["candidates"][0]["text"]) == (7, "t")

    pq.write_table(pa.table({"doc_id": ["x", str(2**40)], "text": ["no", "t"]}), tmp_path / "corpus")
    (found,) = group_without_ray(open_run(str(tmp_path / "run"), **places, renames={}, limit=None))
    assert [(c["doc_id"], c["text"]) for c in found["candidates"]] == [(2**40, "t")]


def test_ids_may_be_any_that_64_bits_hold(tmp_path: Path) -> None:
    ids, docs = [2**64 - 1, 5, 2**64 - 1], [2**53 + 1, 2**53 + 2, 2**63 + 3]
    table = pa.table(
        {"query_id": pa.array(ids, pa.uint64()), "query": ["a", "b", "a"], "doc_id": pa.array(docs, pa.uint64())}
    )
    pq.write_table(table.append_column("text", pa.array(["x", "y", "z"])), tmp_path / "pairs")
    found = group_without_ray(open_unclustered(str(tmp_path / "pairs"), renames={}, limit=None))
    assert {row["query_id"]: [candidate["doc_id"] for candidate in row["candidates"]] for row in found} == {
        2**64 - 1: [2**53 + 1, 2**63 + 3],
        5: [2**53 + 2],
    }


def test_each_table_has_renames_of_its_own(tmp_path: Path) -> None:
    pq.write_table(pa.table({"qid": ["q"], "doc_id": ["d"], "score": [1.0]}), tmp_path / "run")
    pq.write_table(pa.table({"_id": ["d"], "text": ["document"]}), tmp_path / "corpus")
    pq.write_table(pa.table({"_id": ["q"], "text": ["question"]}), tmp_path / "queries")
    renames = {"query_id": "qid", "corpus.doc_id": "_id", "queries.query_id": "_id", "queries.query": "text"}
    places = {name: str(tmp_path / name) for name in ("corpus", "queries")}
    (found,) = group_without_ray(open_run(str(tmp_path / "run"), **places, renames=renames, limit=None))
    assert (found["query"], found["candidates"][0]["text"]) == ("question", "document")
    with pytest.raises(ConfigError, match="expected a column of the run, or corpus"):
        open_run(str(tmp_path / "run"), **places, renames={"docs.text": "body"}, limit=None)


def test_a_corpus_may_bring_vectors_instead_of_texts(tmp_path: Path) -> None:
    write_run(tmp_path, [{"query_id": "1", "doc_id": doc_id, "score": 1.0} for doc_id in ("a", "c", "b", "z")])
    vectors = pa.array([[[1.0, 2.0]], None, [[3.0, 4.0], [5.0, 6.0]]], pa.list_(pa.list_(pa.float32(), 2)))
    pq.write_table(pa.table({"doc_id": ["a", "b", "c"], "vectors": vectors}), tmp_path / "corpus.parquet")
    pq.write_table(pa.table({"query_id": ["1"], "query": ["one"]}), tmp_path / "queries.parquet")
    places = {"corpus": str(tmp_path / "corpus.parquet"), "queries": str(tmp_path / "queries.parquet")}
    (found,) = group_without_ray(open_run(str(tmp_path / "run"), **places, renames={}, limit=None))
    brought = [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], None, None]
    assert [candidate["vectors"] for candidate in found["candidates"]] == brought


def test_a_table_that_lacks_a_column_is_a_sentence(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query_id": ["q"], "doc_id": ["d"], "score": ["high"]}), tmp_path / "run")
    with pytest.raises(InputError, match="run: column 'score' must be a number, found string"):
        open_run(str(tmp_path / "run"), corpus="nowhere", queries="nowhere", renames={}, limit=None)
