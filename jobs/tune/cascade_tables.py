"""Print the results of `rerank tune` for a cascade as tables."""

from rich.console import Console
from rich.table import Table

from jobs.console import plural
from jobs.tune.tables import (
    Summary,
    few_queries,
    gain_text,
    measured_cells,
    measured_names,
    new_table,
    show_head,
    show_missing,
)


def show_cascade(console: Console, summary: Summary) -> None:
    """Print what each stage buys, what it could keep, and the recommendation."""
    show_head(console, summary)
    console.print("What does each stage buy? (against the stages before it; cost per 1,000 queries on one actor)")
    console.print(_stages(summary))
    console.print("\nHow many should a stage keep? (against leaving out the stages after it; cost of the next stage)")
    console.print(_keeps(summary))
    show_missing(console, summary)
    console.print()
    for line in conclusion(summary):
        console.print(line)


def conclusion(summary: Summary) -> list[str]:
    """Return the verdict in words, and the recommended line if there is one."""
    result = f"{gain_text(summary['measure'], summary['gain'])}, measured on held-out queries."
    if summary["recommended"] is not None:
        keeps = ", ".join(f"{keep:,}" for keep in summary["chosen"]["keep"] if keep)
        whole = gain_text(summary["measure"], summary["whole"])
        lines = [
            f"The stages after the first pay: {result}",
            f"Keeping {keeps} has 95 % of the best gain; compared with the run: {whole}.",
            summary["recommended"],
        ]
    elif summary["verdict"] == "harms":
        lines = [f"The stages after the first do not pay, it is better alone: {result}"]
    else:
        lines = [
            f"The stages after the first do not clearly pay on {plural(summary['queries'], 'query')}: {result} "
            "Use the first one alone, or judge more queries."
        ]
    return [*few_queries(summary), *lines]


def _stages(summary: Summary) -> Table:
    table = new_table("stage", "model", "keep", *measured_names(summary))
    for row in summary["stages"]:
        keep = "all" if row["keep"] is None else f"{row['keep']:,}"
        table.add_row(str(row["stage"]), row["model"], keep, *measured_cells(row))
    return table


def _keeps(summary: Summary) -> Table:
    table = new_table("stage", "keep", *measured_names(summary))
    for row in summary["keeps"]:
        table.add_row(str(row["stage"]), f"{row['keep']:,}", *measured_cells(row))
    return table
