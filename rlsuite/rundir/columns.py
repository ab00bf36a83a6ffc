"""What the columns of progress.txt are about, and what figures call them."""

# fmt: off
GROUPS = {
    "return": {
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
        "EliteRet": "return of the elite",
    },
    "policy": {
        "Entropy": "entropy (nats)",
        "ActionEntropy": "entropy of all actions taken (nats)",
        "StateEntropy": "entropy of the states (nats)",
        "KL": "KL divergence (nats)",
        "KLPredicted": "KL divergence, as predicted (nats)",
        "KLCoef": "weight of the KL penalty",
        "ClipFrac": "share of samples clipped",
        "StopIter": "passes over a rollout",
        "Ratio1": "largest |ratio \N{MINUS SIGN} 1| before a step",
        "BacktrackIters": "times a step was shortened",
        "StepAccepted": "share of steps accepted",
        "LossPi": "policy loss",
        "LossAlpha": "temperature loss",
        "Alpha": "temperature",
        "LogStd": "mean ln σ",
        "ParamStd": "σ of the parameters",
        "ClippedActions": "share of actions out of bounds",
        "ActionSaturation": "share of actions at a bound",
        "ActNoise": "σ of the noise (half widths)",
        "Epsilon": "ε: share of random actions",
        "GreedyFlips": "share of greedy actions changed",
    },
    "critic": {
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
        "LossV": "value loss",
        "LossQ": "Q loss",
        "LossQ2": "loss of the second Q",
    },
    "optimizer": {
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
    },
    "time": {
        "Epoch": "epoch",
        "Generation": "generation",
        "TotalEnvInteracts": "environment steps",
        "GradSteps": "gradient steps",
        "Time": "time (s)",
        "StepsPerSec": "steps per second",
    },
}
"""Column name to plain title, by what the column is about."""
# fmt: on

TITLES = {column: title for group in GROUPS.values() for column, title in group.items()}


def tag(column: str) -> str:
    """Return the column's name in its group, such as "return/AverageEpRet"; one of no group is in "other"."""
    return f"{next((name for name, group in GROUPS.items() if column in group), 'other')}/{column}"
