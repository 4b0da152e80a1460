"""Writing answers: the parts that several wires share."""

import numpy as np

from rerank.types import RerankResult


def decimal(score: float) -> float:
    """A float32 score as the float that prints with the fewest digits which still name that float32."""
    return float(str(np.float32(score)))


def usage(result: RerankResult) -> dict[str, int]:
    """Tokens read, special tokens included; nothing is generated, so both counts are equal."""
    return {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
