"""Errors that are sentences, and the ranges that settings must lie in."""

import argparse
import dataclasses
import importlib
import json
import math
import sys
from collections.abc import Callable
from typing import Any, Literal, NoReturn, get_args, get_origin


class UserError(ValueError):
    """Bad input. The message is one sentence: what is wrong, where, what would be right. Exit code 2."""


class ArgumentParser(argparse.ArgumentParser):
    """argparse with errors as one line."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage and leaving."""
        raise UserError(f"{message}; see --help")


class NonFiniteError(FloatingPointError):
    """NaN or infinity in an observation, reward, loss or gradient during training. Exit code 3."""


class EnvError(RuntimeError):
    """An environment that raised, or returned what does not fit its spaces. Exit code 3."""


def _positive(x: float) -> bool:
    return x > 0


def _natural(x: float) -> bool:
    return x >= 1


def _non_negative(x: float) -> bool:
    return x >= 0


def _unit(x: float) -> bool:
    return 0 <= x <= 1


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (lambda x: 0 <= x < 2**32, "a whole number from 0 to 2^32 - 1"),
    "total_steps": (lambda x: 1 <= x <= 10**15, "at least 1 env step, at most 10^15"),
    "num_envs": (lambda x: 1 <= x <= 10**5, "from 1 to 100,000"),
    "steps_per_epoch": (lambda x: 1 <= x <= 10**12, "at least 1 env step, at most 10^12"),
    "rollout_len": (lambda x: 1 <= x <= 10**12, "at least 1 step, at most 10^12"),
    "minibatch_size": (_natural, "at least 1 sample"),
    "train_v_iters": (_natural, "at least 1 gradient step"),
    "train_iters": (_natural, "at least 1 pass"),
    "gamma": (_unit, "a discount between 0 and 1"),
    "lam": (_unit, "between 0 and 1"),
    "pi_lr": (_non_negative, "a learning rate of 0 or more"),
    "vf_lr": (_non_negative, "a learning rate of 0 or more"),
    "clip_ratio": (_positive, "above 0"),
    "target_kl": (_positive, "above 0 nats (inf switches the early stop off)"),
    "ent_coef": (_non_negative, "0 or more"),
    "max_grad_norm": (_positive, "above 0 (inf switches clipping off)"),
    "hidden_sizes": (
        lambda x: len(x) <= 1000 and all(1 <= h <= 10**5 for h in x),
        "up to 1,000 widths of 1 to 100,000",
    ),
    "q_lr": (_non_negative, "a learning rate of 0 or more"),
    "buffer_size": (lambda x: 1 <= x <= 10**12, "from 1 to 10^12 transitions"),
    "batch_size": (_natural, "at least 1 transition"),
    "start_steps": (_non_negative, "0 env steps or more"),
    "update_after": (_non_negative, "0 env steps or more"),
    "update_every": (_natural, "at least 1 env step"),
    "gradient_steps": (_natural, "at least 1 gradient step"),
    "target_every": (_natural, "at least 1 env step"),
    "polyak": (_unit, "between 0 (copy) and 1 (never change the target)"),
    "epsilon_start": (_unit, "a probability between 0 and 1"),
    "epsilon_end": (_unit, "a probability between 0 and 1"),
    "epsilon_share": (_unit, "a share of total_steps between 0 and 1"),
    "act_noise": (_positive, "above 0: without noise the actions explore nothing"),
    "noise_corr": (lambda x: 0 <= x < 1, "from 0 to below 1"),
    "num_test_episodes": (_non_negative, "0 or more"),
    "torch_threads": (lambda x: 1 <= x <= 1024, "from 1 to 1024"),
}


def check_config(config: Any) -> None:
    """Refuse settings that make no sense, before anything is created.

    Args:
        config: an algorithm's `Config`. Fields with a known range are checked by name; numbers must be finite.

    Raises:
        UserError: names the field, its value, and the range or the value that would fit.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        if field.type is int and (not isinstance(value, int) or isinstance(value, bool)):
            raise UserError(f"{flag} is {value!r}, but must be a whole number")
        if get_origin(field.type) is Literal and value not in get_args(field.type):
            raise UserError(f"{flag} is {value!r}, but must be one of {', '.join(get_args(field.type))}")
        valid, wanted = _RANGES.get(field.name, (lambda _: True, "a finite number"))
        unlimited = field.name in ("target_kl", "max_grad_norm") and value == math.inf
        if (isinstance(value, float) and not math.isfinite(value) and not unlimited) or not valid(value):
            raise UserError(f"{flag} is {value}, but must be {wanted}")
    from rlsuite.common import mpi  # which needs this module itself

    together = config.num_envs * mpi.size
    if config.total_steps % together:
        raise UserError(
            f"--total-steps {config.total_steps} is no multiple of {_environments(config, mpi.size)}, which step "
            f"together; try {config.total_steps // together * together or together}"
        )
    for name in ("minibatch_size", "batch_size"):
        if getattr(config, name, 0) % mpi.size:
            value = getattr(config, name)
            raise UserError(
                f"--{name.replace('_', '-')} {value} can't be split evenly over {mpi.size} processes; "
                f"try {-(-value // mpi.size) * mpi.size}"
            )
    if hasattr(config, "rollout_len"):
        _check_rollouts(config, mpi.size)
    if hasattr(config, "buffer_size"):
        _check_replay(config, mpi.size)


def _environments(config: Any, ranks: int) -> str:
    """What all environments are called in an error."""
    return f"--num-envs {config.num_envs}" + (f" x {ranks} processes" if ranks > 1 else "")


def _check_rollouts(config: Any, ranks: int) -> None:
    """Refuse an epoch that is not a whole number of rollouts, or a rollout that is not one of minibatches."""
    rollout = config.rollout_len * config.num_envs * ranks
    if config.steps_per_epoch % rollout:
        raise UserError(
            f"--steps-per-epoch {config.steps_per_epoch} is no multiple of --rollout-len {config.rollout_len} x "
            f"{_environments(config, ranks)} = {rollout}; "
            f"try {max(1, round(config.steps_per_epoch / rollout)) * rollout}"
        )
    minibatch = getattr(config, "minibatch_size", rollout)
    if rollout % minibatch:
        fitting = max(m for m in range(1, min(minibatch, rollout) + 1) if rollout % m == 0)
        raise UserError(
            f"--minibatch-size {minibatch} does not divide the {rollout} samples of a rollout "
            f"(--rollout-len x --num-envs); try {fitting}"
        )


def _check_replay(config: Any, ranks: int) -> None:
    """Refuse an epoch that num_envs does not divide, a buffer that holds no batch, and a budget that trains nothing."""
    n = config.num_envs * ranks
    if config.steps_per_epoch % n:
        raise UserError(
            f"--steps-per-epoch {config.steps_per_epoch} is no multiple of {_environments(config, ranks)}, which step "
            f"together; try {max(1, round(config.steps_per_epoch / n)) * n}"
        )
    if config.buffer_size < max(config.batch_size, n):
        raise UserError(
            f"--buffer-size {config.buffer_size} is smaller than a batch (--batch-size {config.batch_size}) or a step "
            f"of all environments ({_environments(config, ranks)}); it should be many times as large, such as 100000"
        )
    # The first step of all environments from update_after on that reaches a multiple of update_every.
    every = config.update_every
    after = -(-max(config.update_after, 1) // n) * n
    first_update = -(-((after - n) // every + 1) * every // n) * n
    if config.total_steps < first_update:
        raise UserError(
            f"--total-steps {config.total_steps} ends before the first update, at env step {first_update} "
            f"(--update-after {config.update_after}, --update-every {config.update_every}): nothing would be trained"
        )

    if config.normalize_obs and config.update_after < config.batch_size:
        raise UserError(
            f"--normalize-obs takes its first mean and variance from the env steps before --update-after, and "
            f"{config.update_after} are too few; try 1000"
        )


def check_module(env_id: str, trusted: str) -> None:
    """Refuse an environment id such as module:Id out of a file, whose module has not been named by the user.

    Importing a module runs it, and a run directory may be someone else's.

    Args:
        env_id: from a config.json.
        trusted: the module that the user names, which is imported; "" for none.

    Raises:
        UserError: the id names another module, or that module can't be imported.
    """
    if trusted:
        try:
            importlib.import_module(trusted)
        except ImportError as error:
            raise UserError(f"--import-env {trusted}: {error}") from error
    module, colon, _ = env_id.partition(":")
    if colon and module not in sys.modules:
        raise UserError(
            f"the run's environment {env_id} comes from the module {module}, and importing that runs its code; "
            f"if you trust it, add --import-env {module}"
        )


def json_object(text: str, flag: str) -> dict[str, Any]:
    """Parse a flag's value that has to be a JSON object.

    Raises:
        UserError: the text is not JSON, or not an object.
    """
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"""{flag} must be a JSON object such as '{{"is_slippery": false}}', not {text!r}""")
    return value
