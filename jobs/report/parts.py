"""Parts that several sections or pages share, and the section on the stages of a cascade."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from jobs.evaluation.compare import Comparison, p_text
from jobs.evaluation.measures import Values
from jobs.report import figures
from jobs.tune.tables import amount, duration


def document(title: str, body: str) -> str:
    """Return a whole HTML file with this title and body, without scripts and external resources."""
    style = files("jobs.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with these column names and cells, which are HTML."""
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def figure(svg: str, caption: str) -> str:
    """Return a figure with a caption below it."""
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def quality(rows: Sequence[Comparison], changes: Values, caption: str) -> str:
    """Return the measures before and after with their intervals, and each query's change in the first one.

    `caption` explains the intervals.
    """
    names = ("", "before", "after", "difference", "95 % interval", "p", "won", "lost", "same")
    first = rows[0].measure
    return (
        table(names, map(_cells, rows))
        + figure(figures.intervals(rows), caption)
        + figure(
            figures.changes(changes, first),
            f"Each query's change in {first}, sorted from the largest gain to the largest loss.",
        )
    )


def _cells(row: Comparison) -> tuple[str, ...]:
    means = (f"{row.before:.4f}", f"{row.after:.4f}", f"{row.difference:+.4f}")
    interval = f"{row.low:+.4f} to {row.high:+.4f}"
    counts = (f"{row.won:,}", f"{row.lost:,}", f"{row.unchanged:,}")
    return (row.measure, *means, interval, p_text(row.p_value), *counts)


def count(number: Any) -> str:
    """Return a number with its thousands marked, ? if it is unknown."""
    return "?" if number is None else f"{number:,}"


def stage_section(stages: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Yield what the stages of a cascade did, in place of a depth curve: it has no single depth."""
    rows = (
        (
            str(number),
            escape(str(stage["model"]["name"])),
            count(stage["keep"]) if stage["keep"] else "all",
            *(amount(stage["pairs"]), amount(stage["tokens"]), duration(stage["seconds"])),
        )
        for number, stage in enumerate(stages, start=1)
    )
    yield "<h2>What did each stage do?</h2>"
    yield table(("stage", "model", "keep", "pairs", "tokens", "time of its engines"), rows)
    yield "<p class=soft>What each stage buys, and how many it should keep: <code>rerank tune</code>.</p>"
