"""The figures of the report: each function takes plain numbers and returns an SVG."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.console import plural
from jobs.evaluation.compare import Comparison, p_text
from jobs.evaluation.measures import Values
from jobs.report.draw import bar, bottom_axis, dot, left_axis, line, linear, path, plot, text, ticks, upright

_BINS = 40
_BARS = 300

Row = dict[str, Any]


def depth_curve(rows: Sequence[Row], measure: str, first_stage: float) -> str:
    """Draw quality by depth with its interval; depths are evenly spaced, as each is about 1.5 times the last."""
    low = min(first_stage, *(first_stage + row["low"] for row in rows))
    high = max(first_stage, *(first_stage + row["high"] for row in rows))
    room = 0.14 * ((high - low) or 1)
    on = plot((-0.4, len(rows) - 0.6), (low - room, high + room))
    places = [on.x(at) for at in range(len(rows))]
    bottom = [(x, on.y(first_stage + row["low"])) for x, row in zip(places, rows, strict=True)]
    top = [(x, on.y(first_stage + row["high"])) for x, row in zip(places, rows, strict=True)]
    curve = [(x, on.y(row["after"])) for x, row in zip(places, rows, strict=True)]
    base = on.y(first_stage)
    marks = left_axis(on, ticks(low - room, high + room), ".2f", measure)
    marks += bottom_axis(
        on, [(x, f"{row['depth']:,}") for x, row in zip(places, rows, strict=True)], "candidates reranked per query"
    )
    marks += [
        path([*bottom, *reversed(top)], "band", closed=True),
        line(on.left, base, on.left + on.width, base, "base dash"),
    ]
    marks += [_beside(on.left, on.width, base, curve, f"first stage {first_stage:.3f}"), path(curve, "stroke")]
    marks += [
        dot(x, y, "one", f"depth {row['depth']:,}: {measure} {row['after']:.4f} ({row['difference']:+.4f})")
        for (x, y), row in zip(curve, rows, strict=True)
    ]
    return on.figure(f"{measure} by candidate depth", marks)


def _beside(left: float, width: float, base: float, curve: Sequence[tuple[float, float]], words: str) -> str:
    """Label a horizontal line at the end where the curve is farther away, on the side without the curve."""
    (_, first), (_, last) = curve[0], curve[-1]
    at_end = abs(last - base) >= abs(first - base)
    below = (last if at_end else first) < base  # y grows downwards in SVG: the curve is above the line
    place = left + width - 4 if at_end else left + 4
    return text(place, base + (16 if below else -7), words, kind="tick", anchor="end" if at_end else "start")


def intervals(rows: Sequence[Comparison]) -> str:
    """Draw the difference of each measure with its interval, and a line at 0."""
    low, high = min(0.0, *(row.low for row in rows)), max(0.0, *(row.high for row in rows))
    room = 0.05 * ((high - low) or 1)
    on = plot((low - room, high + room), (len(rows) - 0.4, -0.6), height=30 * len(rows), left=110)
    zero = on.x(0)
    marks = bottom_axis(
        on,
        [(on.x(at), f"{at:+.2f}" if at else "0") for at in ticks(low - room, high + room)],
        "after minus before, 95 % interval",
    )
    marks.append(line(zero, on.top, zero, on.top + on.height, "base"))
    for at, row in enumerate(rows):
        kind = "won" if row.low > 0 else "lost" if row.high < 0 else "other"
        y = on.y(at)
        title = f"{row.measure}: {row.difference:+.4f} ({row.low:+.4f} … {row.high:+.4f}), p {p_text(row.p_value)}"
        marks += [text(on.left - 12, y + 4, row.measure, kind="tick", anchor="end")]
        marks += [
            line(on.x(row.low), y, on.x(row.high), y, f"whisker {kind}"),
            dot(on.x(row.difference), y, kind, title),
        ]
    return on.figure("Difference of each measure with its interval", marks)


def changes(differences: Values, measure: str) -> str:
    """Draw every query's difference, sorted from the largest gain to the largest loss."""
    ordered = np.sort(differences)[::-1]
    shown = ordered if len(ordered) <= _BARS else np.quantile(ordered, np.linspace(1, 0, _BARS))
    limit = float(np.abs(ordered).max(initial=0)) or 1.0
    on = plot((0, len(shown)), (-limit, limit), height=190)
    zero, width = on.y(0), on.width / len(shown)
    marks = left_axis(on, ticks(-limit, limit, 4), "+.2f", f"change in {measure}")
    for at, value in enumerate(shown.tolist()):
        top, height = min(zero, on.y(value)), abs(on.y(value) - zero)
        if height:
            gap = 1.0 if width > 4 else 0.0
            marks.append(bar(on.x(at), top, width - gap, height, "won" if value > 0 else "lost", f"{value:+.3f}"))
    marks.append(line(on.left, zero, on.left + on.width, zero, "base"))
    marks.append(
        text(
            on.left + on.width / 2,
            on.top + on.height + 22,
            f"{plural(len(ordered), 'query')}, sorted by change",
            kind="axis",
            anchor="middle",
        )
    )
    return on.figure(f"Change in {measure} of each query", marks)


def distributions(
    series: Sequence[tuple[str, npt.NDArray[np.floating], str]], *, label: str = "relevance score"
) -> str:
    """Histograms of values from 0 to 1, one below the other: name, values and colour class of each."""
    height, gap = 64.0, 26.0
    on = plot((0, 1), (0, 1), height=(height + gap) * len(series), left=20)
    marks = bottom_axis(on, [(on.x(at), f"{at:g}") for at in ticks(0, 1)], label)
    edges = np.linspace(0, 1, _BINS + 1)
    for row, (name, scores, kind) in enumerate(series):
        counts = np.histogram(scores, edges)[0]
        floor = on.top + (row + 1) * (height + gap)
        up = linear(0, float(counts.max(initial=0)) or 1.0, 0, height)
        marks.append(text(on.left, floor - height - 8, f"{name} ({len(scores):,})", kind="label"))
        marks.append(line(on.left, floor, on.left + on.width, floor, "grid"))
        for (left, right), count in zip(pairwise(edges.tolist()), counts.tolist(), strict=True):
            if count:
                title = f"{left:.3f} to {right:.3f}: {count:,} ({count / len(scores):.1%})"
                tall = max(1.0, up(count))
                marks.append(bar(on.x(left) + 0.5, floor - tall, on.x(right) - on.x(left) - 1, tall, kind, title))
    return on.figure(f"Distribution of the {label}", marks)


def movement(shares: Values, labels: Sequence[str]) -> str:
    """Draw where the documents at each new rank come from: rows are old ranks, columns are new ranks and sum to 1."""
    count, tall = len(labels), 30.0
    on = plot((0, count), (count, 0), height=tall * count, left=100)
    size = on.width / count
    marks = []
    for row, old in enumerate(labels):
        marks.append(text(on.left - 10, on.y(row + 0.5) + 4, old, kind="tick", anchor="end"))
        for column, new in enumerate(labels):
            share = float(shares[row, column])
            x, y = on.x(column), on.y(row)
            title = f"{share:.1%} of the documents at rank {new} stood at rank {old} before"
            cell = bar(x + 1, y + 1, size - 2, tall - 2, "one", title)
            marks.append(cell.replace("<rect ", f'<rect fill-opacity="{0.04 + 0.8 * share:.3f}" ', 1))
            if share >= 0.005:
                marks.append(text(x + size / 2, y + tall / 2 + 4, f"{share:.0%}", kind="cell", anchor="middle"))
    marks += bottom_axis(on, [(on.x(at + 0.5), label) for at, label in enumerate(labels)], "rank after")
    marks.append(upright(on, "rank before"))
    return on.figure("Rank before by rank after", marks)


def found_within(shares: Values, depths: Sequence[int]) -> str:
    """Draw the share of the new top 10 that is among the first candidates, by depth."""
    on = plot((-0.4, len(depths) - 0.6), (0, 1.04))
    points = [(on.x(at), on.y(share)) for at, share in enumerate(shares.tolist())]
    marks = left_axis(on, ticks(0, 1), ".0%", "of the new top 10")
    marks += bottom_axis(
        on, [(x, f"{d:,}") for (x, _), d in zip(points, depths, strict=True)], "first candidates per query"
    )
    marks.append(path(points, "stroke"))
    marks += [
        dot(x, y, "one", f"{share:.1%} within the first {depth:,}")
        for (x, y), share, depth in zip(points, shares.tolist(), depths, strict=True)
    ]
    return on.figure("Share of the new top 10 within the first candidates", marks)
