"""Linear layers on a CPU with weights in the memory order of oneDNN's kernels, and with bias and GELU in one pass.

Measured on one core of an AMD EPYC (Zen 5), width 384, 2,048 tokens, without GELU: 230 GFLOP/s in float32, compared to
97 with torch's own layer (whose float32 library is not optimised for that processor), and 460 in bf16, compared to 430.
"""

import os
import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.torch_version import TorchVersion

_MOST_KERNELS = 128
_RIGHT_KERNELS = "2.13"  # in torch 2.11 layers with reordered weights fail
_TOKENS = 2_048  # the weights are ordered for batches of this size; all other sizes work too
# The names of the first layer of a feed-forward network and of its activation: BERT's kind, DistilBERT, ALBERT.
_FEED_FORWARD = (("dense", "intermediate_act_fn"), ("lin1", "activation"), ("ffn", "activation"))


class OneDnnLinear(nn.Module):
    """A linear layer, optionally followed by GELU, for inference on a CPU."""

    def __init__(self, linear: nn.Linear, *, then: str = "none") -> None:
        """Take over the layer's weights; `then` is `none`, `gelu` or `gelu_tanh`, its approximation by tanh."""
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _TOKENS)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._then, _, self._algorithm = then.partition("_")

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return states [..., out] for states [..., in]."""
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, self._then, [], self._algorithm or "none"
        )
        return output


def bound_kernels() -> None:
    """Limit the number of oneDNN kernels that this process caches; must be called before the first product.

    oneDNN makes a kernel for every shape and caches 1,024 of them by default: 2 GiB after 75,000 pairs of all lengths.
    Variables that are set in the environment take precedence.
    """
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):  # torch's own cache, and oneDNN's below it
        os.environ.setdefault(name, str(_MOST_KERNELS))


def can_reorder_weights(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether this machine has the kernels: x86, and float32 or hardware bf16; and torch the right ones."""
    if (
        TorchVersion(torch.__version__) < _RIGHT_KERNELS
        or device.type != "cpu"
        or platform.machine() not in {"x86_64", "AMD64"}
        or not torch._C._has_mkldnn
    ):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def reorder_weights(model: nn.Module) -> None:
    """Replace the linear layers of a transformers model, and the GELU after the first one of a feed-forward network."""
    replace_layers(model, OneDnnLinear, {module for module in model.modules() if type(module) is nn.Linear})


def replace_layers(model: nn.Module, kind: Callable[..., nn.Module], layers: set[nn.Linear]) -> None:
    """Replace these layers of a model by `kind(layer)`, and a GELU behind them by `kind(layer, then=name)`."""
    for module in list(model.modules()):
        for linear, activation in _FEED_FORWARD:
            gelu = _gelu_of(getattr(module, activation, None))
            if gelu and getattr(module, linear, None) in layers:
                setattr(module, linear, kind(getattr(module, linear), then=gelu))
                setattr(module, activation, nn.Identity())
        for name, child in module.named_children():
            if child in layers:
                setattr(module, name, kind(child))


def _gelu_of(activation: Any) -> str | None:
    """Return which GELU this is, by the error function or approximated by tanh; None if it is another activation."""
    if isinstance(activation, nn.GELU):
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    if not type(activation).__module__.startswith("transformers."):  # importing it takes seconds
        return None
    from transformers.activations import GELUActivation, GELUTanh, NewGELUActivation

    if isinstance(activation, NewGELUActivation | GELUTanh):
        return "gelu_tanh"
    is_exact = isinstance(activation, GELUActivation) and activation.act is nn.functional.gelu
    return "gelu" if is_exact else None
