"""What a sweep searches: ranges and choices of an algorithm's settings, given on the command line or by default."""

import math
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, get_origin

from optuna.trial import Trial

from rlsuite.errors import UserError
from rlsuite.run import jobs_of
from rlsuite.settings import annotations, base_type, flag

NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
DEFAULTS = {
    # Of a rate or a weight the order of magnitude counts.
    **dict.fromkeys(["pi_lr", "vf_lr", "q_lr", "alpha_lr"], "1e-5..1e-2:log"),
    "ent_coef": "1e-4..0.1:log",
    "alpha": "0.01..1:log",
    # The agent looks 1/(1-gamma) steps ahead, here 10 to 1000; targets follow within 1/(1-polyak) moves.
    "gamma": "0.9..0.999:1-log",
    "polyak": "0.9..0.999:1-log",
    "lam": "0.8..1",
    "clip_ratio": "0.1..0.4",
    "target_kl": "0.003..0.3:log",
    "max_grad_norm": "0.1..10:log",
    # Counts, too, are tried in multiples.
    "rollout_len": "16..1024:log",
    "train_iters": "2..20:log",
    "train_v_iters": "5..80:log",
    "minibatch_size": "32..512:log",
    "batch_size": "32..512:log",
    "update_every": "1..64:log",
    "target_every": "10..2000:log",
    "act_noise": "0.03..0.5:log",
    "epsilon_share": "0.05..0.5",
    "epsilon_end": "0.01..0.1:log",
    "population": "10..100:log",
    "elite_share": "0.05..0.5:log",
    "std_init": "0.1..3:log",
    "hidden_sizes": "32,32|64,64|256,256",
}
"""Ranges around what published work uses, by the name of the field."""


class Axis(NamedTuple):
    """A setting that is searched."""

    name: str
    kind: Any
    """its plain type"""
    ends: tuple[float, float] = (0, 0)
    """of the range of what is drawn: of gamma=0.9..0.999:1-log 0.001 and 0.1"""
    scale: str = ""
    """"", log or 1-log"""
    choices: tuple[str, ...] = ()
    """in place of a range"""

    @property
    def label(self) -> str:
        """What is drawn."""
        return f"1-{self.name}" if self.scale == "1-log" else self.name

    def draw(self, trial: Trial) -> None:
        """Let Optuna draw a value, unless the trial has one."""
        if self.choices:
            trial.suggest_categorical(self.label, self.choices)
        else:
            suggest: Any = trial.suggest_int if self.kind is int else trial.suggest_float
            suggest(self.label, *self.ends, log=self.scale != "")

    def words(self, drawn: Any) -> list[str]:
        """The setting on the command line."""
        value = drawn if self.choices else f"{1 - drawn if self.scale == '1-log' else drawn:.6g}"
        return [flag(self.name), *(value.split(",") if get_origin(self.kind) is tuple else [value])]


def axis_of(algo: str, env: str, text: str) -> Axis:
    """The setting that an argument of --search names; raises UserError for what makes no sense."""
    name, _, given = text.partition("=")
    name, fields = name.replace("-", "_"), annotations(import_module(f"rlsuite.algos.{algo}").Config)
    if name in ("env", "seed", "total_steps"):
        raise UserError(f"--search takes settings of the algorithm, not {name}")
    if name not in fields:
        jobs_of([algo, "--env", env, flag(name), "0"])  # has a hint for words of other suites and for slips
        raise UserError(f"--search {text}: {name} is no setting of {algo}")
    kind, spec = base_type(fields[name]), given or DEFAULTS.get(name, "")
    if "|" in spec:
        return Axis(name, kind, choices=tuple(spec.split("|")))
    if not (found := re.fullmatch(rf"{NUMBER}\.\.{NUMBER}(?::(log|1-log))?", spec)) or kind not in (int, float):
        right = f"{name}=LOW..HIGH, with :log or :1-log, or " * (kind in (int, float)) + f"{name}=A|B"
        raise UserError(f"--search {text}: give {right}")
    low, high = float(found[1]), float(found[2])
    ends, scale = ((1 - high, 1 - low) if found[3] == "1-log" else (low, high)), found[3] or ""
    if not 0 < high - low < math.inf or (scale and ends[0] <= 0):
        raise UserError(f"--search {text}: the range must go up, and log needs LOW > 0, 1-log HIGH < 1")
    if kind is int and (scale == "1-log" or not low.is_integer() or not high.is_integer()):
        raise UserError(f"--search {text}: {name} is a whole number")
    return Axis(name, kind, (kind(round(ends[0], 12)), kind(round(ends[1], 12))), scale)


def default_axes(algo: str, env: str, config: Any, fixed: Sequence[str]) -> list[Axis]:
    """What is searched without --search."""
    on = [name for name in annotations(type(config)) if name in DEFAULTS and getattr(config, name) not in (0, math.inf)]
    return [axis_of(algo, env, name) for name in on if flag(name) not in fixed]
