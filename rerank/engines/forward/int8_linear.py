"""Linear layers on a CPU in int8: weights by output channel, states by row, so that no row depends on other rows.

The least number of a row becomes 0 and its largest 255, and a correction of rank one undoes the shift behind the
product: with 0 in the middle, as weights have it, rounding the states alone moves docs-mini's logits a third further.
To scale channels that samples show to be large (SmoothQuant) did not help it. The products are oneDNN's. torch
vectorises the conversion to int8, but not the one to uint8, nor any function that finds both bounds of a row in one
pass.
"""

from threading import local
from weakref import ref

import torch
from torch import nn

from rerank.engines.forward.first_token import FirstTokenLayer

_TOKENS = 2_048  # the weights are ordered for batches of this size; all other sizes work too
_LEAST = 1e-8  # smallest range, of rows and weights that are all equal
_MIDDLE = 128  # what 0 of a signed byte is in unsigned ones
_LARGEST = 254.9  # of a row; 255 could become 256 by rounding


class Int8Linear(nn.Module):
    """A linear layer whose product is computed in int8, for inference on a CPU."""

    def __init__(self, linear: nn.Linear) -> None:
        """Quantise the layer's weights; results are in the precision of the states."""
        super().__init__()
        weight = linear.weight.detach().float()
        self._scales = weight.abs().amax(1).clamp_(min=_LEAST).div_(127)
        rounded = (weight / self._scales[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [_TOKENS, linear.in_features])
        self._sums = rounded.sum(1).float() * self._scales
        self._zeros = torch.zeros(linear.out_features, dtype=torch.int32)
        bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
        self._bias = bias.detach().float()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return states [..., out] for states [..., in]."""
        rows, scales, lowest = quantise_rows(states)
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, 0, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], "none"
        )
        return torch.addcmul(self._bias, lowest, self._sums).addcmul_(product, scales).to(states.dtype)


_last = local()  # of each thread: the states of the last call of `quantise_rows`, and what it returned


def quantise_rows(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return states [..., width] as uint8, with the scale and the lowest number of each row [..., 1] in float32.

    If they are the object of the last call, because several layers read these states, its result is returned again;
    states must not be changed in between.
    """
    last = getattr(_last, "call", None)
    if last is None or last[0]() is not states:
        exact = states.float()
        lowest = exact.amin(-1, keepdim=True)
        steps = _LARGEST / (exact.amax(-1, keepdim=True) - lowest).clamp_(min=_LEAST)
        shifted = torch.addcmul(-(lowest * steps).add_(_MIDDLE), exact, steps)
        rows = shifted.round_().to(torch.int8).view(torch.uint8).bitwise_xor_(_MIDDLE)
        _last.call = last = (ref(states), (rows, steps.reciprocal_(), lowest))
    quantised: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = last[1]
    return quantised


def quantise_layers(model: nn.Module) -> None:
    """Replace the linear layers in the blocks of a transformers model.

    Those of embeddings and classifier stay, and those of a last layer that are computed for first tokens only. They
    take little time, and the logit depends on them most.
    """
    for name, layer in block_layers(model).items():
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, Int8Linear(layer))


def block_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that become int8, by their names in the model; see `quantise_layers`."""
    modules = dict(model.named_modules())
    blocks = tuple(f"{name}." for name, module in modules.items() if isinstance(module, nn.ModuleList))
    short = tuple(f"{name}." for name, module in modules.items() if isinstance(module, FirstTokenLayer))
    return {
        name: module
        for name, module in modules.items()
        if type(module) is nn.Linear
        and name.startswith(blocks)
        and (not name.startswith(short) or name.endswith((".key", ".value")))
    }
