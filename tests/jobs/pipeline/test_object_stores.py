"""Input, output and publishing on emulators of Google's and Azure's object stores. S3: test_s3.py."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.input.source import open_source
from jobs.pipeline.output import check_output
from rerank.errors import InputError, OutputError
from rerank.paths import locate
from rerank.store.folder import Folder
from tests.fakes import candidate_sets
from tests.jobs.pipeline.interrupted import check_after_kill, kill_while_publishing
from tests.object_stores import ObjectStore, azure_store, google_store

ROWS = [(f"q{q}", "how does it sort?", [(f"d{d}", f"item {d} " * (q + d)) for d in range(1, 6)]) for q in range(8)]


@pytest.fixture(scope="module", params=["gs", "abfs"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Each object store in turn, with `in/` in its bucket."""
    with google_store() if request.param == "gs" else azure_store(tmp_path_factory.mktemp("azure")) as running:
        for number in range(2):
            place = running.place(f"in/part-{number}.parquet")
            part = candidate_sets(ROWS[4 * number : 4 * number + 4])
            pq.write_table(part, place.path, filesystem=place.filesystem, row_group_size=1)
        yield running


def test_a_run_that_is_killed_while_it_publishes_loses_nothing(store: ObjectStore) -> None:
    output = store.place("killed")
    assert kill_while_publishing(output, 12, earlier=True)
    check_after_kill(output)


def test_splits_read_the_same(store: ObjectStore) -> None:
    source = open_source(store.uri("in"))
    read = pa.concat_tables([table for group in source.row_groups for table in source.read(group)])
    assert read.to_pylist() == candidate_sets(ROWS).to_pylist()


def test_a_folder_without_a_marker_is_deleted(store: ObjectStore) -> None:
    """An object store has no folders: `a` is there only because `a/b` is."""
    place = store.place("folder")
    folder = Folder(place.filesystem, place.path)
    folder.write("a/b", b"content")
    folder.join("a").delete_all()
    assert folder.listing(recursive=True) == []
    folder.join("a").delete_all()


def test_a_bucket_that_is_not_there_is_one_sentence(store: ObjectStore) -> None:
    output = store.uri("out").replace("/data/", "/nowhere/").replace("@data/", "@nowhere/")
    with pytest.raises(OutputError, match="there is no bucket 'nowhere'"):
        check_output(locate(output), overwrite=False)
    with pytest.raises(InputError, match="no such file or directory"):
        open_source(output)
