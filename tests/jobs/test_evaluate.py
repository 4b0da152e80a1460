"""`rerank evaluate`: numbers worked out by hand, trec_eval's on Cranfield, and what a person reads."""

import json
import subprocess
import sys
from math import log2
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from jobs.cli import app as console
from jobs.evaluate import register
from jobs.evaluation.compare import unjudged_share
from jobs.evaluation.measures import Judge, measure
from jobs.evaluation.rankings import read_run
from jobs.formats.qrels import read_qrels
from tests.jobs.runs import CRANFIELD, FIRST_STAGE, QRELS, write_candidates, write_qrels, write_ranked


def command(*arguments: str | Path) -> Result:
    """`rerank evaluate` with these arguments."""
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def evaluated(run: Path, qrels: Path) -> list[str | Path]:
    return [run, "--qrels", qrels]


def measured(*names: str) -> list[str]:
    return [word for name in names for word in ("--measure", name)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_ranked(tmp_path / "out"), write_qrels(tmp_path / "qrels.parquet")


def test_the_first_stage_is_the_baseline_of_our_output(files: tuple[Path, Path]) -> None:
    done = command(*evaluated(*files), *measured("nDCG@10", "RR", "P@1"), "--json")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    ideal = 2 / log2(2) + 1 / log2(3)
    second = 1 / log2(3)  # q2: e, f, g with f relevant, before and after; q9 is judged but missing: 0
    before = (2 / log2(4) + 1 / log2(3)) / ideal + second
    by_name = {row["measure"]: row for row in summary["measures"]}
    assert by_name["nDCG@10"]["before"] == pytest.approx(before / 3)
    assert by_name["nDCG@10"]["after"] == pytest.approx((1 + second) / 3)
    assert (by_name["RR"]["before"], by_name["RR"]["after"]) == pytest.approx((1 / 3, 1.5 / 3))
    assert (by_name["P@1"]["before"], by_name["P@1"]["after"]) == pytest.approx((0, 1 / 3))
    assert [by_name["P@1"][name] for name in ("won", "lost", "unchanged")] == [1, 0, 2]
    assert by_name["P@1"]["p_value"] == 1.0  # one query differs: either sign is as far from 0
    assert (summary["queries"], summary["missing"], summary["unjudged"]) == (3, ["q9"], ["q3"])
    assert summary["unjudged_in_top_10"]["after"] == pytest.approx(3 / 7)


def test_a_person_reads_before_and_after(files: tuple[Path, Path]) -> None:
    shown = command(*evaluated(*files))
    assert shown.exit_code == 0
    assert f"before: {files[0]} in source_rank order" in shown.stdout
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["RR@10", "0.3333", "0.5000", "+0.1667"] in [line[:4] for line in lines]
    assert "3 judged queries" in shown.stdout
    assert "1 query with judgements but not in the run, counted as 0: q9" in shown.stdout
    assert "1 query in the run but without judgements, left out: q3" in shown.stdout
    assert "documents without judgement in the top 10: 42.9% before, 42.9% after" in shown.stdout


def test_a_baseline_may_be_any_run(files: tuple[Path, Path], tmp_path: Path) -> None:
    ranked, qrels = files
    own = json.loads(command(*evaluated(ranked, qrels), "--json").stdout)
    candidates = write_candidates(tmp_path / "candidates.parquet")
    other = json.loads(command(*evaluated(ranked, qrels), "--baseline", candidates, "--json").stdout)
    assert other["measures"] == own["measures"]
    assert other["baseline"] == str(candidates)


def test_columns_of_run_and_baseline_may_bear_other_names(files: tuple[Path, Path], tmp_path: Path) -> None:
    ranked, qrels = files
    own = json.loads(command(*evaluated(ranked, qrels), "--json").stdout)
    pairs = pq.read_table(write_candidates(tmp_path / "pairs.parquet"))
    pq.write_table(pairs.rename_columns({"query_id": "qid", "text": "body"}), tmp_path / "pairs.parquet")
    run = pq.read_table(ranked / "part-00000.parquet").select(["query_id", "doc_id", "logit"])
    pq.write_table(run.rename_columns({"doc_id": "_id"}), tmp_path / "run.parquet")
    line = [*evaluated(tmp_path / "run.parquet", qrels), "--baseline", tmp_path / "pairs.parquet"]
    names = ["doc_id=_id", "score=logit", "baseline.query_id=qid", "baseline.text=body"]
    done = command(*line, *(word for name in names for word in ("--column", name)), "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["measures"] == own["measures"]


def test_output_that_was_cut_is_not_compared_with_itself(tmp_path: Path) -> None:
    ranked = write_ranked(tmp_path / "out", top_k=2)
    shown = command(*evaluated(ranked, write_qrels(tmp_path / "qrels.parquet")), *measured("RR"))
    assert shown.exit_code == 0
    assert "no comparison: the run was cut by --top-k or --min-score" in shown.stdout
    assert ["RR", "0.5000"] in [line.split() for line in shown.stdout.splitlines()]


@pytest.mark.parametrize(
    ("limit", "read", "queries", "left_out"), [(None, 3, 3, 0), (3, 3, 2, 1), (4, 3, 3, 0), (4, 4, 3, 0)]
)
def test_a_run_with_a_limit_is_judged_on_the_queries_that_it_read(
    tmp_path: Path, limit: int | None, read: int, queries: int, left_out: int
) -> None:
    ranked, qrels = write_ranked(tmp_path / "out"), write_qrels(tmp_path / "qrels.parquet")
    (ranked / "_manifest.json").write_text(json.dumps({"pairs_ranked": 9, "limit": limit, "queries_read": read}))
    if read == 4:  # the query with judgements that is not ranked was rejected: it counts as 0
        (ranked / "_errors").mkdir()
        rejected = {"query_id": ["q9"], "doc_id": ["z"], "reason": ["text is null"]}
        pq.write_table(pa.table(rejected), ranked / "_errors" / "part-0.parquet")
    summary = json.loads(command(*evaluated(ranked, qrels), *measured("RR"), "--json").stdout)
    assert (summary["queries"], summary["left_out_count"]) == (queries, left_out)
    assert summary["measures"][0]["after"] == pytest.approx(1.5 / queries)
    shown = command(*evaluated(ranked, qrels)).stdout
    assert ("made with --limit: 1 judged query that the run did not read left out" in shown) is (left_out == 1)
    for program in ("tune", "report"):
        done = CliRunner().invoke(console, [program, *map(str, evaluated(ranked, qrels))])
        assert done.exit_code == 0, done.stderr
        page = done.stdout if program == "tune" else (ranked / "_report.html").read_text()
        assert ("made with --limit: 1 judged query" in page) is (left_out == 1)


def test_two_runs_with_limits_are_compared_on_what_both_read(files: tuple[Path, Path], tmp_path: Path) -> None:
    ranked, qrels = files
    other = write_ranked(tmp_path / "other")
    part = pq.read_table(other / "part-00000.parquet")
    pq.write_table(part.filter(pc.equal(part.column("query_id"), "q1")), other / "part-00000.parquet")
    (other / "_manifest.json").write_text(json.dumps({"pairs_ranked": 4, "limit": 1, "queries_read": 1}))
    line = [*evaluated(ranked, qrels), "--baseline", other, "--json", *measured("RR")]
    summary = json.loads(command(*line).stdout)
    assert (summary["queries"], summary["left_out_count"], summary["measures"][0]["before"]) == (1, 2, 1.0)


def test_the_unjudged_are_counted_over_what_is_there() -> None:
    assert unjudged_share(QRELS, FIRST_STAGE, depth=1) == 0.5  # a is judged (0), e is not, z is not ranked
    assert unjudged_share(QRELS, FIRST_STAGE, depth=10) == pytest.approx(3 / 7)


def test_each_query_has_the_value_that_the_mean_is_made_of() -> None:
    names = ["nDCG@3", "AP", "P@2", "R@2", "nDCG@3", "Success@1"]
    judge = Judge(QRELS, names)
    assert judge.query_ids == ["q1", "q2", "q9"]
    means = measure(QRELS, FIRST_STAGE, names)
    assert judge.values(FIRST_STAGE).mean(axis=0) == pytest.approx([means[name] for name in names])


def test_cutting_rankings_at_the_deepest_cutoff_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    ranking = {f"q{q}": [f"d{d}" for d in rng.permutation(60)] for q in range(20)}
    qrels = {f"q{q}": {f"d{d}": int(rng.integers(0, 3)) for d in rng.permutation(60)[:15]} for q in range(20)}
    names = ["nDCG@10", "RR@20", "R@5", "P@20", "AP@20"]
    whole = Judge(qrels, [*names, "AP"]).values(ranking)[:, :-1]  # AP reads all of a ranking
    assert np.array_equal(Judge(qrels, names).values(ranking), whole)


@pytest.mark.skipif(not CRANFIELD.exists(), reason="Cranfield is not there")
def test_cranfield_has_trec_evals_numbers() -> None:
    qrels = read_qrels(str(CRANFIELD / "qrels.parquet"))
    run = read_run(str(CRANFIELD / "candidates.parquet"))
    names = ["nDCG@10", "RR@10", "P@5", "R@100"]
    values = Judge(qrels, names).values(run.ranking)
    assert values.mean(axis=0) == pytest.approx([0.3078, 0.4944, 0.3058, 0.6870], abs=5e-5)
    scores = {query_id: {d: 1.0 / (1 + at) for at, d in enumerate(docs)} for query_id, docs in run.ranking.items()}
    for metric in ir_measures.iter_calc([ir_measures.parse_measure("nDCG@10")], qrels, scores):
        assert values[sorted(qrels).index(metric.query_id), 0] == metric.value


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("out",), "--qrels is missing: give a file of judgements"),
        (("out", "nowhere.parquet"), "not readable as Parquet"),
        (("out", "qrels.parquet", "--measure", "speed"), "a measure must be one that ir-measures computes"),
        (("nowhere", "qrels.parquet"), "no such file or directory"),
        (
            ("out", "qrels.parquet", "--column", "doc_id=_id"),
            "no column '_id' to read as 'doc_id'; found query_id,",
        ),
        (("out", "qrels.parquet", "--column", "first.doc_id=_id"), "expected a column of the run, or baseline.…"),
        (("out", "qrels.parquet", "--column", "baseline.doc_id=_id"), "but no --baseline is given"),
        (
            ("run.trec", "qrels.parquet", "--column", "doc_id=_id"),
            "run.trec: a TREC run has no column names",
        ),
        (
            ("limited", "other.qrels"),
            "made with --limit, and none of its queries has judgements: it holds",
        ),
        (("out", "other.qrels"), "out: no query has judgements: it holds 3 queries such as q1, q2, q3"),
    ],
)
def test_refusals_are_one_sentence(
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.qrels").write_text("x1 0 a 1\n")
    write_ranked(Path("limited"))
    Path("limited/_manifest.json").write_text('{"limit": 3, "queries_read": 3}')
    run, *rest = arguments
    refused = command(run, *(["--qrels", *rest] if rest else []))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert sentence in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_it_runs_as_a_module(files: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.evaluate", *map(str, evaluated(*files)), "--json"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["queries"] == 3


@pytest.mark.parametrize("name", ["evaluate", "tune", "report"])
def test_the_console_script_knows_the_command(name: str) -> None:
    shown = CliRunner().invoke(console, [name, "--help"])
    assert shown.exit_code == 0 and "OUT" in shown.stdout and "--qrels" in shown.stdout
