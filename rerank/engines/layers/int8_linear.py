"""Linear layers on a CPU in int8: weights by output channel, states by row, so that no row depends on other rows.

The lowest number of a row becomes 0 and its highest 255, and a correction of rank one undoes the shift behind the
product: with 0 in the middle, as weights have it, rounding the states alone moves docs-mini's logits a third further.
To scale channels that samples show to be large (SmoothQuant) did not help it.
"""

import torch
from torch import nn
from torch.nn.functional import pad

from rerank.engines.forward.first_token import FirstTokenLayer
from rerank.engines.kernels.linear import BLOCK, QUAD, compute_layer, layer_of
from rerank.engines.layers.onednn_linear import replace_layers

_LEAST = 1e-8  # smallest range of weights that are all zero


class Int8Linear(nn.Module):
    """A linear layer whose product is computed in int8, optionally followed by GELU, for inference on a CPU."""

    def __init__(self, linear: nn.Linear, *, then: str = "none") -> None:
        """Quantise the layer's weights; `then` is `none`, `gelu` or `gelu_tanh`, its approximation by tanh."""
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(1).clamp_(min=_LEAST).div_(127)
        rounded = (weight / scales[:, None]).round_()
        bias = torch.zeros_like(scales) if linear.bias is None else linear.bias.detach().float()
        columns, depth = (-size % BLOCK for size in weight.shape)
        padded = pad(rounded, (0, depth, 0, columns)).to(torch.int8)
        self._tensors = (
            padded.view(-1, BLOCK, padded.shape[1] // QUAD, QUAD).transpose(1, 2).contiguous(),
            *(pad(numbers, (0, columns)) for numbers in (scales, rounded.sum(1) * scales, bias)),
        )
        self._layer = layer_of(*self._tensors, shape=weight.shape, then=then, dtype=linear.weight.dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return states [..., out] for states [..., in], both in the precision of the layer that was replaced."""
        return compute_layer(self._layer, states)


def quantise_layers(model: nn.Module) -> None:
    """Replace the linear layers in the blocks of a transformers model, with the GELU behind them.

    Those of embeddings and classifier stay, and those of a last layer that are computed for first tokens only. They
    take little time, and the logit depends on them most.
    """
    replace_layers(model, Int8Linear, block_layers(model))


def block_layers(model: nn.Module) -> set[nn.Linear]:
    """Return the linear layers that become int8; see `quantise_layers`."""
    modules = dict(model.named_modules())
    blocks = tuple(f"{name}." for name, module in modules.items() if isinstance(module, nn.ModuleList))
    short = tuple(f"{name}." for name, module in modules.items() if isinstance(module, FirstTokenLayer))
    return {
        module
        for name, module in modules.items()
        if type(module) is nn.Linear
        and name.startswith(blocks)
        and (not name.startswith(short) or name.endswith((".key", ".value")))
    }
