"""`rerank bench startup`: what is timed, in new processes, and that a failure is told."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.bench.command import app
from jobs.bench.startup import _run
from rerank.errors import RerankError


def test_a_job_and_the_first_score_are_timed_in_turns_with_bare_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command[1:])
        if command[1] == "-m":
            assert len(pq.read_table(command[3])["candidates"].combine_chunks().flatten()) == 8
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("jobs.bench.startup.subprocess.run", run)
    done = CliRunner().invoke(app, ["startup", "--rounds", "2", "--output", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    assert [command[0] for command in commands] == ["-c", "-m", "-c"] * 2
    assert commands[1][1] == "jobs.run" and commands[1][3] != commands[4][3]  # a new OUT each time
    for command in (commands[0], commands[2]):
        compile(command[1], "startup", "exec")
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"] for row in rows] == ["bare Ray", "job of 8 pairs", "first score in Python"]
    assert rows[0]["of_bare_ray"] == 1.0


def test_a_process_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(RerankError, match=r"python -c .* failed: .*the disk is broken"):
        _run(["-c", "raise SystemExit('the disk is broken')"])
