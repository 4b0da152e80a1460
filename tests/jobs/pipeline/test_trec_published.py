"""The TREC run of a job: refused before anything is scored, and switched with the result that it belongs to."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.input.candidates import open_input
from jobs.pipeline.job import RunConfig, run
from jobs.pipeline.output import check_output, stage
from jobs.pipeline.publish import publish
from jobs.pipeline.staging import PartReport, Staging, WrittenFile
from jobs.pipeline.trec_run import check_trec_ids
from rerank.errors import OutputError
from rerank.paths import Location, locate
from tests.fakes import candidate_sets
from tests.jobs.pipeline.interrupted import OLD, files_in, manifest_in, publish_parts
from tests.killing import InterruptedFileSystem, Killed

PART = "part-2.parquet"
BLANKS = [" ", "\t", "\v", "\x1f", "\x85", "\xa0", "\u2003", "\u3000"]


@pytest.fixture
def output(tmp_path: Path) -> Location:
    return locate(str(tmp_path / "out"))


def sets(query_id: str = "q", doc_id: str = "d") -> pa.Table:
    return candidate_sets([("q0", "one", [("d0", "x")]), (query_id, "two", [("d0", "x"), (doc_id, "y"), ("d2", None)])])


def pairs(query_id: str = "q", doc_id: str = "d") -> pa.Table:
    return pa.table(
        {"query_id": ["q0", query_id], "query": ["one", "two"], "doc_id": ["d", doc_id], "text": ["x", "y"]}
    )


def publish_with_run(output: Location, target: Path, filesystem: InterruptedFileSystem, *, overwrite: bool) -> None:
    """Stage a part and a run file that says "new", and publish both."""
    staging = stage(output)
    trec = locate(str(target))
    pq.write_table(pa.table({"name": [PART]}), staging.folder.join(PART).path)
    Path(staging.trec(trec).path).write_text("new")
    on_it = Staging(*(replace(place, filesystem=filesystem) for place in (output, staging.folder)))
    reports = [PartReport((WrittenFile(PART, 1),), {})]
    publish(on_it, reports, {"names": [PART]}, overwrite=overwrite, trec=replace(trec, filesystem=filesystem))


@pytest.fixture
def filesystem(output: Location, monkeypatch: pytest.MonkeyPatch) -> Iterator[InterruptedFileSystem]:
    """A filesystem on which the run file is written too."""
    hooked = InterruptedFileSystem(output.filesystem, at=-1)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr("jobs.pipeline.trec_run.locate", lambda uri: replace(locate(uri), filesystem=hooked))
    return hooked


@pytest.mark.parametrize("table", [sets(doc_id="d 1"), sets("q\t1"), pairs("q 1"), pairs(doc_id="d\n1"), pairs("")])
def test_ids_with_white_space_are_refused_before_anything_is_staged(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "in.parquet")
    config = RunConfig(str(tmp_path / "in.parquet"), str(tmp_path / "out"), trec=str(tmp_path / "run.trec"))
    with pytest.raises(OutputError, match=r"a TREC run cannot hold the (query|doc)_id '.*': its columns are separated"):
        run(config)
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_an_existing_run_file_is_kept_without_overwrite(tmp_path: Path) -> None:
    pq.write_table(sets(), tmp_path / "in.parquet")
    (tmp_path / "run.trec").write_text("old")
    config = RunConfig(str(tmp_path / "in.parquet"), str(tmp_path / "out"), trec=str(tmp_path / "run.trec"))
    with pytest.raises(OutputError, match=r"run\.trec: exists; give another path, or --overwrite to replace it"):
        run(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("blank", BLANKS)
def test_white_space_is_what_python_splits_at(tmp_path: Path, blank: str) -> None:
    pq.write_table(sets(doc_id=f"d{blank}1"), tmp_path / "in.parquet")
    assert len(f"d{blank}1".split()) == 2
    with pytest.raises(OutputError, match="cannot hold the doc_id"):
        check_trec_ids(open_input(str(tmp_path / "in.parquet")))


def test_ids_are_checked_under_their_names_in_the_file_and_up_to_the_limit(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct([("meta", pa.struct([("id", pa.string())])), ("id", pa.string()), ("text", pa.string())]))
    lists = [[{"meta": {"id": "x y"}, "id": f"d{at}", "text": "x"}] for at in range(3)] + [[{"id": "d 3", "text": "x"}]]
    table = pa.table({"query_id": range(4), "query": ["q"] * 4, "hits": pa.array(lists, kind)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=3)
    options = {"renames": {"candidates": "hits", "doc_id": "id"}}
    check_trec_ids(open_input(str(tmp_path / "in.parquet"), limit=3, **options))
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=4)
    check_trec_ids(open_input(str(tmp_path / "in.parquet"), limit=3, **options))
    with pytest.raises(OutputError, match="cannot hold the doc_id 'd 3'"):
        check_trec_ids(open_input(str(tmp_path / "in.parquet"), **options))


@pytest.mark.parametrize("query_id", ["q2", None])
def test_the_ids_of_a_run_with_its_corpus_are_checked(tmp_path: Path, query_id: str | None) -> None:
    table = pa.table({"query_id": ["q1", query_id], "doc_id": ["d", "d 1"], "score": [2.0, 1.0]})
    pq.write_table(table, tmp_path / "run.parquet")
    pq.write_table(pa.table({"doc_id": ["d"], "text": ["x"]}), tmp_path / "corpus.parquet")
    pq.write_table(pa.table({"query_id": ["q1"], "query": ["x"]}), tmp_path / "queries.parquet")
    names = {name: str(tmp_path / f"{name}.parquet") for name in ("corpus", "queries")}
    check_trec_ids(open_input(str(tmp_path / "run.parquet"), limit=1, **names))
    with pytest.raises(OutputError, match="cannot hold the doc_id 'd 1'"):
        check_trec_ids(open_input(str(tmp_path / "run.parquet"), **names))


def test_a_run_file_that_appeared_in_the_meantime_is_kept(
    tmp_path: Path, output: Location, filesystem: InterruptedFileSystem
) -> None:
    (tmp_path / "run.trec").write_text("old")
    with pytest.raises(OutputError, match=r"run\.trec: has appeared since this run started, and it is kept"):
        publish_with_run(output, tmp_path / "run.trec", filesystem, overwrite=False)
    assert (tmp_path / "run.trec").read_text() == "old"
    assert manifest_in(output) is None and files_in(output) == []


@pytest.mark.parametrize("type_name", ["local", "s3"])
def test_the_run_file_changes_with_the_result_wherever_it_is_killed(
    tmp_path: Path, filesystem: InterruptedFileSystem, type_name: str
) -> None:
    at, is_over, seen = 0, False, set()
    while not is_over:
        folder = tmp_path / str(at)
        output, target = locate(str(folder / "out")), folder / "run.trec.gz"
        publish_parts(stage(output), OLD)
        target.write_text("old")
        filesystem.type_name = type_name
        filesystem.start(at)
        try:
            publish_with_run(output, target, filesystem, overwrite=True)
            is_over = True
        except Killed:
            filesystem.start(-1)
            check_output(output, overwrite=True)
        seen.add((target.read_text(), manifest_in(output) == OLD))
        assert {path.name for path in folder.iterdir()} == {"out", "run.trec.gz"}
        at += 1
    assert seen == {("old", True), ("new", False)}


def test_the_journal_holds_no_secrets_and_the_run_needs_none_from_it(
    tmp_path: Path, output: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URI that a journal holds is without the password, and cannot be opened."""
    monkeypatch.setattr("jobs.pipeline.trec_run.locate", None)
    staging, target = stage(output), locate(str(tmp_path / "run.trec"))
    Path(staging.trec(target).path).write_text("new")
    publish(staging, [], {"names": []}, overwrite=True, trec=replace(target, uri="s3://key:***@bucket/run.trec"))
    assert (tmp_path / "run.trec").read_text() == "new"


def test_a_run_file_that_cannot_be_written_publishes_nothing(
    tmp_path: Path, output: Location, filesystem: InterruptedFileSystem
) -> None:
    publish_parts(stage(output), OLD)
    with pytest.raises(OutputError, match=r"run\.trec: cannot write the TREC run: .*; nothing was published"):
        publish_with_run(output, tmp_path / "nowhere" / "run.trec", filesystem, overwrite=True)
    check_output(output, overwrite=True)
    assert (files_in(output), manifest_in(output)) == (OLD, OLD)


def test_a_run_file_that_cannot_be_written_blocks_no_later_run(
    tmp_path: Path, output: Location, filesystem: InterruptedFileSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").mkdir()
    filesystem.start(6)  # between the commit and the end of the switch
    with pytest.raises(Killed):
        publish_with_run(output, tmp_path / "there" / "run.trec", filesystem, overwrite=True)
    for path in (tmp_path / "there").iterdir():
        path.unlink()
    (tmp_path / "there").rmdir()
    filesystem.start(-1)
    check_output(output, overwrite=True)
    assert (files_in(output), manifest_in(output)) == ([PART], [PART])
    assert "cannot write the TREC run" in (said := capsys.readouterr().err) and "it is left out" in said
