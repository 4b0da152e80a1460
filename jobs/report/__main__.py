"""`python -m jobs.report`."""

import typer

from jobs.report.command import register

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
register(app)
app(prog_name="python -m jobs.report")
