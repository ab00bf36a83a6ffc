"""Rules of the diagnosis that look at several columns, or at how one moves: each a function of a log.

A rule speaks where its columns exist, so that none asks which algorithm is running. Sources and the way to the limits
are those of `rlsuite.analysis.thresholds`; besides,

    Pardo:       Pardo et al. 2018, "Time Limits in Reinforcement Learning"
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, Finding, Log, Rule
from rlsuite.analysis.thresholds import CREEPS

STILL = 1e-6
"""‖change‖ / ‖parameters‖ of an epoch below which a network stands still; training moves it by 1e-3 and more"""
SMALL_KL, WILD_KL = 1e-5, 10.0
"""nats per epoch; 0.01 is a small step"""
FOLLOWS, OPPOSES = 1.5, -3.0
"""standard errors of the correlation of advantages with what the update did, from 0"""
EXPLODED = 1e6
"""times that a critic's loss has grown if it is climbed"""
LEAP = 30.0
"""‖change‖ / ‖parameters‖ of a critic's epoch that no sound learning rate makes"""
CLIMBS_DOWN = 0.65
"""share of the epochs so far in which the policy's actions lose value; in sound runs it is up to a half"""
LOOSE = 0.15
"""correlation of advantages with returns less values; with lam from 0.9 to 1 it is 0.2 to 1"""
COLLAPSED, UNIFORM, UNFALLEN = 0.05, 0.98, 0.95
"""entropy as a share of its maximum; of what it began with"""
LARGE_INPUT, SMALL_INPUT, FAR_INPUT, UNLIKE_INPUTS = 30.0, 0.02, 30.0, 1000.0
"""deviation of a feature, its distance from 0 in deviations, and ratio of deviations, that networks see badly"""
LARGE_RETURN, SMALL_RETURN, SMALL_REWARD = 2000.0, 0.1, 0.01
"""|discounted return| far from order 1 to 100; the second with |rewards| up to the third"""
BEYOND = 0.5
"""of the range of discounted returns that the rewards seen allow: how far outside of it targets are"""
FORESEEN = 0.45
"""explained variance of a critic that knows what comes"""
ALIKE = 0.1
"""standard deviation of the values in that of the advantages, of a critic that tells no states apart"""
UNCLIPPED = 0.1
"""nats per epoch that take no ratio beyond the clip"""
NO_BETTER = 0.2
"""standard deviations above random play that are none, late in a run"""
WALKED = 0.2
"""nats of all epochs together that make another policy"""
TWINS, DEAR_ENTROPY = 10.0, 20.0
"""times one critic's loss is the other's, and a nat of entropy the largest reward"""
LUMP = 0.7
"""share of the mean square of rewards that one step of each episode would make up"""
FEW_SAMPLES, FEW_TOGETHER, SMALL_MEMORY = 16, 8, 500
"""samples behind an update on-policy; of one gradient step, or a generation; transitions of a replay buffer"""
RARE_UPDATES = 1e-3, 0.02
"""gradient steps per env step, on average: on rollouts, and of a replay buffer"""


def no_number(log: Log) -> Finding | None:
    """A NaN or infinity has ended the run."""
    what = log.error.partition(";")[0]  # without its advice
    if not re.search(r"\b(nan|inf)\b|not finite", what, re.IGNORECASE):
        return None
    where = float(log.steps[-1]) if len(log) else 0.0
    causes: tuple[str, ...] = ("high learning rate", "reward scale", "observation scale", "bootstrap", "target network")
    if re.search("reward|observation", what):
        causes = ("reward scale", "observation scale", "high learning rate")
    text = f"it broke off: {what}"
    first = "a learning rate ten times lower"
    return Finding("no number", text, (), where, causes, 1.0, first, "Jones")


def policy_stands_still(log: Log) -> Finding | None:
    """The policy's parameters do not change."""
    since = log.below("UpdateRatioPi", STILL)
    if since is None or not log.steps_taken:
        return None
    text = f"the policy's parameters hardly change: by {log.mean('UpdateRatioPi'):.1g} of their norm in an epoch"
    causes = ("policy not trained", "low learning rate", "no reward")
    if log.mean("GradNormPi") > 1e-6:
        causes = ("low learning rate", "policy not trained", "no reward")
    if log.mean("UpdateRatioPi") == 0:
        causes = ("policy not trained", "no reward", "low learning rate")
    first = "does its optimiser step, and hold its parameters? then a higher pi_lr"
    return Finding("the policy stands still", text, ("UpdateRatioPi", "GradNormPi"), since, causes, 1.0, first, "Jones")


def policy_creeps(log: Log) -> Finding | None:
    """The policy changes too little within the budget to become another one."""
    since = log.below("KL", SMALL_KL)
    if since is None or not log.mean("UpdateRatioPi") >= STILL or not log.steps_taken or log.learned:
        return None
    text = f"KL {log.mean('KL'):.1g} nats in an epoch, below {SMALL_KL:g}"
    causes = ("low learning rate", "no reward", "empty observation", "policy not trained")
    return Finding("the policy creeps", text, ("KL",), since, causes, 0.8, "a pi_lr ten times higher", "Schulman")


def critic_stands_still(log: Log) -> Finding | None:
    """The critic's parameters do not change."""
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


def update_against_advantages(log: Log) -> Finding | None:
    """The update makes what was better than expected less probable."""
    mean, errors = _followed(log)
    if not errors <= OPPOSES:
        return None
    text = f"the update lowers the probability of actions with a high advantage: correlation {mean:.2f}, "
    text += f"{errors:.1f} standard errors from 0"
    causes = ("sign", "credit", "old policy")
    first, name = "the sign of the policy's loss, and of the ratio", "the update goes against the advantages"
    return Finding(name, text, ("AdvLogpCorr",), 0.0, causes, 1.0, first, "ours")


def update_deaf_to_advantages(log: Log) -> Finding | None:
    """The update moves the policy, and not along the advantages."""
    mean, errors = _followed(log)
    if not OPPOSES < errors < FOLLOWS or log.learned or not log.mean("KL") > 1e-4:
        return None
    text = f"the policy moves (KL {log.mean('KL'):.2g}), but not along its advantages: correlation {mean:.3f}, "
    text += f"{errors:.1f} standard errors from 0"
    causes = ("credit", "old policy", "sign", "little data")
    first = "do advantages, log-probabilities and actions of a minibatch belong to the same samples?"
    name = "the update does not follow the advantages"
    return Finding(name, text, ("AdvLogpCorr", "KL"), 0.0, causes, 0.9, first, "ours")


def _followed(log: Log) -> tuple[float, float]:
    """How far updates have followed their advantages in the run so far: a correlation, and its standard errors."""
    values = log.known("AdvLogpCorr")
    if len(values) < 2 * FEWEST:
        return math.nan, math.nan
    return float(values.mean()), float(values.mean() / max(values.std(ddof=1) / math.sqrt(len(values)), 1e-9))


def advantages_against_returns(log: Log) -> Finding | None:
    """The advantages are not those of the returns that were observed."""
    since = log.below("AdvReturnCorr", LOOSE)
    if since is None or log.setting("lam") < 0.9 or log.setting("rollout_len") < 16:  # they look far ahead then
        return None
    mean = log.mean("AdvReturnCorr")
    text = f"the advantages hardly agree with the returns less the values: correlation {mean:.2f}, below {LOOSE:g}"
    causes = ("bootstrap", "credit", "sign") if mean < -LOOSE else ("credit", "bootstrap", "targets", "discount")
    first = "the ends of episodes, the order of time and environments, and the discount in the advantages"
    return Finding(
        "the advantages are not those of the returns", text, ("AdvReturnCorr",), since, causes, 0.8, first, "ours"
    )


def ratio_against_kl(log: Log) -> Finding | None:
    """PPO's ratios are not those of the policies before and after.

    Of ln r with a mean square of about 2 KL, at most a share of 2 KL / ε² is beyond ε (Chebyshev's inequality).
    """
    clipped, kl = log.col("ClipFrac"), log.col("KL")
    since = log.stands((clipped > 0.1) & (clipped * log.setting("clip_ratio") ** 2 / 2 > kl), np.isfinite(clipped * kl))
    text = f"{100 * log.mean('ClipFrac'):.0f}% of the ratios are clipped, more than a KL of {log.mean('KL'):.2g} allows"
    if since is None and log.setting("train_iters") > 1 and not log.known("ClipFrac").any():
        since = log.stands(kl > UNCLIPPED, np.isfinite(clipped * kl))
        text = f"no ratio has ever been clipped, at a KL of {log.mean('KL'):.2g} nats in an epoch"
    if since is None:
        return None
    causes = ("old policy", "policy not trained", "credit")
    first, name = (
        "are both log-probabilities those of the stored actions, and is the old one kept?",
        "ratios against the KL",
    )
    return Finding(name, text, ("ClipFrac", "KL"), since, causes, 0.8, first, "ours")


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


def actor_climbs_down(log: Log) -> Finding | None:
    """The policy's actions are worth less to the critic after the epoch than before."""
    gain = log.col("ActorGain")
    gain = gain[np.isfinite(gain) & (gain != 0)]
    if len(gain) < FEWEST or gain.mean() > 0 or (gain < 0).mean() < CLIMBS_DOWN:
        return None
    text = f"the policy's actions lose value by its own critic, in {100 * (gain < 0).mean():.0f}% of the epochs"
    causes = ("sign", "high learning rate", "policy not trained")
    first = "the sign of the policy's loss; then a lower pi_lr"
    return Finding("the policy climbs down", text, ("ActorGain",), 0.0, causes, 0.9, first, "ours")


def entropy_collapse(log: Log) -> Finding | None:
    """The policy is certain before it is good."""
    share, since = log.col("EntropyShare"), log.below("EntropyShare", COLLAPSED)
    if since is None or log.has("Epsilon") or log.learned:
        return None
    early = log.config.get("total_steps") and since < 0.5 * log.setting("total_steps")
    text = (
        f"the policy has become certain ({100 * log.mean('EntropyShare'):.0f}% of the largest entropy) and is not good"
    )
    causes = ["little exploration", "high learning rate", "sign", "reward scale"]
    if np.nanmax(share[:2], initial=0) < 0.5 or not early:
        causes = ["high learning rate", "little exploration", "sign", "reward scale"]
    first = "a lower pi_lr, or ent_coef 0.01"
    return Finding("entropy collapse", text, ("EntropyShare",), since, tuple(causes), 0.7, first, "Schulman")


def entropy_stays(log: Log) -> Finding | None:
    """The policy has found nothing to prefer."""
    if log.has("Epsilon") or not log.spent(0.5):
        return None
    since, columns = log.above("EntropyShare", UNIFORM), ("EntropyShare",)
    said = f"{100 * log.mean('EntropyShare'):.1f}% of the largest entropy"
    causes = ["low learning rate", "no reward", "idle action", "credit", "empty observation", "endless exploration"]
    sigma, (begun, last) = log.known("LogStd"), log.course("Entropy")
    if log.has("Alpha") and last > UNFALLEN * begun > 0:  # it begins near the largest entropy, and is to leave it
        since, columns, said = 0.0, ("Entropy",), f"{last:.3g} nats, {begun:.3g} at first"
        causes = ["policy not trained", "critic not trained", "endless exploration", "low learning rate", "late reward"]
        causes += ["little exploration"]
    elif log.on_policy and len(sigma) and np.ptp(sigma) < 0.02 and not log.learned:
        since, columns, said = 0.0, ("LogStd",), f"ln sigma has stayed at {sigma[0]:.2f}"
        causes = ["low learning rate", "policy not trained", "no reward", "credit"]
    if since is None:
        return None
    if log.setting("ent_coef") > 0.05:
        causes = ["endless exploration", *causes[:-1]]
    text, first = f"the policy is as random as at its start: {said}", "is the reward ever seen? then a higher pi_lr"
    return Finding("entropy does not fall", text, columns, since, tuple(causes), 0.6, first, "Schulman")


def critic_explains_nothing(log: Log) -> Finding | None:
    """The critic is no better than a constant, late in the run."""
    if not log.spent(0.5) or log.learned:
        return None
    value, ret = log.mean("ValueMean"), log.mean("ReturnMean")
    if 0 < value * math.copysign(1, ret) < 0.6 * abs(ret):
        return None  # it is on its way
    # A critic that fits its targets explains the returns too, once they are due; exploration alone lowers that.
    fits, alike = log.mean("ExplainedVarianceTD") > 0.9, log.mean("ValueStd") < ALIKE * log.mean("AdvStd")
    limit = -0.5
    if fits or alike:
        limit = 0.05
    elif log.on_policy:
        limit = -0.2
    since = log.below("ExplainedVariance", limit)
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
    first = "a higher vf_lr; --normalize-obs; then the critic's targets"
    return Finding(
        "the critic explains nothing", text, ("ExplainedVariance",), since, tuple(causes), 0.6, first, "Schulman"
    )


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
    return Finding(
        "values beyond what is possible", text, ("TargetMax", "TargetMin"), since, causes, 0.9, first, "ours"
    )


def no_future(log: Log) -> Finding | None:
    """The critic's targets are no larger than one reward, where every step brings one."""
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
    known = np.isfinite(gap)
    late = log.late(gap)
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
    first = "does the target network move?"
    return Finding(
        "the target network stays behind", text, ("TargetGap", "ValueStd"), since, causes, 0.7, first, "Rahtz"
    )


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


def inputs_unscaled(log: Log) -> Finding | None:
    """What the networks see is far from order 1, far from 0, or unlike."""
    if log.config.get("normalize_obs"):
        return None
    largest, least = log.col("InputStdMax"), log.col("InputStdMin")
    largest, least = (np.where(values > 1e-6, values, math.nan) for values in (largest, least))
    offset, ratio = log.col("InputAbsMax") / largest, largest / np.fmax.accumulate(least)
    found = [
        (log.stands(values > limit, np.isfinite(values)), what.format(abs(log.late(values)[-1])))
        for values, limit, what in (
            (largest, LARGE_INPUT, "deviations are up to {:.4g}"),
            (-largest, -SMALL_INPUT, "no deviation is above {:.2g}"),
            (offset, FAR_INPUT, "one is {:.0f} deviations from 0"),
            (ratio, UNLIKE_INPUTS, "deviations differ {:.4g} times"),
        )
        if np.isfinite(values).any()
    ]
    said = [(since, text) for since, text in found if since is not None]
    if not said:
        return None
    text = f"of the components of the networks' input, {', '.join(text for _, text in said)}"
    columns, name = ("InputStdMax", "InputStdMin", "InputAbsMax"), "inputs are not of order 1"
    first = min(since for since, _ in said)
    return Finding(name, text, columns, first, ("observation scale",), 0.8, "--normalize-obs", "Schulman")


def rewards_unscaled(log: Log) -> Finding | None:
    """Returns are far from order 1 to 100."""
    horizon = np.fmin(log.col("EpLen"), 1 / max(1 - log.setting("gamma"), 1e-9))
    given = np.abs(log.col("RewMean")) * horizon  # of SAC the returns hold the entropy, so these are asked
    values = given if log.has("Alpha") else np.abs(log.col("ReturnMean"))
    large, small = log.stands(values > LARGE_RETURN, np.isfinite(values)), None
    if log.mean("RewStd") > 0:
        small = log.stands((given < SMALL_RETURN) & (log.reward_size < SMALL_REWARD), np.isfinite(given))
    since = large if large is not None else small
    if since is None:
        return None
    size = log.late(values if large is not None else given).mean()
    text = f"discounted returns are about {size:.3g}; networks learn numbers of order 1 to 100"
    causes = ("reward scale",)
    first = "scale rewards in the environment, or --scale-reward"
    return Finding("returns are not of order 1", text, ("ReturnMean", "RewMean"), since, causes, 0.8, first, "Schulman")


def part_never_varies(log: Log) -> Finding | None:
    """A component of the observation has been the same in every state so far."""
    least = log.known("InputStdMin")
    one_hot = log.known("InputAbsMax").max(initial=0) <= 1 + 1e-6  # most states are never seen
    if (
        len(least) < FEWEST
        or least.max() > 1e-6
        or one_hot
        or not log.spent(0.2)
        or log.above("InputStdMax", 1e-6) is None
    ):
        return None
    text = f"a component of the observation has never varied, while others deviate by {log.mean('InputStdMax'):.2g}"
    first, name = "which one is it, and what should it say?", "a part of the observation never varies"
    return Finding(name, text, ("InputStdMin",), 0.0, ("empty observation",), 0.6, first, "Rahtz")


def no_reward(log: Log) -> Finding | None:
    """Every reward is the same 0."""
    seen = log.reward_size
    if not np.isfinite(seen).any() or np.nanmax(seen) > 0 or not log.spent(0.1):
        return None
    causes = ("no reward", "late reward", "little exploration")
    text = "all rewards so far are 0"
    first = "reward a part of the way, start nearer to it, or explore more"
    return Finding("the reward is never seen", text, ("RewMax",), 0.0, causes, 1.0, first, "Schulman")


def returns_nothing(log: Log) -> Finding | None:
    """The critic sees no reward though the environment gives some: what is learned from is not what was played."""
    values, size = log.col("ReturnMean"), log.reward_size
    adv = log.col("AdvStd")
    since = log.stands((np.abs(values) < 1e-3) & (size > 0.1) & (adv < 0.05), np.isfinite(values))
    if since is None:
        return None
    text = f"the returns that are learned from are {log.mean('ReturnMean'):.2g}, rewards up to {log.mean('RewMax'):.4g}"
    causes = ("no reward", "low learning rate")
    first = "what is stored as the reward?"
    return Finding(
        "what is learned from holds no reward", text, ("ReturnMean", "RewMax"), since, causes, 0.8, first, "ours"
    )


def late_reward(log: Log) -> Finding | None:
    """One step of an episode brings its reward, long after what earned it."""
    size, length = log.reward_size, log.col("EpLen")
    extreme = np.fmax(np.abs(log.col("MaxEpRet")), np.abs(log.col("MinEpRet")))
    whole = (size > 0) & (extreme > 0) & (np.abs(size - extreme) < 0.05 * size)
    # Of the rewards' mean square: 1 where a single step of each episode brings all. A fall may cost as much.
    lump = size**2 / (length * (log.col("RewStd") ** 2 + log.col("RewMean") ** 2)) > LUMP
    late = lump & (whole | (log.col("TruncatedShare") > 0.9) | (log.col("RewTerminal") > 0.3 * size))
    since = log.stands(late & (length > 10), np.isfinite(extreme) & (extreme > 0))
    if since is None or (log.learned and log.stands(whole & lump) is None):
        return None
    text = f"one step of an episode brings {log.late(size).mean():.4g}, nearly all that its rewards differ by, and "
    text += f"episodes take {log.mean('EpLen'):.0f} steps"
    first = "reward a part of the way; a higher lam or gamma"
    return Finding(
        "the reward comes at the end",
        text,
        ("RewMax", "RewMin", "RewStd"),
        since,
        ("late reward",),
        0.9,
        first,
        "Schulman",
    )


def short_horizon(log: Log) -> Finding | None:
    """The discount hides what comes after a few steps."""
    gamma, length = log.setting("gamma"), log.mean("EpLen")
    if not 0 <= gamma < 0.9 or not length > 4 / (1 - gamma):
        return None
    text = f"gamma {gamma:g} looks {1 / (1 - gamma):.1f} steps ahead, and episodes take {length:.0f}"
    return Finding("a short horizon", text, ("EpLen",), 0.0, ("discount",), 0.8, "--gamma 0.99", "Schulman")


def no_epsilon(log: Log) -> Finding | None:
    """DQN has never acted at random."""
    epsilon = log.col("Epsilon")
    if not np.isfinite(epsilon).any() or np.nanmax(epsilon) >= 0.01:
        return None
    text = f"epsilon has never been above {np.nanmax(epsilon):g}"
    causes = ("little exploration",)
    return Finding("no random actions", text, ("Epsilon",), 0.0, causes, 0.8, "--epsilon-start 1", "RLExplorer")


def noise_off(log: Log) -> Finding | None:
    """A deterministic policy that never tries anything else."""
    noise = log.col("ActNoise")
    if not np.isfinite(noise).any() or np.nanmax(noise) >= 0.005 or log.setting("start_steps") > 0:
        return None
    causes = ("little exploration",)
    text = "the policy is deterministic, and no noise is added"
    first = "--act-noise 0.1"
    return Finding("no noise", text, ("ActNoise",), 0.0, causes, 0.8, first, "ours")


def greedy_and_random(log: Log) -> Finding | None:
    """Actions are more random than epsilon says."""
    epsilon, train, test = log.col("Epsilon"), log.col("AverageEpRet"), log.col("AverageTestEpRet")
    chance, spread = log.chance
    poor = np.abs(train - chance) < max(0.5 * spread, 1e-9)
    since = log.stands((epsilon < 0.2) & poor & (test > chance + 3 * spread), np.isfinite(train) & np.isfinite(test))
    if since is None:
        return None
    text = f"training episodes return {log.mean('AverageEpRet'):.4g}, as random play does, at an epsilon of "
    text += f"{log.mean('Epsilon'):.2g}; test episodes return {log.mean('AverageTestEpRet'):.4g}"
    causes = ("endless exploration",)
    first = "which way is epsilon compared?"
    return Finding(
        "more random than epsilon says", text, ("AverageEpRet", "AverageTestEpRet"), since, causes, 0.8, first, "ours"
    )


def temperature_runs(log: Log) -> Finding | None:
    """SAC's temperature goes far from where it began, one way."""
    alpha = log.col("Alpha")
    late = log.late(alpha)
    if len(late) < FEWEST or not np.isfinite(alpha).any():
        return None
    if late.mean() > 10 * np.nanmax(alpha[:2]):
        causes = ("endless exploration", "reward scale", "sign")
        text = f"alpha has grown to {late[-1]:.4g}"
        first = "target_entropy, and the sign of its loss"
        return Finding("the temperature rises without end", text, ("Alpha",), 0.0, causes, 0.8, first, "ours")
    return None


def few_samples(log: Log) -> Finding | None:
    """Updates rest on a handful of samples, or on the newest ones only."""
    together = log.setting("rollout_len") * log.setting("num_envs") * float(log.config.get("ranks") or 1)
    rows = (
        (
            together if log.on_policy else math.nan,
            FEW_SAMPLES,
            "steps of a rollout",
            "a longer --rollout-len, more --num-envs",
        ),
        (log.setting("minibatch_size"), FEW_TOGETHER, "samples of a minibatch", "--minibatch-size 64"),
        (log.setting("batch_size"), FEW_TOGETHER, "transitions of a batch", "--batch-size 128"),
        (log.setting("population"), FEW_TOGETHER, "candidates of a generation", "--population 40"),
        (log.setting("buffer_size"), SMALL_MEMORY, "transitions of the replay buffer", "--buffer-size 100000"),
    )
    for count, least, what, first in rows:
        if count < least:
            text = f"each update rests on {count:.0f} {what}"
            return Finding("few samples per update", text, (), 0.0, ("little data",), 0.7, first, "Schulman")
    return None


def rare_updates(log: Log) -> Finding | None:
    """Few gradient steps for the steps taken."""
    steps = log.col("GradSteps")
    rare = RARE_UPDATES[log.has("TDError")]
    if not log.spent(0.1) or not steps[-1] > 0 or steps[-1] >= rare * log.steps[-1]:
        return None
    text = f"{steps[-1]:.0f} gradient steps in {log.steps[-1]:,.0f} env steps"
    causes = ("low learning rate",)
    first = "a smaller --update-every"
    return Finding("few gradient steps", text, ("GradSteps",), 0.0, causes, 0.8, first, "ours")


def critic_does_not_fit(log: Log) -> Finding | None:
    """The critic does not even fit its own targets."""
    (chance, spread), long = log.chance, log.mean("EpLen") > 10
    hopeless = spread > 0 and long and log.late(log.ret).mean() < chance + NO_BETTER * spread
    since = log.below("ExplainedVarianceTD", 0.7 if hopeless else 0.25)  # worlds of luck are fitted badly, too
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


def books_are_right(log: Log) -> Finding | None:
    """All is well by what it is trained on, and not by what it does: it is trained on something else."""
    (chance, spread), ret, late = log.chance, log.col("AverageEpRet"), log.late(log.ret)
    if not log.spent(0.6) or not spread > 0 or not len(late):
        return None
    since = log.stands(ret < chance - 0.5 * spread, np.isfinite(ret))
    follows = _followed(log)[1] > FOLLOWS and log.mean("AdvReturnCorr") > LOOSE
    elite = log.stands(log.col("EliteRet") > ret, np.isfinite(log.col("EliteRet"))) is not None
    fits = log.mean("ExplainedVarianceTD") > 0.9
    if fits and log.spent(0.8) and log.mean("EpLen") > 10 and late.mean() < chance + NO_BETTER * spread:
        since = 0.0  # a critic that fits has had the time to teach
    if since is None or not (follows or elite or (fits and not log.mean("ActorGain") < 0)):
        return None
    text = f"by its own measures it learns, and it returns {late.mean():.4g}, no more than random play, {chance:.4g}"
    causes = ("credit", "targets", "sign", "empty observation")
    first = "is what is stored what was seen, done and earned, and is the best action the one that is taken?"
    return Finding("it learns something else", text, ("AverageEpRet",), since, causes, 0.6, first, "ours")


def critic_leaps(log: Log) -> Finding | None:
    """One epoch has made another critic."""
    for name in ("UpdateRatioV", "UpdateRatioQ"):
        values = np.nan_to_num(log.col(name))
        if len(values) and values.max() > LEAP:
            text = f"one epoch has changed the critic's parameters by {values.max():.3g} times their norm"
            since = float(log.steps[values.argmax()])
            causes = ("high learning rate", "reward scale")
            return Finding("the critic leaps", text, (name,), since, causes, 0.8, "a vf_lr ten times lower", "Jones")
    return None


def tests_never_change(log: Log) -> Finding | None:
    """The test episodes, whose seeds are always the same, return exactly the same whatever the policy."""
    tests = log.known("AverageTestEpRet")
    if len(tests) < 2 * FEWEST or np.ptp(tests) > 0 or not log.mean("StdTestEpRet") > 0 or not log.mean("KL") > 1e-3:
        return None
    text = f"test episodes return exactly {tests[0]:.5g} after every epoch, while the policy changes"
    causes = ("idle action", "empty observation")
    first = "does an action change the next observation? python -m rlsuite.preflight says"
    begun, last = log.course("AverageEpRet")
    if log.learned or abs(last - begun) > max(log.mean("StdEpRet"), log.chance[1]):
        causes, first = ("policy not trained", "idle action"), "is the policy that is tested the one that is trained?"
    return Finding("test episodes never change", text, ("AverageTestEpRet", "KL"), 0.0, causes, 0.9, first, "ours")


def worse_than_chance(log: Log) -> Finding | None:
    """It plays worse than at random."""
    chance, spread = log.chance
    ret = log.col("AverageEpRet")
    since = log.stands(ret < chance - 1.5 * spread, np.isfinite(ret))
    if since is None or not log.spent(0.3) or not spread > 0:
        return None
    text = f"it returns {log.mean('AverageEpRet'):.4g}, and random play {chance:.4g} ± {spread:.3g}"
    causes = ("sign", "high learning rate", "little exploration", "bootstrap")
    first = "the sign of rewards and losses"
    return Finding("worse than random play", text, ("AverageEpRet",), since, causes, 0.25, first, "Schulman")


def length_against_return(log: Log) -> Finding | None:
    """Episodes get shorter while the return rises because every step costs."""
    begun, last = log.played("length"), log.mean("EpLen")
    if not last < 0.7 * begun or log.played("time_limits") != 0 or log.mean("TruncatedShare") > 0.05:
        return None  # where random play runs into the time limit, an early end is the goal
    if not np.fmax.reduce(log.col("AverageEpRet")) < 0 or log.late(log.ret).mean() < log.chance[0]:
        return None
    text = f"it learns to end its episodes sooner, after {last:.0f} steps in place of {begun:.0f}, as each step costs: "
    text += "well, if that is the task"
    causes = ("sign",)
    first = "the sign of the reward"
    return Finding("it seeks the end", text, ("EpLen", "AverageEpRet"), 0.0, causes, 0.5, first, "RLExplorer")


def gradients_clipped(log: Log) -> Finding | None:
    """Every gradient of the policy is a hundred times as long as the longest that is taken."""
    limit, since = log.setting("max_grad_norm"), log.above("ClippedGradPi", 0.99)
    times = log.mean("GradNormPi") / limit if limit > 0 else math.nan
    if since is None or not times > 100 or (log.learned and times < 1e4):
        return None
    text = f"every gradient of the policy is clipped, from {log.mean('GradNormPi'):.3g} to {limit:g}"
    causes: tuple[str, ...] = ("reward scale", "high learning rate", "observation scale")
    if limit < 1e-3:
        causes = ("low learning rate",)
    first = "a larger max_grad_norm" if limit < 1e-3 else "--scale-reward; a lower pi_lr"
    return Finding("every gradient is clipped", text, ("GradNormPi",), since, causes, 0.7, first, "RLExplorer")


def stops_early(log: Log) -> Finding | None:
    """The early stop ends the updates in every epoch."""
    since = log.below("StopIter", 1.5)
    if since is None or log.learned or not log.setting("train_iters") > 1 or not log.setting("target_kl") < math.inf:
        return None
    text = f"target_kl ends the updates after {log.mean('StopIter'):.1f} of {log.setting('train_iters'):.0f} passes"
    causes = ("high learning rate", "old policy")
    return Finding("early stop in every epoch", text, ("StopIter",), since, causes, 0.6, "a lower pi_lr", "ours")


def wild_step(log: Log) -> Finding | None:
    """One epoch has thrown the policy far away, and it has not come back."""
    kl = np.nan_to_num(log.col("KL"))
    if not log.on_policy or log.learned or not len(kl) or not kl.max() > WILD_KL:
        return None
    text = f"one epoch has changed the policy by {kl.max():.3g} nats, more than {WILD_KL:g}"
    since, causes = float(log.steps[kl.argmax()]), ("high learning rate", "reward scale")
    return Finding("a wild step", text, ("KL",), since, causes, 0.9, "a pi_lr ten times lower", "Schulman")


def grows_without_end(log: Log) -> Finding | None:
    """A gradient, or the KL, is a hundred times what it was."""
    if log.learned or not log.spent(0.2):
        return None
    for name, least in (("GradNormQ", 1.0), ("GradNormV", 1.0), *([("KL", 0.05)] if log.on_policy else [])):
        values = log.known(name)
        late = log.mean(name)
        if len(values) >= 3 * FEWEST and late > max(least, 100 * float(np.median(values[1 : FEWEST + 1]))):
            text = f"{name} has grown from {np.median(values[1 : FEWEST + 1]):.2g} to {late:.2g}"
            causes = ("high learning rate", "bootstrap", "reward scale")
            loss = log.known(f"Loss{name[-1]}")
            if len(loss) and loss[-1] > EXPLODED * loss[0] > 0:  # such a loss is climbed
                causes = ("sign", "bootstrap", "targets")
            first = "the sign of the loss; a lower learning rate, a slower target network"
            since = float(log.steps[np.flatnonzero(log.col(name) > late / 2)[0]])
            return Finding("it grows without end", text, (name,), since, causes, 0.6, first, "RLExplorer")
    return None


def critic_knows_before(log: Log) -> Finding | None:
    """A critic that explains everything in its first epoch has been told."""
    explained = log.col("ExplainedVariance")
    if not log.on_policy or len(log) < 2 or not (explained[:2] > 0.98).all():
        return None
    text = f"the critic explains {explained[0]:.3f} of the returns of the first epoch"
    causes = ("targets", "credit")
    first = "is the return, or the time left, in the observation?"
    return Finding("explained from the start", text, ("ExplainedVariance",), 0.0, causes, 0.6, first, "Schulman")


def all_episodes_equal(log: Log) -> Finding | None:
    """Whatever it does, all episodes are the same."""
    spread, length = log.col("StdEpRet"), log.col("EpLen")
    since = log.stands((spread < 1e-9) & (length == np.round(length)), np.isfinite(spread))
    if since is None or log.learned or not log.spent(0.2) or np.ptp(log.late(log.col("AverageEpRet"))) > 1e-9:
        return None
    text = f"all episodes are equal: return {log.mean('AverageEpRet'):.4g}, {log.mean('EpLen'):.0f} steps"
    causes = ("no reward", "idle action", "late reward", "little exploration")
    first = "what does random play see? python -m rlsuite.preflight says"
    return Finding("all episodes equal", text, ("StdEpRet",), since, causes, 0.5, first, "Schulman")


def cut_off_early(log: Log) -> Finding | None:
    """All episodes are said to be cut off by a time limit, and end at any time."""
    cut, length = log.col("TruncatedShare"), log.col("EpLen")
    length = length[np.isfinite(length)]
    if len(length) < FEWEST or not np.fmin.reduce(cut) > 0.99 or length.std() < 0.02 * length.mean():
        return None
    text = f"no episode is terminated, all are cut off, after {length.min():.0f} to {length.max():.0f} steps on "
    text += "average: that is no time limit"
    first, name = "does the environment set terminated where the task ends?", "cut off at any time"
    return Finding(name, text, ("TruncatedShare", "EpLen"), 0.0, ("bootstrap",), 0.8, first, "Pardo")


def acts_in_vain(log: Log) -> Finding | None:
    """The policy changes, and what it returns is what random play returns."""
    (chance, spread), ret = log.chance, log.col("AverageEpRet")
    known = np.isfinite(ret) & ~(log.col("EntropyShare") >= 0.9)
    if log.learned or not log.spent(0.5) or known.sum() < 2 * FEWEST or np.nansum(log.col("KL")) < WALKED:
        return None
    begun, last = log.course("AverageEpRet")
    # A critic that knows what comes, and a policy that can't change it.
    flat = abs(last - begun) < 0.5 * log.mean("StdEpRet") and abs(last - chance) < 1.5 * spread
    foreseen = flat and log.mean("ExplainedVariance") > FORESEEN
    since = 0.0 if foreseen else log.stands(np.abs(ret - chance) < 0.5 * spread, known)
    # Before it had learned anything, of more episodes than random play had.
    early = ret[np.isfinite(ret)][:2].mean()
    moved = abs(ret[known].mean() - early) > 3 * float(ret[known].std(ddof=1)) / math.sqrt(2)
    if since is None or (moved and not foreseen):
        return None
    text = f"the policy changes (KL {log.mean('KL'):.2g} in an epoch), and its returns stay those of random play: "
    text += f"{ret[known].mean():.4g}, random {chance:.4g}"
    causes = ("idle action", "empty observation", "credit")
    first, name = "does an action change the next observation? python -m rlsuite.preflight says", "it acts in vain"
    return Finding(name, text, ("AverageEpRet", "KL"), since, causes, 0.6, first, "ours")


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
    causes = ("high learning rate", "little data", "bootstrap")
    first = "a lower learning rate; lr_schedule linear"
    return Finding("learned and lost", text, ("AverageEpRet",), since, causes, 0.6, first, "Rahtz")


def critics_differ(log: Log) -> Finding | None:
    """Two critics of the same targets, of which one does not learn them."""
    first, second = log.col("LossQ"), log.col("LossQ2")
    times = np.fmax(first / second, second / first)
    since = log.stands(times > TWINS, np.isfinite(times))
    if since is None:
        return None
    text = f"the loss of one critic is {log.late(times).mean():.3g} times the other's, of the same targets"
    causes = ("critic not trained", "targets")
    try_first = "do both losses reach both critics' parameters?"
    return Finding("the critics differ", text, ("LossQ", "LossQ2"), since, causes, 1.0, try_first, "ours")


def bonus_above_rewards(log: Log) -> Finding | None:
    """A nat of entropy is worth more than any reward."""
    worth = log.col("Alpha") / log.reward_size
    since = log.stands(worth > DEAR_ENTROPY, np.isfinite(worth))
    if since is None:
        return None
    text = f"a nat of entropy is worth {log.late(worth).mean():.3g} times the largest reward"
    causes = ("endless exploration", "reward scale")
    return Finding("entropy outweighs rewards", text, ("Alpha", "RewMax"), since, causes, 0.8, "a lower alpha", "ours")


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


def elite_is_worse(log: Log) -> Finding | None:
    """CEM keeps the worse half of its candidates."""
    elite, mean = log.col("EliteRet"), log.col("AverageEpRet")
    since = log.stands(elite < mean, np.isfinite(elite) & np.isfinite(mean))
    if since is None:
        return None
    text = f"the elite returned {log.mean('EliteRet'):.4g}, all candidates {log.mean('AverageEpRet'):.4g}"
    first = "which end of the sorted returns is the elite?"
    causes = ("sign", "credit")
    return Finding("the elite is worse", text, ("EliteRet", "AverageEpRet"), since, causes, 1.0, first, "ours")


def elite_is_lucky(log: Log) -> Finding | None:
    """The elite of CEM does not do again what it was chosen for."""
    elite, test = log.col("EliteRet"), log.col("AverageTestEpRet")
    since = log.stands(elite - test > 2 * log.chance[1], np.isfinite(elite) & np.isfinite(test))
    if since is None or log.learned or not log.spent(0.3):
        return None
    text = f"the elite returned {log.mean('EliteRet'):.4g}, their mean returns {log.mean('AverageTestEpRet'):.4g}"
    first = "is each candidate credited with its own return? then more episodes for each"
    causes = ("credit", "little data", "sign")
    return Finding("the elite was lucky", text, ("EliteRet", "AverageTestEpRet"), since, causes, 0.7, first, "ours")


def not_learning(log: Log) -> Finding | None:
    """The return is that of random play, after half of the budget. True of every slow run, so it names no cause."""
    chance, spread = log.chance
    if not log.spent(0.5) or log.learned or not math.isfinite(chance):
        return None
    late = log.late(log.ret)
    if not len(late):
        return None
    best = log.known("MaxEpRet")
    text = f"it returns {late.mean():.4g}, random play {chance:.4g} ± {spread:.3g}"
    if len(best) >= 2 * FEWEST:
        text += f"; best episode of an epoch {best[:FEWEST].mean():.4g} -> {best[-FEWEST:].mean():.4g}"
    return Finding("not learning", text, ("AverageEpRet",), 0.0, (), 0.3, "", "Schulman")


PATTERNS: Sequence[Rule] = (
    no_number, policy_stands_still, policy_creeps, critic_stands_still, update_against_advantages,
    update_deaf_to_advantages, advantages_against_returns, ratio_against_kl,
    critic_settles_low, actor_climbs_down, entropy_collapse, entropy_stays,
    critic_explains_nothing, beyond_the_possible, no_future, targets_frozen, value_bias, inputs_unscaled,
    part_never_varies, rewards_unscaled, no_reward, returns_nothing, late_reward, short_horizon, no_epsilon,
    noise_off, greedy_and_random, temperature_runs, few_samples, rare_updates, worse_than_chance,
    length_against_return, wild_step, grows_without_end, gradients_clipped, stops_early,
    critic_knows_before, all_episodes_equal, cut_off_early, acts_in_vain, learned_and_lost, elite_is_worse,
    elite_is_lucky, critics_differ, bonus_above_rewards, values_of_the_other_sign, critic_does_not_fit,
    books_are_right, critic_leaps, tests_never_change, not_learning,
)  # fmt: skip
