"""What a few seeds can say: intervals, comparisons of two settings, and how many seeds are missing.

Method: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", but with other
intervals where the bootstrap fails: for few seeds, and for shares near 0 and 1. `experiments/calibration.py` measures
how often each interval holds and what each comparison finds; its table is data/calibration.csv.

shape letters: S seeds, E environments, X points of a curve, K thresholds
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_SEEDS = 3  # for an interval; two seeds say next to nothing about the spread
FEW_SEEDS = 5  # below that, an interval rests on little
MANY_SEEDS = 10  # from here on the bootstrap, below it t: resampling a few numbers shows too small a spread
LEVEL = 0.95
IQM = 0.25
"""Share that the interquartile mean cuts off at each end; 0 is the mean."""
RESAMPLES = 5000
POWER = 0.8
"""Chance of finding a difference that `seeds_needed` aims at."""


class Estimate(NamedTuple):
    """A number and its 95% interval, NaN below `MIN_SEEDS` seeds."""

    value: float
    low: float
    high: float


def normalize(returns: Array, random: Array, reference: Array) -> Array:
    """Scores on which 0 is a random policy and 1 the reference, so that environments can be averaged.

        score = (return - random) / (reference - random)

    Args:
        returns:   (S, E) float64.
        random:    (E,) mean return of a uniformly random policy.
        reference: (E,) mean return of what is compared with.

    Raises:
        ValueError: the reference of an environment is that of random play, or one of them is not finite.

    Source: Agarwal et al. 2021, section 2; Mnih et al. 2015.
    """
    span = np.asarray(reference, np.float64) - random
    if not (np.isfinite(span) & (span != 0)).all():
        raise ValueError(f"scores need a reference other than the random return, not {reference} with {random}")
    return (returns - random) / span


# ---- one setting


def trimmed_mean(scores: Array, trim: float = 0.0) -> Array:
    """Mean of the scores (..., S, E) of all seeds and environments without a share `trim` at each end, (...)."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1))
    cut = int(trim * flat.shape[-1])
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(-1))


def estimate(scores: Array, trim: float = 0.0, level: float = LEVEL) -> Estimate:
    """Mean over seeds and environments, or with `trim=IQM` the interquartile mean, and its interval.

    Below `MANY_SEEDS` seeds the interval is that of `trimmed_t_interval`, from there on `bootstrap_interval`.

    How often the interval holds, measured, of the mean | of the IQM:

        seeds                        3          5         10         20
        normal                   95% | 95%  94% | 93%  94% | 97%  95% | 96%
        lognormal                84% | 94%  84% | 91%  86% | 97%  88% | 96%
        a fifth of seeds fails   47% | 99%  66% | 99%  89% |100%  95% |100%

    Where by luck all seeds succeed, no interval can know that some would fail. The IQM is no better there: it leaves
    out, by its definition, that a fifth fails, and that of 3 seeds is their mean.

    Args:
        scores: (S, E) float64.
        trim:   share cut off at each end.
        level:  share of such intervals that hold the true value, if seeds are normally distributed.

    Raises:
        ValueError: a score is not finite, or there is none.

    Source: Agarwal et al. 2021, section 4.3.
    """
    _check(scores)
    value = float(trimmed_mean(scores, trim))
    if len(scores) < MIN_SEEDS:
        return Estimate(value, math.nan, math.nan)
    interval = trimmed_t_interval if len(scores) < MANY_SEEDS else bootstrap_interval
    return Estimate(value, *interval(scores, trim, level))


def t_interval(values: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """Interval of the mean over seeds at each point of a curve: mean ± t·s/√n, s the standard deviation of n seeds.

    It holds exactly where seeds are normally distributed. On skewed ones it covers less than it says: with 3 to 10
    seeds 88% to 90% instead of 95% on exponential, 82% to 84% on lognormal ones.

    Args:
        values: (S, X), one row per seed; NaN where a seed has no value.
        level:  share of such intervals that hold the true mean.

    Returns:
        low, high (X,): NaN where fewer than `MIN_SEEDS` have a value.
    """
    there = np.isfinite(values)
    n = there.sum(axis=0)
    enough = n >= MIN_SEEDS
    count = np.where(enough, n, MIN_SEEDS)
    mean = np.where(there, values, 0).sum(axis=0) / count
    var = np.where(there, values - mean, 0) ** 2
    width = t_quantile(count - 1, level) * np.sqrt(var.sum(axis=0) / (count - 1) / count)
    return np.where(enough, mean - width, np.nan), np.where(enough, mean + width, np.nan)


def trimmed_t_interval(scores: Array, trim: float = 0.0, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a trimmed mean from t, without resampling.

        w = scores, those that are cut off moved to the nearest that is kept
        qₑ = Σₛ (wₛₑ - mean of wₑ)²,   H = how many scores are kept
        θ ± t · √( Σ qₑ / (H (H - E)) ),   t with (H - E)/E · (Σ qₑ)² / Σ qₑ² degrees of freedom

    For one environment this is Tukey and McLaughlin's interval, and without trimming Student's.

    Args:
        scores: (S, E) float64.
        trim:   share cut off at each end; it must leave more scores than there are environments.
        level:  share of such intervals that hold the true value.

    Returns:
        low, high.

    Source: Tukey and McLaughlin 1963, "Less vulnerable confidence and significance procedures for location based on a
    single sample"; degrees of freedom over several environments: Satterthwaite 1946.
    """
    flat, n_envs = np.sort(scores, axis=None), scores.shape[1]
    cut = int(trim * flat.size)
    kept = flat.size - 2 * cut
    w = scores.clip(flat[cut], flat[flat.size - 1 - cut])
    q = ((w - w.mean(0)) ** 2).sum(0)
    df = (kept - n_envs) / n_envs * (q.sum() ** 2 / (q**2).sum() if q.any() else 1.0)
    width = float(t_quantile(df, level)) * math.sqrt(q.sum() / (kept * (kept - n_envs)))
    center = float(trimmed_mean(scores, trim))
    return center - width, center + width


def bootstrap(scores: Array, statistic: Callable[[Array], Array], seed: int = 0) -> Array:
    """The statistic of `RESAMPLES` resamples; in each environment the seeds are drawn anew, with replacement.

    Args:
        scores:    (S, E) float64.
        statistic: of scores (..., S, E), returns (...).
        seed:      of the drawing: equal scores have equal intervals.

    Source: Agarwal et al. 2021, section 4.1, stratified bootstrap.
    """
    drawn = np.random.default_rng(seed).integers(len(scores), size=(RESAMPLES, *scores.shape))
    return statistic(np.take_along_axis(scores[None], drawn, axis=1))


def bootstrap_interval(scores: Array, trim: float = 0.0, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a trimmed mean from the percentiles of its bootstrap, moved outwards as few seeds ask for.

    Resampled seeds spread too little by √((n-1)/n), and how much they spread is uncertain: plain percentiles of normal
    seeds hold the mean in 90% of cases with 10 seeds, in 76% with 3. So the percentiles Φ(∓ √(n/(n-1)) · t_{n-1}) are
    taken instead of 2.5% and 97.5%.

    Args:
        scores: (S, E) float64.
        trim:   share cut off at each end, below one half.
        level:  share of such intervals that hold the true value.

    Returns:
        low, high.

    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", the expanded percentile interval.
    """
    from scipy.special import ndtr

    n = len(scores)
    tail = float(ndtr(-math.sqrt(n / (n - 1)) * t_quantile(n - 1, level)))
    low, high = np.quantile(bootstrap(scores, lambda drawn: trimmed_mean(drawn, trim)), [tail, 1 - tail])
    return float(low), float(high)


def performance_profile(scores: Array, thresholds: Array, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Share of runs above each threshold, averaged over environments, with its interval at each threshold.

        share(τ) = (1/E) Σₑ (1/S) Σₛ 1[scoreₛₑ > τ]

    The interval of each environment is Wilson's, because a bootstrap of seeds that all succeed has no width. Where four
    fifths of the runs are above, it holds in 89% of cases with 3 seeds, in 95% to 97% with more.

    Args:
        scores:     (S, E) float64.
        thresholds: τ (K,).
        level:      share of such intervals that hold the true share.

    Returns:
        share, low, high (K,); low and high NaN below `MIN_SEEDS` seeds.

    Raises:
        ValueError: a score is not finite, or there is none.

    Source: Agarwal et al. 2021, section 4.2; Wilson 1927.
    """
    _check(scores)
    n, z2 = len(scores), _normal_quantile(level) ** 2
    share = (scores > np.asarray(thresholds)[:, None, None]).mean(1)
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    width = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    low, high = _average_interval(share, middle - width, middle + width)
    return share.mean(1), *(np.where(n >= MIN_SEEDS, bound, np.nan) for bound in (low, high))


# ---- two settings


class Comparison(NamedTuple):
    """How much better the returns of `new` are than those of `old`, and whether that may be chance."""

    difference: float
    """mean of new - mean of old"""
    low: float
    """of the 95% interval of that difference"""
    high: float
    p: float
    """chance of a difference as large where there is none; NaN with too few seeds"""
    n: tuple[int, int]
    """seeds of old and of new"""
    paired: bool
    """whether both have the same seeds, and were compared seed by seed"""
    needed: float
    """seeds of each, with which a difference like this one is found in 80% of cases; NaN without any difference"""
    cells: int = 1
    """among how many comparisons p was corrected"""

    @property
    def verdict(self) -> str:
        """One of "better", "worse", "too few seeds" and "no difference found"; the last does not prove equality."""
        if math.isnan(self.p):
            return "too few seeds"
        if self.p > 1 - LEVEL:
            return "no difference found"
        return "better" if self.difference > 0 else "worse"

    def __str__(self) -> str:
        """One line."""
        seeds = f"{self.n[0]} pairs of seeds" if self.paired else f"{self.n[0]} and {self.n[1]} seeds"
        few = " (few)" if MIN_SEEDS <= min(self.n) < FEW_SEEDS else ""
        if self.verdict == "too few seeds":
            return f"{self.difference:+.4g}, {seeds}: {self.verdict}, {MIN_SEEDS} of each are the least"
        corrected = f" of {self.cells} comparisons" if self.cells > 1 else ""
        p = f"p = {self.p:.2g}" if self.p >= 0.001 else "p < 0.001"
        parts = [f"{self.difference:+.4g} [{self.low:.4g}, {self.high:.4g}]", f"{p}{corrected}", seeds]
        line = f"{', '.join(parts)}{few}: {self.verdict}"
        if self.verdict != "no difference found" or not self.needed > max(self.n):
            return line
        return f"{line}; more seeds needed: {f'about {self.needed:.0f}' if self.needed <= 1000 else 'more than 1000'}"


def compare(old: Mapping[int, float], new: Mapping[int, float], *, pair: bool = True) -> Comparison:
    """Compare the final returns of two settings: seed by seed where both have the same seeds, else by Welch's test.

    Args:
        old:  seed to return.
        new:  likewise.
        pair: whether equal seeds may be paired. Where equal seeds do not make runs alike, Welch's test finds more with
            few of them: of differences of 2 standard deviations 38% instead of 30% with 3 seeds, 77% instead of 66%
            with 5. Where they do (correlation ½), pairing finds more: 46%, 90%.

    Raises:
        ValueError: a return is not finite, or a side has none.
    """
    paired = pair and set(old) == set(new)
    before, after = (np.array([side[seed] for seed in sorted(side)], np.float64) for side in (old, new))
    return paired_difference(before, after) if paired else welch_difference(before, after)


def compare_cells(
    old: Mapping[str, Mapping[int, float]], new: Mapping[str, Mapping[int, float]], *, pair: bool = True
) -> dict[str, Comparison]:
    """Compare two settings in each cell, such as "ppo CartPole-v1", with p corrected for the number of cells.

    The intervals are those of one cell alone. With 3 seeds, train a cell that is said to differ on other seeds before
    you believe it: where one seed in five fails, all three of one side and none of the other fail in 0.8% of cells, and
    no correction of p sees that. Of 20 such cells one is falsely said to differ in 14% of cases.

    Take 5 seeds, and `pair=False` unless equal seeds make runs alike: one of 20 cells that is worse by 4 standard
    deviations is found in 15% of cases with 3 seeds and in 86% with 5; in pairs without correlation in 7% and 51%.

    Args:
        old:  cell to seed to return.
        new:  likewise, with the same cells.
        pair: as in `compare`.

    Raises:
        ValueError: a cell is missing on one side, or as `compare`.
    """
    if missing := set(old) ^ set(new):
        raise ValueError(f"only one side has {', '.join(sorted(missing))}")
    found = {cell: compare(old[cell], new[cell], pair=pair) for cell in old}
    tested = sum(not math.isnan(c.p) for c in found.values())
    corrected = holm(np.array([c.p for c in found.values()]))
    return {cell: c._replace(p=float(p), cells=tested) for (cell, c), p in zip(found.items(), corrected, strict=True)}


def paired_difference(old: Array, new: Array, level: float = LEVEL) -> Comparison:
    """Compare returns (S,) of the same seeds, in the same order, by the t-test of their differences.

    Raises:
        ValueError: a return is not finite, there is none, or there are more on one side.

    Source: Student 1908; `scipy.stats.ttest_rel` is the same test.
    """
    _check(old[:, None], new[:, None])
    if len(old) != len(new):
        raise ValueError(f"{len(old)} and {len(new)} returns are no pairs")
    n, d = len(old), new - old
    if n < MIN_SEEDS:
        return Comparison(float(d.mean()), math.nan, math.nan, math.nan, (n, n), True, math.nan)
    spread = float(d.std(ddof=1))
    return _t_comparison(float(d.mean()), spread / math.sqrt(n), n - 1, spread, (n, n), True, level)


def welch_difference(old: Array, new: Array, level: float = LEVEL) -> Comparison:
    """Compare returns (S,) and (T,) of different seeds by Welch's t-test: their spreads may differ.

    Raises:
        ValueError: a return is not finite, or a side has none.

    Source: Welch 1947; `scipy.stats.ttest_ind(equal_var=False)` is the same test.
    """
    _check(old[:, None], new[:, None])
    n = (len(old), len(new))
    difference = float(new.mean() - old.mean())
    if min(n) < MIN_SEEDS:
        return Comparison(difference, math.nan, math.nan, math.nan, n, False, math.nan)
    var = np.array([old.var(ddof=1), new.var(ddof=1)])
    error = var / n  # squared, of each mean
    # Near n - 1 of the side that has all the spread, if one has.
    df = float(error.sum() ** 2 / (error**2 / (np.array(n) - 1)).sum()) if error.any() else 1.0
    return _t_comparison(difference, math.sqrt(error.sum()), df, math.sqrt(var.mean()), n, False, level)


def _t_comparison(
    difference: float, error: float, df: float, spread: float, n: tuple[int, int], paired: bool, level: float
) -> Comparison:
    """Judge a difference by its standard error; without any spread every difference is taken for certain."""
    from scipy.special import stdtr

    p = float(2 * stdtr(df, -abs(difference) / error)) if error else float(difference == 0)
    width = float(t_quantile(df, level)) * error
    needed = seeds_needed(difference, spread, paired=paired, level=level)
    return Comparison(difference, difference - width, difference + width, p, n, paired, needed)


def probability_of_improvement(old: Array, new: Array, level: float = LEVEL) -> Estimate:
    """Chance that a run of `new` is better than one of `old`, averaged over environments: how often, not how much.

        P = (1/E) Σₑ mean over all pairs of runs of ( 1[newₑ > oldₑ] + ½ 1[newₑ = oldₑ] )

    The interval of one environment holds every θ with

        |θ - P| - 1/(2ST) ≤ z·√v(θ),   v(θ) = θ(1-θ) · (1 + N·(1-θ)/(2-θ) + N·θ/(1+θ)) / (ST),   N = (S+T)/2 - 1

    It excludes ½ exactly where the Mann-Whitney test finds a difference. With 3 and 3 seeds that is never: complete
    separation has a chance of 10% even if nothing differs. It holds in 95% to 98% of cases, in more where seeds tie.

    Args:
        old:   (S, E) float64.
        new:   (T, E) float64.
        level: share of such intervals that hold the true chance.

    Raises:
        ValueError: a score is not finite, a side has none, or the environments differ in number.

    Source: Agarwal et al. 2021, section 4.3; Newcombe 2006, "Confidence intervals for an effect size measure based on
    the Mann-Whitney statistic, part 2", method 5, here with the test's continuity correction.
    """
    _check(old, new)
    if old.shape[1] != new.shape[1]:
        raise ValueError(f"{old.shape[1]} and {new.shape[1]} environments")
    pairs, z = len(old) * len(new), _normal_quantile(level)
    share = ((new > old[:, None]) + 0.5 * (new == old[:, None])).mean((0, 1))
    if min(len(old), len(new)) < MIN_SEEDS:
        return Estimate(float(share.mean()), math.nan, math.nan)
    n_star = (len(old) + len(new)) / 2 - 1

    def farthest(start: Array) -> Array:
        """The largest θ (E,) that is near enough to `start`."""
        low, high = start, np.ones_like(start)
        for _ in range(50):  # each halves what θ may be
            middle = (low + high) / 2
            v = middle * (1 - middle) * (1 + n_star * ((1 - middle) / (2 - middle) + middle / (1 + middle))) / pairs
            near = middle - start - 1 / (2 * pairs) <= z * np.sqrt(v)
            low, high = np.where(near, middle, low), np.where(near, high, middle)
        return low

    low, high = _average_interval(share, 1 - farthest(1 - share), farthest(share))  # v(θ) = v(1-θ)
    return Estimate(float(share.mean()), float(low), float(high))


def holm(p: Array) -> Array:
    """Correct the p-values (K,) of K comparisons, so that one false alarm in all of them has a chance of at most 5%.

        p̃₍ᵢ₎ = max over j ≤ i of min(1, (K - j + 1) · p₍ⱼ₎),   p₍₁₎ ≤ p₍₂₎ ≤ ...

    NaN stays NaN and counts as no comparison.

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN comes last
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(order), 0, -1)))
    return corrected


def seeds_needed(
    difference: float, spread: float, *, paired: bool, level: float = LEVEL, power: float = POWER
) -> float:
    """About how many seeds of each setting it takes to find a difference with probability `power`.

        n = k ((z_{(1+level)/2} + z_power) · spread / difference)² + z² / 2k,   k = 1 if paired, 2 if not

    It is as uncertain as the spread and the difference that it is computed from. Where one standard deviation lies
    between two settings, it is right within a factor of 2 in 42% of cases with 5 seeds, in 60% with 10, in 73% with 20.
    Better take the smallest difference that would matter than the one observed.

    Args:
        difference: to be found.
        spread:     standard deviation over seeds; if paired, that of the differences.
        paired:     whether seeds are compared one by one.
        level:      of the test.
        power:      chance of finding it.

    Returns:
        A whole number of at least `MIN_SEEDS`; NaN for a difference of 0.

    Source: Guenther 1981, "Sample Size Formulas for Normal Theory T Tests".
    """
    from scipy.special import ndtri

    if difference == 0:
        return math.nan
    z, k = _normal_quantile(level), 1 if paired else 2
    ratio = (z + float(ndtri(power))) * spread / difference
    n = k * ratio * ratio + z**2 / (2 * k)
    return max(float(MIN_SEEDS), float(math.ceil(n))) if math.isfinite(n) else math.inf


def smallest_found(n: int, spread: float, *, paired: bool, level: float = LEVEL, power: float = POWER) -> float:
    """About the smallest difference that n seeds of each setting find with probability `power`.

        difference = (z_{(1+level)/2} + z_power) · spread / √(n/k - z²/2k²),   k = 1 if paired, 2 if not

    It is `seeds_needed` solved for the difference.

    Args:
        n:      seeds of each setting.
        spread: standard deviation over seeds; if paired, that of the differences.
        paired: whether seeds are compared one by one.
        level:  of the test; 1 - 0.05 / K for the first and strictest of Holm's K comparisons.
        power:  chance of finding it.

    Returns:
        The difference, above 0 where there is any spread; infinite where so few seeds find nothing.

    Source: Guenther 1981, "Sample Size Formulas for Normal Theory T Tests".
    """
    from scipy.special import ndtri

    z, k = _normal_quantile(level), 1 if paired else 2
    left = n / k - z**2 / (2 * k**2)
    return (z + float(ndtri(power))) * spread / math.sqrt(left) if left > 0 else math.inf


# ---- what they share


def t_quantile(df: NDArray[np.int64] | float, level: float = LEVEL) -> Array:
    """The t for which Student's variable lies in [-t, t] with probability `level`."""
    from scipy.special import stdtrit  # takes a third of a second to import: --help and errors must not wait for it

    return np.asarray(stdtrit(df, (1 + level) / 2))


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def _average_interval(value: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Interval of the mean over environments (..., E) from the interval of each, (...).

    Source: Zou and Donner 2008, "Construction of confidence limits about effect measures: A general approach" (MOVER).
    """
    n_envs, mean = value.shape[-1], value.mean(-1)
    below, above = (np.sqrt(((value - bound) ** 2).sum(-1)) / n_envs for bound in (low, high))
    return mean - below, mean + above


def _check(*sides: Array) -> None:
    for scores in sides:
        if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
            raise ValueError(f"scores of shape {scores.shape} must be (seeds, environments), finite, and some")
