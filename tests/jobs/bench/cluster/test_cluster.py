"""`rerank bench cluster`: throughput out of what the engines noted, the model, and the plot. No Ray is started."""

import json
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.bench.cluster import command
from jobs.bench.cluster.cpu import CpuSample, CpuUse, cpu_between, sampled_cpu
from jobs.bench.cluster.engine import Batch, SleepingEngine, read_batches, throughput
from jobs.bench.cluster.measure import Workload
from jobs.bench.cluster.model import JobModel, fit
from jobs.bench.pipeline import FreeEncoder
from jobs.cli import app


def pairs_of(count: int) -> Any:
    places = np.arange(count, dtype=np.int32)
    return FreeEncoder(tokens=7).encode(["q"], ["d"] * count, np.zeros(count, np.int32), places)


def row(engines: int, rate: float = 100.0, **others: float) -> dict[str, Any]:
    """A measurement: an engine of `rate` waits 1 ms per pair, and a pair costs 2 CPU ms beside 0.1 cores."""
    return {
        "engines": engines,
        "pairs": 1_000,
        "seconds": 10.0,
        "pairs_per_second": engines / (1 / rate + 0.001),
        "efficiency": 0.9,
        "efficiency_with_tail": 0.8,
        "cores": 0.1 + 0.002 * engines / (1 / rate + 0.001),
        "cores_of_others": 0.0,
        "driver_ms_per_block": 5.0,
        **others,
    }


def test_an_engine_sleeps_and_notes_its_batches(tmp_path: Path) -> None:
    (tmp_path / "another").write_text("")
    engine = SleepingEngine(tmp_path, engines=2, rate=2_000)
    before = time()
    scores = engine.score(pairs_of(40))
    assert time() - before >= 0.02
    assert (len(scores.logits), scores.computed_tokens) == (40, 280)
    engine.score(pairs_of(10))
    (batches,) = read_batches(tmp_path)
    assert [batch.pairs for batch in batches] == [40, 10]
    assert before <= batches[0].began < batches[0].ended <= batches[1].began


def test_throughput_leaves_out_the_start_and_the_tail() -> None:
    early = [Batch(0, 10, 100), Batch(10, 20, 100)]
    late = [Batch(5, 15, 100), Batch(20, 30, 100)]  # idle for five seconds, and alone for ten
    measured = throughput([early, late], rate=10)
    assert (measured.began, measured.ended) == (5, 20)
    assert measured.pairs_per_second == pytest.approx((50 + 100 + 100) / 15)
    assert measured.efficiency == pytest.approx(250 / 15 / 20)
    assert measured.with_tail == pytest.approx(350 / 25)
    assert measured.efficiency_with_tail == pytest.approx(350 / 25 / 20)


def test_cores_are_those_between_two_times() -> None:
    samples = [CpuSample(0, 0, 0, 0), CpuSample(10, 5, 20, 1), CpuSample(20, 15, 40, 3)]
    assert cpu_between(samples, 5, 15) == pytest.approx(CpuUse(0.75, 1.25, 0.15))


def test_cpu_is_sampled_at_least_once() -> None:
    with sampled_cpu() as samples:
        pass
    assert samples and samples[0].machine > 0


def test_the_model_finds_what_made_the_measurements() -> None:
    model = fit([row(1), row(2), row(4)], rate=100)
    assert model.waiting_seconds == pytest.approx(0.001)
    assert model.cpu_seconds == pytest.approx(0.002)
    assert model.base_cores == pytest.approx(0.1)
    assert model.pairs_per_second(32, cores=100) == pytest.approx(row(32)["pairs_per_second"])
    assert model.cores_needed(32) == pytest.approx(row(32)["cores"])


@pytest.mark.parametrize(("engines", "expected"), [(1, 100), (8, 800), (32, 950), (512, 950)])
def test_cores_bend_the_line(engines: int, expected: float) -> None:
    assert JobModel(0.01, 0, 0.002, 0.1).pairs_per_second(engines, cores=2) == pytest.approx(expected)


def test_a_single_measurement_has_no_base() -> None:
    assert fit([row(4)], rate=100).base_cores == 0


def test_the_command_prints_a_table_and_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def measure(folder: Path, workload: Workload, *, engines: int, pairs: int) -> dict[str, Any]:
        sizes.append((engines, pairs, workload.block_pairs))
        return row(engines)

    monkeypatch.setattr(command, "measure", measure)
    arguments = ["bench", "cluster", "--engines", "1,2,4", "--rate", "100", "--seconds", "30"]
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "plot.svg")])
    assert done.exit_code == 0, done.output
    assert sizes == [(1, 3_000, 400), (2, 6_000, 400), (4, 12_000, 400)]
    assert (tmp_path / "plot.svg").read_text().count("<circle") == 3
    done = CliRunner().invoke(app, [*arguments, "--pairs", "5000", "--json"])
    assert sizes[3:] == [(1, 5_000, 400), (2, 5_000, 400), (4, 5_000, 400)]
    found = json.loads(done.stdout)
    assert [line["predicted"] for line in found] == pytest.approx([line["pairs_per_second"] for line in found])
    done = CliRunner().invoke(app, ["bench", "cluster", "--engines", "1,none"])
    assert done.exit_code == 2 and "--engines must be numbers from 1" in done.stderr
