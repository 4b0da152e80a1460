"""Layers in int8 give what the layers they replace give, up to a hundredth, and a row does not depend on other rows."""

import pytest
import torch
from torch import nn

from rerank.engines.forward.int8_linear import Int8Linear, block_layers, quantise_layers, quantise_rows
from tests.rerank.engines.int8 import needs_int8

pytestmark = needs_int8
SHAPES = [(35, 96), (1, 35, 96), (5, 7, 96)]
DTYPES = [torch.float32, torch.bfloat16]


def layer_and_states(dtype, shape=SHAPES[0]):
    torch.manual_seed(3)
    layer = nn.Linear(96, 48).to(dtype)
    return layer, torch.randn(shape).to(dtype)


def even(states):
    return torch.ones(states.shape[-1], dtype=states.dtype)


def exact(layer, states):
    return nn.functional.linear(states.double(), layer.weight.double(), layer.bias.double())


def error(got, expected):
    """The relative error over all numbers."""
    return float((got.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_results_are_a_hundredth_off(dtype, shape):
    layer, states = layer_and_states(dtype, shape)
    before = states.clone()
    got = Int8Linear(layer, even(states))(states)
    assert got.dtype == dtype and error(got, exact(layer, states)) < 0.012
    assert torch.equal(states, before)


@torch.inference_mode()
def test_rows_of_all_sizes_are_rounded_by_themselves():
    layer, states = layer_and_states(torch.float32)
    layer.bias.zero_()
    states *= torch.logspace(-3, 4, len(states))[:, None]
    for got, expected in zip(Int8Linear(layer, even(states))(states), exact(layer, states), strict=True):
        assert error(got, expected) < 0.012


@torch.inference_mode()
def test_a_channel_of_large_states_does_not_drown_the_others():
    layer, states = layer_and_states(torch.float32)
    states[:, 7] *= 100
    expected = exact(layer, states) - exact(layer, states * (torch.arange(96) == 7))
    factors = torch.where(torch.arange(96) == 7, 0.1, 1.0)

    def others(factors):
        int8 = Int8Linear(layer, factors)
        return int8(states) - exact(layer, states * (torch.arange(96) == 7))

    assert error(others(factors), expected) < error(others(even(states)), expected) / 3


@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_a_row_does_not_depend_on_its_company(dtype):
    layer, states = layer_and_states(dtype)
    int8 = Int8Linear(layer, even(states))
    alone = torch.cat([int8(states[row : row + 1]) for row in range(len(states))])
    torch.testing.assert_close(int8(states), alone)  # kernels for other shapes may round the last bit otherwise


@torch.inference_mode()
def test_zeros_give_the_bias():
    layer, states = layer_and_states(torch.float32)
    torch.testing.assert_close(Int8Linear(layer, even(states))(states * 0), layer.bias.expand(len(states), -1))


@torch.inference_mode()
def test_states_that_several_layers_read_are_quantised_once():
    _, states = layer_and_states(torch.float32)
    factors = even(states)
    rows = quantise_rows(states, factors)
    assert quantise_rows(states, factors) is rows
    assert quantise_rows(states, factors.clone()) is not rows
    assert quantise_rows(states.clone(), factors) is not rows


def test_samples_show_which_channels_are_large():
    """Only the layers in blocks are replaced; layers that read the same states multiply them by the same tensor."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.o = (nn.Linear(96, 96) for _ in range(3))

        def forward(self, states):
            return self.o(self.q(states) + self.k(states))

    torch.manual_seed(3)
    model = nn.ModuleDict({"blocks": nn.ModuleList([Block()]), "head": nn.Linear(96, 1)})
    states = torch.randn(40, 96)
    states[:, 7] *= 100
    block = model["blocks"][0]
    with torch.inference_mode():
        expected = block(states)
        quantise_layers(model, lambda: block(states))
        assert (block_layers(model), type(model["head"])) == ({}, nn.Linear)
        assert block.q._factors is block.k._factors and block.q._factors.argmin() == 7
        assert error(block(states), expected) < 0.02
