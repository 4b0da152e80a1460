"""`rerank tune`: tables that compare depths, thresholds and mixtures, and one recommended line."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from jobs.console import results_console
from jobs.evaluation.compare import compare
from jobs.evaluation.measures import Judge
from jobs.evaluation.ranked import RankedPairs, read_ranked
from jobs.evaluation.rankings import is_cut, names_of, queries_of_limited, read_manifest
from jobs.exits import exit_codes
from jobs.formats.qrels import QrelsFormat, read_qrels, require_qrels
from jobs.tune.advice import Verdict, advise, command_line
from jobs.tune.cascade import stage_rates, study_cascade, tuner_of
from jobs.tune.cascade_tables import show_cascade
from jobs.tune.cost import Rates, cost_of, rates_of
from jobs.tune.settings import Setting, Tuner
from jobs.tune.tables import show
from jobs.tune.threshold import sweep, worth_setting
from rerank.errors import ConfigError, InputError
from rerank.paths import locate
from rerank.tables.published import read_unchanged

_FEW = 25  # below this many queries cross-validation is unreliable
_NAMED = 1000


def tune(
    output: Annotated[str, typer.Argument(metavar="OUT", help="An output folder of rerank run, with all candidates.")],
    qrels: Annotated[
        str | None,
        typer.Option(metavar="QRELS", help="Judgements, required: Parquet, TREC qrels, or a table with a header."),
    ] = None,
    measure: Annotated[str, typer.Option(help="Measure to optimise, named as in ir-measures.")] = "nDCG@10",
    source: Annotated[
        str | None,
        typer.Option(metavar="IN", help="Candidate sets whose column `score` is the first stage's, to mix with."),
    ] = None,
    usd_per_hour: Annotated[float | None, typer.Option(min=0, help="Price of one actor per hour.")] = None,
    pairs_per_second: Annotated[
        float | None, typer.Option(min=0.001, help="Speed of one actor; by default as measured by the run.")
    ] = None,
    qrels_format: Annotated[QrelsFormat | None, typer.Option(help="By the columns of the file if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Recommend depth, threshold and mixture, or what stages keep, from a finished run's logits; nothing is scored."""
    with exit_codes():
        judge = Judge(read_qrels(require_qrels(qrels), qrels_format), [measure], only=queries_of_limited(output))
        pairs, manifest = read_unchanged(locate(output), lambda: _read_whole(output, source, judge.query_ids))
        if not pairs.query_ids:
            judged = names_of(judge.query_ids, most=3)
            raise InputError(f"{output}: no query has judgements; the judgements are for queries such as {judged}")
        known = _known(pairs, judge)
        if "stages" in manifest:
            if pairs_per_second is not None:
                raise ConfigError("--pairs-per-second is the speed of one model, and this output is that of a cascade")
            rates_of_stages = stage_rates(manifest, usd_per_hour=usd_per_hour)
            tuner = tuner_of(pairs, judge, manifest)
            summary = known | study_cascade(tuner, judge.measures[0], manifest, rates_of_stages)
        else:
            rates = rates_of(manifest, pairs_per_second=pairs_per_second, usd_per_hour=usd_per_hour)
            summary = known | study(pairs, judge, manifest, rates)
        if as_json:
            typer.echo(json.dumps(summary))
        else:
            (show_cascade if "stages" in manifest else show)(results_console(), summary)


def _known(pairs: RankedPairs, judge: Judge) -> dict[str, Any]:
    """Return which queries are measured, and by what."""
    queries = len(judge.query_ids)
    missing = sorted(set(judge.query_ids).difference(pairs.query_ids))
    return {
        "measure": judge.measures[0],
        "queries": queries,
        "few_queries": queries < _FEW,
        "missing": missing[:_NAMED],
        "missing_count": len(missing),
        "left_out_count": judge.left_out,
    }


def _read_whole(uri: str, source: str | None, query_ids: Sequence[str]) -> tuple[RankedPairs, dict[str, Any]]:
    """Read the pairs and the manifest of these queries.

    Raises InputError if options of the run left pairs out: what was left out cannot be judged.
    """
    location = locate(uri)
    if is_cut(location, read_manifest(location)):
        raise InputError(
            f"{uri}: was cut by --top-k, --min-score or what the last stage keeps, but tuning needs all candidates: "
            "run it again without these (pairs in the score store are not scored again)"
        )
    return read_ranked(uri, source=source, only=query_ids)


def study(pairs: RankedPairs, judge: Judge, manifest: dict[str, Any], rates: Rates) -> dict[str, Any]:
    """Return the results for one model as JSON values; `recommended` is None if reranking does not pay."""
    measure = judge.measures[0]
    tuner = Tuner(pairs, judge)
    advice = advise(tuner, measure)
    thresholds = sweep(pairs, judge.qrels)
    pays = advice.verdict is Verdict.PAYS
    min_score = worth_setting(thresholds) if pays else None
    line = command_line(advice.setting, manifest, longest=pairs.longest, min_score=min_score)
    return {
        "first_stage": float(tuner.values(Setting(0)).mean()),
        "depths": depth_curve(tuner, measure, rates),
        "thresholds": [asdict(kept) for kept in thresholds],
        "mixtures": [asdict(mixture) for mixture in advice.mixtures],
        "source_scores_known": pairs.source_scores is not None,
        "verdict": str(advice.verdict),
        "gain": asdict(advice.gain),
        "chosen": {"depth": advice.setting.depth, "mix": str(advice.setting.mix) if advice.setting.mix else None},
        "min_score": min_score,
        "recommended": line if pays else None,
    }


def depth_curve(tuner: Tuner, measure: str, rates: Rates) -> list[dict[str, Any]]:
    """Return quality and cost at each depth, compared with the first stage."""
    first = tuner.values(Setting(0))[:, None]
    rows = []
    for depth in tuner.depths:
        comparison = compare([measure], first, tuner.values(Setting(depth))[:, None])[0]
        rows.append({"depth": depth, **asdict(comparison), **asdict(cost_of(tuner.pairs, depth, rates))})
    return rows


def register(app: typer.Typer) -> None:
    """Add the command to a typer app."""
    app.command("tune")(tune)
