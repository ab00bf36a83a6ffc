"""Rules of the diagnosis that look at one column: a finding where it is beyond a limit, in most of the latest epochs.

Limits began at the sources that stand beside them, and were set on three sets of `experiments/planted_bugs.py`:

    Schulman:    "The Nuts and Bolts of Deep RL Experimentation", talk, 2016
    Jones:       Jones 2021, "Debugging Reinforcement Learning Systems"
    Rahtz:       Rahtz 2018, "Lessons Learned Reproducing a Deep Reinforcement Learning Paper"
    RLExplorer:  Bouchoucha et al. 2024, arXiv 2410.04322, the defaults of its detectors
    Huang:       Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization"
    ours:        follows from what the column is
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlsuite.analysis.diagnosis import Finding, Log


@dataclass(frozen=True)
class Threshold:
    """A rule about one column."""

    rule: str
    """its name"""
    column: str
    above: float
    """the finding stands where the column is above this"""
    below: float
    """or below this"""
    text: str
    """the evidence; {mean} is that of the latest epochs, {percent} a hundred times that"""
    causes: tuple[str, ...]
    """the likeliest first"""
    severity: float
    first: str
    """what to try first"""
    source: str
    learning: bool = False
    """whether it is also said of a run that does better than random play"""
    share: float = 0.0
    """of the budget that must be spent before it is said"""
    given: str = ""
    """a column that the algorithm must have"""

    def __call__(self, log: Log) -> Finding | None:
        """Apply it."""
        values = log.col(self.column)
        known = np.isfinite(values)
        if self.given and not log.has(self.given):
            return None
        if not log.spent(self.share) or (not self.learning and log.learned):
            return None
        since = log.stands((values > self.above) | (values < self.below), known)
        if since is None:
            return None
        mean, limit = log.mean(self.column), self.above if np.isfinite(self.above) else self.below
        text = self.text.format(mean=f"{mean:.2g}", percent=f"{100 * mean:.1f}%", limit=f"{limit:g}")
        return Finding(self.rule, text, (self.column,), since, self.causes, self.severity, self.first, self.source)


NEVER = float("inf")
CREEPS = 3e-3
"""‖change‖ / ‖parameters‖ of an epoch with which a critic gets nowhere"""
LONG_BELOW = 0.3
"""share of the budget over which a run is below what another run of its reference would return"""
SLACK = 0.05
"""of the reference's whole rise: so far below is no difference, even where its seeds all return the same"""

# fmt: off
THRESHOLDS: Sequence[Threshold] = (
    Threshold(
        "the ratio does not start at 1", "Ratio1", 1e-3, -NEVER,
        "before the first gradient step the ratio is off 1 by up to {mean}; it must be 1",
        ("old policy", "credit"), 1.0,
        "was anything between acting and training changed: features, normaliser, samples?", "Huang", learning=True,
    ),
    Threshold(
        "large steps", "KL", 0.5, -NEVER, "the policy changes by {mean} nats in an epoch, more than {limit}",
        ("high learning rate", "little data", "reward scale"), 0.7,
        "a lower pi_lr, a lower target_kl, or larger rollouts", "Schulman", given="AdvStd",
    ),
    Threshold(
        "always the same action", "ActionShareMax", 0.99, -NEVER, "the most frequent action makes up {percent}",
        ("little exploration", "high learning rate", "sign", "empty observation"), 0.7,
        "a lower learning rate; more exploration; is the observation constant?", "Schulman",
    ),
    Threshold(
        "the observation never changes", "InputStdMax", NEVER, 1e-6, "no component of the observation varies",
        ("empty observation",), 1.0, "what does the environment return?", "Rahtz", learning=True,
    ),
    Threshold(
        "actions at their bounds", "ActionSaturation", 0.9, -NEVER,
        "{percent} of the policy's actions are at their bounds",
        ("high learning rate", "observation scale", "reward scale", "sign", "targets"), 0.6,
        "a lower pi_lr; --normalize-obs", "ours",
    ),
    Threshold(
        "no step is accepted", "StepAccepted", NEVER, 0.2,
        "the line search finds no step that lowers the loss: {percent} of the steps are taken",
        ("sign", "high learning rate", "policy not trained"), 1.0,
        "the direction of the step, and the sign of the surrogate", "ours", learning=True,
    ),
    Threshold(
        "certain beyond measure", "Entropy", NEVER, -20.0, "the entropy is {mean} nats, below {limit}",
        ("little exploration", "sign", "old policy"), 1.0, "the sign of the entropy in the policy's loss", "ours",
        given="Alpha",
    ),
    Threshold(
        "actions beyond their bounds", "ClippedActions", 0.7, -NEVER,
        "{percent} of the action components are outside their bounds",
        ("endless exploration", "high learning rate", "old policy"), 0.7, "a smaller log_std_init", "Huang",
        given="LogStd",
    ),
    Threshold(
        "sigma near 0", "LogStd", NEVER, -5.0, "ln sigma is {mean}, below {limit}: it tries nothing",
        ("little exploration", "old policy"), 0.8, "--log-std-init -0.5", "ours", learning=True,
    ),
    Threshold(
        "the candidates hardly differ", "ParamStd", NEVER, 1e-3, "the parameters of candidates deviate by {mean}",
        ("little exploration",), 1.0, "a higher std_init", "ours", learning=True,
    ),
    Threshold(
        "noise above all actions", "ActNoise", 1.0, -NEVER, "the noise is {mean} times half the range of actions",
        ("endless exploration",), 0.8, "--act-noise 0.1", "ours", learning=True,
    ),
    Threshold(
        "exploration never ends", "Epsilon", 0.5, -NEVER, "{percent} of the actions are still random",
        ("endless exploration",), 0.8, "a lower epsilon_end, a shorter epsilon_share", "RLExplorer",
        learning=True, share=0.5,
    ),
    Threshold(
        "the greedy action flips", "GreedyFlips", 0.85, -NEVER,
        "after each epoch another action is the best in {percent} of the states",
        ("high learning rate", "discount", "empty observation"), 0.6, "a lower q_lr", "ours",
    ),
    Threshold(
        "dead units", "DeadUnits", 0.85, -NEVER,
        "{percent} of the hidden units of a network are the same in every state",
        ("high learning rate", "observation scale", "reward scale"), 0.7,
        "a lower learning rate; --normalize-obs", "RLExplorer", learning=True,
    ),
    Threshold(
        "the gradient vanishes", "GradNormPi", NEVER, 1e-6, "the policy's gradient has a norm of {mean}",
        ("policy not trained", "no reward", "low learning rate"), 0.7,
        "does the loss depend on the policy's parameters? are all advantages equal?", "RLExplorer",
    ),
    Threshold(
        "the critic creeps", "UpdateRatioQ", NEVER, CREEPS,
        "the critic's parameters change by {mean} of their norm in an epoch, less than {limit}",
        ("low learning rate", "critic not trained"), 0.9, "a q_lr ten times higher", "Jones",
    ),
    Threshold(
        "updates are large", "UpdateRatioPi", 1.0, -NEVER,
        "the policy's parameters change by {mean} of their norm in an epoch",
        ("high learning rate", "reward scale"), 0.7, "a lower pi_lr", "Jones",
    ),
)
