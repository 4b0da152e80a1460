"""The JSON summary of a run, which is its manifest too; the keys are a promise to programs that read it."""

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from jobs.publish import PartReport, WrittenFile
from rerank.errors import RerankError
from rerank.fingerprint import ModelIdentity


@dataclass(frozen=True, slots=True)
class Expected:
    """What was counted in the input before the run; footers count a query without candidates as one pair."""

    queries: int
    pairs: int


def add_up(reports: list[PartReport]) -> Counter[str]:
    """The sums of what the write tasks counted; see `jobs.sink.count`."""
    sums: Counter[str] = Counter()
    for report in reports:
        sums.update(report.counts)
    return sums


def check_nothing_lost(sums: Counter[str], expected: Expected) -> None:
    """Raise RerankError unless every query and pair that went in is ranked or rejected."""
    queries = sums["queries_ranked"] + sums["queries_rejected"]
    pairs = sums["pairs_ranked"] + sums["pairs_rejected"] + sums["queries_without_candidates"]
    if (queries, pairs) != (expected.queries, expected.pairs):
        raise RerankError(
            f"{expected.queries:,} queries and {expected.pairs:,} pairs went in, {queries:,} and {pairs:,} came out: "
            "nothing was published"
        )


def summarise(
    sums: Counter[str], *, model: ModelIdentity, files: list[WrittenFile], output: str, seconds: float
) -> dict[str, Any]:
    """The summary of a run that took `seconds`."""
    computed = sums["computed_tokens"]
    return {
        "output": output,
        "queries_read": int(sums["queries_ranked"] + sums["queries_rejected"]),
        "queries_ranked": int(sums["queries_ranked"]),
        "queries_rejected": int(sums["queries_rejected"]),
        "pairs_read": int(sums["pairs_ranked"] + sums["pairs_rejected"]),
        "pairs_ranked": int(sums["pairs_ranked"]),
        "pairs_rejected": int(sums["pairs_rejected"]),
        "pairs_scored": int(sums["pairs_scored"]),
        "store_hits": int(sums["store_hits"]),
        "tokens": int(sums["tokens"]),
        "padding_share": round(1 - sums["tokens"] / computed, 4) if computed else 0.0,
        "pairs_per_second": round(sums["pairs_scored"] / seconds, 1),
        "seconds": {"total": round(seconds, 2), "score": round(sums["engine_seconds"], 2)},
        "model": model.as_json(),
        "fingerprint": model.fingerprint,
        "files": [{"name": file.name, "rows": file.rows} for file in files],
        "versions": {name: version(name) for name in ("rerank", "ray", "torch", "sentence-transformers", "pyarrow")},
    }
