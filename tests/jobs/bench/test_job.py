"""`rerank bench job` and `rerank bench pipeline`: few pairs; what is scored, and that nothing is scored twice."""

import json
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.bench.command import app
from jobs.bench.job import changed, further_pairs_per_second
from jobs.bench.options import Lengths
from jobs.bench.scoring import synthetic_sets
from jobs.input.candidates import open_input
from jobs.pipeline.job import RunConfig, run
from rerank.ranking.candidates import CANDIDATES
from tests.jobs.faulty import FaultyEngine


def test_every_twentieth_text_is_another_one() -> None:
    before = synthetic_sets(Lengths.SHORT, 250)
    rows = zip(
        *(
            [pair for row in table.column(CANDIDATES).to_pylist() for pair in row]
            for table in (before, changed(before))
        ),
        strict=True,
    )
    assert [one == two for one, two in rows] == [place % 20 != 0 for place in range(250)]


def test_a_further_pair_takes_what_two_jobs_differ_in() -> None:
    many = {"pairs": 1_000, "pairs_scored": 1_000, "pairs_per_second": 20.0}
    few = {"pairs": 1_000, "pairs_scored": 50, "pairs_per_second": 100.0}
    assert further_pairs_per_second(many, few) == 23.75
    assert further_pairs_per_second(few, many) is None


@pytest.mark.ray
@pytest.mark.usefixtures("shared_driver")
def test_the_second_night_scores_what_changed(folder_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.bench.job.run", partial(run, engine=FaultyEngine(is_harmless=True)))
    pq.write_table(synthetic_sets(Lengths.SHORT, 400), tmp_path / "in.parquet")
    arguments = ["job", str(tmp_path / "in.parquet"), "--model", str(folder_of("bert")), "--pairs", "400"]
    done = CliRunner().invoke(app, [*arguments, "--rounds", "1", "--output", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    bare, full, changed_pairs, other = json.loads((tmp_path / "out.json").read_text())
    assert [row["pairs_scored"] for row in (bare, full, changed_pairs, other)] == [400, 400, 20, 0]
    assert {row["pairs"] for row in (bare, full, changed_pairs, other)} == {400}


def test_the_pipeline_is_measured_on_two_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(config: RunConfig, **_: object) -> dict[str, object]:
        pairs = open_input(config.source).pairs
        return {"pairs_ranked": pairs, "pairs_per_second": 500.0, "peak_memory_bytes": 2**20, "seconds": {}}

    monkeypatch.setattr("jobs.bench.pipeline.run", count)
    done = CliRunner().invoke(app, ["pipeline", "--pairs", "1000", "--output", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out.json").read_text())
    assert [(result["pairs"], result["pipeline_seconds"]) for result in results] == [(1_000, 2.0), (10_000, 20.0)]
    assert "without the start of the workers: 500 pairs/s" in done.output
