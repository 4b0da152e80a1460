"""Linear layers on a CPU in int8: weights by output channel, states by row, so that no row depends on other rows.

The products are oneDNN's, which are fast for unsigned states only: signed ones fall to a reference kernel. Rows are
quantised in float32, because bf16 adds an eighth to the error of docs-mini's logits. torch vectorises the conversion to
int8, but not the one to uint8, nor any function that finds both bounds of a row in one pass.
"""

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock, local
from weakref import ref

import torch
from torch import nn

from rerank.engines.forward.first_token import FirstTokenLayer

_TOKENS = 2_048  # the weights are ordered for batches of this size; all other sizes work too
_LEAST = 1e-8  # smallest range, of rows and weights that are all zero
_MIDDLE = 128  # what 0 becomes in unsigned bytes
_LEAST_SHARE = 0.05  # of the mean range: channels with smaller ones count as this large
_MOST = 126.0  # the largest number of a row; 127 could become 128 by rounding
_SAME_STATES = (  # names of the layers of a module that read the same states
    ("query", "key", "value"),
    ("q", "k", "v"),
    ("q_lin", "k_lin", "v_lin"),
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
)


class Int8Linear(nn.Module):
    """A linear layer whose product is computed in int8, for inference on a CPU."""

    def __init__(self, linear: nn.Linear, factors: torch.Tensor) -> None:
        """Quantise the layer's weights; results are in their precision.

        States are multiplied by `factors` [in] before they are quantised, and weights divided by them.
        """
        super().__init__()
        weight = linear.weight.detach().float() / factors
        self._scales = weight.abs().amax(1).clamp_(min=_LEAST).div_(127)
        rounded = (weight / self._scales[:, None]).round_().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [_TOKENS, linear.in_features])
        self._zeros = torch.zeros(linear.out_features, dtype=torch.int32)
        self._bias = None if linear.bias is None else linear.bias.detach().float()
        self._factors = factors

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return states [..., out] for states [..., in]."""
        rows, scales = quantise_rows(states, self._factors)
        output: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows, 1.0, _MIDDLE, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], "none"
        )
        output = output.mul_(scales) if self._bias is None else torch.addcmul(self._bias, output, scales)
        return output.to(states.dtype)


_last = local()  # of each thread: the arguments of the last call of `quantise_rows`, and what it returned


def quantise_rows(states: torch.Tensor, factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states [..., width] times `factors` [width] as uint8, 0 as 128, and the scale of each row [..., 1].

    If both are the objects of the last call, because several layers read these states, its result is returned again;
    states must not be changed in between.
    """
    last = getattr(_last, "call", None)
    if last is None or last[0]() is not states or last[1] is not factors:
        even = states.float() * factors
        steps = _MOST / even.abs().amax(-1, keepdim=True).clamp_(min=_LEAST)
        rows = even.mul_(steps).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(_MIDDLE)
        _last.call = last = (ref(states), factors, (rows, steps.reciprocal_()))
    quantised: tuple[torch.Tensor, torch.Tensor] = last[2]
    return quantised


def quantise_layers(model: nn.Module, compute_samples: Callable[[], object]) -> None:
    """Replace the linear layers in the blocks of a transformers model: queries, keys, values, attention's output, and
    the first layers of feed-forward networks.

    Layers that make their states narrower stay, such as the second one of a feed-forward network: to quantise so wide
    rows takes as long as int8 saves, and on Cranfield they cost the bundled model 0.003 of Kendall's tau. Those of
    embeddings and classifier stay, and those of a last layer that are computed for first tokens only. They take little
    time, and the logit depends on them most. `compute_samples` runs the model on sample texts, which show the channels
    whose states are much larger than others.
    """
    layers = block_layers(model)
    ranges = _ranges(layers, compute_samples)
    readers: dict[str, list[nn.Linear]] = {}
    for name, layer in layers.items():
        readers.setdefault(_states_of(name), []).append(layer)
    factors = {states: _factors(ranges.get(states), linears) for states, linears in readers.items()}
    for name, layer in layers.items():
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, Int8Linear(layer, factors[_states_of(name)]))


def _factors(ranges: torch.Tensor | None, readers: Sequence[nn.Linear]) -> torch.Tensor:
    """Return what makes the channels of states more even, [width], by making those of the weights less so.

    The ranges of both become equal, as in SmoothQuant (arXiv:2211.10438) with a strength of 0.5. `ranges` are those of
    the states [width]; None if the samples have not shown them.
    """
    weights = torch.stack([layer.weight.detach().float().abs().amax(0) for layer in readers]).amax(0)
    if ranges is None:
        return torch.ones_like(weights)
    states, weights = (each.clamp(min=float(each.mean()) * _LEAST_SHARE) for each in (ranges, weights))
    return (weights / states).sqrt_()


def _ranges(layers: dict[str, nn.Linear], compute_samples: Callable[[], object]) -> dict[str, torch.Tensor]:
    """Return the largest magnitude of each channel of the states that layers read, [width], by `_states_of`."""
    ranges: dict[str, torch.Tensor] = {}
    lock = Lock()  # batches may be computed in several threads

    def watch(states: str, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        largest = inputs[0].detach().flatten(0, -2).abs().amax(0).float()
        with lock:
            ranges[states] = torch.maximum(largest, ranges.get(states, largest))

    readers = {_states_of(name): layer for name, layer in layers.items()}  # one of each group is enough
    handles = [layer.register_forward_pre_hook(partial(watch, states)) for states, layer in readers.items()]
    try:
        compute_samples()
    finally:
        for handle in handles:
            handle.remove()
    return ranges


def _states_of(layer: str) -> str:
    """Return a name of the states that a layer reads, the same for all layers that read them."""
    module, _, attribute = layer.rpartition(".")
    readers = next((names for names in _SAME_STATES if attribute in names), (attribute,))
    return f"{module}.{readers[0]}"


def block_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers that become int8, by their names in the model; see `quantise_layers`."""
    modules = dict(model.named_modules())
    blocks = tuple(f"{name}." for name, module in modules.items() if isinstance(module, nn.ModuleList))
    short = tuple(f"{name}." for name, module in modules.items() if isinstance(module, FirstTokenLayer))

    def is_worth_it(name: str, layer: nn.Linear) -> bool:
        is_computed_for_all = not name.startswith(short) or name.endswith((".key", ".value"))
        return is_computed_for_all and layer.in_features <= layer.out_features

    return {
        name: module
        for name, module in modules.items()
        if type(module) is nn.Linear and name.startswith(blocks) and is_worth_it(name, module)
    }
