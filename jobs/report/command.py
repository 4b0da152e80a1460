"""`rerank report`: the page as a file."""

import json
from typing import Annotated

import typer

from jobs.evaluate import MEASURES
from jobs.evaluation.measures import Judge
from jobs.exits import exit_codes
from jobs.formats.qrels import QrelsFormat, read_qrels
from jobs.pipeline.publish import REPORT
from jobs.report.findings import find
from jobs.report.page import depth_curve, render
from jobs.report.picture import standalone
from rerank.errors import ConfigError, OutputError
from rerank.paths import Location, locate


def report(
    output: Annotated[str, typer.Argument(metavar="OUT", help="An output folder of rerank run.")],
    qrels: Annotated[str | None, typer.Option(metavar="QRELS", help="Judgements, to say whether it helped.")] = None,
    measures: Annotated[
        list[str] | None, typer.Option("--measure", help=f"May be repeated; the first one counts: {' '.join(MEASURES)}")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="IN", help="Candidate sets to read texts from; those of the run if not given.")
    ] = None,
    usd_per_hour: Annotated[float | None, typer.Option(min=0, help="Price of what one actor runs on.")] = None,
    to: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"Where the page goes; OUT/{REPORT} if not given.")
    ] = None,
    depth_figure: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the depth curve as an SVG picture too.")
    ] = None,
    qrels_format: Annotated[QrelsFormat | None, typer.Option(help="By the suffix if not given.")] = None,
) -> None:
    """Write one HTML page: what ran, whether it helped, where, how deep it pays, what it cost."""
    with exit_codes():
        judge = None if qrels is None else Judge(read_qrels(qrels, qrels_format), measures or MEASURES)
        found = find(output, judge, source=source, usd_per_hour=usd_per_hour)
        if depth_figure is not None and (found.judged is None or found.cut):
            raise ConfigError("--depth-figure needs --qrels, and an output made without --top-k and --min-score")
        page = render(found)
        place = locate(output).join(REPORT) if to is None else locate(to)
        _write(place, page)
        if depth_figure is not None and found.judged is not None:
            _write(locate(depth_figure), standalone(depth_curve(found, found.judged)))
        typer.echo(json.dumps({"report": place.uri, "bytes": len(page.encode())}))


def _write(place: Location, page: str) -> None:
    try:
        with place.filesystem.open_output_stream(place.path) as stream:
            stream.write(page.encode())
    except OSError as problem:
        raise OutputError(f"{place.uri}: cannot be written: {problem}") from problem


def register(app: typer.Typer) -> None:
    """Add the command to a typer app."""
    app.command("report")(report)
