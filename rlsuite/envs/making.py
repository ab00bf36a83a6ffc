"""Making environments from an id and keyword arguments."""

import importlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym

from rlsuite.envs import probes
from rlsuite.errors import UserError

EnvFn = Callable[[], gym.Env]

probes.register()


def make_env(env_id: str, env_kwargs: str = "{}", render_mode: str | None = None) -> gym.Env:
    """`gymnasium.make` with errors that are sentences.

    Args:
        env_id: an id, or "module:Id" for an environment that importing the module registers.
        env_kwargs: a JSON object of keyword arguments for the environment. Gymnasium itself takes some of them, such as
            "max_episode_steps", a time limit in env steps.
        render_mode: as in Gymnasium.

    Raises:
        UserError: no such environment or module, a missing package, or arguments that the environment does not take.
    """
    kwargs = json_object(env_kwargs, "--env-kwargs")
    if render_mode:  # many a small environment takes no such argument
        kwargs["render_mode"] = render_mode
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gym.make(env_id, disable_env_checker=True, **kwargs)
    except gym.error.DependencyNotInstalled as error:
        text = str(error)
        extra = next((e for e in ("mujoco", "box2d") if e in text.lower()), None)
        hint = f'pip install "rlsuite[{extra}]"' if extra else text.split("\n")[0]
        raise UserError(f"environment {env_id} needs a package that is not installed: {hint}") from error
    except (ImportError, gym.error.Error) as error:
        raise UserError(f"environment {env_id} can't be made: {' '.join(str(error).split())}") from error
    except Exception as error:  # the constructor is foreign code
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"environment {env_id} can't be made with --env-kwargs {env_kwargs}: {reason}") from error


def check_module(env_id: str, trusted: str) -> None:
    """Refuse an id such as module:Id that comes out of a file, unless the user has named the module.

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
