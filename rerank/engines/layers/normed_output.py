"""The end of an attention or a feed-forward network in models like BERT: projected, added to what went in, and normed.

torch computes the sum and its norm in two passes, which take a tenth of the time of a small model where the products
are fast.
"""

from typing import Any

import torch
from torch import nn

from rerank.engines.forward.bert import ProjectedSum
from rerank.engines.kernels.norm import NormOfSum

# Modules of transformers that compute LayerNorm(dense(states) + before), as our BERT's ProjectedSum does.
_FAMILIES = ("Bert", "DebertaV2", "Electra", "Roberta", "XLMRoberta")
_OUTPUTS = {f"{family}{part}" for family in _FAMILIES for part in ("SelfOutput", "Output")}


class NormedOutput(nn.Module):
    """Compute LayerNorm(dense(states) + before) in bfloat16 on a CPU."""

    def __init__(self, output: Any) -> None:
        """Take over the layers of an output."""
        super().__init__()
        self.dense = output.dense
        self._norm = NormOfSum(output.LayerNorm)

    def forward(self, states: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Return states [..., width] for what a network computed, `states`, and its input, `before` [..., width]."""
        return self._norm(self.dense(states), before)


def fuse_outputs(model: nn.Module) -> None:
    """Replace the outputs of a transformers model, or of our BERT, if they are known."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            is_known = isinstance(child, ProjectedSum) or type(child).__name__ in _OUTPUTS
            if is_known and type(child.LayerNorm) is nn.LayerNorm:
                setattr(module, name, NormedOutput(child))
