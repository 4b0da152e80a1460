"""`rerank tune`: depth, threshold and mixture worked out by hand, and its advice on models of known worth."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from jobs.evaluation.measures import Judge
from jobs.evaluation.ranked import read_ranked
from jobs.tune.command import register
from jobs.tune.cost import cost_of, rates_of
from jobs.tune.settings import Setting, Tuner
from jobs.tune.tables import amount, duration
from jobs.tune.threshold import sweep, worth_setting
from rerank.ranking.fusion import ScoreFusion
from rerank.ranking.relevance import relevance_scores
from tests.jobs.runs import CRANFIELD, LOGITS, QRELS, write_candidates, write_qrels, write_ranked

QUERIES, DEPTH = 60, 40
MANIFEST = {
    "source": "in.parquet",
    "output": "out",
    "pairs_ranked": QUERIES * DEPTH,
    "pairs_scored": 2000,
    "tokens": 200_000,
    "seconds": {"score": 40.0},
    "model": {"name": "acme/ranker", "max_length": 128},
}


def command(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def synthetic(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """An output and judgements in which both stages see the relevance (0 or 1) through noise."""

    def make(*, model: float, first: float, with_scores: bool = True) -> tuple[Path, Path]:
        rng = np.random.default_rng(5)
        rows, qrels = [], []
        for query in range(QUERIES):
            relevant = rng.random(DEPTH) < 0.15
            source = first * relevant + rng.normal(0, 1, DEPTH)
            order = np.argsort(-source)
            logits = (model * relevant + rng.normal(0, 1, DEPTH))[order] - 2
            ranks = np.argsort(np.argsort(-logits)) + 1
            for place, document in enumerate(order):
                row = {"query_id": f"q{query}", "doc_id": f"d{document}", "rank": int(ranks[place])}
                row |= {
                    "logit": float(logits[place]),
                    "score": 1 / (1 + np.exp(-logits[place])),
                    "source_rank": place + 1,
                }
                rows.append(row | ({"source_score": float(source[document])} if with_scores else {}))
                if relevant[document]:
                    qrels.append({"query_id": f"q{query}", "doc_id": f"d{document}", "relevance": 1})
        (tmp_path / "out").mkdir()
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "out" / "part-0.parquet")
        (tmp_path / "out" / "_manifest.json").write_text(json.dumps(MANIFEST))
        pq.write_table(pa.Table.from_pylist(qrels), tmp_path / "qrels.parquet")
        return tmp_path / "out", tmp_path / "qrels.parquet"

    return make


def summary_of(*arguments: str | Path) -> dict:
    done = command(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def tuner_of(folder: Path, measure: str = "RR") -> Tuner:
    judge = Judge(QRELS, [measure])
    pairs, _ = read_ranked(str(folder), only=judge.query_ids)
    return Tuner(pairs, judge)


def test_below_the_depth_the_first_stage_stands(tmp_path: Path) -> None:
    pairs, _ = read_ranked(str(write_ranked(tmp_path / "out")))
    by_depth = {depth: pairs.ranking(pairs.order(depth=depth))["q1"] for depth in (0, 2, 3, 4)}
    assert by_depth == {0: list("abcd"), 2: list("bacd"), 3: list("cbad"), 4: list("cbad")}
    assert pairs.ranking(pairs.order(depth=2), top=3) == {"q1": list("bac"), "q2": list("efg"), "q3": list("hi")}
    assert pairs.ranks.tolist() == [3, 2, 1, 4, 1, 2, 3, 1, 2]
    mixed = pairs.order(depth=3, fusion=ScoreFusion.parse("rrf:0"))
    assert pairs.ranking(mixed)["q1"] == list("abcd")


def test_depth_is_measured_query_by_query(tmp_path: Path) -> None:
    tuner = tuner_of(write_ranked(tmp_path / "out"))
    # q1 has its first relevant document at 2, then 1; q2 at 2 in any case; q9 is not in the run.
    assert tuner.values(Setting(0)).tolist() == [0.5, 0.5, 0]
    assert tuner.values(Setting(2)).tolist() == [1.0, 0.5, 0]
    assert tuner.depths == (4,)
    assert tuner.choose_depth(tuner.all_rows) == 4


def test_a_threshold_is_counted_over_all_pairs(tmp_path: Path) -> None:
    pairs, _ = read_ranked(str(write_ranked(tmp_path / "out")), only=["q1", "q2", "q9"])
    scores = sorted(relevance_scores(np.array(LOGITS["q1"] + LOGITS["q2"], dtype=np.float32)).tolist())
    bare, half, high = sweep(pairs, QRELS, (0.5, 0.9))
    # Relevant are b and c of q1, f of q2 and z of q9, which nobody found.
    assert (bare.kept, bare.precision, bare.recall, bare.empty) == (1.0, 3 / 7, 3 / 4, 0.0)
    assert sum(score >= 0.5 for score in scores) == 4
    assert (half.kept, half.precision, half.recall, half.empty) == (4 / 7, 3 / 4, 3 / 4, 0.0)
    assert (high.kept, high.precision, high.recall, high.empty) == (1 / 7, 1.0, 1 / 4, 0.5)
    assert worth_setting([bare, half, high]) == 0.5
    assert worth_setting([bare, high]) is None


def test_cost_follows_from_the_manifest(tmp_path: Path) -> None:
    pairs, _ = read_ranked(str(write_ranked(tmp_path / "out")))
    cost = cost_of(pairs, 3, rates_of(MANIFEST, pairs_per_second=None, usd_per_hour=3.6))
    assert cost.pairs == pytest.approx(8 / 3 * 1000)  # three, three and two candidates
    assert cost.tokens == pytest.approx(cost.pairs * 100)
    assert cost.seconds == pytest.approx(cost.pairs / 50)
    assert cost.usd == pytest.approx(cost.seconds / 1000)
    unknown = cost_of(pairs, 3, rates_of({"pairs_scored": 0, "tokens": 0}, pairs_per_second=None, usd_per_hour=1))
    assert (unknown.tokens, unknown.seconds, unknown.usd) == (None, None, None)
    told = cost_of(pairs, 3, rates_of({}, pairs_per_second=1000, usd_per_hour=None))
    assert (told.seconds, told.usd) == (pytest.approx(8 / 3), None)


def test_nothing_is_chosen_on_the_queries_it_is_reported_on(synthetic: Callable[..., tuple[Path, Path]]) -> None:
    output, _ = synthetic(model=2.0, first=1.0)
    pairs, _ = read_ranked(str(output))
    tuner = Tuner(pairs, Judge({query_id: {"d0": 1} for query_id in pairs.query_ids}, ["RR"]))
    seen: list[np.ndarray] = []

    def choose(rows: np.ndarray) -> Setting:
        seen.append(rows)
        return Setting(DEPTH)

    values, chosen = tuner.held_out(choose)
    assert np.array_equal(values, tuner.values(Setting(DEPTH)))
    assert len(chosen) == len(tuner.folds) == 5
    for fold, rows in zip(tuner.folds, seen, strict=True):
        assert sorted([*fold, *rows]) == list(range(QUERIES))


def test_a_good_model_pays(synthetic: Callable[..., tuple[Path, Path]]) -> None:
    output, qrels = synthetic(model=5.0, first=1.0)
    shown = command(output, "--qrels", qrels, "--usd-per-hour", "2")
    assert shown.exit_code == 0, shown.stderr
    last = shown.stdout.splitlines()[-1]
    assert last.startswith("rerank run in.parquet out --overwrite --model acme/ranker --max-length 128")
    assert "Reranking pays: nDCG@10 0." in shown.stdout
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [row[0] for row in rows if row and row[0] in {"none", "scores", "rrf", "best"}] == [
        "none",  # of the thresholds
        "none",
        "scores",
        "rrf",
        "best",
    ]
    summary = summary_of(output, "--qrels", qrels)
    assert summary["verdict"] == "pays" and summary["gain"]["low"] > 0.3
    assert [row["depth"] for row in summary["depths"]] == [5, 10, 20, 30, 40]
    curve = [row["after"] for row in summary["depths"]]
    assert summary["first_stage"] < curve[0] < curve[-1]
    enough = summary["first_stage"] + 0.95 * (max(curve) - summary["first_stage"])
    assert summary["chosen"]["depth"] == next(row["depth"] for row in summary["depths"] if row["after"] >= enough)


def test_noise_does_not_pay(synthetic: Callable[..., tuple[Path, Path]]) -> None:
    output, qrels = synthetic(model=0.0, first=2.0, with_scores=False)
    shown = command(output, "--qrels", qrels)
    assert "Reranking does not" in shown.stdout.splitlines()[-1]
    assert "(give --source IN to mix them)" in shown.stdout
    assert "rerank run" not in shown.stdout
    summary = summary_of(output, "--qrels", qrels)
    assert summary["verdict"] != "pays" and summary["recommended"] is None
    assert [row["name"] for row in summary["mixtures"]] == ["rrf"]


def test_two_stages_that_know_different_things_are_mixed(synthetic: Callable[..., tuple[Path, Path]]) -> None:
    output, qrels = synthetic(model=2.0, first=2.0)
    summary = summary_of(output, "--qrels", qrels)
    assert [row["name"] for row in summary["mixtures"]] == ["scores", "rrf", "best of both"]
    assert summary["verdict"] == "pays" and summary["chosen"]["mix"].startswith("scores:0.")
    assert f"--mix {summary['chosen']['mix']}" in summary["recommended"]
    assert summary["mixtures"][-1]["against_none"]["low"] > 0


def test_first_stage_scores_are_found_in_the_candidate_sets(tmp_path: Path) -> None:
    candidates = pq.read_table(write_candidates(tmp_path / "in.parquet"))
    scores = pa.array(np.arange(candidates.num_rows, 0, -1, dtype=np.float64))
    pq.write_table(candidates.append_column("score", scores).slice(1), tmp_path / "in.parquet")
    pairs, _ = read_ranked(str(write_ranked(tmp_path / "out")), source=str(tmp_path / "in.parquet"))
    assert np.isnan(pairs.source_scores[0])
    assert pairs.source_scores[1:].tolist() == scores.to_pylist()[1:]


def test_refusals_are_one_sentence(tmp_path: Path) -> None:
    qrels, candidates = write_qrels(tmp_path / "qrels.parquet"), write_candidates(tmp_path / "in.parquet")
    ranked, cut = write_ranked(tmp_path / "out"), write_ranked(tmp_path / "cut", top_k=2)
    (tmp_path / "other.qrels").write_text("x 0 a 1\n")
    for arguments, sentence in (
        ((candidates,), "--qrels is missing: give a file of judgements"),
        ((candidates, "--qrels", qrels), "column 'logit' is missing"),
        (
            (ranked, "--qrels", tmp_path / "other.qrels"),
            "no query has judgements; the judgements are for queries such as x",
        ),
        ((cut, "--qrels", qrels), "was cut by --top-k, --min-score or what the last stage keeps, but tuning"),
        ((ranked, "--qrels", qrels, "--source", tmp_path / "gone.parquet"), "no such file or directory"),
    ):
        refused = command(*arguments)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert sentence in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_numbers_are_short() -> None:
    assert [amount(count) for count in (None, 7.0, 950, 12_345, 999_600, 4.56e6)] == [
        "?", "7", "950", "12.3k", "1000k", "4.56M",
    ]  # fmt: skip
    assert [duration(seconds) for seconds in (None, 0.25, 89, 600, 7200)] == ["?", "0.25 s", "89 s", "10 min", "2.0 h"]


@pytest.mark.skipif(not CRANFIELD.exists(), reason="Cranfield is not there")
def test_on_cranfield_depth_0_is_bm25(tmp_path: Path) -> None:
    table = pq.read_table(CRANFIELD / "candidates.parquet", columns=["query_id", "doc_id", "rank"])
    ranks = table.column("rank").cast(pa.int32())
    table = table.rename_columns(["query_id", "doc_id", "source_rank"]).set_column(2, "source_rank", ranks)
    (tmp_path / "out").mkdir()
    oracle = table.append_column("logit", pa.array(-ranks.to_numpy().astype(np.float32)))
    pq.write_table(oracle.append_column("rank", ranks), tmp_path / "out" / "part-0.parquet")
    judged = ["--qrels", CRANFIELD / "qrels.parquet", "--source", CRANFIELD / "candidates.parquet"]
    summary = summary_of(tmp_path / "out", *judged)
    assert summary["first_stage"] == pytest.approx(0.3078, abs=5e-5)
    assert summary["source_scores_known"] and summary["recommended"] is None
    assert all(row["difference"] == 0 for row in summary["depths"])
