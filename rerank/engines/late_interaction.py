"""Late interaction: one vector per token, compared by MaxSim. ColBERT's models, PyLate's and MultiVectorEncoder's."""

from typing import Any

import numpy as np
import torch

from rerank.arrays import Offsets, offsets_of
from rerank.config import ScorerConfig
from rerank.encoding.texts import Texts, filling_token
from rerank.engines.classifier import load_errors
from rerank.engines.device.choices import to_device
from rerank.engines.library import library_options
from rerank.engines.texts.engine import TextEngine
from rerank.errors import ModelError


def load_late_interaction(config: ScorerConfig) -> TextEngine:
    """Return the engine of a model with a vector per token. Raises ModelError or ConfigError."""
    return TextEngine(config, LateInteraction)


class LateInteraction:
    """A MultiVectorEncoder of sentence-transformers without its own batching, masks and transformer's forward."""

    def __init__(self, config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> None:
        """Load the model. Raises ModelError."""
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        with load_errors(config):
            library = MultiVectorEncoder(**library_options(config, device, dtype)).eval()
        self.transformer, *others = library
        masks = [module for module in others if isinstance(module, MultiVectorMask)]
        self._tail = [module.float() for module in others if module not in masks]
        if not masks or any(type(module).__name__ not in {"Dense", "Normalize"} for module in self._tail):
            names = ", ".join(type(module).__name__ for module in library)
            raise ModelError(f"{config.model!r} has modules that are not supported in late interaction: {names}")
        self.takes_mean = library.similarity_fn_name == "meanmaxsim"
        self._mask = masks[-1]
        skipped = self._mask._skiplist_ids
        self._skipped = np.empty(0, dtype=np.int64) if skipped is None else skipped.cpu().numpy()
        self._expansion = self.transformer.query_expansion
        token = None if self._expansion is None else self._expansion["token"]
        self._filler = filling_token(self.transformer.tokenizer, token)  # only used if queries are expanded

    def attended(self, texts: Texts) -> Offsets:
        """Return the tokens of each text, without those that expand a query if they are not attended to."""
        lengths = texts.tokens.lengths
        if self._expansion is None or self._expansion["attend"]:
            return lengths
        # Special tokens stand behind the text, so that a filler behind them is no part of it.
        values, starts = texts.tokens.values, texts.tokens.offsets[:-1]
        last = np.maximum.reduceat(np.where(values != self._filler, np.arange(len(values)), -1), starts) - starts + 1
        is_expanded = texts.is_query & (lengths <= self._expansion["length"])
        attended: Offsets = np.where(is_expanded, np.maximum(last, 1), lengths)
        return attended

    def vectors(self, states: torch.Tensor, texts: Texts) -> tuple[torch.Tensor, Offsets]:
        """Return the vectors of the tokens that count in the score, see `TextModel.vectors`."""
        values = texts.tokens.values
        of_query = np.repeat(texts.is_query, texts.tokens.lengths)
        skips_document, skips_query = (role in self._mask.skiplist_tasks for role in ("document", "query"))
        counts = ~(np.isin(values, self._skipped) & np.where(of_query, skips_query, skips_document))
        if self._mask.keep_only_token_ids:
            counts &= of_query | np.isin(values, self._mask.keep_only_token_ids)
        places = to_device(np.flatnonzero(counts), states.device)
        features: dict[str, Any] = {"token_embeddings": states.index_select(0, places).float()}
        for module in self._tail:
            features = module(features)
        return features["token_embeddings"], np.diff(offsets_of(counts)[texts.tokens.offsets])
