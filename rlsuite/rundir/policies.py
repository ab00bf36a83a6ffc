"""Policies, snapshots and episodes of a run: safetensors and JSON, which hold no code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from torch import nn

from rlsuite.envs.episodes import Episode
from rlsuite.errors import UserError
from rlsuite.rundir.files import Arrays, read_safetensors, write_atomically

MAX_SNAPSHOT_STATES = 2048
BEST_POLICY = "policy_best.safetensors"


def policy_arrays(ac: nn.Module) -> Arrays:
    """The module's parameters and buffers, the normaliser's included, as arrays."""
    return {name: np.array(t.detach().cpu().numpy(), order="C") for name, t in ac.state_dict().items()}


def load_weights(module: nn.Module, arrays: Arrays) -> None:
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


def save_policy(run_dir: Path, ac: nn.Module) -> None:
    """Replace policy.safetensors by the network as it is, with its normaliser."""
    write_atomically(run_dir / "policy.safetensors", save_arrays(policy_arrays(ac)))


def save_best_policy(run_dir: Path, ac: nn.Module, epoch: int, ret: float) -> None:
    """Replace policy_best.safetensors by the network as it is after this epoch, whose mean return was the highest."""
    metadata = {"best": json.dumps({"epoch": epoch, "return": ret})}  # one entry: several come in any order
    write_atomically(run_dir / BEST_POLICY, save_arrays(policy_arrays(ac), metadata=metadata))


def load_best_policy(run_dir: Path) -> tuple[Arrays, int, float]:
    """The weights of the best epoch, its number, and its mean return.

    Raises:
        UserError: there was no such epoch yet, or the file is damaged.
    """
    path = run_dir / BEST_POLICY
    if (run_dir / "policy.safetensors").exists() and not path.exists():
        raise UserError(
            f"{run_dir} has no best policy: no epoch had test episodes, or at least five episodes that finished"
        )
    arrays, metadata = read_safetensors(path)
    try:
        about = json.loads(metadata["best"])
        return arrays, int(about["epoch"]), float(about["return"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path} does not say of which epoch it is") from error


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


def saved_epochs(run_dir: Path, kind: str) -> list[int]:
    """The epochs that have a file in the folder `kind`, "snapshots" or "episodes", in order."""
    names = (p.stem.removeprefix("epoch_") for p in (run_dir / kind).glob("epoch_*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def load_snapshot(run_dir: Path, epoch: int) -> tuple[Arrays, NDArray[Any]]:
    """The weights of an epoch and the states (K, *obs_shape) that it visited.

    Raises:
        UserError: there is no such snapshot, or the file is damaged.
    """
    path = run_dir / "snapshots" / f"epoch_{epoch:06d}.safetensors"
    arrays, _ = read_safetensors(path)
    if "obs" not in arrays:
        raise UserError(f"{path} is no snapshot: it holds no observations")
    return {name.removeprefix("policy."): a for name, a in arrays.items() if name != "obs"}, arrays["obs"]
