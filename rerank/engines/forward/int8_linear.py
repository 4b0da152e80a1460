"""Linear layers on a CPU in int8: weights by output channel, states by row, so that no row depends on other rows.

The products are oneDNN's. They are fast for unsigned states only; signed ones fall to a reference kernel. A row is
quantised by a few of torch's operations, of which only those that are vectorised for bf16 are used: `abs`, `amax`, `mul`,
`round_` and the conversion to int8, but not the one to uint8, and none that find both bounds in one pass.
"""

from threading import local
from weakref import ref

import torch
from torch import nn

from rerank.engines.forward.first_token import FirstTokenLayer

_TOKENS = 2_048  # the weights are ordered for batches of this size; all other sizes work too
_LEAST = 1e-8  # smallest range, of rows and weights that are all zero
_MIDDLE = 128  # what 0 becomes in unsigned bytes
_MOST = 126.0  # the largest number of a row; 127 could become 128 by rounding


class Int8Linear(nn.Module):
    """A linear layer whose product is computed in int8, for inference on a CPU."""

    def __init__(self, linear: nn.Linear) -> None:
        """Quantise the layer's weights; results are in their precision."""
        super().__init__()
        weight = linear.weight.detach().float()
        self._scales = weight.abs().amax(1).clamp_(min=_LEAST).div_(127)
        rounded = (weight / self._scales[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [_TOKENS, linear.in_features])
        self._zeros = torch.zeros(linear.out_features, dtype=torch.int32)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._dtype = linear.weight.dtype

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return states [..., out] for states [..., in]."""
        rows, scales = quantise_rows(states)
        output: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, _MIDDLE, self._weight, self._scales, self._zeros, None, 1.0, 0, self._dtype, "none", [], "none"
        )
        return output.mul_(scales) if self._bias is None else torch.addcmul(self._bias, output, scales)


_last = local()  # of each thread: the states of the last call of `quantise_rows`, and what it returned


def quantise_rows(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states [..., width] as uint8, 0 as 128, and the scale of each row [..., 1] in the precision of the states.

    If the states are the object of the last call, which several layers read, its result is returned again: they must
    not be changed in between.
    """
    if getattr(_last, "states", None) is None or _last.states() is not states:
        factors = _MOST / states.abs().amax(-1, keepdim=True).clamp_(min=_LEAST)
        rows = (states * factors).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(_MIDDLE)
        _last.states, _last.rows = ref(states), (rows, factors.reciprocal_())
    quantised: tuple[torch.Tensor, torch.Tensor] = _last.rows
    return quantised


def quantise_layers(model: nn.Module) -> None:
    """Replace the linear layers in the blocks of a transformers model, which are nearly all of its work.

    Those of its embeddings and its classifier stay, and those of a last layer that are computed for first tokens only:
    they take little time, and the logit depends on them most.
    """
    for name, layer in block_layers(model).items():
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, Int8Linear(layer))


def block_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that become int8, by their names in the model."""
    modules = dict(model.named_modules())
    blocks = tuple(f"{name}." for name, module in modules.items() if isinstance(module, nn.ModuleList))
    short = tuple(f"{name}." for name, module in modules.items() if isinstance(module, FirstTokenLayer))

    def is_computed_for_all(name: str) -> bool:
        return not name.startswith(short) or name.endswith((".key", ".value"))

    return {
        name: module
        for name, module in modules.items()
        if type(module) is nn.Linear and name.startswith(blocks) and is_computed_for_all(name)
    }
