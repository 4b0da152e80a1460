"""`rerank compare`: show how two ranked outputs of the same queries differ."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from jobs.compare.differences import differences_of
from jobs.compare.page import render
from jobs.compare.tables import show
from jobs.console import results_console, say
from jobs.evaluate import queries_of_limited_runs
from jobs.evaluation.measures import Judge
from jobs.evaluation.rankings import read_manifest, read_run
from jobs.exits import exit_codes
from jobs.formats.qrels import QrelsFormat, read_qrels
from jobs.formats.text import write_text
from jobs.report.examples import Texts
from rerank.errors import ConfigError
from rerank.paths import locate

_MEASURES = ("nDCG@10",)


def compare(
    before: Annotated[str, typer.Argument(metavar="OUT_A", help="An output folder of rerank run, or another run.")],
    after: Annotated[str, typer.Argument(metavar="OUT_B", help="The output to compare it with.")],
    qrels: Annotated[str | None, typer.Option(metavar="QRELS", help="Judgements, to measure the quality.")] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", help=f"With --qrels; may be repeated, default: {' '.join(_MEASURES)}"),
    ] = None,
    moved: Annotated[int, typer.Option(min=0, help="How many of the queries that moved most to list.")] = 10,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write one HTML page, too.")
    ] = None,
    qrels_format: Annotated[QrelsFormat | None, typer.Option(help="By the columns of the file if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Compare two outputs of the same queries, such as those of two models: what moved, and did quality change?"""
    with exit_codes():
        judge = None
        if qrels is not None:
            only = queries_of_limited_runs(before, after)
            judge = Judge(read_qrels(qrels, qrels_format), measures or _MEASURES, only=only)
        elif measures:
            raise ConfigError(f"--measure {measures[0]} needs judgements: give --qrels")
        differences = differences_of(read_run(before), read_run(after), judge)
        manifests = {"before": read_manifest(locate(before)), "after": read_manifest(locate(after))}
        models = {when: manifest.get("model") for when, manifest in manifests.items()}
        summary = {"models": models, **differences.summary(moved)}
        if output is not None:
            place = locate(output)
            write_text(place, render(differences, summary, _texts(summary, manifests["before"])))
            say(f"wrote {place.uri}")
        if as_json:
            typer.echo(json.dumps(summary))
        else:
            show(results_console(), summary)


def _texts(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Texts:
    """Return the texts of the queries that moved, from the input of the first run or from its output."""
    places = [place for place in (manifest.get("source"), summary["before"]) if place]
    query_ids = [row["query_id"] for row in summary["moved"]]
    return Texts(places, manifest.get("columns", {}), query_ids)


def register(app: typer.Typer) -> None:
    """Add the command to a typer app."""
    app.command("compare")(compare)
