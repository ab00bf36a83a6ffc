"""Why a run is not learning: what its log shows, what that comes from, and what to try first.

A `Log` is what a run has written, a rule of `rlsuite.analysis.rules` turns it into a `Finding` or None, and `diagnose`
puts the findings in order: the cause that explains most of them first, and below it what follows from it. Nothing here
trains, and nothing is read but columns and settings.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsuite.rundir.references import Reference

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

LATELY = 0.25
"""share of the epochs so far that a finding is about: what was, and is no more, is no finding"""
FEWEST = 4
"""epochs that it is about at least; a run with fewer has no findings but those of its first epochs"""
TRAINED = ("UpdateRatio", "GradNorm", "ClippedGrad", "KL", "TargetGap", "ActorGain", "GreedyFlips")
"""beginnings of columns that say nothing before the first update"""
MOSTLY = 0.8
"""share of these that must show it: logs are noisy"""
NO_BETTER = 0.2
"""standard deviations above random play that are none, late in a run"""
LIKENESS = "looks like known faults"
"""the rule that looks at all columns, `rlsuite.analysis.likeness`; it stands where another rule names a cause"""
LIKENESS_WEIGHT = 1.0
"""what it weighs: as much as a rule that is certain, since each of the others weighs as much as it is severe"""


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    rule: str
    """its name"""
    text: str
    """the evidence in one sentence, with numbers and threshold"""
    columns: tuple[str, ...]
    """that show it"""
    since: float
    """env steps from which on it stands"""
    causes: tuple[str, ...]
    """keys of `CAUSES`, the likeliest first"""
    severity: float
    """from 0 to 1: how sure it is that such a run does not learn what it could"""
    first: str
    """what to try first"""
    source: str
    """who says so: see `rlsuite.analysis.thresholds`"""


@dataclass(frozen=True)
class Log:
    """What a run has written so far."""

    columns: Mapping[str, Array]
    """of `progress.txt`"""
    config: Mapping[str, Any]
    """`config.json`"""
    error: str = ""
    """what ended it, if it broke off"""
    reference: Reference | None = None
    """the curve of published runs with the same settings, if there is one"""

    def __len__(self) -> int:
        """Epochs."""
        return len(self.steps)

    @property
    def steps(self) -> Array:
        """Env steps at the end of each epoch."""
        return self.columns.get("TotalEnvInteracts", np.zeros(0))

    @property
    def share(self) -> float:
        """How much of the budget is spent."""
        budget = self.setting("total_steps")
        return float(self.steps[-1]) / budget if len(self) and budget > 0 else 0.0

    def col(self, name: str) -> Array:
        """A column, NaN where the run has none; those about training are NaN before the first update, too."""
        values = self.columns.get(name, np.full(len(self), math.nan))
        if name.startswith(TRAINED) and self.setting("update_after") > 0:
            return np.where(self.steps > self.setting("update_after"), values, math.nan)
        return values

    def known(self, name: str) -> Array:
        """The finite values of a column."""
        values = self.col(name)
        return values[np.isfinite(values)]

    def has(self, name: str) -> bool:
        """Whether a column has a number anywhere."""
        return bool(len(self.known(name)))

    @property
    def on_policy(self) -> bool:
        """Whether the algorithm has advantages."""
        return self.has("AdvStd")

    @property
    def reward_size(self) -> Array:
        """(epochs,) the largest |reward| of each epoch."""
        return np.fmax(np.abs(self.col("RewMin")), np.abs(self.col("RewMax")))

    def setting(self, name: str) -> float:
        """A number of the settings; NaN where there is none."""
        value = self.config.get(name)
        return float(value) if isinstance(value, int | float) else math.nan

    def played(self, name: str) -> float:
        """A number that random play has left in the settings; NaN where there is none."""
        play = self.config.get("random_play")
        value = play.get(name) if isinstance(play, dict) else None
        return float(value) if isinstance(value, int | float) else math.nan

    @property
    def ret(self) -> Array:
        """Mean return of each epoch: of its test episodes where there are any, since training episodes explore."""
        tested = self.col("AverageTestEpRet")
        return tested if np.isfinite(tested).any() else self.col("AverageEpRet")

    @property
    def chance(self) -> tuple[float, float]:
        """Mean and standard deviation of the returns of random play; of the first episodes, where it was not played."""
        mean, std = self.played("return"), self.played("return_std")
        if math.isfinite(mean):
            return mean, std if math.isfinite(std) else 0.0
        known = np.flatnonzero(np.isfinite(self.col("AverageEpRet")))
        if not len(known):
            return math.nan, math.nan
        return float(self.col("AverageEpRet")[known[0]]), float(self.col("StdEpRet")[known[0]])

    def late(self, values: Array) -> Array:
        """The latest finite values of a column, of a quarter of the epochs so far, or of four."""
        known = values[np.isfinite(values)]
        return known[-max(FEWEST, math.ceil(LATELY * len(self))) :]

    def mean(self, name: str) -> float:
        """Mean of the latest values of a column; NaN of fewer than four."""
        late = self.late(self.col(name))
        return float(late.mean()) if len(late) >= FEWEST else math.nan

    def course(self, name: str) -> tuple[float, float]:
        """Mean of a column's first four values, and of its latest; NaN of fewer than four."""
        known = self.known(name)
        return float(known[:FEWEST].mean()) if len(known) >= FEWEST else math.nan, self.mean(name)

    def stands(self, mask: Mask, known: Mask | None = None) -> float | None:
        """Since how many env steps a condition has held, in four of five epochs; None if it does not, lately.

        Args:
            mask: (epochs,) where it holds.
            known: (epochs,) where that can be said; elsewhere the epoch does not count.
        """
        at = np.arange(len(self)) if known is None else np.flatnonzero(known)
        holds = mask[at].astype(np.float64)
        if len(holds) < FEWEST or holds[-max(FEWEST, math.ceil(LATELY * len(holds))) :].mean() < MOSTLY:
            return None
        shares = holds[::-1].cumsum()[::-1] / np.arange(len(holds), 0, -1)  # from each epoch to the last
        first = int(np.flatnonzero((shares >= MOSTLY) & (holds > 0))[0])
        return float(self.steps[at[first - 1]]) if first else 0.0

    @property
    def learned(self) -> bool:
        """Whether the latest returns are above those of random play by more than one of their standard deviations.

        Or nine tenths of the way from them to the best episode that was ever seen.
        """
        chance, spread = self.chance
        late, best = self.late(self.ret), np.fmax.reduce(self.col("MaxEpRet"), initial=-math.inf)
        if not len(late) or not late.mean() > chance + 1e-9:
            return False
        begun = self.ret[(self.col("GradSteps") == 0) & np.isfinite(self.ret)]
        if self.steps_taken and len(begun) and late.mean() <= begun.mean() < best:
            return False  # seeds of test episodes may be lucky ones
        return bool(late.mean() > chance + min(max(spread, 0.05 * abs(chance)), 0.9 * (best - chance)))

    @property
    def hopeless(self) -> bool:
        """Whether the latest returns are those of random play, or lower, in episodes of more than ten steps."""
        (chance, spread), late = self.chance, self.late(self.ret)
        return bool(spread > 0 and self.mean("EpLen") > 10 and late.mean() < chance + NO_BETTER * spread)

    @property
    def steps_taken(self) -> bool:
        """Whether gradient steps have been taken; CEM takes none."""
        return bool(len(self) and self.col("GradSteps")[-1] > 0)

    def spent(self, share: float) -> bool:
        """Whether that much of the budget is spent, and four epochs at least."""
        return self.share >= share and len(self) >= FEWEST

    def below(self, name: str, limit: float) -> float | None:
        """Since when a column has been below a limit; see `stands`."""
        values = self.col(name)
        return self.stands(values < limit, np.isfinite(values))

    def above(self, name: str, limit: float) -> float | None:
        """Since when a column has been above a limit; see `stands`."""
        values = self.col(name)
        return self.stands(values > limit, np.isfinite(values))

    def until(self, epochs: int) -> "Log":
        """What had been written after so many epochs."""
        return replace(self, columns={name: values[:epochs] for name, values in self.columns.items()}, error="")


Rule = Callable[[Log], Finding | None]


class Diagnosis(NamedTuple):
    """All findings of a run, and how they hang together."""

    findings: list[Finding]
    """the gravest first"""
    causes: list[str]
    """keys of `CAUSES`, the likeliest first"""

    @property
    def root(self) -> str:
        """The likeliest cause, "" where nothing was found."""
        return self.causes[0] if self.causes else ""

    @property
    def evidence(self) -> list[Finding]:
        """The findings that the likeliest cause explains, those that speak for it most first."""
        found = [finding for finding in self.findings if self.root in finding.causes]
        return sorted(found, key=lambda finding: -finding.severity / (1 + finding.causes.index(self.root)))


def diagnose(log: Log, rules: Sequence[Rule]) -> Diagnosis:
    """Ask all rules, and weigh the causes.

    Each finding shares its severity among its causes, less from the first to the last of them: the fewer it has, the
    more it says of each. The likeness does the same with a weight of its own. The cause with the most weight explains
    the most. Before the first update only findings that rest on the settings stand, which have no columns.
    """
    trained = np.nan_to_num(log.col("KL")).any() or any(map(log.has, ("UpdateRatioPi", "UpdateRatioQ")))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of a column that has no number yet is NaN
        found = [finding for rule in rules if (finding := rule(log))]
    if "KL" in log.columns and not trained:  # random play, or a replay buffer that is being filled
        found = [finding for finding in found if not finding.columns and finding.rule != LIKENESS]
    if not any(finding.causes for finding in found if finding.rule != LIKENESS):
        found = [finding for finding in found if finding.rule != LIKENESS]
    found.sort(key=lambda finding: (-finding.severity, finding.since))
    weight: dict[str, float] = {}
    for finding in found:
        shares = {cause: 1 / (1 + place) for place, cause in enumerate(finding.causes)}
        full = LIKENESS_WEIGHT if finding.rule == LIKENESS else finding.severity
        for cause, share in shares.items():
            weight[cause] = weight.get(cause, 0.0) + full * share / sum(shares.values())
    return Diagnosis(found, sorted(weight, key=lambda cause: -weight[cause]))
