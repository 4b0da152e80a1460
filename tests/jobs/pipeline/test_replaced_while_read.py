"""A result that is replaced while it is read: a reader sees all rows of one result, never rows of two."""

import json
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluation.rankings import read_run
from jobs.pipeline.output import stage
from jobs.pipeline.publish import publish
from jobs.pipeline.staging import ERRORS, PartReport, WrittenFile
from rerank import read_ranked
from rerank.errors import InputError
from rerank.paths import Location, locate
from rerank.store.folder import Folder
from rerank.tables.published import MANIFEST, read_unchanged
from tests.jobs.pipeline.interrupted import kill_while_publishing

PARTS = 50


@pytest.fixture
def output(tmp_path) -> Location:
    return locate(str(tmp_path / "out"))


def replace(output: Location, run: int, *, parts: int = PARTS) -> None:
    """Publish a result whose rows all carry the number of the run, in files of names of their own."""
    staging = stage(output)
    names = [f"part-{part:05d}-{uuid.uuid4().hex[:8]}.parquet" for part in range(parts)]
    for part, name in enumerate([*names, f"{ERRORS}/part-0.parquet"]):
        place = staging.folder.join(name)
        rows = {"query_id": [f"q{part}"], "doc_id": [str(run)], "rank": [1], "source_rank": [run + 1]}
        pq.write_table(pa.table(rows), place.path)
    files = tuple(WrittenFile(name, 1) for name in (*names, f"{ERRORS}/part-0.parquet"))
    manifest = {"pairs_ranked": parts, "run": run, "files": [{"name": file.name, "rows": 1} for file in files]}
    publish(staging, [PartReport(files, {})], manifest, overwrite=True)


def runs_read(output: Location) -> Counter[str]:
    return Counter(read_ranked(output.path, ["doc_id"])["doc_id"].to_pylist())


def runs_evaluated(output: Location) -> Counter[str]:
    run = read_run(output.path)
    assert run.first_stage is not None
    return Counter(doc_ids[0] for ranking in (run.ranking, run.first_stage) for doc_ids in ranking.values())


@pytest.mark.parametrize(("read", "rows"), [(runs_read, PARTS), (runs_evaluated, 2 * PARTS)])
def test_a_reader_in_a_loop_never_meets_two_results(
    output: Location, read: Callable[[Location], Counter[str]], rows: int
) -> None:
    replace(output, 0)
    done, has_read = Event(), Event()

    def replace_again_and_again() -> None:
        try:
            for run in range(1, 9):
                replace(output, run)  # while the reader reads again
                has_read.wait(60)
                has_read.clear()
        finally:
            done.set()

    seen: set[str] = set()
    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(replace_again_and_again)
        while not done.is_set():
            ((run, count),) = read(output).items()
            assert count == rows
            seen.add(run)
            has_read.set()
        replacing.result()
    assert len(seen) > 1
    assert read(output) == {"8": rows}


def test_a_result_that_changes_between_listing_and_reading_is_read_again(output: Location) -> None:
    replace(output, 0, parts=2)
    calls = []

    def read() -> list[str]:
        calls.append(len(calls))
        first = runs_read(output)
        if len(calls) == 1:
            replace(output, 1, parts=2)
        elif len(calls) == 2:
            replace(output, 2, parts=2)
            raise OSError("a file is gone")
        return [*first, *runs_read(output)]

    assert read_unchanged(output, read) == ["2", "2"]
    assert len(calls) == 3


def test_a_manifest_that_comes_back_while_it_is_looked_for_is_no_error(
    output: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(output, 0, parts=2)
    read, looks = Folder.read, []

    def read_late(folder: Folder, name: str) -> pa.Buffer:
        looks.append(name)
        if looks == [MANIFEST]:
            raise FileNotFoundError(name)  # deleted, and in its place again at the next look
        return read(folder, name)

    monkeypatch.setattr(Folder, "read", read_late)
    assert runs_read(output) == {"0": 2}


def test_an_error_that_no_replacement_explains_is_raised(output: Location) -> None:
    replace(output, 0, parts=1)

    def read() -> None:
        raise OSError("the disk is broken")

    with pytest.raises(OSError, match="the disk is broken"):
        read_unchanged(output, read)


def test_half_a_result_is_refused_and_no_result_too(output: Location) -> None:
    with pytest.raises(InputError, match=f"there is no {MANIFEST}, so no finished result"):
        read_ranked(output.path)
    assert kill_while_publishing(output, 5, earlier=True)
    with pytest.raises(InputError, match="a run was stopped while it published its result here"):
        read_ranked(output.path)


def test_files_in_partition_folders_are_read_with_their_keys(tmp_path: Path) -> None:
    rows = {"doc_id": ["a", "b"], "lang": ["en", None], "city": ["São Paulo/SP", "x"]}
    pq.write_to_dataset(pa.table(rows), tmp_path, partition_cols=["lang", "city"])
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet")]
    (tmp_path / "part-of-another.parquet").write_text("is no file of the result")
    (tmp_path / MANIFEST).write_text(json.dumps({"files": [{"name": name} for name in names]}))
    found = read_ranked(str(tmp_path)).sort_by("doc_id").to_pydict()
    assert found == rows
    with pytest.raises(InputError, match="no column 'text'; found doc_id, lang, city"):
        read_ranked(str(tmp_path), ["text"])
