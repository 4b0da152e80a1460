"""Layers in int8 give what the layers they replace give, up to a hundredth, and a row does not depend on other rows."""

import pytest
import torch
from torch import nn

from rerank.engines.device.choices import pick_precision
from rerank.engines.forward.int8_linear import FixedRange, Int8Linear, RowRange, Shared
from tests.rerank.engines.int8 import needs_int8

pytestmark = needs_int8
SHAPES = [(35, 96), (1, 35, 96), (5, 7, 96)]


def layer_and_states(dtype, shape=SHAPES[0]):
    torch.manual_seed(3)
    layer = nn.Linear(96, 48).to(dtype)
    return layer, torch.randn(shape).to(dtype)


def exact(layer, states):
    return nn.functional.linear(states.double(), layer.weight.double(), layer.bias.double())


def error(got, expected):
    """The relative error over all numbers."""
    return float((got.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_results_are_a_hundredth_off(dtype, shape):
    layer, states = layer_and_states(dtype, shape)
    before, expected = states.clone(), exact(layer, states)
    for quantise in (RowRange(), FixedRange(float(states.min()), float(states.max())), Shared(RowRange())):
        got = Int8Linear(layer, quantise)(states)
        assert got.dtype == dtype and error(got, expected) < 0.012
        assert torch.equal(states, before)


@torch.inference_mode()
def test_rows_of_all_sizes_are_rounded_by_themselves():
    layer, states = layer_and_states(torch.float32)
    layer.bias.zero_()
    sizes = torch.logspace(-3, 4, len(states))[:, None]
    got = Int8Linear(layer, RowRange())(states * sizes)
    for row, expected in zip(got, exact(layer, states * sizes), strict=True):
        assert error(row, expected) < 0.012


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_row_does_not_depend_on_its_company(dtype):
    layer, states = layer_and_states(dtype)
    for quantise in (RowRange(), FixedRange(-3.0, 3.0)):
        int8 = Int8Linear(layer, quantise)
        together = int8(states)
        alone = torch.cat([int8(states[row : row + 1]) for row in range(len(states))])
        torch.testing.assert_close(together, alone)  # kernels for other shapes may round the last bit otherwise


@torch.inference_mode()
def test_zeros_give_the_bias():
    layer, states = layer_and_states(torch.float32)
    for quantise in (RowRange(), FixedRange(-1.0, 2.0)):
        torch.testing.assert_close(Int8Linear(layer, quantise)(states * 0), layer.bias.expand(len(states), -1))


@pytest.mark.parametrize(("then", "approximate"), [("gelu", "none"), ("gelu_tanh", "tanh")])
@torch.inference_mode()
def test_two_layers_hand_on_eight_bits(then, approximate):
    first, states = layer_and_states(torch.bfloat16)
    second = nn.Linear(48, 96).bfloat16()
    middle = nn.functional.gelu(exact(first, states), approximate=approximate)
    between = FixedRange(float(middle.min()), float(middle.max()))
    int8 = Int8Linear(first, RowRange() if then == "none" else FixedRange(-4.0, 4.0), then=then, output=between)
    assert int8(states).dtype == torch.uint8
    assert error(Int8Linear(second, between)(int8(states)), exact(second, middle)) < 0.02


@torch.inference_mode()
def test_numbers_beyond_a_fixed_range_become_its_bounds():
    rows, scales = FixedRange(-1.0, 3.0)(torch.tensor([[-9.0, -1.0, 0.0, 3.0, 9.0]]))
    assert scales is None and rows.tolist() == [[0, 0, 64, 255, 255]]


@torch.inference_mode()
def test_shared_states_are_quantised_once():
    calls = []

    class Counting(RowRange):
        def __call__(self, states):
            calls.append(states)
            return super().__call__(states)

    shared, other, (_, states) = Shared(Counting()), Shared(Counting()), layer_and_states(torch.float32)
    assert shared(states)[0] is shared(states)[0]
    assert len(calls) == 1
    other(states)
    shared(states.clone())
    assert len(calls) == 3


def test_on_other_devices_int8_is_refused():
    from rerank.errors import ConfigError

    with pytest.raises(ConfigError, match="dtype: int8 runs on a CPU only, got the device cuda"):
        pick_precision("int8", torch.device("cuda"))
