"""`rerank evaluate`: measure a run against judgements, and compare it with the order before reranking."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jobs.console import plural, results_console
from jobs.evaluation.compare import Comparison, Coverage, compare, cover, left_out_text, p_text, unjudged_share
from jobs.evaluation.measures import Judge, Qrels, Ranking
from jobs.evaluation.rankings import Run, RunFormat, names_of, queries_of_limited, read_run
from jobs.exits import exit_codes
from jobs.formats.qrels import QrelsFormat, read_qrels, require_qrels
from jobs.formats.renames import by_table, parse_renames
from rerank.errors import ConfigError, InputError

MEASURES = ("nDCG@10", "RR@10", "AP", "P@5", "Success@10", "R@100")

_TOP = 10
_NAMED = 1000  # most ids in the JSON summary


def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="An output folder of rerank run; or a TREC run file, candidate sets, a plain run."
        ),
    ],
    qrels: Annotated[
        str | None,
        typer.Option(metavar="QRELS", help="Judgements, required: Parquet, TREC qrels, or a table with a header."),
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", help=f"May be repeated, named as in ir-measures; default: {' '.join(MEASURES)}"),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="RUN", help="Compare with this run; by default OUT's own first-stage order.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Read a column by another name: doc_id=_id, baseline.doc_id=_id."),
    ] = None,
    qrels_format: Annotated[QrelsFormat | None, typer.Option(help="By the columns of the file if not given.")] = None,
    run_format: Annotated[RunFormat | None, typer.Option(help="By the suffix if not given.")] = None,
    baseline_format: Annotated[RunFormat | None, typer.Option(help="By the suffix if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure a run against judgements, before and after reranking: does it help?"""
    with exit_codes():
        run_renames, baseline_renames = by_table(parse_renames(column or []), "run", "baseline")
        if baseline_renames and baseline is None:
            raise ConfigError("--column baseline.… renames columns of the --baseline, but no --baseline is given")
        judge = Judge(
            read_qrels(require_qrels(qrels), qrels_format),
            measures or MEASURES,
            only=queries_of_limited_runs(run, baseline),
        )
        other = read_run(baseline, baseline_format, baseline_renames) if baseline is not None else None
        summary = assess(judge, read_run(run, run_format, run_renames), other)
        if as_json:
            typer.echo(json.dumps(summary))
        else:
            show(results_console(), summary)


def queries_of_limited_runs(*runs: str | None) -> frozenset[str] | None:
    """Return the queries that all runs with --limit read; None if there is no such run."""
    read = [queries for uri in runs if uri is not None and (queries := queries_of_limited(uri)) is not None]
    return frozenset.intersection(*read) if read else None


def assess(judge: Judge, run: Run, baseline: Run | None = None) -> dict[str, Any]:
    """Return the summary of a run, compared with `baseline`, or with its own first-stage order if that is known.

    Raises InputError if no query of the run is judged.
    """
    qrels = judge.qrels
    after = _covered(qrels, run.name, run.ranking)
    summary: dict[str, Any] = {
        "run": run.name,
        "queries": after.judged,
        "missing": list(after.missing[:_NAMED]),
        "missing_count": len(after.missing),
        "left_out_count": judge.left_out,
        "unjudged": list(after.unjudged[:_NAMED]),
        "unjudged_count": len(after.unjudged),
        "unjudged_in_top_10": {"after": unjudged_share(qrels, run.ranking, depth=_TOP)},
        "cut": run.cut,
        "baseline": None,
    }
    values = judge.values(run.ranking)
    before = baseline.ranking if baseline else run.first_stage
    if before is None:
        means = values.mean(axis=0).tolist()
        return summary | {"measures": [{"measure": n, "after": m} for n, m in zip(judge.measures, means, strict=True)]}
    summary["baseline"] = baseline.name if baseline else f"{run.name} in source_rank order"
    summary["baseline_missing"] = list(_covered(qrels, summary["baseline"], before).missing[:_NAMED])
    summary["unjudged_in_top_10"]["before"] = unjudged_share(qrels, before, depth=_TOP)
    comparisons = compare(judge.measures, judge.values(before), values)
    return summary | {"measures": [asdict(comparison) for comparison in comparisons]}


def _covered(qrels: Qrels, name: str, ranking: Ranking) -> Coverage:
    coverage = cover(qrels, ranking)
    if len(coverage.missing) == coverage.judged:
        raise InputError(
            f"{name}: no query has judgements: it holds {plural(len(ranking), 'query')} such as "
            f"{names_of(coverage.unjudged, most=3)}, the judgements are for queries such as "
            f"{names_of(coverage.missing, most=3)}"
        )
    return coverage


def show(console: Console, summary: dict[str, Any]) -> None:
    """Print the summary as tables."""
    rows = summary["measures"]
    if summary["baseline"] is None:
        table = Table("", "value", box=None, pad_edge=False)
        for row in rows:
            table.add_row(row["measure"], f"{row['after']:.4f}")
    else:
        console.print(f"before: {summary['baseline']}\nafter:  {summary['run']}\n")
        table = comparison_table([Comparison(**row) for row in rows])
    console.print(table)
    console.print()
    for line in remarks(summary):
        console.print(line)


def comparison_table(rows: Sequence[Comparison]) -> Table:
    """Return the table of before and after, one line per measure."""
    table = Table("", box=None, pad_edge=False)
    for name in ("before", "after", "difference", "95 % interval", "p", "won", "lost", "unchanged"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        interval = f"{row.low:+.4f} … {row.high:+.4f}"
        means = (f"{row.before:.4f}", f"{row.after:.4f}", f"{row.difference:+.4f}")
        table.add_row(
            row.measure, *means, interval, p_text(row.p_value), f"{row.won:,}", f"{row.lost:,}", f"{row.unchanged:,}"
        )
    return table


def remarks(summary: dict[str, Any]) -> list[str]:
    """Return what is needed to interpret the numbers: which queries were measured, and what is not judged."""
    lines = [plural(summary["queries"], "judged query")]
    if left_out := left_out_text(summary["left_out_count"]):
        lines.append(left_out)
    if summary["baseline"] is not None:
        lines[0] += "; interval by bootstrap, p by paired randomisation test; won, lost, unchanged count queries"
    shares = summary["unjudged_in_top_10"]
    unjudged = ", ".join(f"{shares[when]:.1%} {when}" for when in ("before", "after") if when in shares)
    lines.append(f"documents without judgement in the top 10: {unjudged}")
    if shares["after"] - shares.get("before", shares["after"]) > 0.1:
        lines[-1] += " (they count as not relevant, so the gain may be larger than measured)"
    for key, text in (
        ("missing", "with judgements but not in the run, counted as 0"),
        ("baseline_missing", "with judgements but not in the baseline, counted as 0"),
        ("unjudged", "in the run but without judgements, left out"),
    ):
        if names := summary.get(key):
            count = summary.get(f"{key}_count", len(names))
            lines.append(f"{plural(count, 'query')} {text}: {names_of(names[:5])}" + (" …" if count > 5 else ""))
    if summary["cut"] and summary["baseline"] is None:
        lines.append(
            "no comparison: the run was cut by --top-k or --min-score, so its first-stage order is not known; "
            "give the candidate sets it was made from as --baseline"
        )
    return lines


def register(app: typer.Typer) -> None:
    """Add the command to a typer app."""
    app.command("evaluate")(evaluate)


if __name__ == "__main__":
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    register(alone)
    alone(prog_name="python -m jobs.evaluate")
