"""Rules of the diagnosis about the task and the settings: observations, rewards, episodes, exploration, samples.

Sources and the way to the limits are those of `rlsuite.analysis.thresholds`; besides,

    Pardo:       Pardo et al. 2018, "Time Limits in Reinforcement Learning"
"""

import math
from collections.abc import Sequence

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, Finding, Log, Rule

LARGE_INPUT, SMALL_INPUT, FAR_INPUT, UNLIKE_INPUTS = 30.0, 0.02, 30.0, 1000.0
"""deviation of a feature, its distance from 0 in deviations, and ratio of deviations, that networks see badly"""
LARGE_RETURN, SMALL_RETURN, SMALL_REWARD = 2000.0, 0.1, 0.01
"""|discounted return| far from order 1 to 100; the second with |rewards| up to the third"""
LUMP = 0.7
"""share of the mean square of rewards that one step of each episode would make up"""
FEW_SAMPLES, FEW_TOGETHER, SMALL_MEMORY = 16, 8, 500
"""samples behind an update on-policy; of one gradient step, or a generation; transitions of a replay buffer"""
RARE_UPDATES = 1e-3, 0.02
"""gradient steps per env step, on average: on rollouts, and of a replay buffer"""
FEW_GENERATIONS = 2
"""of CEM, in the whole budget, that make no other policy"""
DEAR_ENTROPY = 20.0
"""times a nat of entropy is the largest reward"""


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


def part_never_varies(log: Log) -> Finding | None:
    """A component of the observation has been the same in every state so far."""
    least = log.known("InputStdMin")
    one_hot = log.known("InputAbsMax").max(initial=0) <= 1 + 1e-6  # most states are never seen
    if len(least) < FEWEST or least.max() > 1e-6 or one_hot:
        return None
    if not log.spent(0.2) or log.above("InputStdMax", 1e-6) is None or log.learned:
        return None
    text = f"a component of the observation has never varied, while others deviate by {log.mean('InputStdMax'):.2g}"
    first, name = "which one is it, and what should it say?", "a part of the observation never varies"
    return Finding(name, text, ("InputStdMin",), 0.0, ("empty observation",), 0.6, first, "Rahtz")


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
    first, name = "scale rewards in the environment, or --scale-reward", "returns are not of order 1"
    return Finding(name, text, ("ReturnMean", "RewMean"), since, ("reward scale",), 0.8, first, "Schulman")


def no_reward(log: Log) -> Finding | None:
    """Every reward is the same 0."""
    seen = log.reward_size
    if not np.isfinite(seen).any() or np.nanmax(seen) > 0 or not log.spent(0.1):
        return None
    causes, text = ("no reward", "late reward", "little exploration"), "all rewards so far are 0"
    first = "reward a part of the way, start nearer to it, or explore more"
    return Finding("the reward is never seen", text, ("RewMax",), 0.0, causes, 1.0, first, "Schulman")


def returns_nothing(log: Log) -> Finding | None:
    """The critic sees no reward though the environment gives some: what is learned from is not what was played."""
    values, size, adv = log.col("ReturnMean"), log.reward_size, log.col("AdvStd")
    since = log.stands((np.abs(values) < 1e-3) & (size > 0.1) & (adv < 0.05), np.isfinite(values))
    if since is None:
        return None
    text = f"the returns that are learned from are {log.mean('ReturnMean'):.2g}, rewards up to {log.mean('RewMax'):.4g}"
    causes, name = ("no reward", "low learning rate"), "what is learned from holds no reward"
    first = "what is stored as the reward?"
    return Finding(name, text, ("ReturnMean", "RewMax"), since, causes, 0.8, first, "ours")


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
    first, name = "reward a part of the way; a higher lam or gamma", "the reward comes at the end"
    return Finding(name, text, ("RewMax", "RewMin", "RewStd"), since, ("late reward",), 0.9, first, "Schulman")


def short_horizon(log: Log) -> Finding | None:
    """The discount hides what comes after a few steps."""
    gamma, length = log.setting("gamma"), log.mean("EpLen")
    if not 0 <= gamma < 0.9 or not length > 4 / (1 - gamma) or log.learned:
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
    causes, text = ("little exploration",), "the policy is deterministic, and no noise is added"
    return Finding("no noise", text, ("ActNoise",), 0.0, causes, 0.8, "--act-noise 0.1", "ours")


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
    columns, causes = ("AverageEpRet", "AverageTestEpRet"), ("endless exploration",)
    first = "which way is epsilon compared?"
    return Finding("more random than epsilon says", text, columns, since, causes, 0.8, first, "ours")


def temperature_runs(log: Log) -> Finding | None:
    """SAC's temperature is far above where it began."""
    alpha = log.col("Alpha")
    late = log.late(alpha)
    if len(late) < FEWEST or not late.mean() > 10 * np.nanmax(alpha[:2]):
        return None
    causes, text = ("endless exploration", "reward scale", "sign"), f"alpha has grown to {late[-1]:.4g}"
    first = "target_entropy, and the sign of its loss"
    return Finding("the temperature rises without end", text, ("Alpha",), 0.0, causes, 0.8, first, "ours")


def few_samples(log: Log) -> Finding | None:
    """Updates rest on a handful of samples, or on the newest ones only."""
    together = log.setting("rollout_len") * log.setting("num_envs") * float(log.config.get("ranks") or 1)
    rollout = together if log.on_policy else math.nan
    rows = (
        (rollout, FEW_SAMPLES, "steps of a rollout", "a longer --rollout-len, more --num-envs"),
        (log.setting("minibatch_size"), FEW_TOGETHER, "samples of a minibatch", "--minibatch-size 64"),
        (log.setting("batch_size"), FEW_TOGETHER, "transitions of a batch", "--batch-size 128"),
        (log.setting("population"), FEW_TOGETHER, "candidates of a generation", "--population 40"),
        (log.setting("buffer_size"), SMALL_MEMORY, "transitions of the replay buffer", "--buffer-size 100000"),
    )
    for count, least, what, first in rows:
        if count < least and not log.learned:
            text = f"each update rests on {count:.0f} {what}"
            return Finding("few samples per update", text, (), 0.0, ("little data",), 0.7, first, "Schulman")
    return None


def rare_updates(log: Log) -> Finding | None:
    """Few gradient steps for the steps taken."""
    steps = log.col("GradSteps")
    rare = RARE_UPDATES[log.has("TDError")]
    if not log.spent(0.1) or not steps[-1] > 0:
        return None
    if steps[-1] >= rare * (log.steps[-1] - np.nan_to_num(log.setting("update_after"))):
        return None
    text = f"{steps[-1]:.0f} gradient steps in {log.steps[-1]:,.0f} env steps"
    causes = ("low learning rate",)
    first = "a smaller --update-every" if log.has("TDError") else "a shorter --rollout-len, or fewer --num-envs"
    return Finding("few gradient steps", text, ("GradSteps",), 0.0, causes, 0.8, first, "ours")


def few_generations(log: Log) -> Finding | None:
    """CEM will end a generation or two within its budget."""
    ended = log.col("Generation")
    if not np.isfinite(ended).any() or log.learned or not log.spent(0.5) or ended[-1] > FEW_GENERATIONS * log.share:
        return None
    text = f"only {ended[-1]:.0f} generations have ended in {log.steps[-1]:,.0f} env steps"
    first = "fewer --episodes-per-candidate, a smaller --population, or more --total-steps"
    return Finding("few generations", text, ("Generation",), 0.0, ("low learning rate",), 0.8, first, "ours")


def begins_late(log: Log) -> Finding | None:
    """Most of the budget is spent before the first gradient step."""
    budget, after = log.setting("total_steps"), log.setting("update_after")
    if log.learned or not after > 0.5 * budget:
        return None
    text = f"learning begins after {after:,.0f} of {budget:,.0f} env steps"
    first = "a smaller --update-after, or more --total-steps"
    return Finding("it begins late", text, (), 0.0, ("low learning rate",), 0.8, first, "ours")


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


def bonus_above_rewards(log: Log) -> Finding | None:
    """A nat of entropy is worth more than any reward."""
    worth = log.col("Alpha") / log.reward_size
    since = log.stands(worth > DEAR_ENTROPY, np.isfinite(worth))
    if since is None:
        return None
    text = f"a nat of entropy is worth {log.late(worth).mean():.3g} times the largest reward"
    causes = ("endless exploration", "reward scale")
    return Finding(
        "entropy outweighs rewards",
        text,
        ("Alpha", "RewMax"),
        since,
        causes,
        0.8,
        "a lower alpha, --alpha-lr 0",
        "ours",
    )


TASK_RULES: Sequence[Rule] = (
    inputs_unscaled, part_never_varies, rewards_unscaled, no_reward, returns_nothing, late_reward, short_horizon,
    no_epsilon, noise_off, greedy_and_random, temperature_runs, few_samples, rare_updates,
    few_generations, begins_late,
    all_episodes_equal, cut_off_early, bonus_above_rewards,
)  # fmt: skip
