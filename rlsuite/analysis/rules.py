"""The rules of the diagnosis: each a function of a log, with its threshold and where that comes from.

A rule speaks where its columns exist, so that none asks which algorithm is running. Thresholds begin at these sources.
They are to be set on the building half of `experiments/planted_bugs.py`:

    Schulman:    "The Nuts and Bolts of Deep RL Experimentation", talk, 2016
    Jones:       Jones 2021, "Debugging Reinforcement Learning Systems"
    Rahtz:       Rahtz 2018, "Lessons Learned Reproducing a Deep Reinforcement Learning Paper"
    RLExplorer:  Bouchoucha et al. 2024, arXiv 2410.04322, the defaults of its detectors
    Huang:       Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization"
    Pardo:       Pardo et al. 2018, "Time Limits in Reinforcement Learning"
"""

import math
from collections.abc import Sequence

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, Finding, Log, Rule

STILL = 1e-6
"""‖change‖ / ‖parameters‖ of an epoch below which a network stands still; training moves it by 1e-3 and more (Jones)"""
SMALL_KL, LARGE_KL = 1e-5, 0.5
"""nats per epoch (Schulman: watch for spikes; 0.01 is a small step, 10 a wild one)"""
AGAINST = -0.02
"""correlation of advantages with what the update did; a right one is positive in every epoch (our own reasoning)"""
DEAF = 0.02
"""the same, of an update that moves the policy and does not follow its advantages"""
LOOSE = 0.15
"""correlation of advantages with returns less values; with lam from 0.9 to 1 it is 0.2 to 1"""
COLLAPSED, UNIFORM = 0.05, 0.98
"""entropy as a share of its maximum (Schulman: watch entropy; RLExplorer: its fall)"""
ONE_ACTION = 0.99
"""share of the most frequent action"""
LARGE_INPUT, UNLIKE_INPUTS = 30.0, 1000.0
"""|feature|, and ratio of their deviations, that networks made for numbers of order 1 see badly (Schulman, Huang)"""
LARGE_RETURN, SMALL_RETURN = 2000.0, 1e-3
"""|discounted return| far from order 1 to 100 (Schulman: rescale rewards)"""
BEYOND = 1.5
"""times the largest discounted return that the rewards seen allow"""
DEAD = 0.5
"""share of hidden units that answer to nothing"""
SATURATED = 0.9
"""share of actions at their bounds"""
RANDOM_EPSILON = 0.5
"""epsilon after half of the budget"""
FEW_SAMPLES, SMALL_MEMORY = 64, 500
"""samples behind an update on-policy; transitions of a replay buffer"""
RARE_UPDATES = 1e-3
"""gradient steps per env step, on average, off-policy"""


def _since_start(log: Log, share: float = 0.2) -> bool:
    """Whether enough of the budget is spent for a judgement about learning."""
    return log.share >= share and len(log) >= FEWEST


def no_number(log: Log) -> Finding | None:
    """A NaN or infinity has ended the run."""
    if not any(word in log.error for word in ("nan", "NaN", "inf", "not finite", "infinit")):
        return None
    where = float(log.steps[-1]) if len(log) else 0.0
    causes = ("high learning rate", "reward scale", "observation scale", "bootstrap", "target network", "sign")
    return Finding("no number", f"it broke off: {log.error}", (), where, causes, 1.0, "a learning rate ten times lower")


def policy_stands_still(log: Log) -> Finding | None:
    """The policy's parameters do not change."""
    since = log.below("UpdateRatioPi", STILL)
    if since is None:
        return None
    text = f"the policy's parameters hardly change: by {log.mean('UpdateRatioPi'):.1g} of their norm in an epoch"
    causes = ("policy not trained", "low learning rate", "no reward")
    if log.mean("GradNormPi") > 1e-6:
        causes = ("low learning rate", "policy not trained", "no reward")
    if log.mean("UpdateRatioPi") == 0:
        causes = ("policy not trained", "no reward", "low learning rate")
    return Finding(
        "the policy stands still",
        text,
        ("UpdateRatioPi", "GradNormPi"),
        since,
        causes,
        1.0,
        "does its optimiser step, and hold its parameters? then a higher pi_lr",
    )


def policy_creeps(log: Log) -> Finding | None:
    """The policy changes too little within the budget to become another one."""
    since = log.below("KL", SMALL_KL)
    if since is None or not np.isfinite(log.mean("UpdateRatioPi")) or log.mean("UpdateRatioPi") < STILL:
        return None
    text = f"the policy hardly moves: KL {log.mean('KL'):.1g} nats in an epoch, below {SMALL_KL:g}"
    causes = ("low learning rate", "no reward", "empty observation", "policy not trained")
    return Finding("the policy creeps", text, ("KL",), since, causes, 0.8, "a pi_lr ten times higher")


def critic_stands_still(log: Log) -> Finding | None:
    """The critic's parameters do not change."""
    for name in ("UpdateRatioV", "UpdateRatioQ"):
        since = log.below(name, STILL)
        if since is not None:
            text = f"the critic's parameters hardly change: by {log.mean(name):.1g} of their norm in an epoch"
            causes = ("critic not trained", "low learning rate", "no reward")
            if log.mean(name) > 0:
                causes = ("low learning rate", "critic not trained", "no reward")
            return Finding(
                "the critic stands still",
                text,
                (name,),
                since,
                causes,
                1.0,
                "does its optimiser step, and hold its parameters? then a higher learning rate",
            )
    return None


def update_against_advantages(log: Log) -> Finding | None:
    """The update makes what was better than expected less probable."""
    since = log.below("AdvLogpCorr", AGAINST)
    if since is None:
        return None
    text = (
        f"the update lowers the probability of actions with a high advantage: correlation {log.mean('AdvLogpCorr'):.2f}"
    )
    return Finding(
        "the update goes against the advantages",
        text,
        ("AdvLogpCorr",),
        since,
        ("sign", "credit", "old policy"),
        1.0,
        "the sign of the policy's loss, and of the ratio",
    )


def update_deaf_to_advantages(log: Log) -> Finding | None:
    """The update moves the policy, and not along the advantages."""
    values, kl = log.col("AdvLogpCorr"), log.col("KL")
    since = log.stands((np.abs(values) < DEAF) & (kl > 1e-4), np.isfinite(values))
    late = log.late(values)
    if since is None or len(late) < FEWEST or abs(late.mean()) > DEAF:
        return None
    text = f"the policy moves (KL {log.mean('KL'):.2g}), but not along its advantages: correlation {late.mean():.3f}"
    causes = ("credit", "old policy", "sign", "little data")
    return Finding(
        "the update does not follow the advantages",
        text,
        ("AdvLogpCorr", "KL"),
        since,
        causes,
        0.9,
        "do advantages, log-probabilities and actions of a minibatch belong to the same samples?",
    )


def advantages_against_returns(log: Log) -> Finding | None:
    """The advantages are not those of the returns that were observed."""
    since = log.below("AdvReturnCorr", LOOSE)
    if since is None:
        return None
    mean = log.mean("AdvReturnCorr")
    text = f"the advantages hardly agree with the returns less the values: correlation {mean:.2f}, below {LOOSE:g}"
    causes = ("sign", "bootstrap", "credit") if mean < -LOOSE else ("credit", "bootstrap", "targets", "discount")
    return Finding(
        "the advantages are not those of the returns",
        text,
        ("AdvReturnCorr",),
        since,
        causes,
        0.8,
        "the ends of episodes, the order of time and environments, and the discount in the advantages",
    )


def actor_climbs_down(log: Log) -> Finding | None:
    """The policy's actions are worth less to the critic after the epoch than before."""
    values = log.col("ActorGain")
    since = log.stands(values < 0, np.isfinite(values))
    if since is None or log.mean("ActorGain") > -0.001:
        return None
    text = f"the policy's actions lose value by its own critic: {log.mean('ActorGain'):.2g} deviations of Q in an epoch"
    return Finding(
        "the policy climbs down",
        text,
        ("ActorGain",),
        since,
        ("sign", "high learning rate", "policy not trained"),
        0.9,
        "the sign of the policy's loss; then a lower pi_lr",
    )


def first_ratio(log: Log) -> Finding | None:
    """Before the first step, the policy is the one that acted: all ratios must be 1."""
    since = log.above("Ratio1", 1e-3)
    if since is None:
        return None
    text = f"before the first gradient step the ratio is off 1 by up to {log.mean('Ratio1'):.2g}; it must be 1"
    return Finding(
        "the ratio does not start at 1",
        text,
        ("Ratio1",),
        since,
        ("old policy", "credit"),
        1.0,
        "was anything between acting and training changed: features, normaliser, samples?",
    )


def kl_large(log: Log) -> Finding | None:
    """Each epoch makes another policy."""
    since = log.above("KL", LARGE_KL) if np.isfinite(log.col("AdvStd")).any() else None
    if since is None:
        return None
    text = f"the policy changes by {log.mean('KL'):.2g} nats in an epoch, more than {LARGE_KL:g}"
    return Finding(
        "large steps",
        text,
        ("KL",),
        since,
        ("high learning rate", "little data", "reward scale"),
        0.7,
        "a lower pi_lr, a lower target_kl, or larger rollouts",
    )


def entropy_collapse(log: Log) -> Finding | None:
    """The policy is certain before it is good."""
    share, since = log.col("EntropyShare"), log.below("EntropyShare", COLLAPSED)
    if since is None or np.isfinite(log.col("Epsilon")).any() or better_than_chance(log):
        return None
    early = log.config.get("total_steps") and since < 0.5 * log.setting("total_steps")
    text = (
        f"the policy has become certain ({100 * log.mean('EntropyShare'):.0f}% of the largest entropy) and is not good"
    )
    causes = ["little exploration", "high learning rate", "sign", "reward scale"]
    if np.nanmax(share[:2], initial=0) < 0.5 or not early:
        causes = ["high learning rate", "little exploration", "sign", "reward scale"]
    return Finding(
        "entropy collapse", text, ("EntropyShare",), since, tuple(causes), 0.7, "a lower pi_lr, or ent_coef 0.01"
    )


def entropy_stays(log: Log) -> Finding | None:
    """The policy has found nothing to prefer."""
    if np.isfinite(log.col("Epsilon")).any() or not _since_start(log, 0.5):
        return None
    since = log.above("EntropyShare", UNIFORM)
    if since is None:
        return None
    text = f"the policy is as random as at its start: {100 * log.mean('EntropyShare'):.1f}% of the largest entropy"
    causes = ("low learning rate", "no reward", "idle action", "credit", "empty observation", "endless exploration")
    if log.setting("ent_coef") > 0.05:
        causes = ("endless exploration", *causes[:-1])
    return Finding(
        "entropy does not fall",
        text,
        ("EntropyShare",),
        since,
        causes,
        0.6,
        "is the reward ever seen? then a higher pi_lr",
    )


def same_action(log: Log) -> Finding | None:
    """Nearly every action is the same."""
    since = log.above("ActionShareMax", ONE_ACTION)
    if since is None or better_than_chance(log):
        return None
    text = f"{100 * log.mean('ActionShareMax'):.0f}% of all actions are the same one"
    causes = ("little exploration", "high learning rate", "sign", "empty observation")
    return Finding(
        "always the same action",
        text,
        ("ActionShareMax",),
        since,
        causes,
        0.7,
        "a lower learning rate; more exploration; is the observation constant?",
    )


def critic_explains_nothing(log: Log) -> Finding | None:
    """The critic is no better than a constant, late in the run."""
    if not _since_start(log, 0.5) or better_than_chance(log):
        return None
    on_policy = np.isfinite(log.col("ExplainedVarianceAfter")).any()
    since = log.below("ExplainedVariance", 0.05 if on_policy else -0.5)
    if since is None:
        return None
    text = f"the critic explains nothing of the returns: explained variance {log.mean('ExplainedVariance'):.2f}"
    causes = ["targets", "critic not trained", "bootstrap", "observation scale", "reward scale", "empty observation"]
    if log.mean("ExplainedVarianceTD") > 0.9:
        text += f", though {log.mean('ExplainedVarianceTD'):.2f} of its own targets"
        causes = ["targets", "bootstrap", "target network", "credit"]
    elif log.mean("ValueStd") < 1e-3 * abs(log.mean("ReturnMean")):
        causes = ["targets", "empty observation", "critic not trained", "low learning rate"]
    return Finding(
        "the critic explains nothing",
        text,
        ("ExplainedVariance",),
        since,
        tuple(causes),
        0.6,
        "a higher vf_lr; --normalize-obs; then the critic's targets",
    )


def beyond_the_possible(log: Log) -> Finding | None:
    """The critic promises more than the rewards could ever add up to."""
    gamma = log.setting("gamma")
    if log.config.get("scale_reward") or not 0 <= gamma < 1 or log.setting("alpha_init") > 0:
        return None
    high = np.fmax.accumulate(np.nan_to_num(log.col("RewMax"), nan=0.0)).clip(min=0)
    low = np.fmin.accumulate(np.nan_to_num(log.col("RewMin"), nan=0.0)).clip(max=0)
    most, least = log.col("TargetMax"), log.col("TargetMin")
    unit = 1 / (1 - gamma)
    over = (most > BEYOND * high * unit + 0.1 * (high - low)) | (least < BEYOND * low * unit - 0.1 * (high - low))
    since = log.stands(over, np.isfinite(most) & (high > low))
    if since is None:
        return None
    text = f"the critic's targets reach from {log.mean('TargetMin'):.3g} to {log.mean('TargetMax'):.3g}; "
    text += f"the rewards allow {low[-1] * unit:.3g} to {high[-1] * unit:.3g}"
    causes = ("bootstrap", "target network", "high learning rate", "sign", "reward scale")
    return Finding(
        "values beyond what is possible",
        text,
        ("TargetMax", "TargetMin"),
        since,
        causes,
        0.9,
        "are terminal states cut off in the targets? then a slower target network, a lower q_lr",
    )


def targets_frozen(log: Log) -> Finding | None:
    """The network runs ever further from its target, or is its target."""
    gap, values = log.col("TargetGap"), log.col("ValueStd")
    known = np.isfinite(gap)
    late = log.late(gap)
    if known.sum() < 2 * FEWEST:
        return None
    if late.max() == 0:
        return Finding(
            "the target network does not lag",
            "the network and its target are equal",
            ("TargetGap",),
            0.0,
            ("target network",),
            0.6,
            "is the target a copy?",
        )
    td, scale = log.late(log.col("TDError")).mean(), max(float(np.nanmedian(log.late(values))), 1e-9)
    far = gap > 2 * np.fmax(values, 1e-9)
    since = log.stands(far, known)
    if since is None or td > 2 * late.mean() or scale < 1e-6:
        return None
    text = f"network and target network differ by {late.mean():.3g}, Q itself only by {scale:.3g} from state to state"
    return Finding(
        "the target network stays behind",
        text,
        ("TargetGap", "ValueStd"),
        since,
        ("target network", "high learning rate", "bootstrap"),
        0.7,
        "does the target network move?",
    )


def value_bias(log: Log) -> Finding | None:
    """The critic promises more than comes."""
    bias, spread = log.col("ValueBias"), np.fmax(np.abs(log.col("ReturnMean")), 1e-9)
    since = log.stands(np.abs(bias) > 3 * spread, np.isfinite(bias))
    if since is None or abs(log.mean("ReturnMean")) < 0.05:
        return None
    text = f"the critic is off by {log.mean('ValueBias'):.3g} where returns are {log.mean('ReturnMean'):.3g}"
    causes = ("bootstrap", "high learning rate", "targets", "target network", "sign")
    return Finding(
        "over-estimation",
        text,
        ("ValueBias", "ReturnMean"),
        since,
        causes,
        0.7,
        "are terminal states cut off in the targets? then a lower learning rate, a slower target",
    )


def inputs_unscaled(log: Log) -> Finding | None:
    """What the networks see is far from order 1, or unlike."""
    since = log.above("InputAbsMax", LARGE_INPUT)
    ratio = log.col("InputStdMax") / np.where(log.col("InputStdMin") > 1e-6, log.col("InputStdMin"), math.nan)
    unlike = log.stands(ratio > UNLIKE_INPUTS, np.isfinite(ratio))
    if since is None and unlike is None:
        return None
    text = f"inputs of the networks reach {log.mean('InputAbsMax'):.3g}"
    text += f", and their deviations differ {log.late(ratio).mean():.3g} times" if unlike is not None else ""
    return Finding(
        "inputs are not of order 1",
        text,
        ("InputAbsMax",),
        min(x for x in (since, unlike) if x is not None),
        ("observation scale",),
        0.8,
        "--normalize-obs",
    )


def inputs_constant(log: Log) -> Finding | None:
    """No component of the observation ever changes."""
    since = log.below("InputStdMax", 1e-6)
    if since is None:
        return None
    return Finding(
        "the observation never changes",
        "no component of the observation varies",
        ("InputStdMax",),
        since,
        ("empty observation",),
        1.0,
        "what does the environment return?",
    )


def rewards_unscaled(log: Log) -> Finding | None:
    """Returns are far from order 1 to 100."""
    values = np.abs(log.col("ReturnMean"))
    large, small = log.stands(values > LARGE_RETURN, np.isfinite(values)), None
    if log.mean("RewStd") > 0:
        size = np.fmax(np.abs(log.col("RewMin")), np.abs(log.col("RewMax")))
        small = log.stands((values < SMALL_RETURN) & (size < 10 * SMALL_RETURN), np.isfinite(values))
    since = large if large is not None else small
    if since is None:
        return None
    text = f"discounted returns are about {log.mean('ReturnMean'):.3g}; networks learn numbers of order 1 to 100"
    return Finding(
        "returns are not of order 1",
        text,
        ("ReturnMean",),
        since,
        ("reward scale",),
        0.8,
        "scale rewards in the environment, or --scale-reward",
    )


def no_reward(log: Log) -> Finding | None:
    """Every reward is the same 0."""
    seen = np.fmax(np.abs(log.col("RewMin")), np.abs(log.col("RewMax")))
    if not np.isfinite(seen).any() or np.nanmax(seen) > 0 or not _since_start(log, 0.1):
        return None
    return Finding(
        "the reward is never seen",
        "all rewards so far are 0",
        ("RewMax",),
        0.0,
        ("no reward", "late reward", "little exploration"),
        1.0,
        "reward a part of the way, start nearer to it, or explore more",
    )


def returns_nothing(log: Log) -> Finding | None:
    """The critic sees no reward though the environment gives some: what is learned from is not what was played."""
    values, size = log.col("ReturnMean"), np.fmax(np.abs(log.col("RewMin")), np.abs(log.col("RewMax")))
    adv = log.col("AdvStd")
    since = log.stands((np.abs(values) < 1e-3) & (size > 0.1) & (adv < 0.05), np.isfinite(values))
    if since is None:
        return None
    text = f"the returns that are learned from are {log.mean('ReturnMean'):.2g}, rewards up to {log.mean('RewMax'):.3g}"
    return Finding(
        "what is learned from holds no reward",
        text,
        ("ReturnMean", "RewMax"),
        since,
        ("no reward", "low learning rate"),
        0.8,
        "what is stored as the reward?",
    )


def late_reward(log: Log) -> Finding | None:
    """All reward comes with an episode's end, long after what earned it."""
    mean, end, length = log.col("RewMean"), log.col("RewTerminal"), log.col("EpLen")
    share = np.abs(end) / np.fmax(np.abs(mean) * length, 1e-12)
    late = np.isfinite(share) & (share > 0.9) & (share < 1.1) & (length > 10)
    since = log.stands(late, np.isfinite(end) & np.isfinite(length))
    if since is None or better_than_chance(log):
        return None
    text = f"the last step of an episode brings all of its reward, after {log.mean('EpLen'):.0f} steps"
    return Finding(
        "the reward comes at the end",
        text,
        ("RewTerminal", "RewMean"),
        since,
        ("late reward",),
        0.6,
        "reward a part of the way; a higher lam or gamma",
    )


def short_horizon(log: Log) -> Finding | None:
    """The discount hides what comes after a few steps."""
    gamma, length = log.setting("gamma"), log.mean("EpLen")
    if not 0 <= gamma < 0.7 or not length > 4 / (1 - gamma):
        return None
    text = f"gamma {gamma:g} looks {1 / (1 - gamma):.1f} steps ahead, and episodes take {length:.0f}"
    return Finding("a short horizon", text, ("EpLen",), 0.0, ("discount",), 0.8, "--gamma 0.99")


def epsilon_stays(log: Log) -> Finding | None:
    """It still acts at random late in the run, or never did."""
    epsilon = log.col("Epsilon")
    if not np.isfinite(epsilon).any():
        return None
    if np.nanmax(epsilon) < 0.01:
        return Finding(
            "no exploration",
            f"epsilon has never been above {np.nanmax(epsilon):g}",
            ("Epsilon",),
            0.0,
            ("little exploration",),
            0.8,
            "--epsilon-start 1",
        )
    since = log.above("Epsilon", RANDOM_EPSILON)
    if since is None or not _since_start(log, 0.5):
        return None
    text = f"{100 * log.mean('Epsilon'):.0f}% of the actions are still random"
    return Finding(
        "exploration never ends",
        text,
        ("Epsilon",),
        since,
        ("endless exploration",),
        0.8,
        "a lower epsilon_end, a shorter epsilon_share",
    )


def noise_off(log: Log) -> Finding | None:
    """A deterministic policy that never tries anything else."""
    noise = log.col("ActNoise")
    if not np.isfinite(noise).any() or np.nanmax(noise) >= 0.005 or log.setting("start_steps") > 0:
        return None
    return Finding(
        "no exploration",
        "the policy is deterministic, and no noise is added",
        ("ActNoise",),
        0.0,
        ("little exploration",),
        0.8,
        "--act-noise 0.1",
    )


def greedy_and_random(log: Log) -> Finding | None:
    """Actions are more random than epsilon says."""
    epsilon, train, test = log.col("Epsilon"), log.col("AverageEpRet"), log.col("AverageTestEpRet")
    chance, spread = log.chance
    poor = np.abs(train - chance) < max(0.5 * spread, 1e-9)
    since = log.stands((epsilon < 0.2) & poor & (test > chance + 3 * spread), np.isfinite(train) & np.isfinite(test))
    if since is None:
        return None
    text = f"training episodes return {log.mean('AverageEpRet'):.3g}, as random play does, at an epsilon of "
    text += f"{log.mean('Epsilon'):.2g}; test episodes return {log.mean('AverageTestEpRet'):.3g}"
    return Finding(
        "more random than epsilon says",
        text,
        ("AverageEpRet", "AverageTestEpRet"),
        since,
        ("endless exploration",),
        0.8,
        "which way is epsilon compared?",
    )


def wide_sigma(log: Log) -> Finding | None:
    """Most actions lie outside their bounds, or sigma is far from them."""
    clipped, sigma = log.above("ClippedActions", 0.7), log.col("LogStd")
    if clipped is not None:
        text = f"{100 * log.mean('ClippedActions'):.0f}% of the action components are outside their bounds"
        return Finding(
            "actions beyond their bounds",
            text,
            ("ClippedActions", "LogStd"),
            clipped,
            ("endless exploration", "high learning rate", "old policy"),
            0.7,
            "a smaller log_std_init",
        )
    since = log.stands(sigma < -5, np.isfinite(sigma))
    if since is None:
        return None
    text = f"sigma is {np.exp(log.mean('LogStd')):.1g} of a half width: it tries nothing"
    return Finding(
        "sigma near 0", text, ("LogStd",), since, ("little exploration", "old policy"), 0.8, "--log-std-init -0.5"
    )


def temperature_runs(log: Log) -> Finding | None:
    """SAC's temperature goes far from where it began, one way."""
    alpha = log.col("Alpha")
    late = log.late(alpha)
    if len(late) < FEWEST or not np.isfinite(alpha).any():
        return None
    if late.mean() > 10 * np.nanmax(alpha[:2]):
        return Finding(
            "the temperature rises without end",
            f"alpha has grown to {late[-1]:.3g}",
            ("Alpha",),
            0.0,
            ("endless exploration", "reward scale", "sign"),
            0.8,
            "target_entropy, and the sign of its loss",
        )
    return None


def saturated(log: Log) -> Finding | None:
    """The policy's actions are at their bounds."""
    since = log.above("ActionSaturation", SATURATED)
    if since is None or better_than_chance(log):
        return None
    text = f"{100 * log.mean('ActionSaturation'):.0f}% of the policy's actions are at their bounds"
    causes = ("high learning rate", "observation scale", "reward scale", "sign", "targets")
    return Finding(
        "actions at their bounds", text, ("ActionSaturation",), since, causes, 0.6, "a lower pi_lr; --normalize-obs"
    )


def dead_units(log: Log) -> Finding | None:
    """Half of a network answers to nothing."""
    since = log.above("DeadUnits", DEAD)
    if since is None:
        return None
    text = f"{100 * log.mean('DeadUnits'):.0f}% of the hidden units of a network are the same in every state"
    return Finding(
        "dead units",
        text,
        ("DeadUnits",),
        since,
        ("high learning rate", "observation scale", "reward scale"),
        0.7,
        "a lower learning rate; --normalize-obs",
    )


def few_samples(log: Log) -> Finding | None:
    """Updates rest on a handful of samples, or on the newest ones only."""
    together = log.setting("rollout_len") * log.setting("num_envs")
    if np.isfinite(log.col("AdvStd")).any() and together < FEW_SAMPLES and log.setting("rollout_len") > 0:
        text = f"each update is made from {together:.0f} steps"
        return Finding(
            "few samples per update", text, (), 0.0, ("little data",), 0.7, "a longer --rollout-len, more --num-envs"
        )
    if log.setting("buffer_size") < SMALL_MEMORY:
        text = f"the replay buffer holds {log.setting('buffer_size'):.0f} transitions"
        return Finding("a small memory", text, (), 0.0, ("little data",), 0.7, "--buffer-size 100000")
    return None


def rare_updates(log: Log) -> Finding | None:
    """Few gradient steps for the steps taken."""
    steps = log.col("GradSteps")
    if not _since_start(log, 0.5) or not steps[-1] > 0 or steps[-1] >= RARE_UPDATES * log.steps[-1]:
        return None
    text = f"{steps[-1]:.0f} gradient steps in {log.steps[-1]:,.0f} env steps"
    return Finding(
        "few gradient steps", text, ("GradSteps",), 0.0, ("low learning rate",), 0.8, "a smaller --update-every"
    )


def critic_error(log: Log) -> Finding | None:
    """The critic's error towards its own targets grows, or is as large as the targets."""
    fit = log.below("ExplainedVarianceTD", 0.3)
    if fit is None or not _since_start(log, 0.5):
        return None
    text = f"the critic does not fit even its own targets: explained variance {log.mean('ExplainedVarianceTD'):.2g}"
    causes = ("credit", "high learning rate", "critic not trained", "sign", "targets", "low learning rate")
    return Finding(
        "the critic does not fit its targets",
        text,
        ("ExplainedVarianceTD", "TDError"),
        fit,
        causes,
        0.7,
        "do Q(s, a), rewards and next states belong to the same transitions? then the learning rate",
    )


def worse_than_chance(log: Log) -> Finding | None:
    """It plays worse than at random."""
    chance, spread = log.chance
    ret = log.col("AverageEpRet")
    since = log.stands(ret < chance - max(0.5 * spread, 1e-9), np.isfinite(ret))
    if since is None or not _since_start(log, 0.3) or not spread > 0:
        return None
    text = f"it returns {log.mean('AverageEpRet'):.3g}, and random play {chance:.3g} ± {spread:.2g}"
    causes = ("sign", "high learning rate", "little exploration", "bootstrap")
    return Finding(
        "worse than random play", text, ("AverageEpRet",), since, causes, 0.7, "the sign of rewards and losses"
    )


def length_against_return(log: Log) -> Finding | None:
    """Episodes get shorter while the return rises because every step costs."""
    length, ret = log.col("EpLen"), log.col("AverageEpRet")
    known = np.isfinite(length) & np.isfinite(ret)
    if known.sum() < 2 * FEWEST or not np.nanmax(ret) < 0:
        return None
    first, last = length[known][:FEWEST].mean(), log.late(length).mean()
    ended = log.col("TruncatedShare")
    if last > 0.7 * first or not log.late(ret).mean() > ret[known][:FEWEST].mean() or not log.late(ended).mean() < 0.05:
        return None
    if np.nanmean(ended[:FEWEST]) > 0.05:  # where episodes used to run into the time limit, an early end is the goal
        return None
    text = f"it learns to end its episodes sooner, after {last:.0f} steps in place of {first:.0f}, as each step costs"
    return Finding("it seeks the end", text, ("EpLen", "AverageEpRet"), 0.0, ("sign",), 0.7, "the sign of the reward")


def not_learning(log: Log) -> Finding | None:
    """The return is that of random play, after half of the budget. True of every slow run, so it names no cause."""
    chance, spread = log.chance
    if not _since_start(log, 0.5) or better_than_chance(log) or not math.isfinite(chance):
        return None
    late = log.late(log.ret)
    if not len(late):
        return None
    text = f"it returns {late.mean():.3g}, random play {chance:.3g} ± {spread:.2g}"
    return Finding("not learning", text, ("AverageEpRet",), 0.0, (), 0.3, "")


def better_than_chance(log: Log) -> bool:
    """Whether the latest returns are above those of random play by more than one of their standard deviations."""
    chance, spread = log.chance
    late = log.late(log.ret)
    return bool(len(late) and late.mean() > chance + max(spread, 0.05 * abs(chance), 1e-9))


RULES: Sequence[Rule] = (
    no_number, policy_stands_still, policy_creeps, critic_stands_still, update_against_advantages,
    update_deaf_to_advantages, advantages_against_returns, actor_climbs_down, first_ratio, kl_large, entropy_collapse,
    entropy_stays, same_action, critic_explains_nothing, beyond_the_possible, targets_frozen, value_bias,
    inputs_unscaled, inputs_constant, rewards_unscaled, no_reward, returns_nothing, late_reward, short_horizon,
    epsilon_stays, noise_off, greedy_and_random, wide_sigma, temperature_runs, saturated, dead_units, few_samples,
    rare_updates, critic_error, worse_than_chance, length_against_return, not_learning,
)  # fmt: skip


def signs_of_life(log: Log) -> list[str]:
    """What shows that a run has begun to learn before its return does; none of it is a finding.

    Source: Schulman: look at maximum returns, at the length of episodes, at explained variance.
    """
    said: list[str] = []
    ret, best, length = log.col("AverageEpRet"), log.col("MaxEpRet"), log.col("EpLen")
    known = np.flatnonzero(np.isfinite(ret))
    if len(known) < 2 * FEWEST:
        return said
    first, last = known[:FEWEST], known[-FEWEST:]
    spread = max(float(np.nanmean(log.col("StdEpRet")[known])), 1e-9)
    up = ret[last].mean() - ret[first].mean()
    if best[last].mean() - best[first].mean() > spread and up < spread:
        said.append(f"the best episode moves before the mean: {best[first].mean():.4g} -> {best[last].mean():.4g}")
    if length[last].mean() > 1.3 * length[first].mean() and up < spread:
        said.append(f"episodes last longer: {length[first].mean():.4g} -> {length[last].mean():.4g} steps")
    entropy, explained = log.col("EntropyShare"), log.col("ExplainedVariance")
    if COLLAPSED < log.mean("EntropyShare") < entropy[known[0]] - 0.05:
        said.append(
            f"the entropy declines slowly: {entropy[known[0]]:.2f} -> {log.mean('EntropyShare'):.2f} of its maximum"
        )
    if log.mean("ExplainedVariance") > 0.2 and log.mean("ExplainedVariance") > np.nanmean(explained[:FEWEST]) + 0.1:
        said.append(f"the critic begins to explain: explained variance {log.mean('ExplainedVariance'):.2f}")
    return said
