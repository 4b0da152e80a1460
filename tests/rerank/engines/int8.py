"""What tests of int8 share."""

import pytest

from rerank.engines.device.int8 import why_no_int8

needs_int8 = pytest.mark.skipif(why_no_int8() is not None, reason=f"no int8, {why_no_int8()}")
