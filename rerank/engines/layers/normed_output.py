"""The end of an attention or a feed-forward network in models like BERT: projected, added to what went in, and normed.

torch computes the sum and its norm in two passes, which take a tenth of the time of a small model where the products
are fast.
"""

from typing import Any

import torch
from torch import nn

from rerank.engines.kernels.norm import NormOfSum

# Modules that compute LayerNorm(dense(states) + before): those of transformers by their names, and that of our BERT.
_FAMILIES = ("Bert", "DebertaV2", "Electra", "Roberta", "XLMRoberta")
_OUTPUTS = {f"{family}{part}" for family in _FAMILIES for part in ("SelfOutput", "Output")} | {"ProjectedSum"}


class NormedOutput(nn.Module):
    """Compute such an output in bfloat16 on a CPU."""

    def __init__(self, output: Any) -> None:
        """Take over the layers of an output."""
        super().__init__()
        self.dense = output.dense
        self._norm = NormOfSum(output.LayerNorm)

    def forward(self, states: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Return states [..., width] for those that the network made and those that went in."""
        return self._norm(self.dense(states), before)


def fuse_outputs(model: nn.Module) -> None:
    """Replace the outputs of a transformers model, or of our BERT, if they are known."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ in _OUTPUTS and type(child.LayerNorm) is nn.LayerNorm:
                setattr(module, name, NormedOutput(child))
