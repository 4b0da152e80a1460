"""What the scorer is compared with: other libraries with the same weights, and the device's peak speed."""

import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from transformers.utils.logging import disable_progress_bar

from jobs.bench.rivals.as_classifier import as_classifier
from jobs.bench.rivals.exported import exported_rivals
from jobs.bench.rivals.of_texts import LIBRARIES, text_rivals
from jobs.bench.rivals.rival import Rival, Texts, fastest_batch
from rerank.arrays import IntArray
from rerank.config import ScorerConfig
from rerank.engines import Engine, Kind, kind_of, load_encoder
from rerank.engines.cross_encoder import CrossEncoderEngine
from rerank.engines.device.choices import pick_device, pick_dtype
from rerank.engines.language_model import is_plain_decoder
from rerank.engines.layers.onednn_linear import OneDnnLinear, can_reorder_weights

_SIDE, _PRODUCTS = 2048, 8
_DEFAULT_BATCH = 32
_UNUSED = re.compile("embed|lm_head")  # parameters that are looked up, or of which two rows are used
_BATCHES = {"cpu": (8, 32, 128), "cuda": (32, 128, 512)}


def rivals(config: ScorerConfig, sample: Texts) -> list[Rival]:
    """Return the rivals: `CrossEncoder.predict` in several settings, and other libraries that are installed.

    Those are ONNX Runtime and OpenVINO on a CPU (`rerank[bench]`), FlagEmbedding and rerankers.

    `predict` runs with its defaults, in bf16 if that is faster on this device, and with the batch size that is fastest
    on `sample`. A language model has `predict` in the fastest precision, and in our own engine the same weights as a
    decoder classifier, and itself without sharing what pairs of a query begin with.
    Models that encode texts by themselves have the rivals of `jobs.bench.rivals.of_texts` instead.
    """
    disable_progress_bar()
    kind = kind_of(config)
    if kind in LIBRARIES:
        return [Rival(rival.name, rival.score) for rival in text_rivals(config)]
    device = pick_device(config.device)
    fastest = pick_dtype("auto", device)
    if kind is Kind.LANGUAGE_MODEL:
        predict = _predict(_load_cross_encoder(config, fastest), fastest, _DEFAULT_BATCH)
        return [predict, *_own_engines(config)] if is_plain_decoder(config) else [predict]
    dtypes = [torch.float32] if fastest == torch.float32 else [torch.float32, fastest]
    models = [_load_cross_encoder(config, dtype) for dtype in dtypes]
    best = fastest_batch(partial(_score, models[-1]), sample, _BATCHES.get(device.type, _BATCHES["cpu"]))
    predicts = [_predict(model, dtype, _DEFAULT_BATCH) for model, dtype in zip(models, dtypes, strict=True)]
    if best != _DEFAULT_BATCH:
        predicts.append(_predict(models[-1], dtypes[-1], best))
    exported = exported_rivals(models[0], sample) if device.type == "cpu" and kind is Kind.CLASSIFIER else []
    makers = {"FlagEmbedding": _flag_reranker, "rerankers": _rerankers}
    others = [make(config, import_module(name)) for name, make in makers.items() if find_spec(name)]
    return predicts + exported + others


def _load_cross_encoder(config: ScorerConfig, dtype: torch.dtype) -> CrossEncoder:
    return CrossEncoder(
        config.location,
        device=str(pick_device(config.device)),
        model_kwargs={"dtype": dtype},
        max_length=config.max_length,
    )


def _score(model: CrossEncoder, pairs: Texts, batch: int) -> None:
    model.predict(list(pairs), batch_size=batch, show_progress_bar=False)


def _predict(model: CrossEncoder, dtype: torch.dtype, batch: int) -> Rival:
    name = f"predict {str(dtype).removeprefix('torch.')}, batch {batch}"
    return _counting(name, model[0], partial(_score, model, batch=batch))


def _own_engines(config: ScorerConfig) -> list[Rival]:
    """Return the same weights in our own engine: as a decoder classifier, and with every pair computed as a whole."""
    classifier, unshared = as_classifier(config), CrossEncoderEngine(config, shares_prefixes=False)
    dtype = classifier.description["dtype"]
    return [
        _own_engine(f"rerank as a decoder classifier {dtype}", config, classifier),
        _own_engine(f"rerank without shared prefixes {dtype}", config, unshared),
    ]


def _own_engine(name: str, config: ScorerConfig, engine: Engine) -> Rival:
    encoder = load_encoder(config)

    def score(pairs: Texts) -> int:
        (queries, query_of), (documents, document_of) = (
            np.unique(column, return_inverse=True) for column in zip(*pairs, strict=True)
        )
        rows = [places.astype(np.int32) for places in (query_of, document_of)]
        encoded = encoder.encode(queries.tolist(), documents.tolist(), rows[0], rows[1])
        return int(encoded.lengths.sum()) + (engine.score(encoded).padding_tokens or 0)

    return Rival(name, score)


def _flag_reranker(config: ScorerConfig, package: Any) -> Rival:
    """Return FlagEmbedding's reranker, set up as in its documentation: half precision on a GPU."""
    device = pick_device(config.device)
    limit = {"max_length": config.max_length} if config.max_length else {}
    half = device.type == "cuda"
    reranker = package.FlagReranker(config.location, use_fp16=half, devices=str(device), **limit)

    def score(pairs: Texts) -> None:
        reranker.compute_score(list(pairs))

    return _counting(f"FlagReranker {'float16' if half else 'float32'}", reranker.model, score)


def _rerankers(config: ScorerConfig, package: Any) -> Rival:
    """Return the reranker of the `rerankers` library, which ranks one query per call."""
    options = {"tokenizer_kwargs": {"model_max_length": config.max_length}} if config.max_length else {}
    device = str(pick_device(config.device))
    reranker = package.Reranker(config.location, model_type="cross-encoder", device=device, verbose=0, **options)

    def score(pairs: Texts) -> None:
        for query, group in groupby(pairs, key=itemgetter(0)):
            reranker.rank(query, [text for _, text in group])

    return _counting("rerankers float32", reranker.model, score)


def _counting(name: str, model: torch.nn.Module, score: Callable[[Texts], None]) -> Rival:
    padded = [0]

    def count(_: Any, positional: tuple[dict[str, Any], ...], named: dict[str, Any]) -> None:
        padded[0] += (positional[0] if positional else named)["input_ids"].numel()

    model.register_forward_pre_hook(count, with_kwargs=True)

    def counted(pairs: Texts) -> int:
        before = padded[0]
        score(pairs)
        return padded[0] - before

    return Rival(name, counted)


def flops_of(config: ScorerConfig, lengths: IntArray) -> float:
    """Return the floating-point operations of a forward pass over rows of these lengths, without padding."""
    model = LIBRARIES.get(kind_of(config), CrossEncoder)(config.location, device="cpu")[0].model
    weights = sum(weight.numel() for name, weight in model.named_parameters() if not _UNUSED.search(name))
    wide = lengths.astype(np.float64)
    products = 4 * model.config.num_hidden_layers * model.config.hidden_size * np.square(wide).sum()
    return float(2 * weights * wide.sum() + products)


def peak_flops(config: ScorerConfig) -> float:
    """Return the operations per second of the fastest of several square matrix products in the engine's precision.

    They are computed by torch and, on a CPU, by the layer that the engine uses there.
    """
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    states = torch.randn(_SIDE, _SIDE, device=device).to(dtype)
    layer = torch.nn.Linear(_SIDE, _SIDE, bias=False, device=device, dtype=dtype)
    layers = [layer, OneDnnLinear(layer)] if can_reorder_weights(device, dtype) else [layer]
    best = float("inf")
    with torch.inference_mode():
        for product in layers * _PRODUCTS:
            started = perf_counter()
            float(product(states)[0, 0])  # wait for the result
            best = min(best, perf_counter() - started)
    return 2 * _SIDE**3 / best
