"""Rules of the diagnosis about the policy: how far it moves, what its updates follow, and how certain it becomes.

Sources and the way to the limits are those of `rlsuite.analysis.thresholds`.
"""

import math
from collections.abc import Sequence

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, Finding, Log, Rule

STILL = 1e-6
"""‖change‖ / ‖parameters‖ of an epoch below which a network stands still; training moves it by 1e-3 and more"""
SMALL_KL = 1e-5
"""nats per epoch; 0.01 is a small step"""
FOLLOWS, OPPOSES, AGAINST = 1.5, -3.0, -0.03
"""standard errors of the correlation of advantages with what the update did, from 0; and that correlation itself"""
LOOSE = 0.15
"""correlation of advantages with returns less values; with lam from 0.9 to 1 it is 0.2 to 1"""
UNCLIPPED = 0.1
"""nats per epoch that take no ratio beyond the clip"""
CLIMBS_DOWN = 0.65
"""share of the epochs so far in which the policy's actions lose value; in sound runs it is up to a half"""
COLLAPSED, UNIFORM, UNFALLEN = 0.05, 0.98, 0.95
"""entropy as a share of its maximum; of what it began with"""


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


def update_against_advantages(log: Log) -> Finding | None:
    """The update makes what was better than expected less probable."""
    mean, errors = followed(log)
    if not (errors <= OPPOSES and mean < AGAINST):
        return None
    text = f"the update lowers the probability of actions with a high advantage: correlation {mean:.2f}, "
    text += f"{errors:.1f} standard errors from 0"
    causes = ("sign", "credit", "old policy")
    first, name = "the sign of the policy's loss, and of the ratio", "the update goes against the advantages"
    return Finding(name, text, ("AdvLogpCorr",), 0.0, causes, 1.0, first, "ours")


def update_deaf_to_advantages(log: Log) -> Finding | None:
    """The update moves the policy, and not along the advantages."""
    mean, errors = followed(log)
    if not OPPOSES < errors < FOLLOWS or log.learned or not log.mean("KL") > 1e-4:
        return None
    text = f"the policy moves (KL {log.mean('KL'):.2g}), but not along its advantages: correlation {mean:.3f}, "
    text += f"{errors:.1f} standard errors from 0"
    causes = ("credit", "old policy", "sign", "little data")
    first = "do advantages, log-probabilities and actions of a minibatch belong to the same samples?"
    name = "the update does not follow the advantages"
    return Finding(name, text, ("AdvLogpCorr", "KL"), 0.0, causes, 0.9, first, "ours")


def followed(log: Log) -> tuple[float, float]:
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
    name = "the advantages are not those of the returns"
    return Finding(name, text, ("AdvReturnCorr",), since, causes, 0.8, first, "ours")


def ratio_against_kl(log: Log) -> Finding | None:
    """PPO's ratios are not those of the policies before and after.

    Of ln r with a mean square of about 2 KL, at most a share of 2 KL / b² is beyond b = ln(1 + ε) (Chebyshev's
    inequality).
    """
    clipped, kl, bound = log.col("ClipFrac"), log.col("KL"), np.log1p(log.setting("clip_ratio"))
    since = log.stands((clipped > 0.1) & (clipped * bound**2 / 2 > kl), np.isfinite(clipped * kl))
    text = f"{100 * log.mean('ClipFrac'):.0f}% of the ratios are clipped, more than a KL of {log.mean('KL'):.2g} allows"
    clips = log.setting("train_iters") > 1 and not log.setting("clip_ratio") >= 1
    if since is None and clips and not log.known("ClipFrac").any():
        since = log.stands(kl > UNCLIPPED, np.isfinite(clipped * kl))
        text = f"no ratio has ever been clipped, at a KL of {log.mean('KL'):.2g} nats in an epoch"
    if since is None:
        return None
    causes = ("old policy", "policy not trained", "credit")
    first = "are both log-probabilities those of the stored actions, and is the old one kept?"
    return Finding("ratios against the KL", text, ("ClipFrac", "KL"), since, causes, 0.8, first, "ours")


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
    since = log.below("EntropyShare", COLLAPSED)
    if since is None or log.has("Epsilon") or log.learned:
        return None
    early = log.config.get("total_steps") and since < 0.5 * log.setting("total_steps")
    share = 100 * log.mean("EntropyShare")
    text = f"the policy has become certain ({share:.0f}% of the largest entropy) and is not good"
    causes = ("little exploration", "high learning rate", "sign", "reward scale")
    if np.nanmax(log.col("EntropyShare")[:2], initial=0) < 0.5 or not early:
        causes = ("high learning rate", "little exploration", "sign", "reward scale")
    first = "a lower pi_lr, or ent_coef 0.01"
    return Finding("entropy collapse", text, ("EntropyShare",), since, causes, 0.7, first, "Schulman")


def entropy_stays(log: Log) -> Finding | None:
    """The policy has found nothing to prefer."""
    if log.has("Epsilon") or not log.spent(0.5):
        return None
    since, columns = log.above("EntropyShare", UNIFORM), ("EntropyShare",)
    said = f"{100 * log.mean('EntropyShare'):.1f}% of the largest entropy"
    causes = ["low learning rate", "no reward", "idle action", "credit", "empty observation", "endless exploration"]
    sigma, (begun, last) = log.known("LogStd"), log.course("Entropy")
    if (
        log.has("Alpha") and last > UNFALLEN * begun > 0 and not log.learned
    ):  # it begins near the largest entropy, and is to leave it
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


def gradients_clipped(log: Log) -> Finding | None:
    """Every gradient of the policy is a hundred times as long as the longest that is taken."""
    limit, since = log.setting("max_grad_norm"), log.above("ClippedGradPi", 0.99)
    times = log.mean("GradNormPi") / limit if limit > 0 else math.nan
    if since is None or not times > 100 or (log.learned and times < 1e4):
        return None
    text = f"every gradient of the policy is clipped, from {log.mean('GradNormPi'):.3g} to {limit:g}"
    causes: tuple[str, ...] = ("reward scale", "high learning rate", "observation scale")
    first = "smaller rewards, or --scale-reward; a lower pi_lr"
    if limit < 1e-3:
        causes, first = ("low learning rate",), "a larger max_grad_norm"
    return Finding("every gradient is clipped", text, ("GradNormPi",), since, causes, 0.7, first, "RLExplorer")


def stops_early(log: Log) -> Finding | None:
    """The early stop ends the updates in every epoch."""
    since = log.below("StopIter", 1.5)
    if since is None or log.learned or not log.setting("train_iters") > 1 or not log.setting("target_kl") < math.inf:
        return None
    text = f"target_kl ends the updates after {log.mean('StopIter'):.1f} of {log.setting('train_iters'):.0f} passes"
    causes = ("high learning rate", "old policy")
    return Finding("early stop in every epoch", text, ("StopIter",), since, causes, 0.6, "a lower pi_lr", "ours")


POLICY_RULES: Sequence[Rule] = (
    policy_stands_still, policy_creeps, update_against_advantages, update_deaf_to_advantages,
    advantages_against_returns, ratio_against_kl, actor_climbs_down, entropy_collapse, entropy_stays,
    gradients_clipped, stops_early,
)  # fmt: skip
