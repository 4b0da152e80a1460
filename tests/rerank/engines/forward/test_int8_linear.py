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
    got = Int8Linear(layer)(states)
    assert got.dtype == dtype and error(got, exact(layer, states)) < 0.012
    assert torch.equal(states, before)


@torch.inference_mode()
def test_rows_of_all_sizes_are_rounded_by_themselves():
    layer, states = layer_and_states(torch.float32)
    layer.bias.zero_()
    states *= torch.logspace(-3, 4, len(states))[:, None]
    for got, expected in zip(Int8Linear(layer)(states), exact(layer, states), strict=True):
        assert error(got, expected) < 0.012


@torch.inference_mode()
def test_rows_that_are_hardly_ever_negative_are_rounded_twice_as_finely():
    layer, states = layer_and_states(torch.float32)
    for shifted in (nn.functional.gelu(states), states.abs() + 3, -states.abs() - 3):
        steps = (shifted.amax(1) - shifted.amin(1)) / 255
        rows, scales, lowest = quantise_rows(shifted)
        off = rows * scales + lowest - shifted
        assert torch.all(off.abs().amax(1) < 0.51 * steps)
        assert error(Int8Linear(layer)(shifted), exact(layer, shifted)) < 0.012


@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_a_row_does_not_depend_on_its_company(dtype):
    layer, states = layer_and_states(dtype)
    int8 = Int8Linear(layer)
    alone = torch.cat([int8(states[row : row + 1]) for row in range(len(states))])
    torch.testing.assert_close(int8(states), alone)  # kernels for other shapes may round the last bit otherwise


@torch.inference_mode()
def test_zeros_give_the_bias():
    layer, states = layer_and_states(torch.float32)
    torch.testing.assert_close(Int8Linear(layer)(states * 0), layer.bias.expand(len(states), -1))


@torch.inference_mode()
def test_states_that_several_layers_read_are_quantised_once():
    _, states = layer_and_states(torch.float32)
    rows = quantise_rows(states)
    assert quantise_rows(states) is rows
    assert quantise_rows(states.clone()) is not rows


def test_only_layers_in_blocks_are_replaced():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.o = (nn.Linear(96, 96) for _ in range(3))

        def forward(self, states):
            return self.o(self.q(states) + self.k(states))

    torch.manual_seed(3)
    model = nn.ModuleDict({"blocks": nn.ModuleList([Block()]), "head": nn.Linear(96, 1)})
    states, block = torch.randn(40, 96), model["blocks"][0]
    with torch.inference_mode():
        expected = block(states)
        quantise_layers(model)
        assert (block_layers(model), type(model["head"])) == ({}, nn.Linear)
        assert error(block(states), expected) < 0.02
