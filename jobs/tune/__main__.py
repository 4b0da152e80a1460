"""`python -m jobs.tune`."""

import typer

from jobs.tune.command import register

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
register(app)
app(prog_name="python -m jobs.tune")
