"""Where the kernels are, and what is said where they are not."""

import pytest
import torch

from rerank.engines.kernels import library
from rerank.engines.kernels.library import has_bf16_kernels, why_no_kernels


def test_the_log_says_once_that_it_is_missing(monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(library, "why_no_kernels", lambda: "there are none")
    has_bf16_kernels.cache_clear()
    try:
        assert not any(has_bf16_kernels(dtype) for dtype in (torch.bfloat16, torch.float32, torch.bfloat16))
    finally:
        has_bf16_kernels.cache_clear()
    (record,) = caplog.records
    assert record.message.endswith("slower than it could be, because there are none")


@pytest.fixture
def fresh():
    library.library.cache_clear()
    yield
    library.library.cache_clear()


def test_a_variable_switches_them_off(monkeypatch, fresh):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setenv("RERANK_KERNELS", "0")
    assert why_no_kernels() == "RERANK_KERNELS is 0"


@pytest.mark.skipif(why_no_kernels() is not None, reason=f"no kernels, {why_no_kernels()}")
def test_kernels_of_another_version_are_not_used(monkeypatch, fresh):
    version = library._VERSION
    monkeypatch.setattr(library, "_VERSION", 0)
    assert why_no_kernels() == f"rerank_kernels has version {version}, and this rerank needs 0: install it again"
