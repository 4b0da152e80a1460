"""Draw throughput over the number of engines as an SVG, both axes logarithmic."""

from collections.abc import Sequence
from math import log2
from typing import Any

from jobs.report.draw import bottom_axis, dot, line, path, plot, text, upright
from jobs.report.picture import standalone


def draw(rows: Sequence[dict[str, Any]], rate: float) -> str:
    """Return an SVG of measured and predicted pairs per second; each dot says how much of linear it is."""
    engines = [row["engines"] for row in rows]
    most = rate * max(engines)
    low = min(rate * min(engines), *(row["pairs_per_second"] for row in rows)) / 1.3
    on = plot((log2(min(engines)) - 0.3, log2(max(engines)) + 0.5), (log2(low), log2(most * 1.3)), height=300)
    marks = [upright(on, "pairs/s")]
    for count in engines:
        y = on.y(log2(rate * count))
        marks += [line(on.left, y, on.left + on.width, y, "grid")]
        marks += [text(on.left - 8, y + 4, f"{rate * count:,.0f}", kind="tick", anchor="end")]
    marks += bottom_axis(on, [(on.x(log2(count)), str(count)) for count in engines], "engines")
    ends = [(on.x(log2(count)), on.y(log2(rate * count))) for count in (min(engines), max(engines))]
    predicted = [(on.x(log2(row["engines"])), on.y(log2(row["predicted"]))) for row in rows]
    marks += [line(*ends[0], *ends[1], "base dash"), path(predicted, "stroke")]
    for row in rows:
        x, y = on.x(log2(row["engines"])), on.y(log2(row["pairs_per_second"]))
        title = f"{row['engines']} engines: {row['pairs_per_second']:,.0f} pairs/s, predicted {row['predicted']:,.0f}"
        marks += [dot(x, y, "other", title), text(x + 8, y + 16, f"{row['efficiency']:.1%}", kind="tick")]
    label = "Pairs per second over the number of engines: measured as dots, predicted as a line"
    return standalone(on.figure(label, marks))
