"""The bootstrap interval and the randomisation test against scipy's, and on cases worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from jobs.evaluation.significance import bootstrap_interval, randomisation_test


def differences(queries: int, *, shift: float) -> np.ndarray:
    return np.random.default_rng(queries).exponential(0.2, (queries, 1)) - 0.2 + shift


def mean(values: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(values, axis=axis)


def test_every_sign_pattern_of_three_queries() -> None:
    # Sums of ±1 ±2 ±3 as far from 0 as 1 + 2 + 3: two of eight; as -1 + 2 + 3 = 4: four of eight.
    found = randomisation_test(np.array([[1.0, -1.0], [2.0, 2.0], [3.0, 3.0]]))
    assert found.tolist() == [2 / 8, 4 / 8]


@pytest.mark.parametrize(("queries", "shift"), [(5, 0.3), (13, 0.05)])
def test_few_queries_give_scipys_exact_p_value(queries: int, shift: float) -> None:
    values = differences(queries, shift=shift)
    theirs = stats.permutation_test((values[:, 0],), mean, permutation_type="samples", vectorized=True)
    assert randomisation_test(values)[0] == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_many_queries_give_scipys_p_value_to_a_percent(shift: float) -> None:
    values = differences(200, shift=shift)
    theirs = stats.permutation_test(
        (values[:, 0],), mean, permutation_type="samples", vectorized=True, n_resamples=20_000, rng=1
    )
    assert randomisation_test(values)[0] == pytest.approx(theirs.pvalue, abs=0.01)


@pytest.mark.parametrize("queries", [20, 300])
def test_the_interval_is_scipys_percentile_interval(queries: int) -> None:
    values = differences(queries, shift=0.1)
    theirs = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    low, high = bootstrap_interval(values)
    width = theirs.high - theirs.low
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


def test_columns_are_drawn_together_and_the_same_every_time() -> None:
    values = np.repeat(differences(40, shift=0.1), 2, axis=1)
    low, high = bootstrap_interval(values)
    assert low[0] == low[1] and high[0] == high[1]
    assert np.array_equal(bootstrap_interval(values), (low, high))
    assert randomisation_test(values)[0] == randomisation_test(values)[1]


def test_no_difference_is_no_evidence() -> None:
    nothing = np.zeros((50, 1))
    assert randomisation_test(nothing)[0] == 1.0
    assert [end[0] for end in bootstrap_interval(nothing)] == [0.0, 0.0]


def test_p_is_never_zero() -> None:
    assert randomisation_test(np.ones((100, 1)), resamples=99)[0] == 1 / 100


def test_large_inputs_are_drawn_in_shares() -> None:
    values = differences(60_000, shift=0.0)
    low, high = bootstrap_interval(values, resamples=100)
    assert low[0] < values.mean() < high[0]
