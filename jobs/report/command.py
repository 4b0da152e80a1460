"""`rerank report`: write the HTML page of a finished run."""

import json
from typing import Annotated

import typer

from jobs.evaluate import MEASURES
from jobs.evaluation.measures import Judge
from jobs.evaluation.rankings import queries_of_limited
from jobs.exits import exit_codes
from jobs.formats.qrels import QrelsFormat, read_qrels
from jobs.formats.text import write_text
from jobs.pipeline.publish import REPORT
from jobs.report.findings import find
from jobs.report.page import depth_curve, render
from jobs.report.picture import standalone
from rerank.errors import ConfigError
from rerank.paths import locate


def report(
    ranked: Annotated[str, typer.Argument(metavar="OUT", help="An output folder of rerank run.")],
    qrels: Annotated[str | None, typer.Option(metavar="QRELS", help="Judgements, to measure the effect.")] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", help=f"May be repeated, the first one leads; default: {' '.join(MEASURES)}"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="IN", help="Candidate sets with the texts; the run's input if not given."),
    ] = None,
    usd_per_hour: Annotated[float | None, typer.Option(min=0, help="Price of one actor per hour.")] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help=f"The HTML page to write; OUT/{REPORT} if not given."),
    ] = None,
    depth_figure: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the depth curve as an SVG picture too.")
    ] = None,
    qrels_format: Annotated[QrelsFormat | None, typer.Option(help="By the columns of the file if not given.")] = None,
) -> None:
    """Write one HTML page: what ran, whether it helped, for which queries, up to which depth, and what it cost."""
    with exit_codes():
        judge = None
        if qrels is not None:
            only = queries_of_limited(ranked)
            judge = Judge(read_qrels(qrels, qrels_format), measures or MEASURES, only=only)
        found = find(ranked, judge, source=source, usd_per_hour=usd_per_hour)
        if depth_figure is not None and (found.judged is None or found.cut):
            raise ConfigError("--depth-figure needs --qrels and an OUT that was made without --top-k and --min-score")
        if depth_figure is not None and "stages" in found.manifest:
            raise ConfigError("--depth-figure is for one model, and this output is that of a cascade; see rerank tune")
        page = render(found)
        place = locate(ranked).join(REPORT) if output is None else locate(output)
        write_text(place, page)
        if depth_figure is not None and found.judged is not None:
            write_text(locate(depth_figure), standalone(depth_curve(found, found.judged)))
        typer.echo(json.dumps({"report": place.uri, "bytes": len(page.encode())}))


def register(app: typer.Typer) -> None:
    """Add the command to a typer app."""
    app.command("report")(report)
