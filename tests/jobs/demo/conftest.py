"""The corpus of the running Python, built once."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.demo.corpus import write_corpus


@pytest.fixture(scope="session")
def corpus_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("corpus") / "documents.parquet"
    write_corpus(path)
    return path


@pytest.fixture(scope="session")
def corpus(corpus_path: Path) -> pa.Table:
    return pq.read_table(corpus_path)
