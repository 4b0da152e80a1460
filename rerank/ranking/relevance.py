"""Relevance scores: logits as numbers from 0 to 1 whose meaning a user can rely on, per kind of model."""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from rerank.arrays import FloatArray


class Relevance(StrEnum):
    """How the logits of a kind of model become relevance scores. The value is the sentence that users are shown."""

    SIGMOID = "sigmoid of the logit"
    COSINE = "the logit, a cosine, with negative values as 0"
    RATIO = "x / (1 + x) of the logit x, with negative values as 0: only the order means something"
    PER_QUERY_VECTOR = "the logit divided by the number of query vectors, with negative values as 0"

    @property
    def needs_query_lengths(self) -> bool:
        """Return whether the scores depend on the tokens of the query."""
        return self is Relevance.PER_QUERY_VECTOR

    def scores(self, logits: FloatArray, query_lengths: npt.NDArray[np.integer]) -> FloatArray:
        """Return the relevance score of each logit, 0 to 1, NaN for NaN; both arrays have shape [pairs].

        `query_lengths` are the tokens of each pair's query; only kinds with `needs_query_lengths` read it.
        """
        if self is Relevance.SIGMOID:
            return relevance_scores(logits)
        values = logits / np.maximum(query_lengths, 1) if self is Relevance.PER_QUERY_VECTOR else logits
        if self is Relevance.RATIO:
            values = np.maximum(values, 0.0)
            values = values / (1.0 + values)
        return np.clip(values, 0.0, 1.0).astype(np.float32)


def relevance_scores(logits: FloatArray) -> FloatArray:
    """Return the sigmoid of each logit, 0 to 1, whatever activation the model's config names; computed in float64."""
    wide = logits.astype(np.float64)
    magnitude = np.exp(-np.abs(wide))
    return (np.where(wide >= 0, 1.0, magnitude) / (1.0 + magnitude)).astype(np.float32)
