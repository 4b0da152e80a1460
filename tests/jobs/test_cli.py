"""Refusals before anything is started: exit code 2, one sentence on stderr, nothing on stdout."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.formats.renames import parse_renames
from jobs.pipeline.job import RunConfig
from rerank.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "out"], "no such file or directory"),
        (["in.parquet", "out"], "no candidate sets: expected query_id, query"),
        (["in.parquet", "out", "--column", "text"], "--column must be OURS=THEIRS such as text=body, got 'text'"),
        (["in.parquet", "out", "--dtype", "int3"], "dtype"),
    ],
)
def test_refuses_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"id": [1]}), "in.parquet")
    result = CliRunner().invoke(app, ["run", *arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.startswith("rerank: ")
    assert result.stdout == ""


def test_special_tokens_are_split_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[RunConfig] = []

    def note(config: RunConfig) -> dict[str, int]:
        configs.append(config)
        return {"pairs_rejected": 0, "pairs_read": 0}

    monkeypatch.setattr("jobs.run.run_job", note)
    for options in ([], ["--split-special-tokens"]):
        assert CliRunner().invoke(app, ["run", "in", "out", *options]).exit_code == 0
    assert [config.scorer.split_special_tokens for config in configs] == [False, True]


def test_renames_are_pairs() -> None:
    assert parse_renames(["text=body", "query_id=qid"]) == {"text": "body", "query_id": "qid"}
    with pytest.raises(ConfigError):
        parse_renames(["=body"])
