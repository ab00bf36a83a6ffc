"""Which columns are worth a panel, and what the panels are called."""

from collections.abc import Sequence

import numpy as np

from rlsuite.figures.intervals import HUGE
from rlsuite.rundir.runs import Columns

N_PANELS = 6

# fmt: off
TITLES = {
    "Epoch": "epoch",
    "TotalEnvInteracts": "environment steps",
    "GradSteps": "gradient steps",
    "Time": "time (s)",
    "StepsPerSec": "steps per second",
    "AverageEpRet": "return",
    "StdEpRet": "return: standard deviation of an epoch",
    "MinEpRet": "return: worst episode",
    "MaxEpRet": "return: best episode",
    "EpLen": "episode length (steps)",
    "AverageTestEpRet": "test return (no exploration)",
    "StdTestEpRet": "test return: standard deviation",
    "MinTestEpRet": "test return: worst episode",
    "MaxTestEpRet": "test return: best episode",
    "TestEpLen": "test episode length (steps)",
    "Entropy": "entropy (nats)",
    "ActionEntropy": "entropy of all actions taken (nats)",
    "StateEntropy": "entropy of the states (nats)",
    "KL": "KL divergence (nats)",
    "KLPredicted": "KL divergence, as predicted (nats)",
    "KLCoef": "weight of the KL penalty",
    "ExplainedVariance": "explained variance",
    "ExplainedVarianceTD": "explained variance of the targets",
    "ValueMean": "predicted value",
    "ValueStd": "predicted value: standard deviation",
    "ReturnMean": "observed return-to-go",
    "ValueBias": "value bias: predicted \N{MINUS SIGN} observed",
    "QVals": "predicted Q",
    "QGap": "disagreement of the two Q",
    "TDError": "mean |target \N{MINUS SIGN} Q|",
    "TargetGap": "mean |Q \N{MINUS SIGN} target network's Q|",
    "AdvStd": "advantages: standard deviation",
    "ClipFrac": "share of samples clipped",
    "StopIter": "passes before the KL stopped them",
    "Ratio1": "largest |ratio \N{MINUS SIGN} 1| before a step",
    "BacktrackIters": "times a step was shortened",
    "StepAccepted": "share of steps accepted",
    "LossPi": "policy loss",
    "LossV": "value loss",
    "LossQ": "Q loss",
    "LossQ2": "loss of the second Q",
    "LossAlpha": "temperature loss",
    "Alpha": "temperature",
    "GradNormPi": "gradient norm, policy",
    "GradNormV": "gradient norm, value",
    "GradNormQ": "gradient norm, Q",
    "GradNormAlpha": "gradient norm, temperature",
    "UpdateRatioPi": "relative change of the policy",
    "UpdateRatioV": "relative change of the value",
    "UpdateRatioQ": "relative change of Q",
    "UpdateRatioAlpha": "relative change of the temperature",
    "PiLR": "learning rate, policy",
    "VfLR": "learning rate, value",
    "QLR": "learning rate, Q",
    "AlphaLR": "learning rate, temperature",
    "LogStd": "mean ln σ",
    "ClippedActions": "share of actions out of bounds",
    "ActionSaturation": "share of actions at a bound",
    "ActNoise": "σ of the noise (half widths)",
    "Epsilon": "ε: share of random actions",
    "GreedyFlips": "share of greedy actions changed",
    "EliteRet": "return of the elite",
    "ParamStd": "σ of the parameters",
    "Generation": "generation",
}
"""What a panel says instead of the column's name."""
# fmt: on

RETURNS = {"AverageEpRet": ("MinEpRet", "MaxEpRet"), "AverageTestEpRet": ("MinTestEpRet", "MaxTestEpRet")}
"""The worst and the best episode behind a mean return."""
BESIDE = {"QVals": ("ReturnMean", "Q (thick), observed return (thin)")}
"""What is drawn into the panel of a column for comparison, and the title of both."""
SCHEDULES = {"Epsilon", "ActNoise"}  # where a run logs one of them, its Entropy only follows it

# The first that says something of each line has a panel, until there are six.
CANDIDATES = [
    ("Entropy",),
    ("KL",),
    ("QVals", "ValueBias"),
    ("TargetGap",),
    ("ExplainedVariance",),
    ("ClipFrac", "StopIter"),
    ("EliteRet",),
    ("AverageTestEpRet",),
    ("AverageEpRet",),
    ("EpLen",),
    ("ActionEntropy",),
    ("ParamStd",),
    ("StateEntropy",),
    ("GradNormPi",),
    ("LossV",),
    ("StepsPerSec",),
]


def choose_columns(logs: Sequence[Sequence[Columns]]) -> list[str]:
    """Return at most six columns to look at first, the return before all.

    That is the test return, where each group has test episodes: training episodes explore.

    Args:
        logs: of each group, what each of its runs has logged.
    """
    tested = all(any(_has_values(log, "AverageTestEpRet") for log in runs) for runs in logs)
    columns = ["AverageTestEpRet" if tested else "AverageEpRet"]
    every = [log for runs in logs for log in runs]
    for alternatives in CANDIDATES:
        telling = [c for c in alternatives if c not in columns and any(_says_something(log, c) for log in every)]
        columns += telling[:1]
    return columns[:N_PANELS]


def _has_values(log: Columns, column: str) -> bool:
    return column in log and bool((np.abs(log[column]) < HUGE).any())


def _says_something(log: Columns, column: str) -> bool:
    """Whether a column has values that are news: a length or a clip that varies, a length that is not the return."""
    if not _has_values(log, column) or (column == "Entropy" and SCHEDULES & set(log)):
        return False
    y = log[column]
    if column not in ("EpLen", "ClipFrac", "StopIter") or y.size < 2:
        return True
    ret = log.get("AverageEpRet", np.full(y.size, np.nan))
    both = (np.abs(y) < HUGE) & (np.abs(ret) < HUGE) & (y != 0)
    share = ret[both] / y[both]  # CartPole pays 1 for each step, MountainCar -1
    multiple = both.sum() > 1 and np.ptp(share) <= 1e-3 * np.abs(share).max()
    seen = y[np.abs(y) < HUGE]
    return bool(np.ptp(seen) > 0 and not (column == "EpLen" and multiple))
