"""Rules of the diagnosis about how a run goes: what gets out of hand, what it returns, and what its tests do.

Sources and the way to the limits are those of `rlsuite.analysis.thresholds`.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from rlsuite.analysis.diagnosis import FEWEST, Finding, Log, Rule
from rlsuite.analysis.policy_rules import FOLLOWS, LOOSE, followed

WILD_KL = 10.0
"""nats per epoch; 0.01 is a small step"""
LEAP = 30.0
"""‖change‖ / ‖parameters‖ of a critic's epoch that no sound learning rate makes"""
EXPLODED = 1e6
"""times that a critic's loss has grown if it is climbed"""
WALKED = 0.2
"""nats of all epochs together that make another policy"""
FORESEEN = 0.45
"""explained variance of a critic that knows what comes"""


def no_number(log: Log) -> Finding | None:
    """A NaN or infinity has ended the run."""
    what = log.error.partition(";")[0]  # without its advice
    if not re.search(r"\b(nan|inf)\b|not finite", what, re.IGNORECASE):
        return None
    where = float(log.steps[-1]) if len(log) else 0.0
    causes: tuple[str, ...] = ("high learning rate", "reward scale", "observation scale", "bootstrap", "target network")
    if re.search("reward|observation", what):
        causes = ("reward scale", "observation scale", "high learning rate")
    first = "a learning rate ten times lower"
    return Finding("no number", f"it broke off: {what}", (), where, causes, 1.0, first, "Jones")


def wild_step(log: Log) -> Finding | None:
    """One epoch has thrown the policy far away, and it has not come back."""
    kl = np.nan_to_num(log.col("KL"))
    if not log.on_policy or log.learned or not len(kl) or not kl.max() > WILD_KL:
        return None
    text = f"one epoch has changed the policy by {kl.max():.3g} nats, more than {WILD_KL:g}"
    since, causes = float(log.steps[kl.argmax()]), ("high learning rate", "reward scale")
    return Finding("a wild step", text, ("KL",), since, causes, 0.9, "a pi_lr ten times lower", "Schulman")


def critic_leaps(log: Log) -> Finding | None:
    """One epoch has made another critic."""
    for name in ("UpdateRatioV", "UpdateRatioQ"):
        values = np.nan_to_num(log.col(name))
        if len(values) and values.max() > LEAP:
            text = f"one epoch has changed the critic's parameters by {values.max():.3g} times their norm"
            since = float(log.steps[values.argmax()])
            causes = ("high learning rate", "reward scale")
            return Finding(
                "the critic leaps",
                text,
                (name,),
                since,
                causes,
                0.8,
                "a critic's learning rate ten times lower",
                "Jones",
            )
    return None


def grows_without_end(log: Log) -> Finding | None:
    """A gradient, or the KL, is a hundred times what it was."""
    if log.learned or not log.spent(0.2):
        return None
    for name, least in (("GradNormQ", 1.0), ("GradNormV", 1.0), *([("KL", 0.05)] if log.on_policy else [])):
        values, late = log.known(name), log.mean(name)
        if len(values) < 3 * FEWEST:
            continue
        begun = float(np.median(values[1 : FEWEST + 1]))
        if late > max(least, 100 * begun):
            text = f"{name} has grown from {begun:.2g} to {late:.2g}"
            causes = ("high learning rate", "bootstrap", "reward scale")
            loss = log.known(f"Loss{name[-1]}")
            if len(loss) and loss[-1] > EXPLODED * loss[0] > 0:  # such a loss is climbed
                causes = ("sign", "bootstrap", "targets")
            first = "the sign of the loss; a lower learning rate, a slower target network"
            since = float(log.steps[np.flatnonzero(log.col(name) > late / 2)[0]])
            return Finding("it grows without end", text, (name,), since, causes, 0.6, first, "RLExplorer")
    return None


def worse_than_chance(log: Log) -> Finding | None:
    """It plays worse than at random."""
    (chance, spread), ret = log.chance, log.col("AverageEpRet")
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
    first = "the sign of the reward"
    return Finding("it seeks the end", text, ("EpLen", "AverageEpRet"), 0.0, ("sign",), 0.5, first, "RLExplorer")


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


def books_are_right(log: Log) -> Finding | None:
    """All is well by what it is trained on, and not by what it does: it is trained on something else."""
    (chance, spread), ret, late = log.chance, log.col("AverageEpRet"), log.late(log.ret)
    if not log.spent(0.6) or not spread > 0 or not len(late):
        return None
    since = log.stands(ret < chance - 0.5 * spread, np.isfinite(ret))
    follows = followed(log)[1] > FOLLOWS and log.mean("AdvReturnCorr") > LOOSE
    elite = log.stands(log.col("EliteRet") > ret, np.isfinite(log.col("EliteRet"))) is not None
    fits = log.mean("ExplainedVarianceTD") > 0.9
    if fits and log.spent(0.8) and log.hopeless:
        since = 0.0  # a critic that fits has had the time to teach
    if since is None or not (follows or elite or (fits and not log.mean("ActorGain") < 0)):
        return None
    text = f"by its own measures it learns, and it returns {late.mean():.4g}, no more than random play, {chance:.4g}"
    causes = ("credit", "targets", "sign", "empty observation")
    first = "is what is stored what was seen, done and earned, and is the best action the one that is taken?"
    return Finding("it learns something else", text, ("AverageEpRet",), since, causes, 0.6, first, "ours")


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


def not_learning(log: Log) -> Finding | None:
    """The return is that of random play, after half of the budget. True of every slow run, so it names no cause."""
    chance, spread = log.chance
    if not log.spent(0.5) or log.learned or not math.isfinite(chance):
        return None
    late, best = log.late(log.ret), log.known("MaxEpRet")
    if not len(late):
        return None
    text = f"it returns {late.mean():.4g}, random play {chance:.4g} ± {spread:.3g}"
    if len(best) >= 2 * FEWEST:
        text += f"; best episode of an epoch {best[:FEWEST].mean():.4g} -> {best[-FEWEST:].mean():.4g}"
    return Finding("not learning", text, ("AverageEpRet",), 0.0, (), 0.3, "", "Schulman")


RUN_RULES: Sequence[Rule] = (
    no_number, wild_step, critic_leaps, grows_without_end, worse_than_chance, length_against_return, acts_in_vain,
    elite_is_worse, elite_is_lucky, books_are_right, tests_never_change, not_learning,
)  # fmt: skip
