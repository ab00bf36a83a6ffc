"""What can be wrong with a run that does not learn: the causes that the diagnosis chooses from.

The wording is for the reader of a finding: what it is, and where to look first. The list was committed before the first
rule was written, so that no rule could choose its causes by what it finds.
"""

import shlex
from collections.abc import Mapping
from typing import Any

from rlsuite.rundir.runs import PER_RUN_FIELDS
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
CHANGES: Mapping[str, Mapping[str, tuple[str, float]]] = {
    "high learning rate": {"pi_lr": ("times", 0.1), "q_lr": ("times", 0.1)},
    "low learning rate": {"pi_lr": ("times", 10), "q_lr": ("times", 10)},
    "little exploration": {"ent_coef": ("is", 0.01), "epsilon_start": ("is", 1), "act_noise": ("is", 0.2)},
    "endless exploration": {"ent_coef": ("is", 0), "epsilon_end": ("is", 0.05), "act_noise": ("is", 0.1)},
    "discount": {"gamma": ("is", 0.99)},
    "little data": {"rollout_len": ("times", 4), "buffer_size": ("times", 100)},
}
"""For causes that lie in a setting, what to try in its place; the first that the algorithm has."""
UNTOUCHED = {"env", "exp_name", *PER_RUN_FIELDS}
"""flags of a command line that need not be given again"""


def told_apart_by(cause: str, config: Mapping[str, Any]) -> str:
    """The cheapest command that would confirm a cause, or clear it.

    Args:
        cause: a key of `CAUSES`.
        config: the run's `config.json`. Settings that its command line gave are given again.
    """
    algo, env = config.get("algo"), config.get("env")
    if not algo or not env:  # of another suite
        return "none is known for a run of another suite"
    if cause in SOURCE:
        return f"python -m rlsuite.probe {algo}  # the same text on tasks of known answer"
    if cause in WORLD:
        return f"python -m rlsuite.preflight --env {env}"
    typed = f"{config.get('command', '')}".replace("=", " ").split()
    given = [word[2:].removeprefix("no-").replace("-", "_") for word in typed if word[:2] == "--"]
    wanted = {name: config[name] for name in given if name in config and name not in UNTOUCHED}
    if "--preset" in typed[:-1]:
        wanted["preset"] = typed[typed.index("--preset") + 1]
    changes = {
        name: config[name] * value if how == "times" else value
        for name, (how, value) in CHANGES[cause].items()
        if isinstance(config.get(name), int | float)
    }
    changed = next((name for name, value in changes.items() if value != config[name]), "")
    if not changed:  # it is as it would be changed, or no single setting
        return f"python -m rlsuite.probe {algo}  # the same text on tasks of known answer"
    wanted[changed] = f"{changes[changed]:g}"
    wanted |= {"total_steps": max(1, int(config.get("total_steps", 0)) // 4), "seed": int(config.get("seed", 0)) + 1}
    words = [f"{flag(name)} {_word(value)}" for name, value in wanted.items()]
    return " ".join([f"python -m rlsuite.run {algo} --env {env}", *words])


def _word(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else shlex.quote(f"{value}")
