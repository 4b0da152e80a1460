"""The precision as the operating system tells it is the one that torch picks."""

import pytest

from rerank.config import ScorerConfig
from rerank.engines.device import precision
from rerank.engines.device.choices import pick_device, pick_dtype
from rerank.engines.device.precision import dtype_name_of_system, pick_dtype_name
from rerank.errors import ConfigError


@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float16"])
def test_it_is_the_one_of_torch(device, dtype):
    config = ScorerConfig(device=device, dtype=dtype)
    assert f"torch.{pick_dtype_name(config)}" == str(pick_dtype(dtype, pick_device(device)))


@pytest.mark.parametrize(
    ("flags", "name"), [({"avx512_bf16"}, "bfloat16"), ({"amx_tile"}, "bfloat16"), ({"avx2"}, "float32")]
)
def test_bf16_is_taken_where_the_processor_has_it(monkeypatch, flags, name):
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))
    assert dtype_name_of_system(ScorerConfig(device="cpu")) == name


def test_torch_is_asked_where_there_may_be_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_GPUS", (str(tmp_path),))
    assert dtype_name_of_system(ScorerConfig()) is None
    assert dtype_name_of_system(ScorerConfig(device="cuda")) is None


def test_torch_is_asked_where_the_system_does_not_list_features(monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", frozenset)
    assert dtype_name_of_system(ScorerConfig(device="cpu")) is None
    assert dtype_name_of_system(ScorerConfig(device="cpu", dtype="float32")) == "float32"


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="unknown name 'tpu9'"):
        pick_dtype_name(ScorerConfig(device="tpu9"))
