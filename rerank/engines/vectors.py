"""One vector per text, compared by a dot product: the embedding models of SentenceTransformer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from rerank.arrays import Offsets
from rerank.config import ScorerConfig
from rerank.encoding.texts import Texts
from rerank.engines.classifier import load_errors
from rerank.engines.device.choices import to_device
from rerank.engines.library import library_options
from rerank.engines.texts.engine import TextEngine
from rerank.errors import ModelError


def load_vectors(config: ScorerConfig) -> TextEngine:
    """Return the engine of a model with one vector per text. Raises ModelError or ConfigError."""
    return TextEngine(config, SingleVectors)


class SingleVectors:
    """A SentenceTransformer without its own batching, pooling and transformer's forward."""

    takes_mean = False

    def __init__(self, config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> None:
        """Load the model. Raises ModelError."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        with load_errors(config):
            library = SentenceTransformer(**library_options(config, device, dtype)).eval()
        self.transformer, pooling, *tail = library
        if not isinstance(pooling, Pooling) or pooling.pooling_mode not in _POOLINGS:
            mode = getattr(pooling, "pooling_mode", None)
            raise ModelError(
                f"{config.model!r} pools its tokens by {mode or type(pooling).__name__}, supported are "
                f"{', '.join(_POOLINGS)}"
            )
        if not pooling.include_prompt and any(library.prompts.values()):
            raise ModelError(f"{config.model!r} leaves its prompts out of the pooling, which is not supported")
        self._pool = _POOLINGS[pooling.pooling_mode]
        self._tail = [module.float() for module in tail]
        self._is_cosine = library.similarity_fn_name == "cosine"

    def attended(self, texts: Texts) -> Offsets:
        """Return the tokens of each text."""
        return texts.tokens.lengths

    def vectors(self, states: torch.Tensor, texts: Texts) -> tuple[torch.Tensor, Offsets]:
        """Return the vector of each text, see `TextModel.vectors`."""
        features: dict[str, Any] = {"sentence_embedding": self._pool(states, texts.tokens.offsets)}
        for module in self._tail:
            features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"]
        vectors = normalize(vectors, dim=-1) if self._is_cosine else vectors
        return vectors, np.ones(len(texts.is_query), dtype=np.int64)


def _first(states: torch.Tensor, offsets: Offsets) -> torch.Tensor:
    return states.index_select(0, to_device(offsets[:-1], states.device)).float()


def _last(states: torch.Tensor, offsets: Offsets) -> torch.Tensor:
    return states.index_select(0, to_device(offsets[1:] - 1, states.device)).float()


def _mean(states: torch.Tensor, offsets: Offsets) -> torch.Tensor:
    lengths = to_device(np.diff(offsets), states.device)
    # unsafe: checking the lengths would synchronise with the device
    return torch.segment_reduce(states[: int(offsets[-1])].float(), "mean", lengths=lengths, unsafe=True)


_POOLINGS: dict[str, Callable[[torch.Tensor, Offsets], torch.Tensor]] = {
    "mean": _mean,
    "cls": _first,
    "lasttoken": _last,
}
