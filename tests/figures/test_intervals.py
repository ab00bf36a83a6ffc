"""The mean over seeds and its confidence band, against numbers worked out by hand."""

from typing import Any

import numpy as np

from rlsuite.analysis.statistics import t_interval
from rlsuite.figures.intervals import MAX_POINTS, aggregate, moving_mean

nan = np.nan


def log(steps: Any, **columns: Any) -> dict[str, np.ndarray]:
    return {"TotalEnvInteracts": np.array(steps, dtype=float)} | {k: np.array(v, float) for k, v in columns.items()}


def test_aggregate_interpolates_between_the_rows_of_a_run() -> None:
    curve = aggregate([log([0, 10], KL=[0, 10]), log([0, 5, 10], KL=[4, 4, 4]), log([0, 10], KL=[2, 10])], "KL")
    np.testing.assert_array_equal(curve.x, [0, 5, 10])
    np.testing.assert_allclose(curve.mean, [2, 5, 8])
    lo, hi = t_interval(np.array([[0.0, 5, 10], [4, 4, 4], [2, 6, 10]]))
    np.testing.assert_array_equal([curve.lo, curve.hi], [lo, hi])


def test_aggregate_of_unequal_lengths_averages_the_runs_that_reach_a_step() -> None:
    curve = aggregate([log([1, 2, 3], KL=[1, 1, 1]), log([2], KL=[5]), log([2, 3], KL=[3, 3])], "KL")
    np.testing.assert_array_equal(curve.mean, [1, 3, 2])
    assert np.isfinite(curve.hi).tolist() == [False, True, False]


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


def test_aggregate_against_another_column() -> None:
    runs = [log([100, 200], Time=[1, 3], KL=[0, 4]), log([100, 200], Time=[2, 4], KL=[1, 1]), log([100], KL=[9])]
    curve = aggregate(runs, "KL", x_column="Time")
    np.testing.assert_array_equal(curve.x, [1, 2, 3, 4])
    np.testing.assert_allclose(curve.mean, [0, 1.5, 2.5, 1])


def test_moving_mean_is_that_of_the_rows_up_to_each() -> None:
    np.testing.assert_allclose(moving_mean(np.array([1.0, 3, 8, 4]), 3), [1, 2, 4, 5])
    np.testing.assert_allclose(moving_mean(np.array([1.0, nan, 8, 4]), 2), [1, nan, 8, 6])
    np.testing.assert_array_equal(moving_mean(np.array([1.0, 3]), 1), [1, 3])
    np.testing.assert_allclose(moving_mean(np.array([1.0, 3]), 10**12), [1, 2])
    assert moving_mean(np.empty(0), 2).size == 0


def test_aggregate_smooths_each_run_before_it_averages() -> None:
    curve = aggregate([log([1, 2], KL=[0, 4]), log([2, 3], KL=[6, 2])], "KL", smooth=2)
    np.testing.assert_allclose(curve.mean, [0, 4, 4])
    np.testing.assert_allclose(curve.runs[0][1], [0, 2])
