"""Statistics over seeds: against hand-computed numbers, scipy, rliable 1.2.0, statsmodels 0.15.0, and simulation."""

import csv
import importlib
import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlsuite.analysis.statistics import (
    IQM,
    MIN_SEEDS,
    Comparison,
    bootstrap,
    bootstrap_interval,
    compare,
    compare_cells,
    estimate,
    holm,
    normalize,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    seeds_needed,
    smallest_found,
    t_interval,
    t_quantile,
    trimmed_mean,
    trimmed_t_interval,
    welch_difference,
)

nan = np.nan
ROOT = Path(__file__).parents[2]

# fmt: off
A = np.array([[.1, .9], [.4, 1.2], [.35, .7], [.8, 1.0], [.2, 1.5], [.6, .3], [.5, .95], [.15, 1.1], [.7, .85],
              [.45, 1.3], [.3, .6], [.9, 1.05]])
B = np.array([[.2, .5], [.1, .9], [.35, .4], [.3, 1.1], [.25, .65], [.05, .8], [.6, .75], [.4, .2], [.15, 1.0],
              [.5, .55]])
# fmt: on
# What rliable 1.2.0 says of A and B, intervals with 50,000 resamples.
MEAN_OF_A, MEAN_BOUNDS = 0.7041666666666667, (0.5916666666666667, 0.8145833333333332)
IQM_OF_A, IQM_BOUNDS = 0.6958333333333333, (0.5416666666666667, 0.8291666666666669)
A_OVER_B = 0.71875
THRESHOLDS, PROFILE_OF_A = np.array([0.25, 0.5, 0.75, 1.0]), [0.875, 0.625, 0.4583333333333333, 0.20833333333333334]


# ---- one setting


def test_normalized_scores_are_0_for_random_and_1_for_the_reference() -> None:
    returns = np.array([[20.0, -1200.0], [500.0, -150.0], [260.0, -1725.0]])
    scores = normalize(returns, np.array([20.0, -1200.0]), np.array([500.0, -150.0]))
    np.testing.assert_allclose(scores, [[0, 0], [1, 1], [0.5, -0.5]])
    for reference in 20.0, nan, math.inf:
        with pytest.raises(ValueError, match="a reference other than the random return"):
            normalize(returns[:, :1], np.array([20.0]), np.array([reference]))


def test_mean_and_iqm_are_those_of_rliable() -> None:
    assert trimmed_mean(A) == pytest.approx(MEAN_OF_A)
    assert trimmed_mean(A, IQM) == pytest.approx(IQM_OF_A)


@pytest.mark.parametrize("shape", [(3, 1), (4, 1), (5, 3), (10, 1), (7, 2)])
def test_iqm_is_scipys_trimmed_mean_of_each_table(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).standard_normal((6, *shape))
    expected = [stats.trim_mean(table, 0.25, axis=None) for table in scores]
    np.testing.assert_allclose(trimmed_mean(scores, IQM), expected)


@pytest.mark.parametrize(
    ("df", "level", "t"),  # from Fisher and Yates' table, with more digits; 1 and 2 have a closed form
    [
        (1, 0.95, math.tan(0.95 * math.pi / 2)),
        (2, 0.95, 0.95 * math.sqrt(2 / (1 - 0.95**2))),
        (3, 0.95, 3.182446305284263),
        (5, 0.99, 4.032142983557536),
        (9, 0.95, 2.2621571627409915),
        (100, 0.95, 1.9839715185235556),
    ],
)
def test_t_quantile_against_known_values(df: int, level: float, t: float) -> None:
    assert t_quantile(df, level) == pytest.approx(t, rel=1e-10)


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


def test_the_trimmed_interval_of_one_environment_by_hand() -> None:
    scores = np.array([[10.0], [3], [1], [4], [2]])
    width = 4.302652729911275 * math.sqrt(4 / (3 * 2))  # 2 2 3 4 4: squares of 4 about 3; 3 are kept
    assert trimmed_t_interval(scores, IQM) == pytest.approx((3 - width, 3 + width))
    student = stats.ttest_1samp(scores[:, 0], 0).confidence_interval()
    assert trimmed_t_interval(scores) == pytest.approx((student.low, student.high))
    assert trimmed_t_interval(np.full((4, 2), 7.0), IQM) == (7, 7)


def test_the_t_interval_of_two_environments_is_that_of_welch() -> None:
    scores = np.array([[1.0, 30], [2, 10], [6, 90], [4, 20]])
    welch = stats.ttest_ind(scores[:, 0], -scores[:, 1], equal_var=False).confidence_interval()
    assert trimmed_t_interval(scores) == pytest.approx((welch.low / 2, welch.high / 2))


@pytest.mark.parametrize(("trim", "bounds"), [(0.0, MEAN_BOUNDS), (IQM, IQM_BOUNDS)])
def test_percentiles_of_the_bootstrap_are_those_of_rliable(trim: float, bounds: tuple[float, float]) -> None:
    drawn = bootstrap(A, lambda scores: trimmed_mean(scores, trim))
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx(bounds, abs=0.01)


def test_the_bootstrap_draws_seeds_in_each_environment_anew() -> None:
    column = np.arange(10.0)[:, None]
    drawn = bootstrap(np.hstack([column, column]), trimmed_mean)
    assert drawn.var() == pytest.approx(column.var() / 20, rel=0.1)  # whole rows would give / 10


def test_the_bootstrap_interval_is_wider_than_its_percentiles_as_few_seeds_ask_for() -> None:
    scores = np.random.default_rng(0).standard_normal((10, 1))
    low, high = bootstrap_interval(scores)
    drawn, tail = bootstrap(scores, trimmed_mean), NormalDist().cdf(-math.sqrt(10 / 9) * 2.2621571627409915)
    assert (np.mean(drawn < low), np.mean(drawn > high)) == pytest.approx((tail, tail), abs=1e-3)
    assert bootstrap_interval(scores) == (low, high)


def test_an_estimate_takes_t_below_10_seeds_and_the_bootstrap_from_10_on() -> None:
    for trim in 0.0, IQM:
        assert estimate(A[:9], trim) == (trimmed_mean(A[:9], trim), *trimmed_t_interval(A[:9], trim))
        assert estimate(A[:10], trim) == (trimmed_mean(A[:10], trim), *bootstrap_interval(A[:10], trim))
    value, low, high = estimate(A[: MIN_SEEDS - 1])
    assert value == pytest.approx(A[:2].mean())
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("scores", [np.empty((0, 1)), np.array([1.0, 2.0, 3.0]), np.array([[1.0], [nan], [2.0]])])
def test_scores_that_are_no_finite_table_are_refused(scores: Any) -> None:
    for call in estimate, lambda s: performance_profile(s, THRESHOLDS), lambda s: probability_of_improvement(A, s):
        with pytest.raises(ValueError, match=r"must be \(seeds, environments\), finite"):
            call(scores)


def test_a_performance_profile_is_that_of_rliable_with_wilsons_interval() -> None:
    share, low, high = performance_profile(A, THRESHOLDS)
    np.testing.assert_allclose(share, PROFILE_OF_A)
    assert (low < share).all()
    assert (share < high).all()
    for above, n, wilson in [  # statsmodels' proportion_confint
        (0, 3, (0.0, 0.5614970317550455)),
        (3, 5, (0.2307242812760129, 0.8823792257673522)),
        (10, 12, (0.5519691377470265, 0.9530348578161462)),
    ]:
        scores = (np.arange(n) < above).astype(float)[:, None]
        share, low, high = performance_profile(scores, np.array([0.5]))
        assert (share[0], low[0], high[0]) == pytest.approx((above / n, *wilson))
    assert np.isnan(performance_profile(A[:2], THRESHOLDS)[1:]).all()


def test_the_interval_over_environments_adds_up_their_squares() -> None:
    low, high = (np.array(bounds) for bounds in ((0.2307242812760129, 0.0), (0.8823792257673522, 0.43448246478317476)))
    scores = np.array([[1.0, 0], [1, 0], [1, 0], [0, 0], [0, 0]])  # shares of 0.6 and 0
    _, below, above = performance_profile(scores, np.array([0.5]))
    assert below[0] == pytest.approx(0.3 - math.hypot(0.6 - low[0], 0 - low[1]) / 2)
    assert above[0] == pytest.approx(0.3 + math.hypot(high[0] - 0.6, high[1] - 0) / 2)


# ---- two settings


def test_probability_of_improvement_is_that_of_rliable() -> None:
    value, low, high = probability_of_improvement(B, A)
    assert value == pytest.approx(A_OVER_B)
    assert probability_of_improvement(A, B) == pytest.approx((1 - A_OVER_B, 1 - high, 1 - low))
    ties = probability_of_improvement(np.array([[1.0], [2], [3]]), np.array([[2.0], [2], [9]]))
    assert ties.value == pytest.approx((1.5 + 1.5 + 3) / 9)
    with pytest.raises(ValueError, match="2 and 1 environments"):
        probability_of_improvement(A, B[:, :1])
    assert math.isnan(probability_of_improvement(A[:2], B).low)


def test_its_interval_excludes_one_half_where_the_mann_whitney_test_finds_a_difference() -> None:
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(300):
        sizes = rng.integers(3, 12, size=2)
        old, new = rng.standard_normal((sizes[0], 1)), 1 + rng.standard_normal((sizes[1], 1))
        p = stats.mannwhitneyu(old[:, 0], new[:, 0], method="asymptotic").pvalue
        value, low, high = probability_of_improvement(old, new)
        assert 0 <= low <= value <= high <= 1
        assert (low > 0.5 or high < 0.5) == (p < 0.05)
        verdicts.append(p < 0.05)
    assert 50 < sum(verdicts) < 250


def test_ends_of_the_interval_of_a_complete_separation() -> None:
    value, low, high = probability_of_improvement(np.zeros((5, 1)), np.ones((5, 1)))
    assert (value, high) == (1, pytest.approx(1))
    v = low * (1 - low) * (1 + 4 * (1 - low) / (2 - low) + 4 * low / (1 + low)) / 25
    assert 1 - low - 1 / 50 == pytest.approx(1.959963984540054 * math.sqrt(v))


def test_paired_and_welch_differences_are_scipys() -> None:
    old, new = A[:7, 0], B[:7, 1]
    c, test = paired_difference(old, new), stats.ttest_rel(new, old)
    interval = test.confidence_interval()
    expected = ((new - old).mean(), interval.low, interval.high, test.pvalue)
    assert c[:4] == pytest.approx(expected)
    assert (c.n, c.paired) == ((7, 7), True)
    old = A[:, 0] * 3
    c, test = welch_difference(old, new), stats.ttest_ind(new, old, equal_var=False)
    interval = test.confidence_interval()
    assert c[:4] == pytest.approx((new.mean() - old.mean(), interval.low, interval.high, test.pvalue))
    assert (c.n, c.paired) == ((12, 7), False)
    with pytest.raises(ValueError, match="12 and 7 returns are no pairs"):
        paired_difference(old, new)


@pytest.mark.parametrize("test", [paired_difference, welch_difference])
def test_without_any_spread_there_is_either_no_difference_or_no_doubt(test: Any) -> None:
    equal, worse = test(np.full(3, 500.0), np.full(3, 500.0)), test(np.full(3, 500.0), np.full(3, 10.0))
    assert (equal.p, equal.verdict, equal.low, equal.high) == (1, "no difference found", 0, 0)
    assert math.isnan(equal.needed)
    assert (worse.p, worse.verdict, worse.low, worse.high) == (0, "worse", -490, -490)


def test_compare_pairs_equal_seeds_whatever_their_order() -> None:
    old, new = {0: 1.0, 1: 5.0, 2: 9.0}, {2: 10.5, 0: 2.0, 1: 6.5}
    c = compare(old, new)
    assert c == paired_difference(np.array([1.0, 5, 9]), np.array([2.0, 6.5, 10.5]))
    assert c.verdict == "better"
    c = compare(old, {2: 10.5, 0: 2.0, 3: 6.5, 4: 1.0})
    assert c == welch_difference(np.array([1.0, 5, 9]), np.array([10.5, 2.0, 6.5, 1.0]))
    assert compare(old, new, pair=False) == welch_difference(np.array([1.0, 5, 9]), np.array([2.0, 6.5, 10.5]))
    with pytest.raises(ValueError, match="finite, and some"):
        compare(old, {})


def test_a_comparison_is_one_line() -> None:
    lines = [
        f"{c}"
        for c in (
            compare({0: 1.0, 1: 5.0, 2: 9.0}, {0: 2.0, 1: 6.5, 2: 10.5}),
            compare({s: 10.0 * s for s in range(5)}, {s: 10.0 * s - 8 for s in range(10, 15)}),
            compare({s: 10.0 * s for s in range(5)}, {s: 10.0 * s - 100 for s in range(10, 15)}),
            compare({0: 1.0, 1: 2.0}, {0: 4.0, 1: 4.0}),
            Comparison(-490.0, -490.0, -490.0, 0.0, (6, 7), False, 3, 12),
        )
    ]
    assert lines == [
        "+1.333 [0.6162, 2.05], p = 0.015, 3 pairs of seeds (few): better",
        "+92 [68.94, 115.1], p < 0.001, 5 and 5 seeds: better",
        "+0 [-23.06, 23.06], p = 1, 5 and 5 seeds: no difference found",
        "+2.5, 2 pairs of seeds: too few seeds, 3 of each are the least",
        "-490 [-490, -490], p < 0.001 of 12 comparisons, 6 and 7 seeds: worse",
    ]
    unsure = compare({s: 10.0 * s for s in range(5)}, {s: 10.0 * s - 110 for s in range(10, 15)})
    needed = 2 * ((1.959963984540054 + 0.8416212335729143) * math.sqrt(250) / 10) ** 2 + 1.959963984540054**2 / 4
    assert unsure.needed == math.ceil(needed) == 41
    assert f"{unsure}".endswith("5 and 5 seeds: no difference found; more seeds needed: about 41")
    tiny = compare({s: 10.0 * s for s in range(5)}, {s: 10.0 * s - 100.001 for s in range(10, 15)})
    assert f"{tiny}".endswith("5 and 5 seeds: no difference found; more seeds needed: more than 1000")


def test_cells_are_compared_with_p_corrected_for_how_many_can_be() -> None:
    old = {cell: {0: 1.0, 1: 5.0, 2: 9.0} for cell in "abcd"}
    new = {
        "a": {0: 2.0, 1: 6.5, 2: 10.5},
        "b": {0: -9.0, 1: -5.0, 2: -0.9},
        "c": {0: 1.0, 1: 4.0, 2: 9.0},
        "d": {0: 1.0, 1: 5.0},
    }
    found = compare_cells(old, new)
    alone = {cell: compare(old[cell], new[cell]) for cell in "abcd"}
    assert [found[cell].verdict for cell in "abcd"] == ["better", "worse", "no difference found", "too few seeds"]
    assert [found[cell].p for cell in "bac"] == pytest.approx([3 * alone["b"].p, 2 * alone["a"].p, alone["c"].p])
    assert {c.cells for c in found.values()} == {3}
    assert not any(c.paired for c in compare_cells(old, new, pair=False).values())
    with pytest.raises(ValueError, match="only one side has d, e"):
        compare_cells(old, {"a": {}, "b": {}, "c": {}, "e": {}})


def test_holm_is_statsmodels() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005, 0.5])), [0.04, 0.09, 0.09, 0.025, 0.5])
    np.testing.assert_allclose(holm(np.array([0.01, nan, 0.03, nan])), [0.02, nan, 0.03, nan])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])


@pytest.mark.parametrize(
    ("effect", "paired", "n"),  # statsmodels' solve_power, 80% at 5%
    [(0.5, True, 33.367), (0.5, False, 63.766), (1, True, 9.938), (1, False, 16.715), (-1, False, 16.715)],
)
def test_seeds_needed_are_statsmodels(effect: float, paired: bool, n: float) -> None:
    assert seeds_needed(3 * effect, 3.0, paired=paired) == math.ceil(n)


@pytest.mark.parametrize(("n", "paired", "level"), [(10, True, 0.95), (10, True, 1 - 0.05 / 24), (17, False, 0.95)])
def test_the_smallest_difference_is_the_one_that_needs_so_many_seeds(n: int, paired: bool, level: float) -> None:
    smallest = smallest_found(n, 3.0, paired=paired, level=level)
    assert seeds_needed(1.0001 * smallest, 3.0, paired=paired, level=level) == n
    assert seeds_needed(0.9999 * smallest, 3.0, paired=paired, level=level) == n + 1


def test_the_smallest_difference_at_the_ends() -> None:
    assert smallest_found(10, 0.0, paired=True) == 0
    assert smallest_found(1, 1.0, paired=True) == math.inf


def test_seeds_needed_at_the_ends() -> None:
    assert math.isnan(seeds_needed(0.0, 1.0, paired=True))
    assert seeds_needed(1.0, 0.0, paired=True) == MIN_SEEDS
    assert seeds_needed(1e-300, 1.0, paired=False) == math.inf


# ---- how far they can be trusted


@pytest.fixture
def calibration(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module("calibration")


def select(calibration: Any, what: str, data: str) -> dict[str, Any]:
    return {line.statistic: line.event for line in calibration.lines() if (line.what, line.data) == (what, data)}


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_of_normal_seeds_hold_the_true_value(calibration: Any, n: int) -> None:
    for statistic, event in select(calibration, "coverage", "normal").items():
        if "plain" in statistic:
            continue
        held = calibration.share(event, n, 600 if n < 10 else 250, seed=1)
        assert held > (0.85 if statistic == "profile" and n == 3 else 0.9), statistic
        assert held < 1, statistic  # an interval that holds anything says nothing


@pytest.mark.parametrize("data", ["normal", "skewed", "bimodal"])
def test_without_a_difference_few_are_found(calibration: Any, data: str) -> None:
    for test, event in select(calibration, "false positives", data).items():
        if "cells" not in test:
            found = calibration.share(event, 5, 1500, seed=1)
            assert found < 0.07, test
            assert found > 0.02 or data != "normal", test


def test_power_is_that_of_the_t_test(calibration: Any) -> None:
    """The t-test's power in closed form, at a difference of one standard deviation between normal seeds."""
    events = select(calibration, "power, difference 1", "normal")
    for test, df, center in [
        ("Welch", 18, math.sqrt(10 / 2)),
        ("paired", 9, math.sqrt(10 / 2)),
        ("paired, alike", 9, math.sqrt(10)),
    ]:
        expected = stats.nct.sf(stats.t.ppf(0.975, df), df, center)
        assert calibration.share(events[test], 10, 1500, seed=1) == pytest.approx(expected, abs=0.045), test
    assert calibration.share(events["probability of improvement"], 10, 800, seed=1) == pytest.approx(0.5, abs=0.07)


def test_of_many_cells_without_a_difference_hardly_any_is_found_after_the_correction(calibration: Any) -> None:
    events = select(calibration, "false positives", "normal")
    assert calibration.share(events["any of 20 cells"], 5, 200, seed=1) > 0.5
    assert calibration.share(events["any of 20 cells, paired, Holm"], 5, 400, seed=1) < 0.08


def test_a_setting_that_is_far_worse_is_found_among_many_cells(calibration: Any) -> None:
    events = select(calibration, "power, difference 4", "normal")
    assert calibration.share(events["one of 20 cells, paired, Holm"], 10, 100, seed=1) > 0.95


@pytest.mark.slow
def test_the_published_table_can_be_measured_again(calibration: Any) -> None:
    with (ROOT / "data" / "calibration.csv").open(newline="", encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    lines = list(calibration.lines())
    assert [tuple(row.values())[:3] for row in published] == [line[:3] for line in lines]
    for row, line in zip(published, lines, strict=True):
        for n in calibration.SEEDS:
            expected, repetitions = float(row[f"{n} seeds"]), 100
            error = math.sqrt(max(expected * (1 - expected), 0.01) / repetitions)
            again = calibration.share(line.event, n, repetitions, seed=1)
            assert again == pytest.approx(expected, abs=4.5 * error), (line[:3], n)
