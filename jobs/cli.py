"""The `rerank` command with all its subcommands."""

from pathlib import Path
from typing import Annotated

import typer

from jobs import evaluate, store
from jobs.bench import command as bench
from jobs.compare.command import register as register_compare
from jobs.demo.command import demo as run_demo
from jobs.exits import end_without_collection, exit_codes
from jobs.inspect import inspect
from jobs.plan import plan
from jobs.report.command import register as register_report
from jobs.run import run
from jobs.tune.command import register as register_tune

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

app.add_typer(store.app, name="store")
app.add_typer(bench.app, name="bench")


@app.callback()
def root() -> None:
    """Rerank candidate sets with cross-encoders."""


app.command("run")(run)
evaluate.register(app)
register_compare(app)
register_tune(app)
register_report(app)
app.command("plan")(plan)
app.command("inspect")(inspect)


@app.command()
def demo(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the corpus, the candidates and the result."),
    ] = Path("demo"),
    depth: Annotated[int, typer.Option(min=1, help="Candidates per question.")] = 100,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Ray's own messages.")] = False,
) -> None:
    """Show whether reranking helps, on the documentation of this Python installation."""
    with exit_codes():
        run_demo(output, depth=depth, verbose=verbose)


def main() -> None:
    """Entry point of the console script."""
    end_without_collection()
    app(prog_name="rerank")


if __name__ == "__main__":
    main()
