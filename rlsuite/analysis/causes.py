"""What can be wrong with a run that does not learn: the causes that the diagnosis chooses from.

The wording is for the reader of a finding: what it is, and where to look first. The list was committed before the first
rule was written, so that no rule could choose its causes by what it finds.
"""

from collections.abc import Mapping
from typing import Any

from rlsuite.settings import flag

CAUSES = {
    # the source
    "sign": "a loss, an advantage or the reward enters with the wrong sign: what is good becomes less likely",
    "policy not trained": "the policy's gradient does not reach its parameters, or its optimiser never steps",
    "critic not trained": "the critic's gradient does not reach its parameters, or its optimiser never steps",
    "credit": "advantages, rewards or values are joined to actions that did not earn them: other samples, another axis",
    "targets": "the critic is trained towards something that is not a return",
    "bootstrap": "a future is counted where an episode ended, or none where it was only cut off",
    "old policy": "the probability of the policy that acted is not the one that its actions are weighed with",
    "target network": "the target network never moves, or does not lag behind",
    # the settings
    "high learning rate": "the steps are too large",
    "low learning rate": "the steps are too small, or too few",
    "little exploration": "it stops trying other actions before it has seen what they bring",
    "endless exploration": "it goes on acting at random, whatever it has learned",
    "discount": "the horizon 1/(1 - gamma) does not fit the task",
    "little data": "batches, rollouts or the replay buffer are too small",
    # the environment
    "observation scale": "components of the observation are far from order 1, or far from each other",
    "empty observation": "the observation does not say what an action would change",
    "reward scale": "rewards are far from order 1",
    "no reward": "a reward that never differs: there is nothing to prefer",
    "late reward": "the reward comes long after the actions that earn it",
    "idle action": "actions have no effect",
}

SOURCE = (
    "sign",
    "policy not trained",
    "critic not trained",
    "credit",
    "targets",
    "bootstrap",
    "old policy",
    "target network",
)
"""Causes that lie in the algorithm's text."""
WORLD = ("observation scale", "empty observation", "reward scale", "no reward", "late reward", "idle action")
"""Causes that lie in the environment."""
CHANGES = {
    "high learning rate": ("pi_lr", "q_lr", 0.1),
    "low learning rate": ("pi_lr", "q_lr", 10.0),
    "little exploration": ("ent_coef", "start_steps", 0.01),
    "discount": ("gamma", "gamma", 0.99),
    "little data": ("rollout_len", "buffer_size", 4.0),
}
"""Settings on-policy and off-policy, and the factor for those that are above 0, else the value."""


def told_apart_by(cause: str, config: Mapping[str, Any]) -> str:
    """The cheapest command that would confirm a cause, or clear it.

    Args:
        cause: a key of `CAUSES`.
        config: the run's settings.
    """
    algo, env = config.get("algo"), config.get("env")
    if cause in SOURCE:
        return f"python -m rlsuite.probe {algo}  # the same text on tasks of known answer"
    if cause in WORLD:
        return f"python -m rlsuite.preflight --env {env}"
    short = f"--total-steps {max(1, int(config.get('total_steps', 0)) // 4)} --seed {int(config.get('seed', 0)) + 1}"
    for name in CHANGES.get(cause, ())[:2]:
        if isinstance(config.get(f"{name}"), int | float):
            factor = float(CHANGES[cause][2])
            value = factor if name in ("gamma", "ent_coef") else float(config[f"{name}"]) * factor
            return f"python -m rlsuite.run {algo} --env {env} {flag(f'{name}')} {value:g} {short}"
    return f"python -m rlsuite.run {algo} --env {env} --preset none {short}"
