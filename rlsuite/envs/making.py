"""Making environments: from an id and keyword arguments, or by a function of the user's, as a run wants them."""

import importlib
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite.envs import probes
from rlsuite.envs.spaces import flat_space, flatten, is_flattened, number
from rlsuite.errors import UserError

EnvFn = Callable[[], gym.Env]

probes.register()


class EnvConfig(Protocol):
    """The settings that one environment is made of."""

    @property
    def env(self) -> str:
        """Id."""

    @property
    def env_kwargs(self) -> str:
        """A JSON object of keyword arguments."""

    @property
    def frame_skip(self) -> int:
        """How often each action is repeated."""


def configured_env(config: EnvConfig, env_fn: EnvFn | None = None, render_mode: str | None = None) -> gym.Env:
    """An environment as the networks of a run see it. Whatever a run does, it does in one that was made here.

    Args:
        config: settings.
        env_fn: the user's own function, which takes the place of id and keyword arguments.
        render_mode: as in Gymnasium; not for env_fn.

    Raises:
        UserError: it can't be made (see `make_env`), or wrapped.
    """
    env = env_fn() if env_fn else make_env(config.env, config.env_kwargs, render_mode)
    if config.frame_skip > 1:
        env = FrameSkip(_wrappable(env, "--frame-skip needs"), config.frame_skip)
    if is_flattened(raw_obs_space(env)):
        env = Flattened(_wrappable(env, f"{type(raw_obs_space(env)).__name__} observations need"))
    return env


def raw_obs_space(env: Any) -> Any:
    """The space of what an environment returned before it was flattened here; None if it has none."""
    return getattr(env.env if isinstance(env, Flattened) else env, "observation_space", None)


def _wrappable(env: Any, who: str) -> gym.Env:
    if not isinstance(env, gym.Env):
        raise UserError(f"{who} a gymnasium.Env, which {type(env).__name__} is not: derive it from that class")
    return env


class FrameSkip(gym.Wrapper[Any, Any, Any, Any]):
    """Repeats each action, adds up its rewards, and shows what the last of the repetitions led to.

    To everything outside, one such step is one step: episodes are counted, cut, recorded and repeated in them. A time
    limit within counts the environment's own.
    """

    def __init__(self, env: gym.Env, times: int) -> None:
        """Repeat each action `times` times, fewer where the episode ends before."""
        super().__init__(env)
        self.times = times
        if fps := env.metadata.get("render_fps"):  # a film has one frame for each action
            self.metadata = {**env.metadata, "render_fps": fps / times}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One action, up to `times` steps."""
        total = 0.0
        for _ in range(self.times):
            # An environment may change the action that it is given.
            again = action.copy() if isinstance(action, np.ndarray) else action
            obs, rew, terminated, truncated, info = self.env.step(again)
            total += number(rew)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


class Flattened(gym.ObservationWrapper[Any, Any, Any]):
    """Turns Dict, Tuple, MultiDiscrete and MultiBinary observations into vectors, as Gymnasium flattens them."""

    def __init__(self, env: gym.Env) -> None:
        """The space becomes the Box that Gymnasium flattens it into."""
        super().__init__(env)
        self.raw: spaces.Space[Any] = env.observation_space
        self.observation_space = flat_space(self.raw)

    def observation(self, observation: Any) -> NDArray[Any]:
        """An observation (F,)."""
        return flatten(observation, self.raw)


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


def trust_flag(env_id: str) -> str:
    """With what a command that goes on with or plays a run on this environment ends, for `check_module` to let it."""
    module, colon, _ = env_id.partition(":")
    return f" --import-env {module}" if colon else ""


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
