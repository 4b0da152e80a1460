"""Grouping with Ray gives what grouping without it gives, and a run over it ranks that."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from jobs.formats.columns import Layout
from jobs.input import shuffle
from jobs.input.candidates import open_input
from jobs.input.join import open_run, open_unclustered
from jobs.input.shuffle import group_by_query
from rerank.errors import ConfigError, InputError
from rerank.paths import locate
from tests.jobs.input.test_join import group_without_ray, write_run
from tests.jobs.processes import summary_of

pytestmark = pytest.mark.ray


@pytest.fixture
def run_rows() -> list[dict[str, Any]]:
    dice = random.Random(7)
    queries, documents = ["q1", "q2", "q3", None, *"abcdefgh"], ["a", "b", "c", "z", None]
    return [
        {
            "query_id": dice.choice(queries),
            "doc_id": dice.choice(documents),
            "score": dice.choice([0.5, 1, None]),
            "tag": str(at),
        }
        for at in range(120)
    ]


def by_query(rows: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    found = {row["query_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.usefixtures("shared_driver")
def test_a_shuffle_groups_as_one_process_does(
    tmp_path: Path, run_rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path, run_rows, row_group_size=16)
    pairs = pa.table({name: [str(row[name]) for row in run_rows] for name in ("query_id", "doc_id")})
    pairs = pairs.append_column("query", pairs["query_id"]).append_column("text", pairs["doc_id"])
    pq.write_table(pairs, tmp_path / "pairs.parquet", row_group_size=50)
    unclustered = open_unclustered(str(tmp_path / "pairs.parquet"), renames={}, limit=None)
    for name, join, size in (("run", run, 4_000), ("pairs", unclustered, 400)):
        monkeypatch.setattr(shuffle, "_BYTES_PER_PARTITION", size)
        assert shuffle._partitions(join) > 2
        source = group_by_query(join, locate(str(tmp_path / "out" / name)))
        assert len({group.path for group in source.row_groups}) > 1
        rows = [row for group in source.row_groups for table in source.read(group) for row in table.to_pylist()]
        assert by_query(rows) == by_query(group_without_ray(join))


@pytest.mark.usefixtures("shared_driver")
def test_small_blocks_are_joined_with_large_ones(tmp_path: Path) -> None:
    """Ray keeps blocks below 100 kB elsewhere than others, and shuffles the two apart."""
    doc_ids, scores = [f"d{at}" for at in range(9)], [9.0 - at for at in range(9)]
    run = pa.table({"query_id": ["q"] * 9, "doc_id": doc_ids, "score": scores})
    corpus = pa.table({"doc_id": [f"d{at}" for at in range(200)], "text": [f"{at} " * 1_000 for at in range(200)]})
    for name, table in (("run", run), ("corpus", corpus), ("queries", pa.table({"query_id": ["q"], "query": ["Q"]}))):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    places = {name: str(tmp_path / f"{name}.parquet") for name in ("corpus", "queries")}
    join = open_run(str(tmp_path / "run.parquet"), **places, renames={}, limit=None)
    source = group_by_query(join, locate(str(tmp_path / "out")))
    (row,) = [row for group in source.row_groups for table in source.read(group) for row in table.to_pylist()]
    assert [candidate["text"][:2] for candidate in row["candidates"]] == [f"{at} " for at in range(9)]


def test_a_run_with_its_texts_is_ranked(
    tmp_path: Path, run_rows: list[dict[str, Any]], rerank_here: Callable[..., Result]
) -> None:
    write_run(tmp_path, [row for row in run_rows if row["query_id"] in {"q1", "q2", "a"}])
    texts = [f"--{name}={tmp_path / name}.parquet" for name in ("corpus", "queries")]
    flags = (*texts, "--trec", tmp_path / "run.trec", "--max-error-rate", "1")
    summary = summary_of(rerank_here(tmp_path / "run", tmp_path / "out", *flags))
    ranked, rejected = pq.read_table(tmp_path / "out"), pq.read_table(tmp_path / "out" / "_errors")
    names = ["query_id", "lang", "doc_id", "rank", "score", "logit", "source_rank", "source_score", "tag", "title"]
    assert ranked.column_names == names
    assert (summary["queries_read"], summary["queries_ranked"]) == (3, 2)
    assert summary["pairs_read"] == ranked.num_rows + rejected.num_rows
    assert set(rejected["reason"].to_pylist()) == {
        "query_id is not among the queries",
        "doc_id is not in the corpus",
        "doc_id is a duplicate within the query",
        "doc_id is null",
        "text is null",
    }
    assert len((tmp_path / "run.trec").read_text().splitlines()) == ranked.num_rows
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir() if entry.name[0] == "_") == [
        "_errors",
        "_manifest.json",
        "_scores",
    ]


def test_pairs_in_any_order_are_refused_with_the_way_out(tmp_path: Path) -> None:
    table = pa.table({"query_id": ["b", "a", "b"], "query": ["B", "A", "B"], "doc_id": [1, 1, 2], "text": list("xyz")})
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InputError, match=r"'b' are not next to each other; .* or give --regroup"):
        open_input(str(tmp_path / "in.parquet"))
    given = open_input(str(tmp_path / "in.parquet"), regroup=True)
    assert (given.queries, given.pairs) == (2, 3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"corpus": "c"}, "--corpus and --queries must be given together"),
        ({"corpus": "c", "queries": "q", "regroup": True}, "cannot be combined with --layout or --regroup"),
        ({"layout": Layout.QUERIES, "regroup": True}, "--regroup is for the pairs layout"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        open_input("nowhere", **options)
