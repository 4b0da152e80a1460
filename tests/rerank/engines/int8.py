"""What tests of int8 share."""

import pytest

from rerank.engines.device.choices import has_int8

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor has neither AVX-512 VNNI nor AMX")
