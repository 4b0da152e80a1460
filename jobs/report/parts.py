"""Parts of the page that several sections share, and the section on the stages of a cascade."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from jobs.tune.tables import amount, duration


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with these column names and cells, which are HTML."""
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def figure(svg: str, caption: str) -> str:
    """Return a figure with a caption below it."""
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


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
