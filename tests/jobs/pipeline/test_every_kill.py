"""Runs that are killed anywhere, meet another run anywhere, or lose power anywhere: the next run goes on from there."""

import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from jobs.formats.columns import Layout
from jobs.pipeline.output import check_output, stage
from jobs.pipeline.publish import publish
from jobs.pipeline.staging import Staging
from jobs.pipeline.writer import RankedSink
from rerank import Reranker
from rerank.errors import OutputError
from rerank.paths import Location, locate
from rerank.tables.published import JOURNAL, STAGING
from tests.fakes import ListedEngine, candidate_sets
from tests.jobs.pipeline.interrupted import (
    LAST,
    NEW,
    OLD,
    files_in,
    kill_while_publishing,
    manifest_in,
    publish_parts,
)
from tests.killing import InterruptedFileSystem, Killed, power_cuts


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written, and flushing a disk takes milliseconds."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def run_again(output: Location, filesystem: InterruptedFileSystem, *, overwrite: bool = True) -> None:
    """What a run does with its output folder, on `filesystem`; it publishes LAST."""
    interrupted = replace(output, filesystem=filesystem)
    check_output(interrupted, overwrite=overwrite)
    staging = stage(interrupted)
    on_disk = Staging(output, replace(staging.folder, filesystem=output.filesystem))
    publish_parts(on_disk, LAST, overwrite=overwrite, filesystem=filesystem)


def check_result(output: Location, expected: list[str]) -> None:
    """Check that the folder holds this result and nothing else."""
    assert (files_in(output), manifest_in(output)) == (expected, expected)
    assert not Path(output.join(STAGING).path).exists()


@pytest.mark.parametrize("type_name", ["local", "s3"])
def test_a_restart_that_is_killed_anywhere_can_be_started_again(tmp_path: Path, type_name: str) -> None:
    killed, restarts = 0, 0
    while kill_while_publishing(
        left := locate(str(tmp_path / f"left-{killed}")), killed, earlier=True, type_name=type_name
    ):
        killed += 5
        at = 0
        while True:
            output = locate(str(tmp_path / "out"))
            shutil.copytree(left.path, output.path)
            dying = InterruptedFileSystem(output.filesystem, at=at, type_name=type_name, backwards=bool(killed % 2))
            try:
                run_again(output, dying)
            except Killed:
                run_again(output, InterruptedFileSystem(output.filesystem, at=-1, type_name=type_name))
            else:
                break
            finally:
                check_result(output, LAST)
                shutil.rmtree(output.path)
            at, restarts = at + 1, restarts + 1
    assert killed > 15 and restarts > 60


@pytest.mark.parametrize("backwards", [False, True])
def test_a_restart_after_half_a_publication_leaves_no_folder_that_is_refused(tmp_path: Path, backwards: bool) -> None:
    """Parts lie there without a manifest, and the files that would complete them are lost."""
    at, is_killed = 0, True
    while is_killed:
        output = locate(str(tmp_path / str(at)))
        assert kill_while_publishing(output, 9, earlier=False)
        (lost,) = Path(output.join(STAGING).path).rglob("part-*")
        lost.unlink()
        assert manifest_in(output) is None and len(files_in(output)) == 2
        is_killed = False
        with suppress(Killed):
            is_killed = True
            run_again(output, InterruptedFileSystem(output.filesystem, at=at, backwards=backwards))
            is_killed = False
        if is_killed:
            run_again(output, InterruptedFileSystem(output.filesystem, at=-1))
        check_result(output, LAST)
        at += 1
    assert at > 15


def test_a_journal_that_lost_its_content_commits_nothing(tmp_path: Path) -> None:
    output = locate(str(tmp_path / "out"))
    publish_parts(stage(output), OLD)
    Path(stage(output).folder.join(JOURNAL).path).touch()
    check_output(output, overwrite=True)
    assert (files_in(output), manifest_in(output)) == (OLD, OLD)
    run_again(output, InterruptedFileSystem(output.filesystem, at=-1))
    check_result(output, LAST)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_run_without_overwrite_never_replaces_what_another_one_finished(tmp_path: Path, earlier: bool) -> None:
    """On an object store, which has no lock, the other run starts between any two changes of one that publishes."""
    at, met = 0, 0
    while met == at:
        output = locate(str(tmp_path / str(at)))
        outcome: list[str] = []

        def meet(output: Location = output, outcome: list[str] = outcome) -> None:
            other = InterruptedFileSystem(output.filesystem, at=-1, type_name="s3")
            try:
                run_again(output, other, overwrite=False)
                outcome.append("published")
            except OutputError as problem:
                assert "holds a finished result" in str(problem)
                outcome.append("refused")

        if earlier:
            publish_parts(stage(output), OLD)
        staging = stage(output)
        first = InterruptedFileSystem(output.filesystem, at=at, interrupt=meet, type_name="s3")
        with suppress(OutputError):
            publish_parts(staging, NEW, filesystem=first)
        if outcome == ["published"]:
            assert not earlier, "the earlier result was replaced"
            assert (files_in(output), manifest_in(output)) == (LAST, LAST)
        elif manifest_in(output) == OLD:
            assert earlier and files_in(output) == OLD
        else:
            assert (files_in(output), manifest_in(output)) == (NEW, NEW)
        met += len(outcome)
        at += 1
    assert met > 10


def test_a_run_that_starts_while_another_one_switches_waits_for_it(tmp_path: Path) -> None:
    output = locate(str(tmp_path / "out"))
    staging = stage(output)
    refused: list[str] = []

    def start() -> None:
        try:
            run_again(output, InterruptedFileSystem(output.filesystem, at=-1), overwrite=False)
        except OutputError as problem:
            refused.append(str(problem))

    other = threading.Thread(target=start)
    switching = InterruptedFileSystem(output.filesystem, at=8, interrupt=other.start)
    publish_parts(staging, NEW, overwrite=False, filesystem=switching)
    other.join(60)
    assert len(refused) == 1 and "holds a finished result" in refused[0]
    check_result(output, NEW)


@pytest.fixture(scope="module")
def blocks() -> list[pa.Table]:
    """Two ranked blocks, each with one ranked and one rejected candidate."""
    reranker = Reranker(engine=ListedEngine([1.0]))
    return [reranker.rank_table(candidate_sets([(f"q{at}", "one", [("a", "x"), ("b", None)])])) for at in range(2)]


def publish_blocks(staging: Staging, blocks: list[pa.Table], filesystem: fs.FileSystem | InterruptedFileSystem) -> None:
    """Stage the blocks as a job does, and publish them on `filesystem`."""
    sink = RankedSink(staging, Layout.PAIRS)
    parts = [sink.write([block], SimpleNamespace(task_idx=at)) for at, block in enumerate(blocks)]
    names = sorted(file.name for part in parts for file in part.files)
    output, folder = (replace(place, filesystem=filesystem) for place in (staging.output, staging.folder))
    publish(Staging(output, folder), parts, {"names": names}, overwrite=True)


def test_power_may_fail_at_any_moment_of_publishing(tmp_path: Path, blocks: list[pa.Table]) -> None:
    at, is_over, kept = 0, False, set()
    while not is_over:
        output = locate(str(tmp_path / str(at)))
        publish_blocks(stage(output), blocks, output.filesystem)
        earlier = manifest_in(output)
        failing = InterruptedFileSystem(output.filesystem, at=at)
        with power_cuts(Path(output.path), failing) as cut:
            with suppress(Killed):
                publish_blocks(stage(output), blocks, failing)
                is_over = True
            cut()
        check_output(output, overwrite=True)
        names = manifest_in(output)
        assert names is not None and files_in(output) == names
        assert {pq.read_table(output.join(name).path).num_rows for name in names} == {1}
        kept.add(names == earlier)
        at += 1
    assert kept == {True, False}
