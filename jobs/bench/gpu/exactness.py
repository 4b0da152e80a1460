"""Whether a device gives the scores that sentence-transformers gives on a CPU in float32, for every kind of model."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from sentence_transformers import CrossEncoder

from jobs.bench.options import Lengths
from jobs.bench.rivals.of_texts import LIBRARIES, RETURNED
from jobs.bench.scoring import encode_all, synthetic_sets, texts_of
from jobs.console import say
from rerank.arrays import FloatArray
from rerank.config import ScorerConfig
from rerank.engines import kind_of
from rerank.ranking.candidates import CANDIDATES, CandidateSets
from rerank.reranker import Reranker

Dtype = Literal["float32", "bfloat16", "float16"]
_DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
_FLOAT32 = 1e-3  # products of a GPU are summed in another order
_HALF = 2.0  # times the error of the library in the same precision, on the same device
_MOST = 90  # percent of the pairs in half precision: a tiny random model multiplies the error of one pair in a hundred
_QUERIES = ("How do I return a parcel?", "numéro de suivi", "追跡番号")


def models(work: Path) -> Iterator[tuple[str, Path]]:
    """Make a tiny model of each family and kind in `work`, as the tests do; yield its name and folder."""
    from tests.language_models import LANGUAGE_MODELS, make_language_model
    from tests.models import FAMILIES, MORE_FAMILIES, make_bert
    from tests.text_models import PUNCTUATION, make_late_interaction, make_vectors

    body = work / "body"
    make_bert(body)
    makers: dict[str, Callable[[Path], None]] = {
        **FAMILIES,
        **MORE_FAMILIES,
        **{name: partial(make_language_model, name) for name in LANGUAGE_MODELS},
        "late interaction": lambda folder: make_late_interaction(body, folder, skiplist=PUNCTUATION),
        "late interaction, expanded": lambda folder: make_late_interaction(
            body, folder, query_expansion={"strategy": "fixed", "length": 24, "token": "[MASK]"}
        ),
        "vectors": lambda folder: make_vectors(body, folder),
    }
    for name, make in makers.items():
        folder = work / name
        make(folder)
        yield name, folder


def check_models(work: Path, device: str) -> list[dict[str, Any]]:
    """Return a row for each model and precision: errors of the logits, ours and the library's.

    In float32 they are the largest, in half precision what 90 % of the pairs stay within.
    """
    from tests.models import CORPUS

    candidates = [{"doc_id": str(place), "text": text} for place, text in enumerate(CORPUS)]
    rows = [{"query_id": query, "query": query, CANDIDATES: candidates} for query in _QUERIES]
    sets = CandidateSets.from_table(pa.Table.from_pylist(rows))
    pairs = texts_of(sets)
    results = []
    for name, folder in models(work):
        say(f"comparing scores: {name}")
        expected = library_logits(folder, "cpu", "float32", pairs)
        for dtype in _DTYPES:
            reranker = Reranker(ScorerConfig(model=str(folder), device=device, dtype=dtype))
            within = 100 if dtype == "float32" else _MOST
            error = _error(reranker.engine.score(encode_all(sets, reranker)).logits, expected, within)
            library_error = _error(library_logits(folder, device, dtype, pairs), expected, within)
            most = _FLOAT32 if dtype == "float32" else _HALF * library_error + _FLOAT32
            results.append(
                {
                    "model": name,
                    "kind": kind_of(reranker.config).value,
                    "engine": reranker.engine.description["engine"],
                    "dtype": dtype,
                    "error": error,
                    "library_error": library_error,
                    "spread": float(np.std(expected)),
                    "passed": error <= most,
                }
            )
    return results


def check_batches(work: Path, device: str) -> list[dict[str, Any]]:
    """Return how much the logits of the bundled model depend on the company of a pair: not at all if deterministic."""
    sets = CandidateSets.from_table(synthetic_sets(Lengths.NQ, 200))
    rows = []
    for deterministic in (True, False):
        reranker = Reranker(ScorerConfig(device=device, deterministic=deterministic))
        together = encode_all(sets, reranker)
        logits = reranker.engine.score(together).logits
        alone = [reranker.engine.score(together.take(np.array([row]))).logits[0] for row in range(0, len(together), 10)]
        difference = _error(logits[::10], np.array(alone))
        rows.append(
            {
                "deterministic": deterministic,
                "dtype": reranker.engine.description["dtype"],
                "difference": difference,
                "passed": not deterministic or difference == 0,
            }
        )
    return rows


def check_memory(device: str) -> list[dict[str, Any]]:
    """Return whether a batch that is too large for the device's memory is halved until it fits, with equal logits."""
    sets = CandidateSets.from_table(synthetic_sets(Lengths.NQ, 4_000))
    reranker = Reranker(ScorerConfig(device=device, batch_tokens=2**24))
    block = encode_all(sets, reranker)
    expected = reranker.engine.score(block).logits
    peak = torch.cuda.max_memory_allocated(device)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(peak / 4 / total, device)
    try:
        difference = _error(reranker.engine.score(block).logits, expected)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    return [{"peak_bytes": peak, "budget_bytes": peak // 4, "difference": difference, "passed": difference < 0.1}]


def library_logits(folder: Path, device: str, dtype: Dtype, pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """Return the logits that sentence-transformers gives, float32 [pairs]."""
    options = {"device": device, "model_kwargs": {"dtype": getattr(torch, dtype)}}
    kind = kind_of(ScorerConfig(model=str(folder)))
    if kind not in LIBRARIES:
        scores: Any = CrossEncoder(str(folder), **options).predict(list(pairs), activation_fn=torch.nn.Identity())
    else:
        library, returned = LIBRARIES[kind](str(folder), **options), RETURNED[kind]
        queries, documents = (list(texts) for texts in zip(*pairs, strict=True))
        scores = library.similarity_pairwise(
            library.encode_query(queries, **returned), library.encode_document(documents, **returned)
        )
    return torch.as_tensor(scores).float().cpu().numpy()


def _error(logits: FloatArray, expected: FloatArray, within: int = 100) -> float:
    """Return the difference that so many percent of the logits stay within."""
    return float(np.percentile(np.abs(logits - expected), within))
