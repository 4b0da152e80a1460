"""Linear layers on a CPU whose weights lie as oneDNN's kernels read them, with bias and GELU in the same pass.

Measured on one core of an AMD EPYC (Zen 5), width 384, 2,048 tokens: 230 GFLOP/s in float32, where torch's own layer
leaves 97 (its library for float32 knows that processor badly), and in bf16 460 where it leaves 430, without GELU.
"""

import os
import platform
from typing import Any

import torch
from torch import nn

_MOST_KERNELS = 128
_TOKENS = 2_048  # what the order of the weights is chosen for; any other number is computed too


class PrepackedLinear(nn.Module):
    """What a linear layer computes, or `gelu` of it, in inference mode and on the CPU."""

    def __init__(self, linear: nn.Linear, *, then: str = "none") -> None:
        """Take over the layer's weights; `then` is none or gelu."""
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _TOKENS)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._then = then

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """States [..., in] to [..., out]."""
        output: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, self._then, [], "none"
        )
        return output


def bound_kernels() -> None:
    """Have this process keep fewer of the kernels that oneDNN makes for every shape of a product, before the first one.

    It keeps 1,024, and texts of all lengths ask for more: 2 GiB after 75,000 pairs. What the environment says holds.
    """
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):  # torch's own cache, and oneDNN's below it
        os.environ.setdefault(name, str(_MOST_KERNELS))


def can_reorder_weights(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this machine has the kernels: x86, float32 or the processor's own bf16."""
    if device.type != "cpu" or platform.machine() not in {"x86_64", "AMD64"} or not torch._C._has_mkldnn:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def reorder_weights(model: nn.Module) -> None:
    """Replace the linear layers of a transformers model, and the GELU behind those of BERT's build."""
    for module in list(model.modules()):
        if _is_gelu(getattr(module, "intermediate_act_fn", None)) and type(module.dense) is nn.Linear:
            module.dense = PrepackedLinear(module.dense, then="gelu")
            module.intermediate_act_fn = nn.Identity()
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, PrepackedLinear(child))


def _is_gelu(activation: Any) -> bool:
    """Whether it is the exact one, by error function."""
    from transformers.activations import GELUActivation

    if isinstance(activation, GELUActivation):
        return activation.act is nn.functional.gelu
    return isinstance(activation, nn.GELU) and activation.approximate == "none"
