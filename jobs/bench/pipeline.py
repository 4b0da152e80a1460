"""`rerank bench pipeline`: the job with an engine that takes no time, so that only moving pairs is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from jobs.bench.options import Output, report
from jobs.bench.turns import further_rate
from jobs.console import say
from jobs.exits import exit_codes
from jobs.pipeline.job import RunConfig, run
from rerank.arrays import IntArray, Offsets, Ragged
from rerank.encoding.pairs import EncodedPairs, PairTemplate
from rerank.encoding.reading import Checkpoint, never_stop
from rerank.engines import Scores
from rerank.errors import OutputError
from rerank.ranking.instructions import InstructionPlace, Instructions
from rerank.ranking.relevance import Relevance
from rerank.types import AS_THE_MODEL, TokenLimits

_CANDIDATES = 100
_WORDS = 200
_VOCABULARY = 20_000
_ROW_GROUP = 50_000
_BLOCK_PAIRS = 8_192
_NO_TEMPLATE = PairTemplate(((), (), ()), (0, 0, 0, 0, 0))


@dataclass(frozen=True)
class FreeEncoder:
    """An encoder that reads no text: every document has `tokens` tokens, and a query has none."""

    tokens: int = 0
    template: PairTemplate = _NO_TEMPLATE
    row_template: PairTemplate = _NO_TEMPLATE
    instruction_place: InstructionPlace = InstructionPlace.QUERY
    max_length: int = 512
    passage_limit: int = 512
    relevance: Relevance = Relevance.SIGMOID
    text_format: str = ""

    def encode(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        query_of: IntArray,
        document_of: IntArray,
        limits: TokenLimits = AS_THE_MODEL,
        checkpoint: Checkpoint = never_stop,
        instructions: Instructions = None,
    ) -> EncodedPairs:
        """Return pairs of documents that are all the same."""
        none = np.zeros(len(query_of), dtype=np.int32)
        texts = (_zeros(len(queries), 0), _zeros(len(documents), self.tokens))
        return EncodedPairs(self.template, *texts, query_of, document_of, none, none + np.int32(self.tokens))

    def token_starts(self, texts: Sequence[str], most: int, checkpoint: Checkpoint = never_stop) -> list[Offsets]:
        """Return no tokens for any text."""
        return [np.empty(0, dtype=np.int64)] * len(texts)


def _zeros(rows: int, tokens: int) -> Ragged:
    return Ragged(np.zeros(rows * tokens, dtype=np.int32), np.arange(rows + 1, dtype=np.int64) * tokens)


@dataclass(frozen=True)
class FreeEngine:
    """An engine that computes nothing: logits fall from 0 in the order of the pairs."""

    lanes = None

    def score(self, pairs: EncodedPairs) -> Scores:
        """Return a logit for each pair."""
        return Scores(-np.arange(len(pairs), dtype=np.float32), 0)

    @property
    def description(self) -> dict[str, str]:
        """The name of the engine."""
        return {"engine": "free"}


def pipeline(
    pairs: Annotated[
        int, typer.Option(min=1000, help="Pairs of the smaller input; the larger one has ten times as many.")
    ] = 100_000,
    output: Output = None,
) -> None:
    """Run the job with an engine that takes no time, on n pairs and on 10 n pairs."""
    with exit_codes(), TemporaryDirectory() as folder:
        results = [_measure(Path(folder), count) for count in (pairs, 10 * pairs)]
        small, large = results
        for result in results:
            say(
                f"{result['pairs']:,} pairs: {result['pipeline_seconds']} s, "
                f"{result['pairs_per_second']:,.0f} pairs/s, "
                f"at most {result['peak_memory_bytes'] / 2**20:,.0f} MiB per process"
            )
        ratio = large["pipeline_seconds"] / small["pipeline_seconds"]
        memory = large["peak_memory_bytes"] / small["peak_memory_bytes"]
        say(f"ten times the input takes {ratio:.2f} times the time and {memory:.2f} times the memory")
        further = further_rate(*((result["pairs"], result["pipeline_seconds"]) for result in results))
        if further is not None:
            say(f"without the start of the workers: {further:,.0f} pairs/s")
        report(results, output)


def _measure(folder: Path, pairs: int) -> dict[str, Any]:
    source = folder / f"in-{pairs}.parquet"
    writer = get_context("spawn").Process(
        target=write_pairs, args=(source, pairs)
    )  # so that its memory is not counted as the job's
    writer.start()
    writer.join()
    if writer.exitcode:
        raise OutputError(f"{source}: the input could not be written")
    summary = run(
        RunConfig(source=str(source), output=str(folder / f"out-{pairs}"), use_store=False, block_pairs=_BLOCK_PAIRS),
        engine=FreeEngine(),
        encoder=FreeEncoder(),
    )
    return {
        "name": "pipeline",
        "pairs": summary["pairs_ranked"],
        "pipeline_seconds": round(summary["pairs_ranked"] / summary["pairs_per_second"], 2),
        **{name: summary[name] for name in ("pairs_per_second", "peak_memory_bytes", "seconds")},
    }


def write_pairs(path: Path, pairs: int, *, words_per_text: int = _WORDS, row_group: int = _ROW_GROUP) -> None:
    """Write candidate sets in the `pairs` layout: 100 candidates per query, texts of random words."""
    rng = np.random.default_rng(0)
    words = pa.array([f"word{number}" for number in range(_VOCABULARY)])
    schema = pa.schema([(name, pa.string()) for name in ("query_id", "query", "doc_id", "text")])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, pairs, row_group):
            rows = min(row_group, pairs - start)
            query = (start + np.arange(rows)) // _CANDIDATES
            drawn = words.take(pa.array(rng.integers(0, _VOCABULARY, rows * words_per_text)))
            texts = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * words_per_text), drawn)
            ids = pa.array(query).cast(pa.string())
            columns = {
                "query_id": ids,
                "query": pa.compute.binary_join_element_wise("a question about number", ids, " "),
                "doc_id": pa.array(start + np.arange(rows)).cast(pa.string()),
                "text": pa.compute.binary_join(texts, " "),
            }
            writer.write_table(pa.table(columns, schema=schema))
