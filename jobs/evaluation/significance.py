"""Significance of a mean of paired differences: a bootstrap interval and a randomisation test."""

from collections.abc import Iterator

import numpy as np

from jobs.evaluation.measures import Values

RESAMPLES = 10_000
CONFIDENCE = 0.95

_SEED = 20
_CELLS = 4_000_000  # most values in one array: 32 MB
_ROUNDING = 1e-12


def bootstrap_interval(differences: Values, *, resamples: int = RESAMPLES) -> tuple[Values, Values]:
    """Return the lower and upper ends of the 95 % percentile interval of the mean over rows, one pair per column.

    `differences` has shape [queries, measures]; whole rows are drawn with replacement (Efron and
    Tibshirani, An Introduction to the Bootstrap, chapter 13). The same input gives the same interval.
    """
    rng = np.random.default_rng(_SEED)
    queries = len(differences)
    means = [
        differences[rng.integers(0, queries, (rows, queries))].mean(axis=1) for rows in _shares(resamples, differences)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return low, high


def randomisation_test(differences: Values, *, resamples: int = RESAMPLES) -> Values:
    """Return the two-sided p-value of the mean over rows, one per column, if the sign of each row were random.

    `differences` has shape [queries, measures]. Fisher's paired randomisation test, which Smucker, Allan and Carterette
    (CIKM 2007) recommend for retrieval. If there are at most `resamples` sign patterns, all are tried. Otherwise that
    many are drawn, and the observed pattern is counted too, so that p is never 0.
    """
    observed = np.abs(differences.sum(axis=0)) * (1 - _ROUNDING) - _ROUNDING
    queries = len(differences)
    exact = queries < 63 and 2**queries <= resamples
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    for signs in _all_signs(queries) if exact else _random_signs(differences, resamples):
        extreme += (np.abs(signs @ differences) >= observed).sum(axis=0)
    p_values: Values = extreme / 2**queries if exact else (extreme + 1) / (resamples + 1)
    return p_values


def _all_signs(queries: int) -> Iterator[Values]:
    patterns = np.arange(2**queries)[:, None] >> np.arange(queries) & 1
    yield 1.0 - 2.0 * patterns.astype(np.float64)


def _random_signs(differences: Values, resamples: int) -> Iterator[Values]:
    rng = np.random.default_rng(_SEED)
    for rows in _shares(resamples, differences):
        yield 1.0 - 2.0 * rng.integers(0, 2, (rows, len(differences)), dtype=np.int8).astype(np.float64)


def _shares(resamples: int, differences: Values) -> Iterator[int]:
    """Split the resamples into parts whose arrays stay small."""
    share = max(1, _CELLS // max(1, differences.size))
    for done in range(0, resamples, share):
        yield min(share, resamples - done)
