"""Publishing: staged files become the result, and a kill at any moment loses neither the old nor the new one."""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.pipeline.output import check_output, stage
from jobs.pipeline.publish import REPORT, publish
from jobs.pipeline.staging import ERRORS, PartReport, WrittenFile
from rerank.errors import InputError, OutputError
from rerank.paths import Location, locate
from rerank.tables.published import MANIFEST, STAGING, check_finished, locked
from tests.jobs.pipeline.interrupted import (
    LAST,
    NEW,
    OLD,
    check_after_kill,
    files_in,
    kill_while_publishing,
    manifest_in,
    publish_parts,
)
from tests.killing import InterruptedFileSystem, Killed

COMMIT = 3  # the change that commits: the folder and a temporary file come before, whose writing counts twice


@pytest.fixture
def output(tmp_path: Path) -> Location:
    return locate(str(tmp_path / "out"))


def names_read(output: Location) -> list[str]:
    return sorted(pq.read_table(output.path)["name"].to_pylist())


def test_publishes_staged_parts_and_writes_the_manifest(output: Location) -> None:
    publish_parts(stage(output), OLD)
    assert names_read(output) == OLD[1:]
    assert pq.read_table(output.join(ERRORS).path)["name"].to_pylist() == [OLD[0]]
    assert json.loads(Path(output.join(MANIFEST).path).read_text()) == {"names": OLD}
    assert not Path(output.join(STAGING).path).exists()


def test_replaces_an_earlier_result_only_when_publishing(output: Location) -> None:
    publish_parts(stage(output), OLD)
    Path(output.join(REPORT).path).write_text("of the earlier result")
    second = stage(output)
    assert names_read(output) == OLD[1:]
    publish_parts(second, LAST)
    assert names_read(output) == LAST
    assert not Path(output.join(ERRORS).path).exists() and not Path(output.join(REPORT).path).exists()


def test_leaves_out_what_a_failed_attempt_staged(output: Location) -> None:
    staging = stage(output)
    Path(staging.folder.join("part-of-the-failed-attempt.parquet").path).touch()
    publish_parts(staging, LAST)
    assert files_in(output) == LAST


def test_of_two_runs_at_once_only_the_later_publishes(output: Location) -> None:
    first, second = stage(output), stage(output)
    Path(first.folder.join(ERRORS).path).mkdir(parents=True)  # the first run goes on writing
    with pytest.raises(OutputError, match="another run has started to write there, so this run publishes nothing"):
        publish_parts(first, OLD)
    assert files_in(output) == []
    publish_parts(second, NEW)
    assert files_in(output) == NEW


def test_keeps_a_result_that_was_published_in_the_meantime(output: Location) -> None:
    publish_parts(stage(output), OLD)
    staging = stage(output)
    with pytest.raises(OutputError, match="published a result there since this run started, and it is kept"):
        publish_parts(staging, NEW, overwrite=False)
    assert (files_in(output), manifest_in(output)) == (OLD, OLD)


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize(("type_name", "commit"), [("local", COMMIT), ("s3", 0)])
def test_a_kill_at_any_moment_leaves_one_whole_result(
    tmp_path: Path, type_name: str, commit: int, earlier: bool
) -> None:
    committed, at = [], 0
    while kill_while_publishing(output := locate(str(tmp_path / str(at))), at, earlier=earlier, type_name=type_name):
        committed.append(check_after_kill(output))
        at += 1
    assert (files_in(output), manifest_in(output)) == (NEW, NEW)
    assert committed == [number > commit for number in range(at)]
    assert at > commit + 8


def test_a_switch_that_is_killed_again_and_again_is_finished(output: Location) -> None:
    assert kill_while_publishing(output, COMMIT + 1, earlier=True)
    kills = 0
    while manifest_in(output) is None or manifest_in(output) == OLD:
        with suppress(Killed):
            check_output(replace(output, filesystem=InterruptedFileSystem(output.filesystem, at=5)), overwrite=True)
        kills += 1
        assert kills < 20
    assert kills > 1
    assert (files_in(output), manifest_in(output)) == (NEW, NEW)


def test_a_half_moved_result_is_not_taken_for_a_whole_one(output: Location) -> None:
    check_finished(output)
    assert kill_while_publishing(output, COMMIT + 2, earlier=True)
    assert manifest_in(output) is None
    with pytest.raises(InputError, match="a run was stopped while it published its result here"):
        check_finished(output)
    check_output(output, overwrite=True)
    check_finished(output)


def test_a_finished_switch_is_not_done_again(tmp_path: Path) -> None:
    at, finished = COMMIT, 0
    while kill_while_publishing(output := locate(str(tmp_path / str(at))), at, earlier=False):
        at += 1
        if manifest_in(output) == NEW:  # only the staging folder is left to remove
            finished += 1
            Path(output.join(REPORT).path).touch()
            check_output(output, overwrite=True)
            assert Path(output.join(REPORT).path).exists()
    assert finished == 4


@pytest.mark.parametrize(
    ("change", "message", "published"),
    [
        (COMMIT - 1, "cannot publish the result: disk is full; an earlier result there is unchanged", OLD),
        (COMMIT + 1, "is complete, but cannot be moved into place: disk is full; the next run on this folder", NEW),
    ],
)
def test_says_whether_a_failure_came_before_or_after_the_commit(
    output: Location, change: int, message: str, published: list[str]
) -> None:
    publish_parts(stage(output), OLD)

    def fill() -> None:
        raise OSError("disk is full")

    full = InterruptedFileSystem(output.filesystem, at=change, interrupt=fill)
    with pytest.raises(OutputError, match=message):
        publish_parts(stage(output), NEW, filesystem=full)
    check_output(output, overwrite=True)
    assert (files_in(output), manifest_in(output)) == (published, published)


def test_a_staging_folder_that_cannot_be_removed_is_no_failure(
    output: Location, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(filesystem: InterruptedFileSystem, path: str) -> None:
        raise OSError("device is busy")

    monkeypatch.setattr(InterruptedFileSystem, "delete_dir", refuse)
    publish_parts(stage(output), NEW, filesystem=InterruptedFileSystem(output.filesystem, at=100))
    assert (files_in(output), manifest_in(output)) == (NEW, NEW)
    assert "the result is published, but" in capsys.readouterr().err


def test_a_result_with_a_missing_file_is_not_published(output: Location) -> None:
    publish_parts(stage(output), OLD)
    reports = [PartReport((WrittenFile("part-9.parquet", 1),), {})]
    with pytest.raises(OutputError, match=r"cannot publish the result: .*part-9\.parquet"):
        publish(stage(output), reports, {}, overwrite=True)
    assert (files_in(output), manifest_in(output)) == (OLD, OLD)


def test_a_switch_keeps_others_out(output: Location) -> None:
    stage(output)
    descriptor = os.open(output.path, os.O_RDONLY)
    try:
        with locked(output), pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
