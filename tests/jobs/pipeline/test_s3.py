"""Runs with input, output and score store on an S3 server; the credentials are in the environment."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs
from typer.testing import CliRunner, Result
from werkzeug.serving import WSGIRequestHandler

from jobs.cli import app
from jobs.input.source import open_source
from jobs.pipeline.output import check_output
from rerank.errors import InputError, OutputError
from rerank.paths import locate
from rerank.store import ScoreStore
from tests.fakes import candidate_sets
from tests.jobs.pipeline.interrupted import check_after_kill, kill_while_publishing, manifest_in
from tests.jobs.processes import ordered, summary_of

ROWS = [(f"q{q}", "how does it sort?", [(f"d{d}", f"item {d} " * (q + d)) for d in range(1, 6)]) for q in range(7)]
PAIRS = 35


@pytest.fixture(scope="module")
def options() -> Iterator[str]:
    """The query string of URIs on the server; its bucket `data` holds `in/`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "{}:{}".format(*server.get_host_and_port())
        filesystem = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True)
        filesystem.create_dir("data")
        for number, start in enumerate((0, 4)):
            part = candidate_sets(ROWS[start : start + 4])
            pq.write_table(part, f"data/in/part-{number}.parquet", filesystem=filesystem, row_group_size=2)
        yield f"?scheme=http&endpoint_override={endpoint}"
    finally:
        server.stop()


@pytest.mark.ray
def test_a_run_on_s3_and_one_that_scores_nothing(
    options: str, tmp_path: Path, rerank_here: Callable[..., Result]
) -> None:
    source, output = (f"s3://data/{name}{options}" for name in ("in/*.parquet", "out"))
    summary = summary_of(rerank_here(source, output, "--trec", f"s3://data/runs/run.trec{options}"))
    assert (summary["pairs_ranked"], summary["pairs_scored"]) == (PAIRS, PAIRS)

    place = locate(output)
    ranked = pq.read_table(place.path, filesystem=place.filesystem)
    assert ranked.num_rows == PAIRS
    with place.join("_manifest.json").filesystem.open_input_stream(place.join("_manifest.json").path) as stream:
        assert json.loads(stream.read()) == summary
    names = {entry.base_name for entry in place.filesystem.get_file_info(fs.FileSelector(place.path))}
    assert names == {"_manifest.json", "_scores", *(file["name"] for file in summary["files"])}
    with place.filesystem.open_input_stream("data/runs/run.trec") as stream:
        assert len(stream.read().decode().splitlines()) == PAIRS

    summary = summary_of(rerank_here(source, tmp_path / "out", "--scores", f"s3://data/out/_scores{options}"))
    assert (summary["pairs_scored"], summary["store_hits"]) == (0, PAIRS)
    assert ordered(pq.read_table(tmp_path / "out")).equals(ordered(ranked))


def test_a_bucket_that_is_not_there_is_one_sentence(options: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", f"s3://data/in{options}", f"s3://nowhere/out{options}"])
    assert done.exit_code == 2
    assert (
        done.stderr
        == f"rerank: s3://nowhere/out{options}: there is no bucket 'nowhere'; give one that exists, none is created\n"
    )
    with pytest.raises(InputError, match="no such file or directory"):
        open_source(f"s3://nowhere/in{options}")
    with pytest.raises(OutputError, match="there is no bucket"):
        check_output(locate(f"s3://nowhere/out{options}"), overwrite=False)


def test_a_part_of_the_store_is_one_request(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ScoreStore(f"s3://data/store{options}", "model")
    keys = np.arange(200, dtype=np.uint64).reshape(-1, 2)
    seen: list[str] = []
    monkeypatch.setattr(WSGIRequestHandler, "log_request", lambda handler, *_: seen.append(handler.command))
    store.append(keys, np.ones(100, dtype=np.float32), np.ones(100, dtype=np.int32))
    assert seen == ["PUT"]
    assert len(store.parts()) == 1


def test_splits_read_the_same_from_s3(options: str) -> None:
    source = open_source(f"s3://data/in{options}")
    read = pa.concat_tables([table for group in source.row_groups for table in source.read(group)])
    assert read.to_pylist() == candidate_sets(ROWS).to_pylist()
    assert source.pairs == PAIRS


def test_a_run_that_is_killed_while_it_publishes_loses_nothing(options: str) -> None:
    output = locate(f"s3://data/killed{options}")
    assert kill_while_publishing(output, 6, earlier=True)
    assert manifest_in(output) is None
    assert check_after_kill(output)
