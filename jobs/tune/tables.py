"""Print the results of `rerank tune` as tables."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.console import plural
from jobs.evaluation.compare import left_out_text, p_text
from jobs.evaluation.rankings import names_of
from jobs.tune.settings import FOLDS

Summary = Mapping[str, Any]


def show(console: Console, summary: Summary) -> None:
    """Print three tables and the recommendation."""
    show_head(console, summary)
    console.print("Which depth? (cost per 1,000 queries on one actor)")
    console.print(_depths(summary))
    console.print("\nWhich --min-score? (over all candidates of the judged queries)")
    console.print(_thresholds(summary))
    console.print(f"\nMix with the first stage? (weights from {FOLDS}-fold cross-validation; compared with no mixture)")
    console.print(_mixtures(summary))
    show_missing(console, summary)
    if not summary["source_scores_known"]:
        console.print("Only ranks are mixed: the first stage's scores are not known (give --source IN to mix them).")
    console.print()
    for line in conclusion(summary):
        console.print(line)


def show_head(console: Console, summary: Summary) -> None:
    """Print how many queries are measured, and the quality before any model."""
    console.print(
        f"{plural(summary['queries'], 'judged query')}, {summary['measure']} of the first stage: "
        f"{summary['first_stage']:.4f}\n"
    )


def show_missing(console: Console, summary: Summary) -> None:
    """Print which queries have judgements but no ranking, and how many were left out."""
    if summary["missing_count"]:
        missing = names_of(summary["missing"], most=5)
        count = plural(summary["missing_count"], "query")
        console.print(f"{count} with judgements but not in the run, counted as 0: {missing}")
    if left_out := left_out_text(summary["left_out_count"]):
        console.print(left_out)


def conclusion(summary: Summary) -> list[str]:
    """Return the verdict in words, and the recommended line if there is one."""
    queries = summary["queries"]
    result = f"{gain_text(summary['measure'], summary['gain'])}, measured on held-out queries."
    if summary["verdict"] == "pays":
        lines = [f"Reranking pays: {result}", *_savings(summary), summary["recommended"]]
    elif summary["verdict"] == "harms":
        lines = [f"Reranking does not pay, the first stage alone is better: {result} Keep the first stage's order."]
    else:
        lines = [
            f"Reranking does not clearly pay on {plural(queries, 'query')}: {result} "
            "Keep the first stage's order, or judge more queries."
        ]
    return [*few_queries(summary), *lines]


def gain_text(measure: str, gain: Mapping[str, Any]) -> str:
    """Return a comparison in words: the measure before and after, and the difference with its interval."""
    return (
        f"{measure} {gain['before']:.4f} to {gain['after']:.4f}, {gain['difference']:+.4f} (95 % interval "
        f"{gain['low']:+.4f} … {gain['high']:+.4f}, p {p_text(gain['p_value'])})"
    )


def few_queries(summary: Summary) -> list[str]:
    """Return a warning if there are few judged queries."""
    if not summary["few_queries"]:
        return []
    return [f"{plural(summary['queries'], 'judged query')}: too few to be sure that these choices hold for others."]


def _savings(summary: Summary) -> list[str]:
    """Return what the chosen depth saves compared with reranking all candidates."""
    deepest = summary["depths"][-1]
    chosen = next((row for row in summary["depths"] if row["depth"] == summary["chosen"]["depth"]), deepest)
    if chosen is deepest or summary["chosen"]["mix"] is not None:
        return []
    share = chosen["pairs"] / deepest["pairs"]
    return [f"Depth {chosen['depth']} keeps 95 % of the best gain for {share:.0%} of the pairs."]


def _depths(summary: Summary) -> Table:
    table = new_table("depth", *measured_names(summary))
    table.add_row("0", f"{summary['first_stage']:.4f}", *[""] * 5, "0", "0", "0 s", "")
    for row in summary["depths"]:
        table.add_row(f"{row['depth']:,}", *measured_cells(row))
    return table


def measured_cells(row: Mapping[str, Any]) -> list[str]:
    """Return the cells for quality, difference, interval, queries won and lost, pairs, tokens, time and USD."""
    return [
        f"{row['after']:.4f}",
        f"{row['difference']:+.4f}",
        f"{row['low']:+.4f} … {row['high']:+.4f}",
        f"{row['won']:,}",
        f"{row['lost']:,}",
        amount(row["pairs"]),
        amount(row["tokens"]),
        duration(row["seconds"]),
        money(row["usd"]),
    ]


def _thresholds(summary: Summary) -> Table:
    table = new_table("--min-score", "kept", "precision", "recall", "queries left empty")
    for row in summary["thresholds"]:
        shares = ("" if row[name] is None else f"{row[name]:.1%}" for name in ("kept", "precision", "recall", "empty"))
        table.add_row(f"{row['min_score']:g}" if row["min_score"] else "none", *shares)
    return table


def _mixtures(summary: Summary) -> Table:
    table = new_table(
        "mixture", "weight of the model, chosen per fold", summary["measure"], "difference", "95 % interval", "p"
    )
    none = summary["mixtures"][0]["against_none"]["before"]
    table.add_row("none", "", f"{none:.4f}", *[""] * 3)
    for row in summary["mixtures"]:
        comparison = row["against_none"]
        chosen = ", ".join(word.removeprefix(f"{row['name']}:") for word in row["chosen"])
        interval = f"{comparison['low']:+.4f} … {comparison['high']:+.4f}"
        table.add_row(
            row["name"],
            chosen,
            f"{comparison['after']:.4f}",
            f"{comparison['difference']:+.4f}",
            interval,
            p_text(comparison["p_value"]),
        )
    return table


def amount(count: float | None) -> str:
    """Format a count with three digits: 950, 12.3k, 4.56M; ? if it is unknown."""
    if count is None:
        return "?"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
    return f"{count:.0f}"


def money(usd: float | None) -> str:
    """Format dollars, small amounts with four decimals; ? if the price is unknown."""
    if usd is None:
        return "?"
    return f"{usd:,.2f}" if usd >= 0.1 else f"{usd:.4f}"


def duration(seconds: float | None) -> str:
    """Format seconds as seconds, minutes or hours; ? if they are unknown."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def measured_names(summary: Summary) -> list[str]:
    """Return the names of the columns that `measured_cells` fills."""
    return [summary["measure"], "difference", "95 % interval", "won", "lost", "pairs", "tokens", "time", "USD"]


def new_table(*names: str) -> Table:
    """Return a table without lines, with these columns."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table
