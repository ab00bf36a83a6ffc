"""A trained policy, out of a run directory: `act = rlsuite.load(run_dir)(obs)`."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite import settings
from rlsuite.envs.making import check_module, configured_env, raw_obs_space
from rlsuite.envs.spaces import MisfitError, flat_space, flatten, from_env, is_flattened, to_env
from rlsuite.errors import UserError
from rlsuite.rundir.files import Arrays, read_safetensors
from rlsuite.rundir.policies import load_best_policy, load_snapshot, load_weights, saved_epochs
from rlsuite.rundir.runs import read_config
from rlsuite.rundir.summaries import run_at

Array = NDArray[Any]


class Policy:
    """What a run has learned, as a function from observations to actions: `policy(obs)`.

    It takes one observation as the environment gives it, or a batch of them, and returns what the environment takes:
    within its bounds, shaped and counted as its action space says.
    """

    def __init__(self, ac: Any, obs_space: spaces.Space[Any] | None = None) -> None:
        """Make it.

        Args:
            ac: the networks, which have `mode` and, if they can be sampled from, `act`.
            obs_space: of the environment, where that of the networks is another one, the flattened.
        """
        self.ac, self.obs_space = ac, ac.obs_space if obs_space is None else obs_space

    def __call__(self, obs: Any, sample: bool = False) -> Any:
        """The action for an observation.

        Args:
            obs: (*obs_shape), or (B, *obs_shape) for a batch; of a Dict or Tuple, a sequence of them is a batch.
            sample: draw from the policy instead of taking its deterministic action.

        Returns:
            One action, or a batch of them (B, ...).

        Raises:
            UserError: the observation has another shape, or the policy is deterministic and can't be sampled from.
        """
        act_space = self.ac.act_space
        try:
            batch, single = self._batch(obs)
        except (ValueError, TypeError) as error:  # a MisfitError is a ValueError
            raise UserError(
                f"that is no observation of this policy's environment, nor a batch of them: {error}"
            ) from error
        act, _ = to_env(self.choose(sample)(batch), act_space)
        if not single:
            return act
        return act[0].item() if isinstance(act_space, spaces.Discrete) else act[0]

    def _batch(self, obs: Any) -> tuple[Array, bool]:
        """Observations as the networks take them (B, *obs_shape), and whether it was only one."""
        space = self.obs_space
        if is_flattened(space):
            with suppress(ValueError):  # a batch is one level deeper than an observation, so it can't be taken for one
                return from_env(flatten(obs, space), self.ac.obs_space)[None], True
            if isinstance(obs, Mapping):  # of which the keys would be the batch
                flatten(obs, space)
            return np.array([from_env(flatten(one, space), self.ac.obs_space) for one in obs]), False
        single = np.ndim(obs) == len(space.shape or ())
        batch = np.array([from_env(one, space) for one in ([obs] if single else obs)])
        if isinstance(space, spaces.Discrete) and not all(map(space.contains, batch)):
            raise MisfitError(f"its space is {space}")
        return batch, single

    def choose(self, sample: bool) -> Any:
        """The network's own function from observations (B, *obs_shape) to actions, before they are the environment's.

        Raises:
            UserError: the policy is deterministic and can't be sampled from.
        """
        if not sample:
            return self.ac.mode
        if not hasattr(self.ac, "act"):
            raise UserError("this policy is deterministic and can't be sampled from; take its actions as they are")
        return self.ac.act


class Snapshot(NamedTuple):
    """The networks of one epoch, and where they went."""

    epoch: int
    obs: Array
    """states visited (K, *obs_shape)"""
    ac: Any


def load(
    run_dir: str | Path, env: gym.Env | None = None, actor_critic: type[Any] | None = None, best: bool = False
) -> Policy:
    """The policy of a run, with its last saved weights, or with those of its best epoch.

    Args:
        run_dir: the run; an experiment's folder stands for its newest run, and a line on stderr says which that is.
        env: tells the spaces; by default the environment that config.json names is made for it.
        actor_critic: the class of its networks, if it was trained with one of your own.
        best: take the policy after the epoch with the highest mean return, of test episodes if there were any.

    Raises:
        UserError: no policy there, a damaged file, or weights that do not fit config.json or the class.
    """
    run_dir = run_at(Path(run_dir))
    arrays = load_best_policy(run_dir)[0] if best else read_safetensors(run_dir / "policy.safetensors")[0]
    (ac,), obs_space = _build(run_dir, [arrays], env, actor_critic)
    return Policy(ac, obs_space)


def load_snapshots(run_dir: Path, most: int) -> list[Snapshot]:
    """Up to `most` snapshots of a run, evenly spaced over those that there are, in the order of time.

    Raises:
        UserError: there are none, or as `load`.
    """
    epochs = saved_epochs(run_dir, "snapshots")
    if not epochs:
        raise UserError(f"{run_dir} has no snapshots yet; a value map is drawn from them")
    epochs = sorted({epochs[round(i)] for i in np.linspace(0, len(epochs) - 1, most)})
    weights, obs = zip(*(load_snapshot(run_dir, epoch) for epoch in epochs), strict=True)
    return [Snapshot(*parts) for parts in zip(epochs, obs, _build(run_dir, weights)[0], strict=True)]


@dataclass(frozen=True)
class SavedEnv:
    """What config.json says of the environment, whatever the algorithm."""

    env: str
    env_kwargs: settings.JsonObject = "{}"
    frame_skip: settings.Count = 1

    def __post_init__(self) -> None:
        """Raises UserError for a value that makes no sense."""
        settings.check(self)


def run_env(config: dict[str, Any], render_mode: str | None = None) -> gym.Env:
    """The environment of a run, made anew from its config.json, as the run's networks see it.

    Raises:
        UserError: it was trained on a function of the user's, or the environment can't be made.
    """
    env_id = config.get("env")
    if not isinstance(env_id, str) or config.get("custom_env"):
        raise UserError(
            "this run was trained on an environment function; in Python, rlsuite.load(run_dir, env) takes the "
            "environment itself"
        )
    check_module(env_id, "")
    return configured_env(settings.from_saved(SavedEnv, config), render_mode=render_mode)


def algorithm(config: dict[str, Any]) -> ModuleType:
    """The algorithm's module, which config.json names: a file of `rlsuite/algos`.

    Raises:
        UserError: it names none.
    """
    name = config.get("algo")
    if name not in [path.stem for path in (Path(__file__).parent / "algos").glob("[!_]*.py")]:
        raise UserError(f"config.json names no algorithm of rlsuite, but {str(name)[:40]!r}")
    return import_module(f"rlsuite.algos.{name}")


def _build(
    run_dir: Path, weights: Sequence[Arrays], env: gym.Env | None = None, actor_critic: type[Any] | None = None
) -> tuple[list[Any], spaces.Space[Any]]:
    """The networks of a run, once for each set of weights; and what the environment's observations were before them."""
    saved = read_config(run_dir)
    module = algorithm(saved)
    default = inspect.signature(module.train).parameters["actor_critic"].default
    trained = saved.get("network", f"{default.__module__}.{default.__qualname__}")
    if actor_critic is None and trained != f"{default.__module__}.{default.__qualname__}":
        raise UserError(f"{run_dir} was trained with a network class of its own; pass it as actor_critic={trained}")
    config = settings.from_saved(module.Config, saved)
    own_env = run_env(saved) if env is None else None
    made: Any = own_env if env is None else env
    try:
        obs_space = raw_obs_space(made)
        spaces_seen = flat_space(obs_space), made.action_space
        networks = [(actor_critic or default)(*spaces_seen, config) for _ in weights]
        for ac, arrays in zip(networks, weights, strict=True):
            load_weights(ac, arrays)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the policy in {run_dir} does not fit its config.json: {reason}") from error
    finally:
        if own_env is not None:
            own_env.close()
    return networks, obs_space
