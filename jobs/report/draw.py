"""Draw SVG: scales, axes and marks. Colours are CSS classes that the page defines."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

Scale = Callable[[float], float]

WIDTH = 690.0  # of every figure, so that all have the same font size
_RIGHT = 16.0
_BOTTOM = 40.0


@dataclass(frozen=True, slots=True)
class Plot:
    """The inner rectangle of a figure in SVG units, and the scales that map values to it."""

    width: float
    height: float
    x: Scale
    y: Scale
    left: float
    top: float

    def figure(self, label: str, marks: Iterable[str]) -> str:
        """Return the whole figure; `label` is its text for screen readers."""
        box = f"0 0 {WIDTH:g} {self.top + self.height + _BOTTOM:g}"
        return f'<svg viewBox="{box}" role="img" aria-label="{escape(label, quote=True)}">{"".join(marks)}</svg>'


def plot(x: tuple[float, float], y: tuple[float, float], *, height: float = 230, left: float = 62) -> Plot:
    """Return a plot of these value ranges, y upwards; `left` is the width for labels beside it."""
    top, width = 12.0, WIDTH - left - _RIGHT
    return Plot(width, height, linear(*x, left, left + width), linear(*y, top + height, top), left, top)


def linear(low: float, high: float, start: float, stop: float) -> Scale:
    """Return the scale that maps low … high to start … stop."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round values between low and high."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / count
    unit = 10.0 ** floor(log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(at * step, 10) for at in range(first, last + 1)]


def text(x: float, y: float, content: str, *, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text at its baseline; `kind` is its CSS class."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def bar(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    """Return a rectangle; `title` is its tooltip."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0, width):.1f}" height="{max(0, height):.1f}" class="{kind}">'
        f"{inner}</rect>"
    )


def dot(x: float, y: float, kind: str, title: str) -> str:
    """Return a dot with a tooltip."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" class="{kind}"><title>{escape(title)}</title></circle>'


def path(points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> str:
    """Return a line through points, or the area that they enclose."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{steps}{"Z" if closed else ""}" class="{kind}"/>'


def left_axis(on: Plot, values: Iterable[float], form: str, label: str) -> list[str]:
    """Return grid lines with their values, and the axis label."""
    marks = []
    for value in values:
        y = on.y(value)
        marks.append(line(on.left, y, on.left + on.width, y, "grid"))
        marks.append(text(on.left - 8, y + 4, format(value, form) if value else "0", kind="tick", anchor="end"))
    return [*marks, upright(on, label)]


def upright(on: Plot, label: str) -> str:
    """Return the label of the vertical axis, rotated to read upwards."""
    place = f'transform="translate(12 {on.top + on.height / 2:.0f}) rotate(-90)"'
    return f'<text {place} text-anchor="middle" class="axis">{escape(label)}</text>'


def bottom_axis(on: Plot, places: Iterable[tuple[float, str]], label: str) -> list[str]:
    """Return the words below the plot at these x positions (in SVG units), and the axis label."""
    y = on.top + on.height
    marks = [line(on.left, y, on.left + on.width, y, "base")]
    marks += [text(x, y + 16, word, kind="tick", anchor="middle") for x, word in places]
    return [*marks, text(on.left + on.width / 2, y + 34, label, kind="axis", anchor="middle")]
