"""Saving and loading policies, snapshots and episodes: safetensors and JSON, which hold no code."""

import inspect
import json
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from torch import nn

from rlsuite.common import mpi
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checks import UserError, check_module
from rlsuite.common.envs import Episode, Policy, make_env
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.common.runs import read_config

MAX_SNAPSHOT_STATES = 2048
NETWORKS = {f"{c.__module__}.{c.__qualname__}": c for c in (ActorCritic, QNetwork, MuQNetwork)}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill, finds either the old content or the new one, never half of it."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def policy_arrays(ac: nn.Module) -> dict[str, NDArray[Any]]:
    """The module's parameters and buffers, the normaliser's included, as arrays."""
    return {name: np.array(t.detach().cpu().numpy(), order="C") for name, t in ac.state_dict().items()}


def load_weights(module: nn.Module, arrays: dict[str, NDArray[Any]]) -> None:
    """Put `policy_arrays` into a module of the same kind, in place.

    Raises:
        ValueError: a name, shape or type differs.
    """
    wanted = {name: (tuple(t.shape), str(t.dtype)) for name, t in module.state_dict().items()}
    given = {name: (array.shape, f"torch.{array.dtype}") for name, array in arrays.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if given.get(name) != wanted.get(name):
            raise ValueError(f"{name} is {given.get(name, 'missing')}, expected {wanted.get(name, 'nothing')}")
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def save_epoch(
    run_dir: Path,
    epoch: int,
    last_epoch: int,
    env_steps: int,
    ac: nn.Module,
    obs: NDArray[Any],
    episodes: dict[str, Episode],
) -> None:
    """Replace policy.safetensors, keep the epoch's best and worst episode, and at six epochs of the run a snapshot.

    Of several processes only rank 0 writes.

    Args:
        run_dir: the run's directory.
        epoch: which one has just ended, from 1.
        last_epoch: which one will be the last.
        env_steps: so far.
        ac: the network, with its normaliser.
        obs: states that the epoch visited (K, *obs_shape).
        episodes: "best" and "worst", or nothing if none finished.
    """
    if mpi.rank > 0:
        return
    write_atomically(run_dir / "policy.safetensors", save_arrays(policy_arrays(ac)))
    save_episodes(run_dir, epoch, episodes)
    if epoch in np.linspace(1, last_epoch, 6).astype(np.int64):
        save_snapshot(run_dir, epoch, env_steps, ac, obs)


def save_snapshot(run_dir: Path, epoch: int, env_steps: int, ac: nn.Module, obs: NDArray[Any]) -> None:
    """Keep the policy of this epoch and up to 2,048 of the states (K, *obs_shape) that it visited."""
    pick = np.linspace(0, len(obs) - 1, min(len(obs), MAX_SNAPSHOT_STATES)).astype(np.int64)
    arrays = {f"policy.{name}": array for name, array in policy_arrays(ac).items()}
    arrays["obs"] = np.ascontiguousarray(obs[pick])
    (run_dir / "snapshots").mkdir(exist_ok=True)
    data = save_arrays(arrays, metadata={"env_steps": str(env_steps)})
    write_atomically(run_dir / "snapshots" / f"epoch_{epoch:06d}.safetensors", data)


def save_episodes(run_dir: Path, epoch: int, episodes: dict[str, Episode]) -> None:
    """Keep an epoch's "best" and "worst" episode as seed and actions."""
    if not episodes:
        return
    (run_dir / "episodes").mkdir(exist_ok=True)
    arrays = {name: np.ascontiguousarray(episode.actions) for name, episode in episodes.items()}
    metadata = {"episodes": json.dumps({name: {"seed": e.seed, "return": e.ret} for name, e in episodes.items()})}
    write_atomically(run_dir / "episodes" / f"epoch_{epoch:06d}.safetensors", save_arrays(arrays, metadata=metadata))


def read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays and metadata of a file.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (OSError, safetensors.SafetensorError, TypeError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error


def load_episode(run_dir: Path, epoch: int, which: str) -> Episode:
    """The "best" or "worst" episode of an epoch.

    Raises:
        UserError: no episode finished in that epoch, or the file is damaged.
    """
    path = run_dir / "episodes" / f"epoch_{epoch:06d}.safetensors"
    if not path.exists():
        epochs = saved_epochs(run_dir, "episodes")
        known = f"there are some for epochs {epochs[0]} to {epochs[-1]}" if epochs else "none has been saved yet"
        raise UserError(f"{run_dir} has no episode of epoch {epoch}: {known}")
    arrays, metadata = read_safetensors(path)
    try:
        about = json.loads(metadata["episodes"])[which]
        return Episode(int(about["seed"]), arrays[which], float(about["return"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} holds no {which} episode") from error


def run_env(config: dict[str, Any], render_mode: str | None = None) -> gym.Env:
    """The environment of a run, made anew from its config.json.

    Raises:
        UserError: it was trained on a function of the user's, or the environment can't be made.
    """
    env_id = config.get("env")
    if not isinstance(env_id, str) or config.get("custom_env"):
        raise UserError(
            "this run was trained on an environment function; in Python, load_policy(run_dir, env) and "
            "rlsuite.common.envs.evaluate take the environment itself"
        )
    check_module(env_id, "")
    return make_env(env_id, str(config.get("env_kwargs", "{}")), render_mode)


def load_policy(run_dir: Path, env: gym.Env | None = None) -> Policy:
    """The run's network with its last saved weights.

    Args:
        run_dir: the run.
        env: tells the spaces; by default the environment that config.json names is made for it.

    Raises:
        UserError: no policy there, a damaged file, or weights of another shape than config.json says.
    """
    arrays, _ = read_safetensors(run_dir / "policy.safetensors")
    return _build(run_dir, arrays, env)


def saved_epochs(run_dir: Path, kind: str) -> list[int]:
    """The epochs that have a file in the folder `kind`, "snapshots" or "episodes", in order."""
    names = (p.stem.removeprefix("epoch_") for p in (run_dir / kind).glob("epoch_*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def snapshot_epochs(run_dir: Path) -> list[int]:
    """The epochs that have a snapshot, in order."""
    return saved_epochs(run_dir, "snapshots")


def load_snapshot(run_dir: Path, epoch: int) -> tuple[Policy, NDArray[Any]]:
    """The network of an epoch and the states (K, *obs_shape) that it visited.

    Raises:
        UserError: as `load_policy`.
    """
    path = run_dir / "snapshots" / f"epoch_{epoch:06d}.safetensors"
    arrays, _ = read_safetensors(path)
    if "obs" not in arrays:
        raise UserError(f"{path} is no snapshot: it holds no observations")
    weights = {name.removeprefix("policy."): a for name, a in arrays.items() if name != "obs"}
    return _build(run_dir, weights), arrays["obs"]


def _build(run_dir: Path, weights: dict[str, NDArray[Any]], env: gym.Env | None = None) -> Policy:
    config = read_config(run_dir)
    network = NETWORKS.get(str(config.get("network", "rlsuite.common.actor_critic.ActorCritic")))
    if network is None:
        raise UserError(f"{run_dir} was trained with a network class of its own; load its weights in Python")
    own_env = run_env(config) if env is None else None
    env = env or own_env
    assert env is not None
    try:
        takes = inspect.signature(network).parameters
        settings = {name: value for name, value in config.items() if name in takes}
        settings["hidden_sizes"] = tuple(settings["hidden_sizes"])
        ac = network(env.observation_space, env.action_space, **settings)
        load_weights(ac, weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the policy in {run_dir} does not fit its config.json: {reason}") from error
    finally:
        if own_env:
            own_env.close()
    return ac
