"""The mean over seeds and its confidence band, against numbers worked out by hand."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from rlsuite.figures.intervals import MAX_POINTS, aggregate, moving_mean, t_interval, t_quantile

nan = np.nan


def log(steps: Any, **columns: Any) -> dict[str, np.ndarray]:
    return {"TotalEnvInteracts": np.array(steps, dtype=float)} | {k: np.array(v, float) for k, v in columns.items()}


@pytest.mark.parametrize(
    ("df", "level", "t"),  # from Fisher and Yates' table, with more digits; 1 and 2 have a closed form
    [
        (1, 0.95, math.tan(0.95 * math.pi / 2)),
        (2, 0.95, 0.95 * math.sqrt(2 / (1 - 0.95**2))),
        (3, 0.95, 3.182446305284263),
        (4, 0.95, 2.7764451051977987),
        (5, 0.99, 4.032142983557536),
        (9, 0.95, 2.2621571627409915),
        (29, 0.95, 2.0452296421327034),
        (30, 0.95, 2.042272456301238),
        (100, 0.95, 1.9839715185235556),
    ],
)
def test_t_quantile_against_known_values(df: int, level: float, t: float) -> None:
    assert t_quantile(df, level) == pytest.approx(t, rel=1e-10)


def test_t_quantile_of_many_degrees_of_freedom_is_nearly_the_normal_one() -> None:
    assert t_quantile(10_000) == pytest.approx(NormalDist().inv_cdf(0.975), rel=3e-4)


def test_t_interval_by_hand() -> None:
    lo, hi = t_interval(np.array([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0]]))  # mean 3, s² = 7
    width = 4.302652729911275 * math.sqrt(7 / 3)
    np.testing.assert_allclose([lo, hi], [[3 - width, 4], [3 + width, 4]], rtol=1e-9)


def test_t_interval_counts_only_the_seeds_that_are_there_and_needs_three() -> None:
    values = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [6.0, 6.0, nan], [3.0, nan, nan]])
    lo, hi = t_interval(values)
    np.testing.assert_allclose([lo[0], hi[0]], np.array(t_interval(values[:, :1]))[:, 0])
    np.testing.assert_allclose([lo[1], hi[1]], np.array(t_interval(values[:3, :1]))[:, 0])
    assert np.isnan([lo[2], hi[2]]).all()
    assert np.isnan(t_interval(values[:2])).all()


@pytest.mark.parametrize(
    ("kind", "n", "covered"),
    [
        *[("normal", 3, 0.95), ("normal", 5, 0.95), ("normal", 10, 0.95)],
        # Seeds of which a few are far better than the rest: the interval holds less often than it says.
        *[("exponential", 3, 0.887), ("exponential", 5, 0.884), ("exponential", 10, 0.900)],
        *[("lognormal", 3, 0.838), ("lognormal", 5, 0.822), ("lognormal", 10, 0.839)],
    ],
)
def test_coverage_of_the_t_interval(kind: str, n: int, covered: float) -> None:
    rng, repetitions = np.random.default_rng(0), 20_000
    values = getattr(rng, kind if kind != "normal" else "standard_normal")(size=(n, repetitions))
    true = {"normal": 0, "exponential": 1, "lognormal": math.exp(0.5)}[kind]
    lo, hi = t_interval(values)
    error = math.sqrt(covered * (1 - covered) / repetitions)  # of the simulation
    assert np.mean((lo <= true) & (true <= hi)) == pytest.approx(covered, abs=3.5 * error)


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
