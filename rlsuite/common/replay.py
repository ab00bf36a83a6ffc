"""Storage for off-policy data: the last transitions, drawn from uniformly.

shape letters: B samples, N environments
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlsuite import mpi
from rlsuite.envs.spaces import storage_dtype
from rlsuite.envs.stepping import Envs
from rlsuite.errors import UserError


class Transitions(NamedTuple):
    """A batch of transitions, in no order."""

    obs: Tensor
    """(B, *obs_shape)"""
    act: Tensor
    """(B,) int64 or (B, d) float32"""
    rew: Tensor
    """(B,) float32"""
    next_obs: Tensor
    """what the step led to, also at the end of an episode (B, *obs_shape)"""
    terminated: Tensor
    """(B,) bool; false at a time limit, after which the future still has a value"""


class Steps(NamedTuple):
    """T consecutive steps of N environments, in the order of time, as arrays (T, N, ...)."""

    obs: NDArray[Any]
    act: NDArray[Any]
    rew: NDArray[np.float32]
    next_obs: NDArray[Any]
    """what the step led to, also at the end of an episode"""
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class ReplayBuffer:
    """The last `capacity` transitions of N environments that step together.

    Slots form a ring in the order of time; step t of environment n lies in slot (t N + n) mod slots. Each observation
    is stored once: what a step led to is the observation N slots later. Only where an episode ended another one begins
    there, so that the last observation of each episode is kept aside, in a second ring that grows as it has to.
    """

    def __init__(self, capacity: int, envs: Envs, rng: np.random.Generator, device: torch.device) -> None:
        """Reserve the memory.

        Args:
            capacity: transitions of all ranks together; each rounds its share up to a multiple of N.
            envs: N environments; bytes are stored as uint8, other integers as int64, floats as float32.
            rng: draws the samples.
            device: where they are wanted.

        Raises:
            UserError: it would take more memory than the machine has free.
        """
        num_envs = envs.num_envs
        check_memory(capacity, num_envs, envs.obs_space, envs.act_space)
        self.num_envs, self.rng, self.device = num_envs, rng, device
        capacity = -(-mpi.share(capacity) // num_envs) * num_envs
        # One row of N more than transitions: the newest ones also need the observation that follows.
        self.slots = capacity + num_envs
        obs_shape, obs_dtype = envs.obs_shape, envs.obs_dtype
        self.obs = np.zeros((self.slots, *obs_shape), obs_dtype)
        self.act = np.zeros((self.slots, *envs.act_shape), envs.act_dtype)
        self.rew = np.zeros(self.slots, np.float32)
        self.terminated = np.zeros(self.slots, np.bool_)
        # Which end of an episode this was, from 0, or -1 where none ended; its last observation is final[end mod len].
        self.end = np.full(self.slots, -1, np.int32)
        self.final = np.zeros((16, *obs_shape), obs_dtype)
        self.ends = self.held_ends = 0  # ends of episodes: ever seen, and still in the buffer
        self.stored = 0  # transitions ever stored
        self.pos = 0  # the slot of the next transition
        self.count = 0  # transitions held

    def __len__(self) -> int:
        """Transitions held."""
        return self.count

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, in bytes."""
        return sum(a.nbytes for a in (self.obs, self.act, self.rew, self.terminated, self.end, self.final))

    def store(
        self,
        obs: NDArray[Any],
        act: NDArray[Any],
        rew: NDArray[np.float64],
        next_obs: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Append one step of all environments, over the oldest one if the buffer is full.

        Args:
            obs: what was acted on (N, *obs_shape).
            act: (N,) int64 or (N, d) float32, as the environment took them.
            rew: (N,).
            next_obs: what the step led to (N, *obs_shape), also at the end of an episode.
            terminated: (N,) bool.
            truncated: (N,) bool.
        """
        row = slice(self.pos, self.pos + self.num_envs)
        if self.count + self.num_envs == self.slots:  # the oldest transitions leave; their obs is the row after this
            oldest = (self.pos + self.num_envs) % self.slots
            self.held_ends -= int(np.count_nonzero(self.end[oldest : oldest + self.num_envs] >= 0))
        else:
            self.count += self.num_envs
        self.obs[row], self.act[row], self.rew[row], self.terminated[row] = obs, act, rew, terminated
        self.end[row] = -1
        done = terminated | truncated
        if np.count_nonzero(done):
            self._keep_final(self.pos, np.flatnonzero(done), next_obs)
        self.stored += self.num_envs
        self.pos = self.stored % self.slots
        self.obs[self.pos : self.pos + self.num_envs] = next_obs

    def end_episodes(self, which: Sequence[int]) -> None:
        """End the episodes in progress of the environments `which`: what is stored next belongs to other ones.

        The newest observations are kept aside, because those of the next episodes take their place.
        """
        row = (self.pos - self.num_envs) % self.slots
        running = np.array([n for n in which if self.count and self.end[row + n] < 0], np.int64)
        if len(running):
            self._keep_final(row, running, self.obs[self.pos : self.pos + self.num_envs])

    def _keep_final(self, row: int, which: NDArray[np.int64], next_obs: NDArray[Any]) -> None:
        """Keep the last observations of the episodes that ended at a row of slots, in the environments `which`."""
        if self.held_ends + len(which) > len(self.final):
            held = np.arange(self.ends - self.held_ends, self.ends)
            larger = np.zeros((2 * (len(self.final) + len(which)), *self.final.shape[1:]), self.final.dtype)
            larger[held % len(larger)] = self.final[held % len(self.final)]
            self.final = larger
        numbers = self.ends + np.arange(len(which))
        self.final[numbers % len(self.final)] = next_obs[which]
        self.end[row + which] = numbers
        self.ends += len(which)
        self.held_ends += len(which)

    def stored_since(self, stored: int) -> dict[str, NDArray[Any]]:
        """A copy of what was stored since there were `stored` transitions, as far as it is still held, for `load`."""
        first = max(stored, self.stored - self.count)
        rows = np.arange(first, self.stored) % self.slots
        end = self.end[rows]
        return {
            "first": np.array(first),
            "obs": self.obs[np.arange(first, self.stored + self.num_envs) % self.slots],
            "act": self.act[rows],
            "rew": self.rew[rows],
            "terminated": self.terminated[rows],
            "end": end,
            "final": self.final[end[end >= 0] % len(self.final)],
        }

    def load(self, parts: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Fill an empty buffer with what `stored_since` gave, in the order of time.

        Raises:
            ValueError: the parts have other shapes or types, or do not follow each other.
        """
        final: dict[int, NDArray[Any]] = {}
        for part in parts:
            n, first = len(part["rew"]), int(part["first"])
            for name in ("obs", "act", "rew", "terminated", "end", "final"):
                rows = {"obs": n + self.num_envs, "final": np.count_nonzero(part["end"] >= 0)}.get(name, n)
                own = getattr(self, name)
                if part[name].shape != (rows, *own.shape[1:]) or part[name].dtype != own.dtype:
                    raise ValueError(f"{name} of the replay buffer is {part[name].dtype} {part[name].shape}")
            if n % self.num_envs or first % self.num_envs or n >= self.slots or (self.stored and first > self.stored):
                raise ValueError(f"transitions {first} to {first + n} of the replay buffer do not fit in it")
            rows = np.arange(first, first + n) % self.slots
            for name in ("act", "rew", "terminated", "end"):
                getattr(self, name)[rows] = part[name]
            self.obs[np.arange(first, first + n + self.num_envs) % self.slots] = part["obs"]
            final.update(zip(map(int, part["end"][part["end"] >= 0]), part["final"], strict=True))
            self.count = min(self.count + first + n - self.stored if self.stored else n, self.slots - self.num_envs)
            self.stored = first + n
        self.pos = self.stored % self.slots
        end = self.end[np.arange(self.stored - self.count, self.stored) % self.slots]
        held = end[end >= 0]
        self.ends, self.held_ends = int(held.max(initial=-1)) + 1, len(held)
        self.final = np.zeros((max(16, 2 * len(held)), *self.final.shape[1:]), self.final.dtype)
        for number in map(int, held):
            self.final[number % len(self.final)] = final[number]

    def sample(self, batch_size: int) -> Transitions:
        """Draw transitions uniformly, with replacement, from all that are held.

        Args:
            batch_size: of all ranks together; B is this rank's share, rounded up.
        """
        age = self.rng.integers(1, self.count + 1, mpi.share(batch_size))  # 1 is the newest
        i = (self.pos - age) % self.slots
        obs, act, rew, terminated = (ring.take(i, 0) for ring in (self.obs, self.act, self.rew, self.terminated))
        arrays = (obs, act, rew, self._next_obs(i), terminated)
        return Transitions(*(torch.from_numpy(array).to(self.device) for array in arrays))

    def newest(self, length: int) -> Steps:
        """The last `length` steps T of all environments, or all that are held if they are fewer.

        An episode that `end_episodes` has cut counts as truncated.
        """
        count = min(length * self.num_envs, self.count)
        i = np.arange(self.stored - count, self.stored) % self.slots
        terminated, ended = self.terminated[i], self.end[i] >= 0
        arrays: tuple[NDArray[Any], ...] = (self.obs[i], self.act[i], self.rew[i], self._next_obs(i), terminated)
        arrays += (ended & ~terminated,)
        return Steps(*(a.reshape(-1, self.num_envs, *a.shape[1:]) for a in arrays))

    def _next_obs(self, i: NDArray[np.int64]) -> NDArray[Any]:
        """What the transitions in the slots i (B,) led to (B, *obs_shape)."""
        next_obs = self.obs.take((i + self.num_envs) % self.slots, 0)
        end = self.end.take(i)
        (ended,) = (end >= 0).nonzero()
        if len(ended):
            next_obs[ended] = self.final[end[ended] % len(self.final)]
        return next_obs


def check_memory(capacity: int, num_envs: int, obs_space: spaces.Space[Any], act_space: spaces.Space[Any]) -> int:
    """How much memory a replay buffer takes, before it takes it.

    Args:
        capacity: transitions of all ranks together; those on this machine share its memory.
        num_envs: N.
        obs_space: of the environment.
        act_space: of the environment.

    Returns:
        Bytes of the buffer. It takes those of one observation more for each end of an episode that it holds.

    Raises:
        UserError: the machine has not so much memory free.
    """
    obs_bytes = math.prod(obs_space.shape or ()) * np.dtype(storage_dtype(obs_space)).itemsize
    act_bytes = math.prod(act_space.shape or ()) * np.dtype(storage_dtype(act_space)).itemsize
    rows = -(-mpi.share(capacity) // num_envs) + 1
    wanted = mpi.ranks_on_this_host() * rows * num_envs * (obs_bytes + act_bytes + 4 + 1 + 4)
    free = psutil.virtual_memory().available
    if wanted > free:
        raise UserError(
            f"--buffer-size {capacity} would take {wanted / 1e9:,.1f} GB, and this machine has {free / 1e9:,.1f} GB of "
            f"memory free; at most {int(capacity * free / wanted * 0.8):,} transitions leave room for the rest"
        )
    return wanted
