"""The `rerank store` command: list the models in a score store, merge its parts, delete scores."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from jobs.console import plural, results_console
from jobs.exits import exit_codes
from rerank.errors import ConfigError
from rerank.store import ScoreStore, open_stores
from rerank.store.parts import Damage
from rerank.store.upkeep import Compaction, Content, compact, content, remove

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Look after a score store: list, compact, delete.",
)

Folder = Annotated[str, typer.Argument(metavar="DIR", help="The score store: a folder or URI.")]


@app.command("ls")
def list_stores(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the models of a score store, with pairs, parts, bytes and damaged parts.

    Reads only the footers of the parts: damage inside a part is found when a run or a compaction reads it.
    """
    with exit_codes():
        found = [(store, content(store)) for store in open_stores(folder)]
        if as_json:
            typer.echo(json.dumps([{"fingerprint": store.fingerprint, **asdict(held)} for store, held in found]))
        else:
            results_console().print(_table(found))
            for _, held in found:
                _report(held.damaged)


@app.command("compact")
def compact_stores(folder: Folder) -> None:
    """Merge the parts of each model into a few sorted ones. Runs may read and write the store meanwhile."""
    with exit_codes():
        done = {}
        for store in open_stores(folder):
            done[store.fingerprint] = compact(store)
            typer.echo(f"{store.fingerprint}: {_sentence(done[store.fingerprint])}", err=True)
            _report(done[store.fingerprint].damaged)
        typer.echo(json.dumps({fingerprint: asdict(result) for fingerprint, result in done.items()}))


@app.command("rm")
def remove_stores(
    folder: Folder,
    model: Annotated[str | None, typer.Option(metavar="FINGERPRINT", help="Delete the scores of this model.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete the scores of all models.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the scores of one model or of all models; the next run scores their pairs again."""
    with exit_codes():
        chosen = _choose(open_stores(folder), folder, model=model, everything=everything)
        pairs = sum(content(store).pairs for store in chosen)
        names = ", ".join(store.fingerprint for store in chosen)
        if not yes:
            typer.confirm(f"Delete {plural(pairs, 'score')} of {names}?", abort=True, err=True)
        for store in chosen:
            remove(store)
        typer.echo(json.dumps({"deleted": [store.fingerprint for store in chosen], "pairs": pairs}))


def _choose(stores: list[ScoreStore], folder: str, *, model: str | None, everything: bool) -> list[ScoreStore]:
    if (model is None) is not everything:
        raise ConfigError("give either --model FINGERPRINT or --all; `rerank store ls DIR` lists the fingerprints")
    chosen = [store for store in stores if everything or store.fingerprint == model]
    if not chosen:
        known = ", ".join(store.fingerprint for store in stores)
        raise ConfigError(f"{folder}: no scores of model {model!r}, only of {known}")
    return chosen


def _table(found: Sequence[tuple[ScoreStore, Content]]) -> Table:
    table = Table("fingerprint", "model", "max length", "precision", box=None)
    for name in ("pairs", "parts", "bytes", "damaged"):
        table.add_column(name, justify="right")
    table.add_column("last write (UTC)")
    for store, held in found:
        written = datetime.fromtimestamp(held.written, UTC).strftime("%Y-%m-%d %H:%M:%S") if held.written else ""
        known = (_known(held.model, key) for key in ("name", "max_length", "dtype"))
        counts = (f"{count:,}" for count in (held.pairs, held.parts, held.size, len(held.damaged)))
        table.add_row(store.fingerprint, *known, *counts, written)
    return table


def _known(model: dict[str, Any], key: str) -> str:
    return str(model.get(key, "?"))


def _sentence(result: Compaction) -> str:
    return (
        f"{plural(result.pairs, 'pair')}, {plural(result.parts_before, 'part')} ({result.size_before:,} bytes) "
        f"merged into {plural(result.parts_after, 'part')} ({result.size_after:,} bytes)"
    )


def _report(damaged: Sequence[Damage]) -> None:
    for path, reason in damaged:
        typer.echo(f"damaged part, its pairs will be scored again: {path}: {reason}", err=True)


if __name__ == "__main__":
    app(prog_name="python -m jobs.store")
