"""The mean over seeds and its confidence band, against numbers worked out by hand."""

from itertools import product
from typing import Any

import numpy as np

from rlsuite.figures.intervals import MAX_POINTS, aggregate, bootstrap_band

nan = np.nan


def log(steps: Any, **columns: Any) -> dict[str, np.ndarray]:
    return {"TotalEnvInteracts": np.array(steps, dtype=float)} | {k: np.array(v, float) for k, v in columns.items()}


def test_bootstrap_band_of_equal_seeds_has_no_width() -> None:
    lo, hi = bootstrap_band(np.array([[1.0, 2.0]] * 4))
    np.testing.assert_allclose([lo, hi], [[1, 2], [1, 2]], rtol=1e-12)


def test_bootstrap_band_against_all_resamples() -> None:
    values = np.array([0.0, 1.0, 5.0, 9.0])
    means = np.array([np.mean(drawn) for drawn in product(values, repeat=4)])  # each equally likely
    lo, hi = bootstrap_band(values[:, None], resamples=200_000)
    np.testing.assert_allclose([lo[0], hi[0]], np.percentile(means, [2.5, 97.5]), atol=1e-9)
    lo, hi = bootstrap_band(values[:, None], resamples=200_000, level=0.5)
    np.testing.assert_allclose([lo[0], hi[0]], np.percentile(means, [25, 75]), atol=1e-9)


def test_bootstrap_band_draws_only_from_the_seeds_that_are_there() -> None:
    values = np.array([[0.0, 0.0, 7.0], [1.0, 1.0, nan], [50.0, nan, nan]])
    lo, hi = bootstrap_band(values)
    np.testing.assert_allclose(lo[:2], [0, 0])
    np.testing.assert_allclose(hi[:2], [50, 1])
    assert np.isnan([lo[2], hi[2]]).all()


def test_bootstrap_band_is_reproducible_and_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=(5, 50))
    lo, hi = bootstrap_band(values)
    np.testing.assert_array_equal(bootstrap_band(values), (lo, hi))
    assert ((lo < values.mean(axis=0)) & (values.mean(axis=0) < hi)).all()


def test_aggregate_interpolates_between_the_rows_of_a_run() -> None:
    curve = aggregate([log([0, 10], KL=[0, 10]), log([0, 5, 10], KL=[4, 4, 4])], "KL")
    np.testing.assert_array_equal(curve.x, [0, 5, 10])
    np.testing.assert_allclose(curve.mean, [2, 4.5, 7])
    np.testing.assert_allclose(curve.lo, [0, 4, 4])
    np.testing.assert_allclose(curve.hi, [4, 5, 10])


def test_aggregate_of_unequal_lengths_averages_the_runs_that_reach_a_step() -> None:
    curve = aggregate([log([1, 2, 3], KL=[1, 1, 1]), log([2], KL=[5])], "KL")
    np.testing.assert_array_equal(curve.mean, [1, 3, 1])
    np.testing.assert_array_equal(curve.hi, [nan, 5, nan])


def test_aggregate_skips_rows_without_a_finite_value() -> None:
    run = log([1, 2, 3, nan, 5, 6], KL=[1, nan, 3, 9, np.inf, 1e300])
    curve = aggregate([run], "KL")
    np.testing.assert_array_equal(curve.x, [1, 3])
    np.testing.assert_array_equal(curve.mean, [1, 3])
    both = aggregate([run, log([1, 2, 3], KL=[0, 0, 0])], "KL")
    np.testing.assert_array_equal(both.mean, [0.5, 1, 1.5])


def test_aggregate_with_gaps_breaks_a_run_at_its_rows_of_nan() -> None:
    run = log([1, 2, 3, nan, 5, 6], KL=[1, nan, 3, 9, np.inf, 1e300])
    curve = aggregate([run], "KL", gaps=True)
    np.testing.assert_array_equal(curve.x, [1, 2, 3])
    np.testing.assert_array_equal(curve.mean, [1, nan, 3])
    both = aggregate([run, log([1, 1.5, 2, 3], KL=[0, 0, 0, 0])], "KL", gaps=True)
    np.testing.assert_array_equal(both.mean, [0.5, 0, 0, 1.5])  # at 1.5 and 2 of the second run alone


def test_aggregate_of_nothing_is_empty() -> None:
    for runs in [], [log([1, 2])], [log([1], KL=[nan])]:
        for gaps in (False, True):
            assert aggregate(runs, "KL", gaps=gaps).x.size == 0


def test_aggregate_bounds_the_points_of_a_curve() -> None:
    x = np.arange(5000)
    curve = aggregate([log(x, KL=2 * x), log(x + 0.5, KL=2 * x + 1)], "KL")
    assert curve.x.size == MAX_POINTS
    np.testing.assert_allclose(curve.mean, 2 * curve.x, atol=1e-9)


def test_aggregate_of_many_rows_keeps_values_that_stand_alone_between_gaps() -> None:
    x = np.arange(5000.0)
    curve = aggregate([log(x, KL=np.where(x % 2, 3, nan))], "KL", gaps=True)
    assert curve.x.size == MAX_POINTS
    assert np.isin(curve.mean[np.isfinite(curve.mean)], 3).sum() > MAX_POINTS / 3
