"""`rerank tune` on a cascade: each setting of `keep` by brute force, and its advice on stages of known worth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from jobs.evaluation.measures import Judge
from jobs.evaluation.ranked import read_ranked
from jobs.tune.cascade import CascadeTuner, tuner_of
from jobs.tune.command import register

QUERIES, DEPTH = 60, 40
Written = tuple[Path, Path]


def write(folder: Path, *, worth: tuple[float, ...], keeps: tuple[int, ...], stage_logits: bool = True) -> Written:
    """Write a cascade's output and judgements: a stage sees the relevance (0 or 1) times its worth, through noise.

    The last candidate of each query was not scored, as below --depth.
    """
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    qrels = []
    for query in range(QUERIES):
        relevant = rng.random(DEPTH) < 0.15
        logits = [each * relevant + rng.normal(0, 1, DEPTH) for each in worth]
        order, reached = list(range(DEPTH - 1)), np.ones(DEPTH, dtype=int)
        for stage, logit in enumerate(logits):
            keep = len(order) if stage == 0 else keeps[stage - 1]
            order = sorted(order[:keep], key=lambda place: -logit[place]) + order[keep:]
            reached[order[:keep]] = stage + 1
        for rank, place in enumerate([*order, DEPTH - 1], start=1):
            seen = [float(logits[stage][place]) for stage in range(reached[place])] if rank < DEPTH else None
            row = {"query_id": f"q{query}", "doc_id": f"d{place}", "rank": rank, "source_rank": place + 1}
            row |= {"logit": seen and seen[-1], "score": seen and 0.5, "stage": seen and len(seen)}
            rows.append(row | ({"stage_logits": seen} if stage_logits else {}))
        qrels += [{"query_id": f"q{query}", "doc_id": f"d{d}", "relevance": 1} for d in np.flatnonzero(relevant)]
    described = [
        {"model": {"name": f"org/m{stage}", "max_length": 128}, "keep": keep, "pairs_scored": 10, "tokens": 1_000}
        | {"seconds": 5.0 * (stage + 1)}
        for stage, keep in enumerate([*keeps, None])
    ]
    manifest = {"source": "in.parquet", "output": "out", "pairs_ranked": QUERIES * DEPTH, "stages": described}
    (folder / "out").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "out" / "part-0.parquet")
    (folder / "out" / "_manifest.json").write_text(json.dumps(manifest))
    pq.write_table(pa.Table.from_pylist(qrels), folder / "qrels.parquet")
    return folder / "out", folder / "qrels.parquet"


def command(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def tuner_for(written: Written) -> CascadeTuner:
    pairs, manifest = read_ranked(str(written[0]))
    relevance: dict[str, dict[str, int]] = {}
    for row in pq.read_table(written[1]).to_pylist():
        relevance.setdefault(row["query_id"], {})[row["doc_id"]] = 1
    return tuner_of(pairs, Judge(relevance, ["nDCG@10"]), manifest)


def test_the_whole_cascade_is_the_order_of_the_run(tmp_path: Path) -> None:
    tuner = tuner_for(write(tmp_path, worth=(1, 2, 3), keeps=(20, 8)))
    order, seen = tuner.ranked((20, 8))
    assert order.tolist() == tuner.pairs.as_ranked().tolist() == tuner.pairs.order().tolist()
    assert seen == [QUERIES * (DEPTH - 1), QUERIES * 20, QUERIES * 8]


@pytest.mark.parametrize("keeps", [(0, 0), (5, 0), (20, 8), (10, 10), (7, 3), (1, 1)])
def test_any_keep_is_the_cascade_by_hand(tmp_path: Path, keeps: tuple[int, ...]) -> None:
    tuner = tuner_for(write(tmp_path, worth=(1, 2, 3), keeps=(20, 10)))
    logits, pairs = tuner.pairs.stage_logits, tuner.pairs
    order, seen = tuner.ranked(keeps)
    assert logits is not None
    for query in range(QUERIES):
        start, stop = pairs.offsets[query : query + 2]
        expected = sorted(range(start, stop - 1), key=lambda row: -logits[row, 0])
        for stage, keep in enumerate(keeps, start=1):
            unknown = [row for row in expected[:keep] if np.isnan(logits[row, stage])]  # not seen by it in the run
            known = [row for row in expected[:keep] if row not in unknown]
            expected = sorted(known, key=lambda row: -logits[row, stage]) + unknown + expected[keep:]
        assert order[start:stop].tolist() == [*expected, stop - 1]
    assert seen == [QUERIES * (DEPTH - 1), *(QUERIES * keep for keep in keeps)]


def test_a_smaller_keep_limits_the_stages_after_it(tmp_path: Path) -> None:
    tuner = tuner_for(write(tmp_path, worth=(1, 2, 3), keeps=(20, 10)))
    assert tuner.with_keep((20, 10), 0, 5) == (5, 5)
    assert tuner.with_keep((20, 10), 1, 5) == (20, 5)
    assert tuner.with_keep((20, 10), 0, 0) == tuner.alone == (0, 0)
    assert tuner.keeps_to_try(0) == [5, 10, 20] and tuner.keeps_to_try(1) == [5, 10]


def test_says_what_each_stage_buys_and_recommends_keep(tmp_path: Path) -> None:
    output, qrels = write(tmp_path, worth=(1, 4), keeps=(30,))
    done = command(output, "--qrels", qrels, "--usd-per-hour", "36", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    first, second = told["stages"]
    assert first["before"] == told["first_stage"] and first["after"] == second["before"] < second["after"]
    assert second["low"] > 0 and told["verdict"] == "pays"
    assert (first["pairs"], second["pairs"]) == (1000 * (DEPTH - 1), 1000 * 30)
    assert (second["tokens"], second["seconds"], second["usd"]) == (30_000 * 100, 30_000.0, 300.0)
    assert [row["keep"] for row in told["keeps"]] == [5, 10, 20, 30]
    assert told["keeps"][-1]["after"] == second["after"]
    (keep,) = told["chosen"]["keep"]
    assert keep in {10, 20, 30}
    gains = {row["keep"]: row["difference"] for row in told["keeps"]}
    assert gains[keep] >= 0.95 * max(gains.values()) > max(gains[less] for less in gains if less < keep)
    assert told["recommended"] == (
        f"rerank run in.parquet out --overwrite --stage org/m0:{keep} --stage org/m1 --max-length 128"
    )
    shown = command(output, "--qrels", qrels)
    assert "What does each stage buy?" in shown.stdout and told["recommended"] in shown.stdout
    assert f"Keeping {keep} has 95 % of the best gain" in shown.stdout


def test_a_stage_that_only_harms_is_not_recommended(tmp_path: Path) -> None:
    output, qrels = write(tmp_path, worth=(4, 0), keeps=(30,))
    told = json.loads(command(output, "--qrels", qrels, "--json").stdout)
    assert told["recommended"] is None
    assert "do not" in command(output, "--qrels", qrels).stdout


def test_a_useless_last_stage_is_left_out_of_the_recommended_line(tmp_path: Path) -> None:
    output, qrels = write(tmp_path, worth=(0.5, 4, 0), keeps=(30, 20))
    told = json.loads(command(output, "--qrels", qrels, "--json").stdout)
    keep, none = told["chosen"]["keep"]
    assert none == 0 and told["recommended"].endswith(f"--stage org/m0:{keep} --stage org/m1 --max-length 128")


@pytest.mark.parametrize(
    ("flags", "stage_logits", "complaint"),
    [
        ([], False, "a cascade is tuned by the logits of all stages, which are not there: run it again with --stage-"),
        (["--pairs-per-second", "5"], True, "--pairs-per-second is the speed of one model"),
    ],
)
def test_what_cannot_be_tuned_is_a_sentence(
    tmp_path: Path, flags: list[str], stage_logits: bool, complaint: str
) -> None:
    output, qrels = write(tmp_path, worth=(1, 2), keeps=(20,), stage_logits=stage_logits)
    done = command(output, "--qrels", qrels, *flags)
    assert done.exit_code == 2 and complaint in done.stderr
