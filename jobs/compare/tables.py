"""Print the differences of two runs as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.console import plural
from jobs.evaluate import comparison_table, remarks
from jobs.evaluation.compare import Comparison
from jobs.evaluation.rankings import names_of
from rerank.ranking.agreement import TOP

Summary = Mapping[str, Any]

OVERLAP = f"top_{TOP}_overlap"
AGREEMENTS = (("kendall_tau", "Kendall's tau"), (OVERLAP, f"top {TOP} overlap"))


def show(console: Console, summary: Summary) -> None:
    """Print how far the orders agree, the quality of both, and the queries that moved most."""
    for when in ("before", "after"):
        console.print(f"{when + ':':8}{summary[when]}{model_text(summary['models'][when])}", markup=False)
    console.print()
    for line in counts(summary):
        console.print(line, markup=False)
    console.print()
    table = Table("over the queries", box=None, pad_edge=False)
    for name in agreement_columns(summary):
        table.add_column(name, justify="right", no_wrap=True)
    for row in agreement_rows(summary):
        table.add_row(*row)
    console.print(table)
    if quality := summary["quality"]:
        console.print()
        console.print(comparison_table([Comparison(**row) for row in quality["measures"]]))
        console.print()
        for line in remarks(quality):
            console.print(line, markup=False)
    console.print()
    if not summary["moved"]:
        console.print("no query moved")
        return
    console.print(f"The queries that moved most (by the overlap of their top {TOP}, then by Kendall's tau)")
    console.print(_moved(summary))


def model_text(model: Mapping[str, Any] | None) -> str:
    """Return the model of a run as its manifest tells it, in parentheses; nothing if that is not known."""
    if not model or "name" not in model:
        return ""
    length = f", up to {model['max_length']} tokens a pair" if "max_length" in model else ""
    return f" ({model['name']}{length})"


def counts(summary: Summary) -> list[str]:
    """Return what was compared and what was left out."""
    documents = plural(summary["documents"], "document")
    lines = [
        f"{plural(summary['queries'], 'query')} and {documents} in both; "
        f"{summary['same_first_document']:.1%} of the queries have the same first document"
    ]
    for when in ("before", "after"):
        only = summary[f"only_{when}"]
        if only["queries"]:
            query_ids = names_of(only["query_ids"][:5]) + (" …" if only["queries"] > 5 else "")
            lines.append(f"{plural(only['queries'], 'query')} only {when}, left out: {query_ids}")
        if only["documents"]:
            lines.append(f"{plural(only['documents'], 'document')} of the common queries only {when}")
    if unknown := summary["queries"] - summary["kendall_tau"]["queries"]:
        lines.append(f"{plural(unknown, 'query')} without Kendall's tau: fewer than 2 documents in both")
    if any(summary["cut"].values()):
        lines.append("--top-k or --min-score cut an output, and tau compares only the documents that are left in both")
    return lines


def agreement_columns(summary: Summary) -> list[str]:
    """Return the names of the columns after the first one: the mean, and quantiles over the queries."""
    quantiles = summary["kendall_tau"]["quantiles"]
    return ["mean", *("median" if at == "0.5" else f"{float(at) * 100:g} %" for at in quantiles)]


def agreement_rows(summary: Summary) -> list[list[str]]:
    """Return a row for each measure of agreement, with its name first."""
    return [
        [name, *map(number, (summary[key]["mean"], *summary[key]["quantiles"].values()))] for key, name in AGREEMENTS
    ]


def number(value: float | None, form: str = ".3f") -> str:
    """Return a number, or ? if it is not known."""
    return "?" if value is None else format(value, form)


def document_text(document: Mapping[str, Any]) -> str:
    """Return a document with its rank before and after."""
    old, new = (document[when] or "none" for when in ("before", "after"))
    return f"{document['doc_id']} {old}→{new}"


def measure_name(summary: Summary) -> str | None:
    """Return the name of the first measure; None without judgements."""
    measures: Sequence[Mapping[str, Any]] = summary["quality"]["measures"] if summary["quality"] else ()
    return str(measures[0]["measure"]) if measures else None


def _moved(summary: Summary) -> Table:
    measure = measure_name(summary)
    table = Table("query_id", box=None, pad_edge=False)
    for name in ("overlap", "tau", *([measure] if measure else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("documents that moved most, rank before→after")
    for row in summary["moved"]:
        cells = [row["query_id"], number(row[OVERLAP], ".1f"), number(row["kendall_tau"])]
        cells += [number(row["change"], "+.3f")] if measure else []
        table.add_row(*cells, ", ".join(map(document_text, row["documents"])))
    return table
