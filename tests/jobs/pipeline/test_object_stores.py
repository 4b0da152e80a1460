"""Runs with input, output and score store on emulators of Google's and Azure's object stores. S3: test_s3.py."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from jobs.input.source import open_source
from jobs.pipeline.job import RunConfig, run
from jobs.pipeline.output import check_output
from jobs.pipeline.stages.pool_settings import ActorRange, PoolSettings
from rerank.encoding.pairs import EncodedPairs
from rerank.engines import Scores
from rerank.errors import InputError, ModelError, OutputError
from rerank.paths import locate
from rerank.store.folder import Folder
from tests.fakes import candidate_sets
from tests.jobs.faulty import FaultyEngine
from tests.jobs.pipeline.interrupted import check_after_kill, kill_while_publishing
from tests.jobs.processes import ordered
from tests.object_stores import ObjectStore, azure_store, google_store

ROWS = [(f"q{q}", "how does it sort?", [(f"d{d}", f"item {d} " * (q + d)) for d in range(1, 6)]) for q in range(8)]
PAIRS = 40


@dataclass(frozen=True)
class EndingEngine(FaultyEngine):
    """Ends the run after three blocks."""

    def score(self, pairs: EncodedPairs) -> Scores:
        if Path(self.log).exists() and Path(self.log).read_text().count("end") == 3:
            raise ModelError("no more")
        return super().score(pairs)


@pytest.fixture(scope="module", params=["gs", "abfs"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Each object store in turn, with `in/` in its bucket."""
    with google_store() if request.param == "gs" else azure_store(tmp_path_factory.mktemp("azure")) as running:
        for number in range(2):
            place = running.place(f"in/part-{number}.parquet")
            part = candidate_sets(ROWS[4 * number : 4 * number + 4])
            pq.write_table(part, place.path, filesystem=place.filesystem, row_group_size=1)
        yield running


def ends(config: RunConfig, engine: EndingEngine) -> bool:
    """Return True if the engine's error ended the run. Nothing keeps the error, whose traceback holds the actors."""
    try:
        run(config, engine=engine)
    except ModelError:
        return True
    finally:
        gc.collect()
    return False


@pytest.mark.ray
@pytest.mark.usefixtures("shared_driver")
@pytest.mark.parametrize("store", ["gs"], indirect=True)  # not abfs: see azure_store
def test_a_run_that_ends_half_way_goes_on_where_it_was(store: ObjectStore, tmp_path: Path) -> None:
    config = RunConfig(store.uri("in"), store.uri("out"), block_pairs=5, pool=PoolSettings(actors=ActorRange(1, 1)))
    assert ends(config, EndingEngine(log=str(tmp_path / "log")))
    assert locate(config.output).join("_manifest.json").info().type == fs.FileType.NotFound

    summary = run(config, engine=FaultyEngine())
    assert (summary["store_hits"], summary["pairs_scored"]) == (15, PAIRS - 15)
    place = locate(config.output)
    ranked = pq.read_table(place.path, filesystem=place.filesystem)
    run(RunConfig(config.source, str(tmp_path / "out")), engine=FaultyEngine())
    assert ordered(ranked).equals(ordered(pq.read_table(tmp_path / "out")))


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
