"""`python -m jobs.compare`."""

import typer

from jobs.compare.command import register

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
register(app)
app(prog_name="python -m jobs.compare")
