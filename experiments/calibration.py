"""Measure how far the statistics of `rlsuite.analysis` can be trusted: `python experiments/calibration.py`.

Seeds are drawn from known distributions, again and again. Of each interval it is counted how often it holds the true
value (it should be 95%), of each comparison how often it finds a difference: without one (at most 5%) and with one. The
table goes to data/calibration.csv. It is seeded, and takes minutes.

normal:  returns are normal, with standard deviation 1
skewed:  their logarithm is
bimodal: one in five seeds fails, and returns 10 instead of 500

With a difference of 1 or 2, `new` is worse by that many standard deviations (of the logarithm where skewed). Of bimodal
seeds 56% or 88% fail then. "Alike" are pairs correlated by ½; the other pairs are independent.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from tables import DATA, write_table

from rlsuite.analysis.statistics import (
    IQM,
    Comparison,
    bootstrap,
    compare,
    compare_cells,
    estimate,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    seeds_needed,
    trimmed_mean,
    trimmed_t_interval,
    welch_difference,
)

Array = NDArray[np.float64]
Rng = np.random.Generator
Event = Callable[[Rng, int], bool]  # whether something happens with that many seeds
KINDS = ["normal", "skewed", "bimodal"]
SEEDS = [3, 4, 5, 10, 20]
CELLS = 20
FAILED, SOLVED = 10.0, 500.0
FIFTH = float(ndtri(0.2))  # a fifth of normals is below that
QUARTILE = float(ndtri(0.75))


class Line(NamedTuple):
    """One line of the table: how often `event` happens."""

    what: str
    statistic: str
    data: str
    event: Event


def draw(rng: Rng, kind: str, size: tuple[int, ...], shift: float = 0.0, shared: Array | None = None) -> Array:
    """Returns of one kind.

    Args:
        rng:    to draw with.
        kind:   see the head of this file.
        size:   of the result.
        shift:  by how many standard deviations they are better.
        shared: standard normals with which they are correlated by ½ (they or their logarithm); none: independent.
    """
    z = rng.standard_normal(size)
    if shared is not None:
        z = (shared + z) / math.sqrt(2)
    if kind == "bimodal":
        return np.where(z + shift < FIFTH, FAILED, SOLVED)
    return np.exp(z + shift) if kind == "skewed" else z + shift


def true_mean(kind: str, shift: float = 0.0) -> float:
    """Of what `draw` draws from."""
    fails = float(ndtr(FIFTH - shift))
    return {"normal": shift, "skewed": math.exp(shift + 0.5), "bimodal": fails * FAILED + (1 - fails) * SOLVED}[kind]


def true_iqm(kind: str) -> float:
    """Mean of the middle half of the distribution."""
    lognormal = 2 * math.exp(0.5) * float(ndtr(QUARTILE - 1) - ndtr(-QUARTILE - 1))
    return {"normal": 0.0, "skewed": lognormal, "bimodal": SOLVED}[kind]


def true_improvement(kind: str, shift: float) -> float:
    """P(new > old) + ½ P(new = old)."""
    if kind != "bimodal":
        return float(ndtr(shift / math.sqrt(2)))
    old, new = 0.2, float(ndtr(FIFTH - shift))  # how many fail
    return old * (1 - new) + (old * new + (1 - old) * (1 - new)) / 2


def holds(low: float, high: float, true: float) -> bool:
    """Whether an interval holds a value, but for rounding."""
    return bool(low - 1e-9 <= true <= high + 1e-9)


def estimate_holds(rng: Rng, n: int, kind: str, trim: float, n_envs: int = 1) -> bool:
    """The interval of a mean or IQM."""
    _, low, high = estimate(draw(rng, kind, (n, n_envs)), trim)
    return holds(low, high, true_iqm(kind) if trim else true_mean(kind))


def t_holds(rng: Rng, n: int, kind: str, trim: float) -> bool:
    """The same from t, even where `estimate` takes the bootstrap."""
    low, high = trimmed_t_interval(draw(rng, kind, (n, 1)), trim)
    return holds(low, high, true_iqm(kind) if trim else true_mean(kind))


def percentiles_hold(rng: Rng, n: int, kind: str) -> bool:
    """The mean's interval from plain percentiles of the bootstrap, which rliable takes for any number of seeds."""
    low, high = np.quantile(bootstrap(draw(rng, kind, (n, 1)), trimmed_mean), [0.025, 0.975])
    return holds(low, high, true_mean(kind))


def profile_holds(rng: Rng, n: int, kind: str) -> bool:
    """The interval of a performance profile, at a threshold that four fifths of the runs exceed."""
    threshold = {"normal": FIFTH, "skewed": math.exp(FIFTH), "bimodal": (FAILED + SOLVED) / 2}[kind]
    _, low, high = performance_profile(draw(rng, kind, (n, 1)), np.array([threshold]))
    return holds(low[0], high[0], 0.8)


def compared(rng: Rng, n: int, kind: str, test: str, shift: float) -> Comparison:
    """An old setting, and a new one that is better by `shift`, compared by "Welch", "paired" or "paired, alike"."""
    shared = rng.standard_normal((n,)) if test == "paired, alike" else None
    old, new = (draw(rng, kind, (n,), s, shared) for s in (0.0, shift))
    return welch_difference(old, new) if test == "Welch" else paired_difference(old, new)


def difference_holds(rng: Rng, n: int, kind: str, test: str) -> bool:
    """The interval of a difference."""
    c = compared(rng, n, kind, test, shift=-1)
    return holds(c.low, c.high, true_mean(kind, -1) - true_mean(kind))


def difference_found(rng: Rng, n: int, kind: str, test: str, shift: float) -> bool:
    """Whether it is found that `new` is worse; without a difference, whether it is said to be better or worse."""
    verdict = compared(rng, n, kind, test, shift).verdict
    return verdict == "worse" or (not shift and verdict == "better")


def improvement(rng: Rng, n: int, kind: str, shift: float) -> tuple[float, float]:
    """The interval of the probability of improvement."""
    old, new = (draw(rng, kind, (n, 1), s) for s in (0.0, shift))
    return probability_of_improvement(old, new)[1:]


def improvement_holds(rng: Rng, n: int, kind: str) -> bool:
    """Whether it holds the true probability."""
    return holds(*improvement(rng, n, kind, shift=-1), true_improvement(kind, -1))


def improvement_found(rng: Rng, n: int, kind: str, shift: float) -> bool:
    """Whether it lies below ½; without a difference, whether beside ½."""
    low, high = improvement(rng, n, kind, shift)
    return high < 0.5 or (not shift and low > 0.5)


def cells(rng: Rng, n: int, kind: str) -> list[dict[str, dict[int, float]]]:
    """Returns of an old and of a new setting in many cells, without a difference."""
    return [{f"{cell}": dict(enumerate(draw(rng, kind, (n,)))) for cell in range(CELLS)} for _ in range(2)]


def any_alarm(rng: Rng, n: int, kind: str, *, corrected: bool, pair: bool = True) -> bool:
    """Whether any of the cells is said to differ."""
    old, new = cells(rng, n, kind)
    found = compare_cells(old, new, pair=pair) if corrected else {cell: compare(old[cell], new[cell]) for cell in old}
    return any(c.verdict in ("better", "worse") for c in found.values())


def one_found(rng: Rng, n: int, shift: float, *, pair: bool) -> bool:
    """Whether it is found that one of the cells is worse."""
    old, new = cells(rng, n, "normal")
    new["0"] = {seed: ret + shift for seed, ret in new["0"].items()}
    return compare_cells(old, new, pair=pair)["0"].verdict == "worse"


def near_needed(rng: Rng, n: int) -> bool:
    """Whether `seeds_needed` of what is observed is within a factor of 2 of that of the truth."""
    needed = compared(rng, n, "normal", "Welch", shift=-1).needed
    return 0.5 <= needed / seeds_needed(-1.0, 1.0, paired=False) <= 2


def lines() -> Iterator[Line]:
    """Every line of the table."""
    for kind in KINDS:
        for name, trim in (("mean", 0.0), ("IQM", IQM)):
            yield Line("coverage", name, kind, partial(estimate_holds, kind=kind, trim=trim))
            yield Line("coverage", f"{name}, always t", kind, partial(t_holds, kind=kind, trim=trim))
        yield Line("coverage", "mean, plain bootstrap", kind, partial(percentiles_hold, kind=kind))
        yield Line("coverage", "profile", kind, partial(profile_holds, kind=kind))
        for test in ("Welch", "paired", "paired, alike"):
            yield Line("coverage", test, kind, partial(difference_holds, kind=kind, test=test))
        yield Line("coverage", "probability of improvement", kind, partial(improvement_holds, kind=kind))
    for name, trim in (("mean", 0.0), ("IQM", IQM)):
        several = partial(estimate_holds, kind="normal", trim=trim, n_envs=3)
        yield Line("coverage", f"{name} over 3 environments", "normal", several)
    for what, shift in (("false positives", 0.0), ("power, difference 1", -1.0), ("power, difference 2", -2.0)):
        for kind in KINDS:
            for test in ("Welch", "paired", "paired, alike"):
                yield Line(what, test, kind, partial(difference_found, kind=kind, test=test, shift=shift))
            yield Line(what, "probability of improvement", kind, partial(improvement_found, kind=kind, shift=shift))
    for kind in KINDS:
        yield Line("false positives", f"any of {CELLS} cells", kind, partial(any_alarm, kind=kind, corrected=False))
        for test, pair in (("paired", True), ("Welch", False)):
            alarm = partial(any_alarm, kind=kind, corrected=True, pair=pair)
            yield Line("false positives", f"any of {CELLS} cells, {test}, Holm", kind, alarm)
    for shift in (2, 4, 8):
        for test, pair in (("paired", True), ("Welch", False)):
            found = partial(one_found, shift=-shift, pair=pair)
            yield Line(f"power, difference {shift}", f"one of {CELLS} cells, {test}, Holm", "normal", found)
    yield Line("within a factor of 2", "seeds needed, difference 1", "normal", near_needed)


def share(event: Event, n: int, repetitions: int, seed: int) -> float:
    """How often it happens."""
    rng = np.random.default_rng(seed)
    return sum(event(rng, n) for _ in range(repetitions)) / repetitions


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000, help="behind each number")
    args = parser.parse_args()
    table = []
    for what, statistic, data, event in lines():
        shares = {f"{n} seeds": f"{share(event, n, args.repetitions, seed=0):.3f}" for n in SEEDS}
        table.append({"what": what, "statistic": statistic, "data": data, **shares})
        print(*table[-1].values(), sep="  ", flush=True)
    write_table(DATA / "calibration.csv", table)


if __name__ == "__main__":
    main()
