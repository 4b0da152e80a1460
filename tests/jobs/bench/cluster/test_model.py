"""The model of docs/scale.md against the numbers that stand there."""

import re
from pathlib import Path

import pytest

from jobs.bench.cluster.model import fit

PAGE = (Path(__file__).parents[4] / "docs/scale.md").read_text(encoding="utf-8")
ROWS = [
    {"engines": int(engines), "pairs_per_second": float(rate.replace(",", "")), "cores": float(cores)}
    for engines, rate, cores in re.findall(
        r"^\| (\d+) \| [\d,]+ \| ([\d,.]+) \| [\d.]+ % \| [\d.]+ % \| [\d,]+ \| ([\d.]+) ", PAGE, re.MULTILINE
    )
]


def test_the_page_has_all_measurements():
    assert [row["engines"] for row in ROWS] == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["engines"]))
def test_the_model_predicts_the_table_within_15_percent(row):
    """Throughput from the measurement with one engine and the cores of all others, each without its own row."""
    others = [other for other in ROWS if other is not row or row["engines"] == 1]
    model = fit(others, rate=250)
    assert model.pairs_per_second(row["engines"], cores=2) == pytest.approx(row["pairs_per_second"], rel=0.15)


def test_two_cores_feed_what_the_page_says():
    model = fit(ROWS, rate=250)
    assert f"{round(model.most_pairs_per_second(2), -3):,.0f} pairs/s" in PAGE
    assert f"{1_000 * model.cpu_seconds:.3f} ms" in PAGE
