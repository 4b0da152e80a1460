"""What the scorer is measured against: sentence-transformers' `predict`, and the matrix products of the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from transformers.utils.logging import disable_progress_bar

from rerank.config import ScorerConfig
from rerank.engines.device import pick_device, pick_dtype
from rerank.ragged import IntArray

_SIDE, _PRODUCTS = 2048, 8
_LARGE_BATCH = 256

Texts = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Rival:
    """`score` gives the padded tokens that it pushed through the model."""

    name: str
    score: Callable[[Texts], int]


def rivals(config: ScorerConfig) -> list[Rival]:
    """`predict` as it comes; in bf16 where this device multiplies it faster; and with batches of 256 on a GPU."""
    disable_progress_bar()
    device = pick_device(config.device)
    fastest = pick_dtype("auto", device)
    found = [_predict(config, torch.float32, 32)]
    if fastest != torch.float32:
        found.append(_predict(config, fastest, 32))
    if device.type == "cuda":
        found.append(_predict(config, fastest, _LARGE_BATCH))
    return found


def _predict(config: ScorerConfig, dtype: torch.dtype, batch: int) -> Rival:
    model = CrossEncoder(
        config.location,
        device=str(pick_device(config.device)),
        model_kwargs={"dtype": dtype},
        max_length=config.max_length,
    )
    padded = [0]

    def count(_: Any, args: tuple[dict[str, Any], ...]) -> None:
        padded[0] += args[0]["input_ids"].numel()

    model[0].register_forward_pre_hook(count)

    def score(pairs: Texts) -> int:
        before = padded[0]
        model.predict(list(pairs), batch_size=batch, show_progress_bar=False)
        return padded[0] - before

    return Rival(f"predict {str(dtype).removeprefix('torch.')}, batch {batch}", score)


def flops_of(config: ScorerConfig, lengths: IntArray) -> float:
    """Floating-point operations of a whole forward over pairs of these lengths, without padding."""
    model = CrossEncoder(config.location, device="cpu").model
    weights = sum(weight.numel() for name, weight in model.named_parameters() if "embeddings" not in name)
    wide = lengths.astype(np.float64)
    products = 4 * model.config.num_hidden_layers * model.config.hidden_size * np.square(wide).sum()
    return float(2 * weights * wide.sum() + products)


def peak_flops(config: ScorerConfig) -> float:
    """Operations a second of the best of some square matrix products, in the engine's precision."""
    device = pick_device(config.device)
    left, right = (torch.randn(_SIDE, _SIDE, device=device).to(pick_dtype(config.dtype, device)) for _ in range(2))
    best = float("inf")
    for _ in range(_PRODUCTS):
        started = perf_counter()
        product = left @ right
        float(product[0, 0])  # wait for it
        best = min(best, perf_counter() - started)
    return 2 * _SIDE**3 / best
