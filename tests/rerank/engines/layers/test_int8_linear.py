"""Layers in int8 give what the layers they replace give, up to a hundredth, and a row does not depend on other rows."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu

from rerank.engines.layers.int8_linear import Int8Linear, block_layers, quantise_layers
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
def test_rows_that_are_hardly_ever_negative_are_rounded_as_finely():
    layer, states = layer_and_states(torch.float32)
    for shifted in (gelu(states), states.abs() + 3, -states.abs() - 3):
        assert error(Int8Linear(layer)(shifted), exact(layer, shifted)) < 0.012


@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_a_row_does_not_depend_on_its_company(dtype):
    layer, states = layer_and_states(dtype, (205, 96))
    int8_layer = Int8Linear(layer)
    alone = torch.cat([int8_layer(states[row : row + 1]) for row in range(len(states))])
    assert torch.equal(int8_layer(states), alone)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("then", ["none", "gelu", "gelu_tanh"])
@pytest.mark.parametrize(("width", "out", "rows"), [(20, 50, 7), (65, 1, 97), (1, 129, 1), (130, 64, 600)])
@torch.inference_mode()
def test_every_instruction_set_thread_and_shape_gives_the_same(monkeypatch, threads, dtype, then, width, out, rows):
    torch.manual_seed(4)
    layer, wide = nn.Linear(width, out).to(dtype), torch.randn(rows, 2 * width).to(dtype)
    states = wide[:, :width]  # not contiguous
    got = Int8Linear(layer, then=then)(states)
    plain = Int8Linear(copy.deepcopy(layer).float())(states.float()).double()
    expected = {"none": plain, "gelu": gelu(plain), "gelu_tanh": gelu(plain, approximate="tanh")}[then]
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=2**-8 if dtype == torch.bfloat16 else 1e-5)
    monkeypatch.setattr("rerank.engines.kernels.linear.has_amx", lambda: False)
    threads(3)
    assert torch.equal(Int8Linear(layer, then=then)(states), got)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@torch.inference_mode()
def test_what_is_not_finite_stays_so_in_its_row_alone(dtype, number):
    layer, states = layer_and_states(dtype)
    expected = Int8Linear(layer)(states)
    states[3, 5] = number
    for then in ("none", "gelu"):
        assert not Int8Linear(layer, then=then)(states)[3].isfinite().any()
    others = torch.arange(len(states)) != 3
    assert torch.equal(Int8Linear(layer)(states)[others], expected[others])


@torch.inference_mode()
def test_states_that_do_not_fit_are_refused():
    layer, states = layer_and_states(torch.float32)
    for other in (states.bfloat16(), states[:, :32], states.to("meta")):
        with pytest.raises(ValueError, match="a layer in int8 got states of"):
            Int8Linear(layer)(other)


@torch.inference_mode()
def test_no_rows_give_none():
    layer, states = layer_and_states(torch.float32)
    assert Int8Linear(layer)(states[:0]).shape == (0, 48)


@torch.inference_mode()
def test_zeros_give_the_bias():
    layer, states = layer_and_states(torch.float32)
    assert torch.equal(Int8Linear(layer)(states * 0), layer.bias.expand(len(states), -1))


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
        assert (block_layers(model), type(model["head"])) == (set(), nn.Linear)
        assert error(block(states), expected) < 0.02
