"""Rules of the diagnosis about the critic: its values, its targets, and the network that they come from.

Sources and the way to the limits are those of `rlsuite.analysis.thresholds`.
"""

import math
from collections.abc import Sequence

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, Finding, Log, Rule
from rlsuite.analysis.policy_rules import STILL
from rlsuite.analysis.thresholds import CREEPS

ALIKE = 0.1
"""standard deviation of the values in that of the advantages, of a critic that tells no states apart"""
BEYOND = 0.5
"""of the range of discounted returns that the rewards seen allow: how far outside of it targets are"""
TWINS = 10.0
"""times one critic's loss is the other's"""
ALL_EXPLAINED = 0.99
"""explained variance of a critic that has nothing left to learn"""


def critic_stands_still(log: Log) -> Finding | None:
    """The critic's parameters do not change, though there is something left to learn."""
    if log.mean("ExplainedVariance") > ALL_EXPLAINED:
        return None
    for name in ("UpdateRatioV", "UpdateRatioQ"):
        since = log.below(name, STILL)
        if since is not None:
            text = f"the critic's parameters hardly change: by {log.mean(name):.1g} of their norm in an epoch"
            causes = ("critic not trained", "low learning rate", "no reward")
            if log.mean(name) > 0:
                causes = ("low learning rate", "critic not trained", "no reward")
            first = "does its optimiser step, and hold its parameters? then a higher learning rate"
            return Finding("the critic stands still", text, (name,), since, causes, 1.0, first, "Jones")
    return None


def critic_settles_low(log: Log) -> Finding | None:
    """The critic has come to rest far below what comes."""
    value, ret = log.known("ValueMean"), log.mean("ReturnMean")
    if not log.on_policy or not log.spent(0.5) or len(value) < 3 * FEWEST or abs(ret) < 0.05:
        return None
    late, half = log.mean("ValueMean"), float(value[len(value) // 2 - 2 : len(value) // 2 + 2].mean())
    if not 0 < late / ret < 0.4 or abs(late / half - 1) > 0.2:
        return None
    text = f"values have come to rest at {late:.3g}, {half:.3g} halfway, where returns are {ret:.3g}"
    causes, name = ("targets", "discount", "bootstrap", "critic not trained"), "the critic settles too low"
    since = float(log.steps[len(log) // 2])
    return Finding(name, text, ("ValueMean", "ReturnMean"), since, causes, 0.7, "what is the critic's target?", "ours")


def critic_explains_nothing(log: Log) -> Finding | None:
    """The critic is no better than a constant, late in the run."""
    if not log.spent(0.5) or log.learned:
        return None
    value, ret = log.mean("ValueMean"), log.mean("ReturnMean")
    if 0 < value * math.copysign(1, ret) < 0.6 * abs(ret):
        return None  # it is on its way
    # A critic that fits its targets explains the returns too, once they are due; exploration alone lowers that.
    fits, alike = log.mean("ExplainedVarianceTD") > 0.9, log.mean("ValueStd") < ALIKE * log.mean("AdvStd")
    since = log.below("ExplainedVariance", 0.05 if fits or alike else -0.2 if log.on_policy else -0.5)
    if since is None or log.mean("StdEpRet") < 1e-9:  # where episodes are equal, nothing needs to be explained
        return None
    text = f"the critic explains nothing of the returns: explained variance {log.mean('ExplainedVariance'):.2f}"
    causes = ["targets", "critic not trained", "bootstrap", "observation scale", "reward scale", "empty observation"]
    if fits:
        text += f", though {log.mean('ExplainedVarianceTD'):.2f} of its own targets"
        causes = ["credit", "targets", "bootstrap", "target network"]
    elif log.on_policy and log.mean("ExplainedVariance") < -1:
        causes = ["targets", "credit", "bootstrap", "high learning rate"]
    elif alike:
        text += ", and says nearly the same of all states"
        causes = ["empty observation", "observation scale", "targets", "low learning rate", "credit"]
    first, name = (
        "a higher learning rate of the critic; --normalize-obs; then its targets",
        "the critic explains nothing",
    )
    return Finding(name, text, ("ExplainedVariance",), since, tuple(causes), 0.6, first, "Schulman")


def beyond_the_possible(log: Log) -> Finding | None:
    """The critic promises more than the rewards could ever add up to."""
    gamma = log.setting("gamma")
    if log.config.get("scale_reward") or not 0 <= gamma < 1:
        return None
    high = np.fmax.accumulate(np.nan_to_num(log.col("RewMax"), nan=0.0)).clip(min=0)
    low = np.fmin.accumulate(np.nan_to_num(log.col("RewMin"), nan=0.0)).clip(max=0)
    most, least = log.col("TargetMax"), log.col("TargetMin")
    unit = 1 / (1 - gamma)
    # SAC's targets hold the entropy of what follows, about a nat for each step.
    span = (high - low + 2 * np.nan_to_num(log.col("Alpha"))) * unit
    over = (most > high * unit + BEYOND * span) | (least < low * unit - BEYOND * span)
    since = log.stands(over, np.isfinite(most) & (high > low))
    if since is None:
        return None
    text = f"the critic's targets reach from {log.mean('TargetMin'):.4g} to {log.mean('TargetMax'):.4g}; "
    text += f"the rewards allow {low[-1] * unit:.4g} to {high[-1] * unit:.4g}"
    causes = ("bootstrap", "targets", "high learning rate", "target network", "sign")
    first = "are terminal states cut off in the targets? then a slower target network, a lower q_lr"
    name = "values beyond what is possible"
    return Finding(name, text, ("TargetMax", "TargetMin"), since, causes, 0.9, first, "ours")


def no_future(log: Log) -> Finding | None:
    """The critic's targets are no larger than one reward, where every step brings one."""
    if log.config.get("scale_reward"):  # the targets are scaled, what is logged of the rewards is not
        return None
    reach = np.fmax(np.abs(log.col("TargetMin")), np.abs(log.col("TargetMax")))
    size = np.fmax.accumulate(log.reward_size)
    dense = np.abs(log.col("RewMean")) > 0.3 * size
    since = log.stands((reach > 0.2 * size) & (reach < 1.5 * size) & dense, np.isfinite(reach))
    creeps = log.mean("UpdateRatioQ") < CREEPS  # it has no values yet
    if since is None or creeps or not log.spent(0.2) or not log.mean("EpLen") > 5:
        return None
    text = f"the critic's targets are within ±{log.late(reach).mean():.4g}, and one reward is up to {size[-1]:.4g}: "
    text += "no future is in them"
    causes = ("bootstrap", "discount", "targets")
    if log.late(log.col("TargetGap")).mean() > 0.5 * abs(log.mean("ValueMean")):  # as of a target that stays near 0
        causes = ("target network", "bootstrap", "discount")
    if log.setting("gamma") < 0.7:
        causes = ("discount", "bootstrap", "target network")
    first = "does the target network move? what is multiplied by gamma?"
    return Finding("no future in the targets", text, ("TargetMin", "TargetMax"), since, causes, 0.8, first, "ours")


def targets_frozen(log: Log) -> Finding | None:
    """The network runs ever further from its target, or is its target."""
    gap, values = log.col("TargetGap"), log.col("ValueStd")
    known, late = np.isfinite(gap), log.late(gap)
    if known.sum() < 2 * FEWEST:
        return None
    if late.max() == 0:
        text, first = "the network and its target are equal", "is the target a copy?"
        name = "the target network does not lag"
        return Finding(name, text, ("TargetGap",), 0.0, ("target network",), 0.6, first, "Rahtz")
    td, scale = log.late(log.col("TDError")).mean(), max(float(np.nanmedian(log.late(values))), 1e-9)
    far = gap > np.fmax(2 * values, 0.3 * np.abs(log.col("ValueMean")))
    since = log.stands(far, known)
    if since is None or td > 2 * late.mean() or scale < 1e-6:
        return None
    text = f"network and target network differ by {late.mean():.4g}, Q itself only by {scale:.4g} from state to state"
    causes = ("target network", "high learning rate", "bootstrap")
    first, name = "does the target network move?", "the target network stays behind"
    return Finding(name, text, ("TargetGap", "ValueStd"), since, causes, 0.7, first, "Rahtz")


def value_bias(log: Log) -> Finding | None:
    """The critic promises something else than comes."""
    bias, size = log.col("ValueBias"), np.abs(log.col("ReturnMean"))
    size = np.fmax(size, 0.3 * np.fmax.accumulate(size))  # returns may cross 0
    since = log.stands(np.abs(bias) > 3 * size, np.isfinite(bias))
    if since is None or abs(log.mean("ReturnMean")) < 0.05:
        return None
    text = f"the critic is off by {log.mean('ValueBias'):.4g} where returns are {log.mean('ReturnMean'):.4g}"
    causes = ("bootstrap", "high learning rate", "targets", "target network", "sign")
    first = "are terminal states cut off in the targets? then a lower learning rate, a slower target"
    name = "over-estimation" if log.mean("ValueBias") > 0 else "under-estimation"
    return Finding(name, text, ("ValueBias", "ReturnMean"), since, causes, 0.7, first, "Schulman")


def critic_knows_before(log: Log) -> Finding | None:
    """A critic that explains everything in its first epoch has been told."""
    explained = log.col("ExplainedVariance")
    if not log.on_policy or len(log) < 2 or not (explained[:2] > 0.98).all():
        return None
    text = f"the critic explains {explained[0]:.3f} of the returns of the first epoch"
    causes = ("targets", "credit")
    first = "is the return, or the time left, in the observation?"
    return Finding("explained from the start", text, ("ExplainedVariance",), 0.0, causes, 0.6, first, "Schulman")


def critics_differ(log: Log) -> Finding | None:
    """Two critics of the same targets, of which one does not learn them."""
    one, other = log.col("LossQ"), log.col("LossQ2")
    times = np.fmax(one / other, other / one)
    since = log.stands(times > TWINS, np.isfinite(times))
    if since is None:
        return None
    text = f"the loss of one critic is {log.late(times).mean():.3g} times the other's, of the same targets"
    causes = ("critic not trained", "targets")
    first = "do both losses reach both critics' parameters?"
    return Finding("the critics differ", text, ("LossQ", "LossQ2"), since, causes, 1.0, first, "ours")


def values_of_the_other_sign(log: Log) -> Finding | None:
    """Values are positive where no reward is, or negative where none is."""
    value, ret = log.col("ValueMean"), log.col("ReturnMean")
    one_way = np.nanmax(log.known("RewMax"), initial=0) <= 0 or np.nanmin(log.known("RewMin"), initial=0) >= 0
    since = log.stands(value * np.sign(ret) < -2 * np.fmax.accumulate(log.reward_size), np.isfinite(value * ret))
    if since is None or not one_way or log.has("Alpha"):
        return None
    text = f"values are {log.mean('ValueMean'):.4g} where returns are {log.mean('ReturnMean'):.4g}, and all rewards "
    text += "have the returns' sign"
    causes = ("sign", "targets", "bootstrap")
    first = "the sign of rewards in the targets"
    return Finding("values of the other sign", text, ("ValueMean", "ReturnMean"), since, causes, 0.9, first, "ours")


def critic_does_not_fit(log: Log) -> Finding | None:
    """The critic does not even fit its own targets."""
    since = log.below("ExplainedVarianceTD", 0.7 if log.hopeless else 0.25)  # worlds of luck are fitted badly, too
    if since is None or not log.spent(0.5):
        return None
    text = f"the critic does not fit even its own targets: explained variance {log.mean('ExplainedVarianceTD'):.2g}"
    causes: tuple[str, ...] = ("credit", "high learning rate", "critic not trained", "sign", "targets")
    if log.mean("ValueStd") < 0.1 * abs(log.mean("ValueMean")):
        text += ", and it says nearly the same of all states"
        causes = ("targets", "empty observation", "credit", "critic not trained")
    if log.mean("DeadUnits") > 0.5:
        causes = ("high learning rate", "observation scale", "targets")
    first = "do Q(s, a), rewards and next states belong to the same transitions? then the learning rate"
    name = "the critic does not fit its targets"
    return Finding(name, text, ("ExplainedVarianceTD", "TDError"), since, causes, 0.7, first, "Schulman")


CRITIC_RULES: Sequence[Rule] = (
    critic_stands_still, critic_settles_low, critic_explains_nothing, beyond_the_possible, no_future, targets_frozen,
    value_bias, critic_knows_before, critics_differ, values_of_the_other_sign, critic_does_not_fit,
)  # fmt: skip
