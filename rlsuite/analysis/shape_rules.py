"""Rules of the diagnosis about the shape of a curve: evidence that goes with several causes, and so names none."""

import math
from collections.abc import Sequence

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, Finding, Log, Rule
from rlsuite.analysis.policy_rules import COLLAPSED
from rlsuite.analysis.thresholds import LONG_BELOW, SLACK

MILD = 0.3
"""severity: sound runs have such curves, too"""


def entropy_constant(log: Log) -> Finding | None:
    """The entropy has stopped below its maximum: a subset of the actions is taken at random."""
    share = log.late(log.col("EntropyShare"))
    if log.has("Epsilon") or not log.spent(0.5) or log.learned or len(share) < FEWEST:
        return None
    since = log.stands(np.abs(log.col("EntropyShare") - share.mean()) < 0.02)
    if since is None or not COLLAPSED < share.mean() < 0.9:
        return None
    text = f"the entropy stays at {share.mean():.2f} of its maximum: some actions are taken at random, others never"
    first = "a higher ent_coef; how often is each action taken?"
    return Finding("entropy constant", text, ("EntropyShare",), since, (), MILD, first, "Schulman")


def entropy_swings(log: Log) -> Finding | None:
    """The policy is certain, then random, then certain again."""
    share = log.late(log.col("EntropyShare"))
    if log.has("Epsilon") or log.learned or len(share) < 2 * FEWEST:
        return None
    turns = int((np.diff(np.sign(share - np.median(share))) != 0).sum())
    if np.ptp(share) < 0.4 or turns < len(share) // 3:
        return None
    text = f"the entropy swings between {share.min():.2f} and {share.max():.2f} of its maximum"
    return Finding("entropy swings", text, ("EntropyShare",), 0.0, (), MILD, "a lower pi_lr", "Schulman")


def entropy_falls_fast(log: Log) -> Finding | None:
    """At this pace the policy is certain long before the budget is spent, and it is not getting better."""
    share, steps = log.col("EntropyShare"), log.steps
    known = np.flatnonzero(np.isfinite(share))
    if log.has("Epsilon") or log.learned or len(known) < FEWEST or log.share > 0.5:
        return None
    slope, at = np.polyfit(steps[known], share[known], 1)
    end = (COLLAPSED - at) / slope if slope < 0 else math.inf
    if not end < 0.5 * log.setting("total_steps") or log.mean("EntropyShare") < COLLAPSED:
        return None
    text = f"at this pace the entropy reaches its floor after {end:,.0f} of {log.setting('total_steps'):,.0f} env steps"
    first = "a lower pi_lr, or ent_coef 0.01"
    return Finding("entropy falls fast", text, ("EntropyShare",), 0.0, (), MILD, first, "Schulman")


def kl_spikes(log: Log) -> Finding | None:
    """Single epochs change the policy fifty times as much as others."""
    kl = log.late(log.col("KL"))
    if not log.on_policy or log.learned or len(kl) < FEWEST:
        return None
    if not kl.max() > max(1.0, 50 * np.median(kl)):
        return None
    since = float(log.steps[np.flatnonzero(log.col("KL") >= kl.max())[0]])
    text = f"the KL of an epoch spikes to {kl.max():.2g} nats where its median is {np.median(kl):.2g}"
    return Finding("KL spikes", text, ("KL",), since, (), MILD, "a lower pi_lr; target_kl", "Schulman")


def explained_no_more(log: Log) -> Finding | None:
    """The critic has explained the returns, and no longer does."""
    explained = log.col("ExplainedVariance")
    known = explained[np.isfinite(explained)]
    if len(known) < 3 * FEWEST or log.learned:
        return None
    means = np.convolve(known, np.full(FEWEST, 1 / FEWEST), "valid")
    best, since = means.max(), float(log.steps[np.isfinite(explained)][means.argmax() + FEWEST - 1])
    if best < 0.6 or log.mean("ExplainedVariance") > 0.1:
        return None
    text = f"explained variance has fallen from {best:.2f} to {log.mean('ExplainedVariance'):.2f}"
    first = "a lower learning rate of the critic"
    return Finding("the critic explains no more", text, ("ExplainedVariance",), since, (), MILD, first, "Schulman")


def learned_and_lost(log: Log) -> Finding | None:
    """What had been learned is lost."""
    ret = log.ret[np.isfinite(log.ret)]
    (chance, spread), late = log.chance, log.late(log.ret)
    if len(ret) < 3 * FEWEST:
        return None
    means = np.convolve(ret, np.full(FEWEST, 1 / FEWEST), "valid")
    best = means.max()
    if not best > chance + 3 * max(spread, 1e-9) or late.mean() > chance + 0.3 * (best - chance):
        return None
    text = f"it returned {best:.4g}, and returns {late.mean():.4g}; random play {chance:.4g}"
    since = float(log.steps[np.isfinite(log.ret)][means.argmax() + FEWEST - 1])
    first = "a lower learning rate; lr_schedule linear"
    return Finding("learned and lost", text, ("AverageEpRet",), since, (), MILD, first, "Rahtz")


def below_the_reference(log: Log) -> Finding | None:
    """It returns less than the runs of docs/results.md with the same settings, and more than chance explains.

    The reference's band holds the mean of its n runs, mean ± w. One more run lies in mean ± √(n + 1) w in 95% of cases.
    """
    reference, ret = log.reference, log.col("AverageEpRet")
    if reference is None:
        return None
    steps, mean = reference.steps, reference.mean
    least = mean - math.sqrt(reference.runs + 1) * (mean - reference.low) - SLACK * (mean.max() - mean[0])
    limit = np.interp(log.steps, steps, least, left=math.nan, right=math.nan)  # NaN, too, of too few seeds
    known = np.isfinite(ret) & np.isfinite(limit)
    since = log.stands(ret < limit, known)
    if since is None or log.steps[known][-1] - since < LONG_BELOW * log.setting("total_steps"):
        return None
    last, at = np.flatnonzero(known)[-1], float(log.steps[known][-1])
    text = f"it returns {ret[last]:.4g} at env step {at:,.0f}, where {reference.runs} runs with these settings return "
    text += f"{np.interp(at, steps, mean):.4g} in the mean, and 97.5% of such runs {limit[last]:.4g} or more"
    first = "what differs from the code of docs/results.md: python -m rlsuite.plot RUN --reference"
    return Finding("below the reference", text, ("AverageEpRet",), since, (), MILD, first, "ours")


SHAPE_RULES: Sequence[Rule] = (
    entropy_constant,
    entropy_swings,
    entropy_falls_fast,
    kl_spikes,
    explained_no_more,
    learned_and_lost,
    below_the_reference,
)
