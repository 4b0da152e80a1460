"""Rerankers that score by a dense layer on a hidden state: Transformer, Pooling and Dense of sentence-transformers."""

from typing import Any

import torch
from torch import nn

from rerank.config import ScorerConfig
from rerank.engines.classifier import Classifier, load_as_library, load_errors
from rerank.engines.forward.last_token import LastTokenModel
from rerank.engines.language_model import load_decoder
from rerank.model_files import ModelFiles


def load_hidden_state(config: ScorerConfig, device: torch.device, dtype: torch.dtype) -> Classifier:
    """Load a model whose score is a dense layer on the last token's state; other poolings run padded.

    The logits equal those of sentence-transformers' CrossEncoder. Raises ModelError.
    """
    with load_errors(config):
        body = load_decoder(config, dtype) if pools_last_token(ModelFiles.of(config)) else None
        if body is None:
            return load_as_library(config, device, dtype)
        return Classifier(LastTokenModel(body, _dense(config, dtype)).to(device).eval(), takes_types=False)


def pools_last_token(files: ModelFiles) -> bool:
    """Return whether the modules are Transformer, Pooling of the last token, and Dense."""
    modules: list[dict[str, Any]] = files.json("modules.json") or []
    if [module["type"].rpartition(".")[2] for module in modules] != ["Transformer", "Pooling", "Dense"]:
        return False
    pooling = files.json(f"{modules[1]['path']}/config.json") or {}
    return pooling.get("pooling_mode") == "lasttoken" or pooling.get("pooling_mode_lasttoken") is True


def _dense(config: ScorerConfig, dtype: torch.dtype) -> nn.Module:
    """Return the dense layer as sentence-transformers loads it, called with states instead of features."""
    from sentence_transformers.base.modules import Dense

    files = ModelFiles.of(config)
    path = files.json("modules.json")[2]["path"]
    layer = Dense.load(
        config.location, subfolder=path, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    return _DenseScore(layer.to(dtype))


class _DenseScore(nn.Module):
    """A Dense module that takes states [pairs, width] and returns logits [pairs, 1]."""

    def __init__(self, dense: Any) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.dense({self.dense.module_input_name: states})[self.dense.module_output_name]
        return logits
