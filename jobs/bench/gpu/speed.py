"""Speeds of models of well-known shapes with random weights, beside their library, and where the time goes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from jobs.bench.language_model import make_language_model
from jobs.bench.options import Lengths
from jobs.bench.scoring import encode_all, measure, synthetic_sets, texts_of
from rerank.config import ScorerConfig
from rerank.encoding.pairs import EncodedPairs
from rerank.engines.batches.runner import BatchRunner
from rerank.engines.device.choices import pick_device
from rerank.ranking.candidates import CandidateSets
from rerank.reranker import Reranker

LANGUAGE_MODEL = "language model"  # of Qwen3-Reranker-0.6B's shape, but for its settings
_TRACED_BELOW = 0.5  # of the peak of the device's matrix products


@dataclass(frozen=True, slots=True)
class Shape:
    """A model to make: transformers' class and the settings of its config, and how many pairs are measured."""

    name: str
    architecture: str
    settings: dict[str, Any] = field(repr=False)
    pairs: int


_MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SHAPES = (
    Shape("MiniLM-L6", "Bert", {**_MINILM, "vocab_size": 30_522}, 30_000),
    Shape("bge-reranker-v2-m3", "XLMRoberta", {**_LARGE, "vocab_size": 250_002, "pad_token_id": 1}, 6_000),
    Shape("Qwen3-Reranker-0.6B", LANGUAGE_MODEL, {}, 3_000),
)
_SMALL = {"num_hidden_layers": 2, "vocab_size": 30_522}
SMALL_SHAPES = tuple(Shape(shape.name, shape.architecture, {**shape.settings, **_SMALL}, 100) for shape in SHAPES)


def measure_shape(shape: Shape, work: Path, device: str, *, rounds: int, traces: Path) -> list[dict[str, Any]]:
    """Return a row for our engine and one for each rival. Where our share of the peak is low, a trace is written."""
    folder = work / shape.name
    table = synthetic_sets(Lengths.NQ, shape.pairs)
    sets = CandidateSets.from_table(table)
    if shape.architecture == LANGUAGE_MODEL:
        make_language_model(folder, [document for _, document in texts_of(sets)], **shape.settings)
    else:
        make_model(shape, folder)
    config = ScorerConfig(model=str(folder), device=device, max_length=512)
    rows = [{"model": shape.name, **row} for row in measure(table, config, rounds=rounds)]
    reranker = Reranker(config)
    pairs = encode_all(sets, reranker)
    rows[0] |= host_time(reranker, pairs)
    if rows[0]["flops_share"] < _TRACED_BELOW and pick_device(device).type == "cuda":
        trace(reranker, pairs, traces / f"trace-{shape.name}.json")
    return rows


def make_model(shape: Shape, folder: Path) -> None:
    """Save a model of this shape with random weights in bf16, and the tokeniser of the bundled model."""
    import transformers

    folder.mkdir()
    for path in Path(ScorerConfig().location).glob("token*"):
        copy(path, folder)
    options = {"num_labels": 1, "max_position_embeddings": 514, "pad_token_id": 0, **shape.settings}
    config = getattr(transformers, f"{shape.architecture}Config")(**options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{shape.architecture}ForSequenceClassification")(config)
    model.to(torch.bfloat16).save_pretrained(folder)


def host_time(reranker: Reranker, pairs: EncodedPairs) -> dict[str, Any]:
    """Return the seconds from encoded pairs to logits, and the share of them that the host takes to start the work."""
    reranker.engine.score(pairs)
    with _timed_runs() as runs:
        started = perf_counter()
        reranker.engine.score(pairs)
        seconds = perf_counter() - started
    return {
        "forward_pairs_per_second": round(len(pairs) / seconds, 1),
        "host_share": round(sum(took for took, _ in runs) / seconds, 3),
        "host_ms_per_batch": round(1e3 * sum(took for took, _ in runs) / sum(count for _, count in runs), 3),
    }


@contextmanager
def _timed_runs() -> Iterator[list[tuple[float, int]]]:
    """Yield a list of the seconds and batches of each run, which waits for nothing on a GPU."""
    run, runs = BatchRunner.run, []

    def timed(runner: BatchRunner, *arguments: Any) -> Any:
        started = perf_counter()
        result = run(runner, *arguments)
        runs.append((perf_counter() - started, len(result[0])))
        return result

    BatchRunner.run = timed  # type: ignore[method-assign, assignment]
    try:
        yield runs
    finally:
        BatchRunner.run = run  # type: ignore[method-assign]


def trace(reranker: Reranker, pairs: EncodedPairs, path: Path) -> None:
    """Write which kernels take the time of a block: a trace for a browser, and the 20 longest as JSON beside it."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        reranker.engine.score(pairs)
    profiler.export_chrome_trace(str(path))
    longest = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)[:20]
    rows = [
        {"name": event.key, "calls": event.count, "device_ms": event.self_device_time_total / 1e3} for event in longest
    ]
    path.with_suffix(".kernels.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
