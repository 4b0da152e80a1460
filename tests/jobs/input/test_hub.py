"""Data sets of the Hub, in a stand-in for its filesystem: what fsspec finds for hf:// is read like any other place."""

import gzip
import pickle
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub.errors import OfflineModeIsEnabled

from jobs.pipeline.output import check_output
from rerank.errors import InputError, OutputError
from rerank.paths import locate
from tests.jobs.input.test_convert import PAIRS, opened, pairs_of, plain

FOLDER = "hf://datasets/owner/name@main"


class StandIn(MemoryFileSystem):
    """Files in memory under the names that the Hub's filesystem gives them: `datasets/owner/name@revision/path`."""

    protocol: ClassVar[Any] = "hf"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("hf://").strip("/")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setitem(sys.modules["fsspec.registry"].__dict__["_registry"], "hf", StandIn)
    yield StandIn()
    StandIn.store.clear()


def put(hub: StandIn, name: str, content: bytes) -> None:
    hub.pipe(f"{FOLDER}/{name}", content)


def test_parquet_and_text_of_a_data_set_are_read(tmp_path: Path, hub: StandIn) -> None:
    frame, parquet = pd.DataFrame(PAIRS), BytesIO()
    frame.to_parquet(parquet)
    put(hub, "data/train-00000.parquet", parquet.getvalue())
    put(hub, "pairs.jsonl.gz", gzip.compress(frame.to_json(orient="records", lines=True).encode()))
    put(hub, "pairs.csv", frame.to_csv(index=False).encode())
    for path in ("data", "data/train-*.parquet", "data/train-00000.parquet", "pairs.jsonl.gz", "*.csv"):
        read = opened(tmp_path, f"{FOLDER}/{path}")
        assert plain(pairs_of(read)) == plain(PAIRS)
    with pytest.raises(InputError, match=r"hf://datasets/owner/name@main/none: no such file or directory"):
        opened(tmp_path, f"{FOLDER}/none")


def test_the_hub_is_not_written_to(hub: StandIn) -> None:
    with pytest.raises(OutputError, match=r"hf://.*: the Hub is read only"):
        check_output(locate(f"{FOLDER}/out"), overwrite=False)


def test_the_hubs_own_filesystem_travels_to_workers_and_its_errors_are_sentences() -> None:
    place = pickle.loads(pickle.dumps(locate(f"{FOLDER}/corpus.jsonl")))
    assert (place.path, place.filesystem.type_name) == ("datasets/owner/name@main/corpus.jsonl", "py::fsspec+hf")
    with pytest.raises(InputError, match=r"hf://.*: cannot be reached: .*offline") as refused:  # as all tests are
        place.info()
    assert isinstance(refused.value.__cause__, OfflineModeIsEnabled)
    with pytest.raises(InputError, match="cannot be reached"):
        locate("hf://nonsense").info()
