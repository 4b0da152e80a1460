"""Models as sentence-transformers' CrossEncoder loads and runs them: whatever is not known well enough to be packed."""

import inspect
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from rerank.config import ScorerConfig
from rerank.errors import ModelError


class LibraryModel(nn.Module):
    """A CrossEncoder of several modules, called like a classifier of transformers."""

    def __init__(self, library: Any) -> None:
        super().__init__()
        self.library = library
        transformer = library[0]
        self.is_causal = transformer.transformer_task == "text-generation"
        self._modality = "message" if "message" in transformer.modality_config else "text"
        self.takes_positions = "position_ids" in inspect.signature(transformer.model.forward).parameters

    @property
    def config(self) -> Any:
        """Return the configuration of the transformer."""
        return self.library[0].model.config

    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        """Return an object with `logits` [pairs, 1], as the classifiers of transformers do."""
        features: dict[str, Any] = {**inputs, "modality": self._modality}
        if self.is_causal:
            features["logits_to_keep"] = 1
        return SimpleNamespace(logits=self.library(features)["scores"])


def use_safetensors(config: ScorerConfig) -> bool | None:
    """Return transformers' option of this name: True refuses all other weights, None takes them if need be."""
    return None if config.allow_pickle else True


def library_options(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return what the classes of sentence-transformers need to load this model."""
    return {
        "model_name_or_path": config.location,
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "device": str(device),
        "model_kwargs": {"dtype": dtype, "use_safetensors": use_safetensors(config)},
    }


def load_library(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the CrossEncoder. Raises what sentence-transformers raises, and ModelError for several scores a pair."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(**library_options(config, device, dtype))
    if model.num_labels != 1:
        raise ModelError(f"{config.model!r} gives {model.num_labels} scores per pair, a cross-encoder gives 1")
    return model
