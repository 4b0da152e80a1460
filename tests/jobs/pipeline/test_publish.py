"""What may be written to, and the one step in which staged parts become a result."""

import json
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.pipeline.publish import MANIFEST, REPORT, PartReport, WrittenFile, check_apart, check_output, publish
from jobs.pipeline.staging import ERRORS, STAGING, Staging, stage
from rerank.errors import OutputError
from rerank.paths import locate


def staged(staging: Staging, name: str, value: int) -> WrittenFile:
    pq.write_table(pa.table({"value": [value]}), staging.folder.join(name).path)
    return WrittenFile(name, 1)


def test_publishes_staged_parts_and_writes_the_manifest(tmp_path: Path) -> None:
    staging = stage(locate(str(tmp_path)))
    files = (staged(staging, "part-0.parquet", 1), staged(staging, f"{ERRORS}/part-0.parquet", 2))
    publish(staging, [PartReport(files, {})], {"pairs_ranked": 1})
    assert pq.read_table(tmp_path).column("value").to_pylist() == [1]
    assert pq.read_table(tmp_path / ERRORS).column("value").to_pylist() == [2]
    assert json.loads((tmp_path / MANIFEST).read_text()) == {"pairs_ranked": 1}
    assert not (tmp_path / STAGING).exists()


def test_replaces_an_earlier_result_only_when_publishing(tmp_path: Path) -> None:
    output = locate(str(tmp_path))
    first = stage(output)
    files = (staged(first, "part-0.parquet", 1), staged(first, f"{ERRORS}/part-0.parquet", 1))
    publish(first, [PartReport(files, {})], {})
    (tmp_path / REPORT).write_text("of the earlier result")
    second = stage(output)
    part = staged(second, "part-9.parquet", 9)
    assert pq.read_table(tmp_path).column("value").to_pylist() == [1]
    publish(second, [PartReport((part,), {})], {})
    assert pq.read_table(tmp_path).column("value").to_pylist() == [9]
    assert not (tmp_path / ERRORS).exists() and not (tmp_path / REPORT).exists()


def test_leaves_out_what_a_failed_attempt_staged(tmp_path: Path) -> None:
    staging = stage(locate(str(tmp_path)))
    wanted, _orphan = staged(staging, "part-0.parquet", 1), staged(staging, "part-0-again.parquet", 1)
    publish(staging, [PartReport((wanted,), {})], {})
    assert pq.read_table(tmp_path).num_rows == 1


def test_of_two_runs_at_once_only_the_later_publishes(tmp_path: Path) -> None:
    first = stage(locate(str(tmp_path)))
    part = staged(first, "part-0.parquet", 1)
    second = stage(locate(str(tmp_path)))
    other = staged(second, "part-1.parquet", 2)
    with pytest.raises(OutputError, match="another run has begun to write there, so this one publishes nothing"):
        publish(first, [PartReport((part,), {})], {})
    assert not list(tmp_path.glob("part-*"))
    publish(second, [PartReport((other,), {})], {})
    assert pq.read_table(tmp_path).column("value").to_pylist() == [2]


def test_refuses_a_finished_result_unless_told_to_replace_it(tmp_path: Path) -> None:
    staging = stage(locate(str(tmp_path)))
    publish(staging, [PartReport((staged(staging, "part-0.parquet", 1),), {})], {})
    with pytest.raises(OutputError, match="holds a finished result; give another folder, or --overwrite"):
        check_output(locate(str(tmp_path)), overwrite=False)
    check_output(locate(str(tmp_path)), overwrite=True)


def test_takes_up_a_folder_that_a_killed_run_left(tmp_path: Path) -> None:
    staged(stage(locate(str(tmp_path))), "part-0.parquet", 1)
    (tmp_path / "_scores").mkdir()
    check_output(locate(str(tmp_path)), overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_never_touches_other_peoples_files(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds other files \(thesis\.tex\), expected an empty folder"):
        check_output(locate(str(tmp_path)), overwrite=overwrite)


def test_refuses_parts_that_no_run_of_ours_left(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").touch()
    with pytest.raises(OutputError, match="holds parts that no run of ours left there"):
        check_output(locate(str(tmp_path)), overwrite=False)


@pytest.mark.parametrize(
    ("given", "output"),
    [("in", "in"), ("in", "in/out"), ("in/*", "in/out"), ("in/**/*.parquet", "in/out"), (".", "in")],
)
def test_refuses_an_output_that_is_input_too(tmp_path: Path, given: str, output: str) -> None:
    with pytest.raises(OutputError, match="where the next run would read it as input"):
        check_apart(locate(str(tmp_path / output)), inputs=[locate(str(tmp_path / given))], scores=None)


@pytest.mark.parametrize(
    ("given", "output"), [("in", "out"), ("in", "in/_out"), ("in/*.parquet", "in/out"), ("in.parquet", "in")]
)
def test_takes_an_output_that_no_run_would_read(tmp_path: Path, given: str, output: str) -> None:
    check_apart(locate(str(tmp_path / output)), inputs=[locate(str(tmp_path / given))], scores=None)


def test_refuses_to_write_over_its_input(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"part-0\.parquet: lies in .*, which is to be written"):
        check_apart(locate(str(tmp_path)), inputs=[locate(str(tmp_path / "part-0.parquet"))], scores=None)


@pytest.mark.parametrize(
    ("scores", "is_taken"), [("out/_scores", True), ("scores", True), ("out", False), ("out/s", False)]
)
def test_a_store_among_the_parts_of_a_result_is_refused(tmp_path: Path, scores: str, is_taken: bool) -> None:
    with nullcontext() if is_taken else pytest.raises(OutputError, match="whose files readers take for the result"):
        check_apart(locate(str(tmp_path / "out")), inputs=[], scores=locate(str(tmp_path / scores)))


def test_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="is a file, expected a folder"):
        check_output(locate(str(tmp_path / "out")), overwrite=False)


def test_staging_begins_anew(tmp_path: Path) -> None:
    staged(stage(locate(str(tmp_path))), "part-0.parquet", 1)
    folder = Path(stage(locate(str(tmp_path))).folder.path)
    assert set((tmp_path / STAGING).rglob("*")) == {folder, folder / ERRORS, folder / "run"}


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/out: cannot be written to: .*Not a directory"):
        stage(locate(str(tmp_path / "file" / "out")))
