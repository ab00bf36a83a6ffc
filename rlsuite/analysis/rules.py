"""All rules of the diagnosis, and what is reported beside them.

Those about one column are a table, `rlsuite.analysis.thresholds`. Those about several, or about how one moves, are
functions of a log, in a module for each thing that they look at. A rule speaks where its columns exist, so that none
asks which algorithm is running.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from rlsuite.analysis.critic_rules import CRITIC_RULES
from rlsuite.analysis.diagnosis import FEWEST, Log, Rule
from rlsuite.analysis.likeness import looks_like
from rlsuite.analysis.policy_rules import COLLAPSED, POLICY_RULES
from rlsuite.analysis.run_rules import RUN_RULES
from rlsuite.analysis.shape_rules import SHAPE_RULES
from rlsuite.analysis.task_rules import TASK_RULES
from rlsuite.analysis.thresholds import THRESHOLDS

RULES: Sequence[Rule] = (*POLICY_RULES, *CRITIC_RULES, *TASK_RULES, *RUN_RULES, *THRESHOLDS, *SHAPE_RULES, looks_like)
"""Of findings that are equally grave and equally old, that of the earlier rule comes first."""


def seeds_disagree(logs: Sequence[Log]) -> str:
    """What runs with the same settings say of each other: "" if they agree.

    Args:
        logs: of runs that differ in their seed only.
    """
    known = [log for log in logs if len(log.late(log.ret))]
    learned = sorted(float(log.late(log.ret).mean()) for log in known if log.learned)
    if not learned or len(learned) == len(known):
        return ""
    rest = [float(log.late(log.ret).mean()) for log in known if not log.learned]
    said = f"{len(rest)} of {len(known)} seeds return what random play does ({np.mean(rest):.4g}), "
    said += f"the others {learned[0]:.4g} to {learned[-1]:.4g}: "
    return said + "one seed says little here; more exploration or a lower learning rate makes them more alike"


def signs_of_life(log: Log) -> list[str]:
    """What shows that a run has begun to learn before its return does; none of it is a finding.

    Source: Schulman: look at maximum returns, at the length of episodes, at explained variance.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of a column that has no number yet is NaN
        return list(_signs_of_life(log))


def _signs_of_life(log: Log) -> Iterator[str]:
    ret, best, length = log.col("AverageEpRet"), log.col("MaxEpRet"), log.col("EpLen")
    known = np.flatnonzero(np.isfinite(ret))
    if len(known) < 2 * FEWEST:
        return
    first, last = known[:FEWEST], known[-FEWEST:]
    spread = max(float(np.nanmean(log.col("StdEpRet")[known])), 1e-9)
    up = ret[last].mean() - ret[first].mean()
    if best[last].mean() - best[first].mean() > spread and up < spread:
        yield f"the best episode moves before the mean: {best[first].mean():.4g} -> {best[last].mean():.4g}"
    if length[last].mean() > 1.3 * length[first].mean() and up < spread:
        yield f"episodes last longer: {length[first].mean():.4g} -> {length[last].mean():.4g} steps"
    entropy, explained = log.col("EntropyShare"), log.col("ExplainedVariance")
    if COLLAPSED < log.mean("EntropyShare") < entropy[known[0]] - 0.05 and up >= 0:
        yield f"the entropy declines slowly: {entropy[known[0]]:.2f} -> {log.mean('EntropyShare'):.2f} of its maximum"
    if (
        up >= 0
        and log.mean("ExplainedVariance") > 0.2
        and log.mean("ExplainedVariance") > np.nanmean(explained[:FEWEST]) + 0.1
    ):
        yield f"the critic begins to explain: explained variance {log.mean('ExplainedVariance'):.2f}"
