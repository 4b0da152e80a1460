"""What tests of int8 share."""

import pytest

from rerank.engines.kernels.library import why_no_kernels

needs_int8 = pytest.mark.skipif(why_no_kernels() is not None, reason=f"no int8, because {why_no_kernels()}")
