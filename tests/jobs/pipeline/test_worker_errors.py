"""Errors that a worker raises: the job ends at once, in their own words and with their exit code."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.exits import exit_codes
from jobs.input.source import Source, open_source
from jobs.input.splits import plan_splits
from jobs.pipeline import dataset
from jobs.pipeline.cluster import connect, disconnect
from jobs.pipeline.counts import start_counting
from jobs.pipeline.dataset import rank_dataset
from jobs.pipeline.stages.pool import Pool
from jobs.pipeline.stages.stage import Stage
from rerank.config import ScorerConfig
from rerank.engines import load_encoder
from rerank.errors import (
    ConfigError,
    EngineLostError,
    InputError,
    ModelError,
    OutputError,
    RerankError,
    TooLongError,
    UnavailableError,
)
from tests.fakes import candidate_sets
from tests.jobs.raising import ActorThatCannotStart, DyingEngine, RaisingEngine

pytestmark = pytest.mark.ray

ERRORS = [
    (ConfigError("device: 'cuda' was asked for, and this machine has none"), 2),
    (InputError("s3://bucket/in: cannot be read: ACCESS_DENIED, no credentials were found"), 2),
    (TooLongError(3, 512), 2),
    (OutputError("/out: cannot be written: No space left on device"), 2),
    (ModelError("cannot load 'my/model': the file is cut short\nand this is its second line"), 2),
    (UnavailableError("the model is not running"), 1),
    (EngineLostError("the device answers no more"), 1),
    (RerankError("something else of ours"), 1),
]
BLOCKS = 8
names = [type(error).__name__ for error, _ in ERRORS]


@pytest.fixture(scope="module", autouse=True)
def connected(shared_address: str) -> Iterator[None]:
    """One connection for all tests: what a run starts anew are the actors."""
    connect(address=shared_address, verbose=False)
    yield
    disconnect()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rows = [(f"q{q}", f"query {q}", [(f"d{d}", f"text {d} of {q}") for d in range(4)]) for q in range(BLOCKS)]
    pq.write_table(candidate_sets(rows), tmp_path / "in.parquet", row_group_size=1)
    return open_source(str(tmp_path / "in.parquet"))


Ended = Callable[[Source, RaisingEngine], tuple[int, str]]


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str]) -> Ended:
    """Runs the pipeline and gives its exit code and what it said."""

    def end(source: Source, engine: RaisingEngine) -> tuple[int, str]:
        scorer = ScorerConfig(device="cpu")
        code = None
        try:
            with exit_codes():
                rank_dataset(
                    source,
                    plan_splits(source, target_pairs=4),
                    [Stage(scorer, Pool(1, 1, 0), 1, engine=engine, encoder=load_encoder(scorer))],
                    block_bytes=1 << 20,
                ).materialize()
        except SystemExit as ending:
            code = ending.code
        gc.collect()  # the traceback held the actors, and with them their CPUs
        assert isinstance(code, int)
        return code, capsys.readouterr().err

    return end


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=names)
def test_an_error_at_the_first_block_ends_the_job(
    error: RerankError, code: int, source: Source, ended: Ended, tmp_path: Path
) -> None:
    engine = RaisingEngine(error, tmp_path / "log")
    assert ended(source, engine) == (code, f"rerank: {error}\n")
    assert_none_was_tried_again(engine)


@pytest.mark.parametrize(("error", "code"), [ERRORS[3], ERRORS[5]], ids=["OutputError", "UnavailableError"])
def test_an_error_half_way_ends_the_job(
    error: RerankError, code: int, source: Source, ended: Ended, tmp_path: Path
) -> None:
    engine = RaisingEngine(error, tmp_path / "log", BLOCKS // 2)
    assert ended(source, engine) == (code, f"rerank: {error}\n")
    assert_none_was_tried_again(engine)


def assert_none_was_tried_again(engine: RaisingEngine) -> None:
    """Beside the block that failed an actor may have tried the one that it held."""
    attempts = engine.attempts()
    assert len(attempts) == len(set(attempts))
    assert engine.blocks < len(attempts) <= engine.blocks + 2


@pytest.mark.parametrize(("error", "code"), [ERRORS[4], ERRORS[5]], ids=["ModelError", "UnavailableError"])
def test_an_error_at_the_start_of_an_actor_ends_the_job(
    error: RerankError, code: int, source: Source, ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "RerankActor", ActorThatCannotStart)
    engine = RaisingEngine(error, tmp_path / "log")
    assert ended(source, engine) == (code, f"rerank: {error}\n")
    assert engine.attempts() == ["start"]


def test_an_error_where_rows_are_read_ends_the_job(source: Source, ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"cut short")
    engine = RaisingEngine(InputError(""), tmp_path / "log", BLOCKS)
    code, said = ended(source, engine)
    assert code == 2
    assert said.startswith(f"rerank: {tmp_path}/in.parquet: cannot be read: ")
    assert said.count("\n") == 1
    assert engine.attempts() == []


def test_a_bug_at_the_start_of_an_actor_keeps_its_traceback(
    source: Source, ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "RerankActor", ActorThatCannotStart)
    with pytest.raises(Exception, match="ZeroDivisionError: a bug"):
        ended(source, RaisingEngine(ZeroDivisionError("a bug"), tmp_path / "log"))


def test_pairs_that_are_scored_again_after_a_death_count_once(tmp_path: Path) -> None:
    rows = [(f"q{q}", "query", [(f"d{d}", f"text {d} of {q}") for d in range(150)]) for q in range(4)]
    pq.write_table(candidate_sets(rows), tmp_path / "in.parquet", row_group_size=1)
    source = open_source(str(tmp_path / "in.parquet"))
    scorer, reporter = ScorerConfig(device="cpu"), start_counting()
    rank_dataset(
        source,
        plan_splits(source, target_pairs=150),
        [Stage(scorer, Pool(1, 1, 0), 1, engine=DyingEngine(tmp_path / "log"), encoder=load_encoder(scorer))],
        block_bytes=1 << 20,
        reporter=reporter,
    ).materialize()
    assert len((tmp_path / "log").read_text().splitlines()) == 2 + 2 + 3  # a first block is scored in slices
    counts = reporter.counts()
    assert counts.done == counts.sums["pairs_ranked"] == source.pairs == 600
    assert counts.scoring_seconds is not None
