"""What may be written to, and how a run takes an output folder over."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from jobs.pipeline.output import check_apart, check_output, stage
from jobs.pipeline.staging import ERRORS, MARK
from rerank.errors import OutputError
from rerank.paths import locate
from rerank.tables.published import STAGING
from tests.jobs.pipeline.interrupted import publish_parts


def test_refuses_a_finished_result_unless_told_to_replace_it(tmp_path: Path) -> None:
    publish_parts(stage(locate(str(tmp_path))), ["part-0.parquet"])
    with pytest.raises(OutputError, match="holds a finished result; give another folder, or --overwrite"):
        check_output(locate(str(tmp_path)), overwrite=False)
    check_output(locate(str(tmp_path)), overwrite=True)


def test_takes_up_a_folder_that_a_killed_run_left(tmp_path: Path) -> None:
    stage(locate(str(tmp_path)))
    (tmp_path / "_scores").mkdir()
    check_output(locate(str(tmp_path)), overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_never_touches_other_peoples_files(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds other files \(thesis\.tex\), expected an empty folder"):
        check_output(locate(str(tmp_path)), overwrite=overwrite)


def test_refuses_parts_that_no_run_of_ours_left(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").touch()
    with pytest.raises(OutputError, match="holds files that no run left there"):
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
    Path(stage(locate(str(tmp_path))).folder.join("part-0.parquet").path).touch()
    folder = Path(stage(locate(str(tmp_path))).folder.path)
    assert set((tmp_path / STAGING).rglob("*")) == {folder, folder / ERRORS, folder / MARK}


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"file/out: cannot be written to: .*Not a directory"):
        stage(locate(str(tmp_path / "file" / "out")))
