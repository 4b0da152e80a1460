"""The JSON summary of a run, which is also its manifest. Programs read it: its keys must stay."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from jobs.console import plural
from jobs.pipeline.counts import PEAK, stage_usage
from jobs.pipeline.staging import PartReport
from rerank.config import PassageSettings
from rerank.errors import RerankError
from rerank.fingerprint import ModelIdentity


@dataclass(frozen=True, slots=True)
class Expected:
    """Queries and pairs counted in the input before the run; a query without candidates counts as one pair."""

    queries: int
    pairs: int


@dataclass(frozen=True, slots=True)
class RankedBy:
    """A model that ranked, on how many actors, and how many candidates of a query it kept; None: all."""

    model: ModelIdentity
    actors: int
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of the pipeline: staged parts, what the workers measured, and how long it took."""

    parts: list[PartReport]
    stages: list[RankedBy]  # several for a cascade
    measured: dict[str, float]
    seconds: float
    passages: PassageSettings | None = None


def add_up(reports: list[PartReport]) -> Counter[str]:
    """Add up what the write tasks counted; see `jobs.pipeline.writer.count`."""
    sums: Counter[str] = Counter()
    for report in reports:
        sums.update(report.counts)
    return sums


def check_nothing_lost(sums: Counter[str], expected: Expected) -> None:
    """Raise RerankError unless every query and pair that was read is ranked or rejected."""
    queries = sums["queries_ranked"] + sums["queries_rejected"]
    pairs = sums["pairs_ranked"] + sums["pairs_rejected"] + sums["queries_without_candidates"]
    if (queries, pairs) != (expected.queries, expected.pairs):
        raise RerankError(
            f"{plural(expected.queries, 'query')} and {plural(expected.pairs, 'pair')} were read, "
            f"{plural(queries, 'query')} and {plural(pairs, 'pair')} were ranked or rejected: nothing was published"
        )


def summarise(outcome: Outcome, sums: Counter[str], *, output: str, seconds: float) -> dict[str, Any]:
    """Return the summary of a run that took `seconds`; `sums` are those over its parts."""
    computed, engine_seconds = sums["computed_tokens"], sums["engine_seconds"]
    measured, last = outcome.measured, outcome.stages[-1]
    actors = sum(stage.actors for stage in outcome.stages)
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
        "pairs_truncated": int(sums["pairs_truncated"]),
        "passages": outcome.passages and _passages(outcome.passages, sums),
        "tokens": int(sums["tokens"]),
        "padding_share": round(sums["padding_tokens"] / computed, 4) if computed else 0.0,
        "remembered_texts_share": round(sums["remembered_texts"] / sums["texts"], 4) if sums["texts"] else 0.0,
        "engine_utilization": round(engine_seconds / (actors * outcome.seconds), 4),
        "peak_memory_bytes": int(measured[PEAK]),
        "pairs_per_second": round(sums["pairs_ranked"] / outcome.seconds, 1),
        "seconds": {
            "total": round(seconds, 2),
            "read": round(measured.get("read_seconds", 0), 2),
            "prepare": round(measured.get("prepare_seconds", 0), 2),
            "score": round(engine_seconds, 2),
            "write": round(sums["write_seconds"], 2),
        },
        "model": last.model.as_json(),
        "fingerprint": last.model.fingerprint,
        **({"stages": _stages(outcome.stages, sums)} if len(outcome.stages) > 1 else {}),
        "files": [{"name": file.name, "rows": file.rows} for part in outcome.parts for file in part.files],
        "versions": versions(),
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions of what a result depends on; the first call takes a tenth of a second."""
    return {name: version(name) for name in ("rerank", "ray", "torch", "sentence-transformers", "pyarrow")}


def _passages(settings: PassageSettings, sums: Counter[str]) -> dict[str, Any]:
    """Return how documents were split, the number of passages, and of documents that `max_passages` cut."""
    return {
        **settings.model_dump(),
        "count": int(sums["passages"]),
        "documents_cut": int(sums["documents_cut"]),
    }


def _stages(stages: list[RankedBy], sums: Counter[str]) -> list[dict[str, Any]]:
    """Return what each stage of a cascade ranked and what that took; `seconds` are those of its engines."""

    def total(number: int, name: str) -> int:
        return int(sums[stage_usage(number, name)])

    return [
        {
            "model": stage.model.as_json(),
            "fingerprint": stage.model.fingerprint,
            "keep": stage.keep,
            "actors": stage.actors,
            "pairs": total(number, "pairs_scored") + total(number, "store_hits"),
            "pairs_scored": total(number, "pairs_scored"),
            "store_hits": total(number, "store_hits"),
            "tokens": total(number, "tokens"),
            "seconds": round(sums[stage_usage(number, "engine_seconds")], 2),
        }
        for number, stage in enumerate(stages, start=1)
    ]
