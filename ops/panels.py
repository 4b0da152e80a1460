"""Ask a Prometheus what the panels of the dashboard ask: `python ops/panels.py http://localhost:9090 [SVG]`.

Says how many series each panel shows now, draws the last minutes of all of them if a file for that is named, and ends
with 1 if a panel has nothing to show.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

Series = dict[str, list[tuple[float, float]]]
"""Points of time and value, by legend."""

_MINUTES = 10
_STEP_S = 10
_WIDTH, _HEIGHT, _COLUMNS = 320, 150, 3
_UNITS = {"s": "s", "percent": "%", "percentunit": "of 1", "reqps": "per second", "short": ""}
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its unit in Grafana's words, and its queries as expression and legend."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def panels() -> Iterator[Panel]:
    """Yield the panels of the dashboard, for all models and with rates over a minute."""
    for panel in json.loads(Path(__file__).with_name("grafana.json").read_text())["panels"]:
        targets = panel.get("targets", ())
        queries = [(target["expr"], target["legendFormat"]) for target in targets]
        known = [(expr.replace("$__rate_interval", "1m").replace("$model", ".*"), legend) for expr, legend in queries]
        if known:
            yield Panel(panel["title"], panel["fieldConfig"]["defaults"]["unit"], tuple(known))


PANELS = list(panels())


def ask(prometheus: str, panel: Panel) -> Series:
    """Return the series of a panel over the last minutes."""
    now = time.time()
    found: Series = {}
    for expression, legend in panel.queries:
        asked = urlencode({"query": expression, "start": now - 60 * _MINUTES, "end": now, "step": _STEP_S})
        with urlopen(f"{prometheus}/api/v1/query_range?{asked}") as answer:
            results = json.load(answer)["data"]["result"]
        for result in results:
            name = legend
            for label, value in result["metric"].items():
                name = name.replace("{{" + label + "}}", value)
            found[name] = [(at, float(value)) for at, value in result["values"] if value != "NaN"]
    return {name: points for name, points in found.items() if points}


def draw(shown: list[tuple[Panel, Series]]) -> str:
    """Return a picture of all panels, three side by side."""
    times = [at for _, series in shown for points in series.values() for at, _ in points]
    marks = [_panel(place, panel, series, min(times), max(times)) for place, (panel, series) in enumerate(shown)]
    width, height = _COLUMNS * _WIDTH, -(-len(shown) // _COLUMNS) * _HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(marks)}</svg>\n'
    )


def _panel(place: int, panel: Panel, series: Series, start: float, end: float) -> str:
    left, top = place % _COLUMNS * _WIDTH, place // _COLUMNS * _HEIGHT
    largest = max((value for points in series.values() for _, value in points), default=0) or 1
    range_text, seconds = f"up to {largest:,.4g} {_UNITS[panel.unit]}", (end - start) or 1
    marks = [f'<text x="8" y="18" font-size="12" font-weight="bold">{escape(panel.title)}</text>']
    marks += [
        f'<text x="312" y="18" font-size="10" text-anchor="end" fill="#555">{range_text}</text>',
        '<path d="M8 26V112H312" fill="none" stroke="#bbb"/>',
    ]
    for number, (name, points) in enumerate(series.items()):
        steps = "L".join(
            f"{8 + 304 * (at - start) / seconds:.1f} {112 - 84 * value / largest:.1f}" for at, value in points
        )
        colour = _COLOURS[number % len(_COLOURS)]
        marks.append(f'<path d="M{steps}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x, y = 8 + 104 * (number % 3), 125 + 11 * (number // 3)
        marks.append(f'<text x="{x}" y="{y}" font-size="9" fill="{colour}">{escape(name[:20])}</text>')
    return f'<g transform="translate({left} {top})">{"".join(marks)}</g>'


def main() -> int:
    """Ask for all panels, and return the exit code."""
    prometheus, *file = sys.argv[1:]
    shown = [(panel, ask(prometheus, panel)) for panel in PANELS]
    for panel, series in shown:
        sys.stdout.write(f"{len(series):>4} series  {panel.title}\n")
    if file:
        Path(file[0]).write_text(draw(shown), encoding="utf-8")
    return 0 if all(series for _, series in shown) else 1


if __name__ == "__main__":
    sys.exit(main())
