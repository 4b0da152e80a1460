"""Render the page: how far the orders agree, whether quality changed, and which queries moved most."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from jobs.compare.differences import Differences
from jobs.compare.tables import (
    OVERLAP,
    agreement_columns,
    agreement_rows,
    counts,
    measure_name,
    model_text,
    number,
)
from jobs.evaluate import remarks
from jobs.evaluation.compare import Comparison
from jobs.report import figures
from jobs.report.examples import Texts
from jobs.report.moves import movement_of
from jobs.report.parts import document, figure, quality, table
from rerank.arrays import IntArray
from rerank.ranking.agreement import TOP

_OPEN = 2  # queries that are unfolded

Summary = Mapping[str, Any]


def render(differences: Differences, summary: Summary, texts: Texts) -> str:
    """Return the whole HTML file."""
    sections = (_head(summary), _agreement(differences, summary), _quality(differences), _moved(summary, texts))
    return document(
        f"Comparison of {summary['before']} and {summary['after']}", "".join(part for each in sections for part in each)
    )


def _head(summary: Summary) -> Iterable[str]:
    yield "<h1>Comparison of two outputs</h1>"
    for when in ("before", "after"):
        yield f"<p class=soft>{when}: {escape(summary[when] + model_text(summary['models'][when]))}</p>"
    overlap, tau = number(summary[OVERLAP]["mean"]), number(summary["kendall_tau"]["mean"])
    yield f"<p class=lead>On average <b>{overlap}</b> of a query's top {TOP} is the same; Kendall's tau is {tau}.</p>"
    yield "".join(f"<p class=soft>{escape(line)}</p>" for line in counts(summary))


def _agreement(differences: Differences, summary: Summary) -> Iterable[str]:
    yield "<h2>How far do the orders agree?</h2>"
    yield table(("over the queries", *agreement_columns(summary)), agreement_rows(summary))
    yield figure(
        figures.distributions([("queries", differences.overlaps, "one")], label=f"top {TOP} overlap"),
        f"How many queries share how much of their top {TOP}.",
    )
    labels, shares = movement_of(*_ranks(differences))
    if labels:
        yield figure(
            figures.movement(shares, labels),
            "Each column shows where the documents at that rank after were before; a column adds up to 100 %.",
        )


def _ranks(differences: Differences) -> tuple[IntArray, IntArray]:
    """Return the ranks before and after of the documents that both runs have."""
    before, after = list[int](), list[int]()
    for query_id in differences.query_ids:
        old = {doc_id: rank for rank, doc_id in enumerate(differences.before.ranking[query_id], start=1)}
        for rank, doc_id in enumerate(differences.after.ranking[query_id], start=1):
            if doc_id in old:
                before.append(old[doc_id])
                after.append(rank)
    return np.array(before, dtype=np.int32), np.array(after, dtype=np.int32)


def _quality(differences: Differences) -> Iterable[str]:
    if differences.quality is None or differences.changes is None:
        return
    yield "<h2>Did the quality change?</h2>"
    yield quality(
        [Comparison(**row) for row in differences.quality["measures"]],
        differences.changes[np.isfinite(differences.changes)],
        "The second one is better where the interval is right of the line. If it crosses the line, it may be chance.",
    )
    yield "".join(f"<p class=soft>{escape(line)}</p>" for line in remarks(differences.quality))


def _moved(summary: Summary, texts: Texts) -> Iterable[str]:
    yield "<h2>The queries that moved most</h2>" + ("" if summary["moved"] else "<p>No query moved.</p>")
    measure = measure_name(summary)
    for at, row in enumerate(summary["moved"]):
        query_id = row["query_id"]
        query = f"{escape(texts.queries.get(query_id, ''))} <span class=soft>({escape(query_id)})</span>"
        values = f"overlap {number(row[OVERLAP], '.1f')}, tau {number(row['kendall_tau'])}"
        if measure and row["change"] is not None:
            values += f", {number(row['change'], '+.3f')} {escape(measure)}"
        yield f"<details{' open' if at < _OPEN else ''}><summary><span>{query}</span><span>{values}</span></summary>"
        yield "<div class=sides>" + "".join(_document(query_id, entry, texts) for entry in row["documents"])
        yield "</div></details>"


def _document(query_id: str, entry: Mapping[str, Any], texts: Texts) -> str:
    old, new = (f"{entry[when]:,}" if entry[when] else "none" for when in ("before", "after"))
    text = texts.excerpt(query_id, entry["doc_id"])
    return (
        f"<div class=document><b>{escape(entry['doc_id'])}</b><span class=soft>rank {old} before, {new} after</span>"
        + (f"<div>{escape(text)}</div></div>" if text else "</div>")
    )
