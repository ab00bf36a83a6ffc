"""Stepping environments.

shape letters: N environments, d action dimensions, k components of MultiDiscrete actions
"""

import copy
import math
import traceback
from array import array
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite import mpi, settings
from rlsuite.envs.episodes import MAX_REPLAYABLE, RANDOM_STEPS, Episode, episode_seed, episode_stats, reward_stats
from rlsuite.envs.making import EnvConfig, EnvFn, configured_env, raw_obs_space
from rlsuite.envs.spaces import LARGEST, MisfitError, action_shape, from_env, number, storage_dtype, to_env
from rlsuite.errors import EnvError, NonFiniteError, UserError

NUMBERS = frozenset([float, int, bool, np.float64, np.float32, np.int64])
"""types of rewards that need no look"""


def _innermost(env: gym.Env) -> Any:
    return getattr(env, "unwrapped", env)  # env_fn is foreign code, and what it returns may be no Gymnasium environment


class EnvsConfig(EnvConfig, Protocol):
    """The settings of any algorithm, as far as they concern environments."""

    @property
    def num_envs(self) -> int:
        """N, of each rank."""

    @property
    def seed(self) -> int:
        """The run's."""


class Envs:
    """N copies of an environment that step together, each restarted where its episode ends.

    A plain loop: `gymnasium.vector.SyncVectorEnv` with autoreset disabled does the same at 1.1 to 2.5 times the cost.
    Every episode is reset with a seed of its own (see `episode_seed`).
    """

    def __init__(self, env_fn: EnvFn, num_envs: int, seed: int, rank: int = mpi.rank) -> None:
        """Make the environments; `reset` begins.

        Args:
            env_fn: called once per environment.
            num_envs: N.
            seed: the run's seed.
            rank: which process this is; each has its own episodes.

        Raises:
            UserError: an environment has no spaces or other spaces than the first, or env_fn repeats itself.
        """
        self.env_fn, self.num_envs, self.seed, self.rank = env_fn, num_envs, seed, rank
        self.envs: list[gym.Env] = []
        self.others: list[gym.Env] = []
        while len(self.envs) < num_envs:
            self.envs.append(self.apart())
        self.obs_space, self.act_space = self.envs[0].observation_space, self.envs[0].action_space
        self.raw_obs_space = raw_obs_space(self.envs[0])  # before it was flattened, if it was
        for env in self.envs[1:]:
            if env.observation_space != self.obs_space or env.action_space != self.act_space:
                raise UserError("env_fn returns environments whose spaces differ; they must be equal")
        self.discrete = isinstance(self.act_space, spaces.Discrete)
        self.obs_shape = tuple(self.obs_space.shape or ())
        self.act_shape, self.act_dtype = action_shape(self.act_space), np.dtype(storage_dtype(self.act_space))
        self.batch_shape = (num_envs, *self.obs_shape)
        self.obs_dtype = np.dtype(storage_dtype(self.obs_space))
        self.raw_dtype = self.obs_dtype
        """what the environments return; float64 is checked and rounded for all of them at once"""
        self.obs_range, self.obs_types = (0, 0), frozenset[type]()  # of Discrete observations; (0, 0) of any others
        if isinstance(self.obs_space, spaces.Discrete):
            self.obs_range = int(self.obs_space.start), int(self.obs_space.start + self.obs_space.n)
            self.obs_types = frozenset([int, np.int64])
        self.obs = np.zeros(self.batch_shape, self.obs_dtype)
        self.seed_of: Callable[[int, int], int] = partial(episode_seed, seed, rank)
        """environment n, number of its episode -> the seed of that episode"""
        self.ep_ret, self.ep_len = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        self.ep_index = np.zeros(num_envs, np.int64)
        self.ep_seed = [0] * num_envs
        # The actions of the last steps, and the place among them where each environment's episode began.
        self.actions: list[NDArray[Any]] = []
        self.ep_start = [0] * num_envs
        self.total_steps = 0  # of all ranks, which step together
        self.together = num_envs * mpi.size
        self.restarted: list[int] = []  # environments whose episode could not be repeated on resuming
        self.warnings: list[str] = []  # a sentence about each of them
        self.custom = False  # made by a function of the user's, which no file can name
        self._start_epoch()

    @classmethod
    def of(cls, config: EnvsConfig, env_fn: EnvFn | None = None) -> "Envs":
        """The environments that the settings ask for, or those of the user's own function.

        Raises:
            UserError: they can't be made, or are not fit (see `configured_env` and `Envs`), or env_fn is no function.
        """
        settings.expect_function(env_fn)
        envs = cls(lambda: configured_env(config, env_fn), config.num_envs, config.seed)
        envs.custom = env_fn is not None
        return envs

    def another(self) -> gym.Env:
        """One more environment, which does not step with the others, for test episodes; `close` closes it too.

        Raises:
            UserError: env_fn returns one that it has returned before.
        """
        env = self.apart()
        self.others.append(env)
        return env

    def apart(self) -> gym.Env:
        """As `another`, but the caller closes it."""
        env = self.env_fn()
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)
            if not isinstance(space, spaces.Space):
                found = f"no {name}" if space is None else f"as its {name} {space!r}, which is no Gymnasium space"
                raise UserError(
                    f"the environment {type(_innermost(env)).__name__} has {found}; "
                    f"set self.{name} in its __init__, for example to gymnasium.spaces.Box(-1, 1, (3,))"
                )
        if any(_innermost(env) is _innermost(other) for other in (*self.envs, *self.others)):
            raise UserError("env_fn returns the same environment again; it must make a new one at each call")
        return env

    def _start_epoch(self) -> None:
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.rewards, self.terminal_rewards = array("d"), array("d")  # of all steps, and of those that terminated
        self.truncations = 0
        self.best: Episode | None = None
        self.worst: Episode | None = None
        self.clipped = self.acted = 0
        self._forget_actions()

    def _first_needed(self) -> int:
        """Where in `actions` the oldest episode began that can still be played again; their number if none can."""
        began = [start for start, length in zip(self.ep_start, self.ep_len, strict=True) if length <= MAX_REPLAYABLE]
        return min(began, default=len(self.actions))

    def _forget_actions(self) -> None:
        unused = self._first_needed()
        del self.actions[:unused]
        self.ep_start = [start - unused for start in self.ep_start]
        self.forget_at = 1000 + 2 * len(self.actions)  # doubling keeps the cost per step constant

    def reset(self) -> NDArray[Any]:
        """Begin an episode everywhere and return the first observations (N, *obs_shape)."""
        for n in range(self.num_envs):
            self.obs[n] = self._reset(n)
        return self.obs

    def _reset(self, n: int) -> NDArray[Any]:
        self.ep_seed[n] = self.seed_of(n, int(self.ep_index[n]))
        self.ep_index[n] += 1
        self.ep_ret[n] = self.ep_len[n] = 0
        self.ep_start[n] = len(self.actions)
        try:
            obs, _ = self.envs[n].reset(seed=self.ep_seed[n])
            raw = np.asarray(self._from_env(obs))
        except Exception as error:
            raise self._fault(error, n, reset=True) from error
        self._check_obs(raw[None], n, reset=True)
        return raw.astype(self.obs_dtype, copy=False)

    def step(self, act: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Step every environment; where an episode ends, `self.obs` holds the first observation of the next one.

        Args:
            act: (N,) int64, or (N, k) int64, or (N, d) float32, which is clipped to the bounds here.

        Returns:
            next_obs (N, *obs_shape), what the step led to, also at the end of an episode; rew (N,) float64;
            terminated (N,) bool; truncated (N,) bool.

        Raises:
            NonFiniteError: an observation, reward or action is NaN or infinite.
            EnvError: an environment raised, or returned what does not fit its spaces.
        """
        actions = self._to_env(act)
        self.actions.append(actions.copy())  # an environment may change the action that it is given
        next_obs = np.empty(self.batch_shape, self.raw_dtype)
        rew = np.empty(self.num_envs)
        terminated, truncated = np.empty(self.num_envs, np.bool_), np.empty(self.num_envs, np.bool_)
        array, dtype, shape, types = np.ndarray, self.raw_dtype, self.obs_shape, self.obs_types
        n = 0
        try:
            for n, (env, a) in enumerate(zip(self.envs, actions.tolist() if self.discrete else actions, strict=True)):
                obs, r, terminated[n], truncated[n], _ = env.step(a)
                # What fits at first sight needs no call.
                if (type(obs) is not array or obs.dtype is not dtype or obs.shape != shape) and type(obs) not in types:
                    obs = self._from_env(obs)
                next_obs[n] = obs
                rew[n] = r if type(r) in NUMBERS else number(r)
        except Exception as error:
            raise self._fault(error, n) from error
        self._check_obs(next_obs)
        if not math.hypot(*rew.tolist()) <= LARGEST:  # hypot is at least the largest of them
            self._check_rew(rew)
        if dtype is not self.obs_dtype:
            next_obs = next_obs.astype(self.obs_dtype)
        self.total_steps += self.together
        self.ep_ret += rew
        self.ep_len += 1
        self.obs = next_obs
        self.rewards.frombytes(rew.tobytes())
        done = terminated | truncated
        if np.count_nonzero(done):
            self.terminal_rewards.frombytes(rew[terminated].tobytes())
            self.truncations += int(np.count_nonzero(truncated & ~terminated))
            self.obs = next_obs.copy()
            for n in map(int, np.flatnonzero(done)):
                self._finish_episode(n)
                self.obs[n] = self._reset(n)
        if len(self.actions) > self.forget_at:
            self._forget_actions()
        return next_obs, rew, terminated, truncated

    def passed(self, every: int) -> int:
        """How many multiples of `every` env steps the last step crossed."""
        return self.total_steps // every - (self.total_steps - self.together) // every

    def random_observations(self, steps: int) -> NDArray[Any]:
        """Observations of a uniformly random policy, to fill statistics with before the first `reset`.

        The training that follows is the same as without them: they have seeds and a generator of their own.

        Args:
            steps: env steps of this rank, rounded up to a multiple of N.

        Returns:
            What the policy acted on, (steps, *obs_shape), all environments at one time and then at the next.

        Raises:
            NonFiniteError: an observation or reward is NaN or infinite.
            EnvError: an environment raised, or returned what does not fit its spaces.
        """
        assert not self.ep_index.any(), "random steps would break into the episodes that have begun"
        again = iter(self.envs)
        envs = Envs(lambda: next(again), self.num_envs, self.seed)
        envs.seed_of = lambda n, i: episode_seed(self.seed, RANDOM_STEPS, self.rank * self.num_envs + n, i)
        space = copy.deepcopy(self.act_space)
        space.seed(episode_seed(self.seed, RANDOM_STEPS, self.rank, RANDOM_STEPS))  # no episode has so high a number
        times = -(-steps // self.num_envs)
        seen = np.empty((times, *self.batch_shape), self.obs_dtype)
        envs.reset()
        for row in seen:
            row[:] = envs.obs
            samples = np.array([space.sample() for _ in self.envs])
            if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
                envs.step((samples - space.start).reshape(self.num_envs, *self.act_shape))
            else:
                envs.step(samples.reshape(self.num_envs, -1).astype(np.float32))
        return seen.reshape(-1, *self.obs_shape)

    def _to_env(self, act: NDArray[Any]) -> NDArray[Any]:
        if not isinstance(self.act_space, spaces.Box):
            return to_env(act, self.act_space)[0]
        if np.count_nonzero(np.isfinite(act)) < act.size:
            raise NonFiniteError(
                f"the policy's action is not finite at env step {self.total_steps + self.together}; "
                "the likely cause is a learning rate that is too high: lower it"
            )
        actions, clipped = to_env(act, self.act_space)
        self.clipped += clipped
        self.acted += act.size
        return actions

    def _from_env(self, obs: Any) -> Any:
        """`from_env`, or the observation itself where it needs no cast but rounding."""
        if type(obs) in self.obs_types:
            return obs
        if type(obs) is np.ndarray and obs.shape == self.obs_shape:
            if obs.dtype == self.raw_dtype or obs.dtype == self.obs_dtype:
                return obs
            if obs.dtype == np.float64 and self.obs_dtype == np.float32:
                self.raw_dtype = obs.dtype  # from the next step on
        return from_env(obs, self.obs_space)

    def _place(self, n: int, reset: bool) -> str:
        when = "reset" if reset else f"step {self.ep_len[n] + 1}"
        return f"at {when} of the episode with seed {self.ep_seed[n]}"

    def _fault(self, error: Exception, n: int, reset: bool = False) -> EnvError:
        """What environment n, which is foreign code, did wrong, and in which line."""
        if isinstance(error, MisfitError):
            what = str(error)
        else:
            frames = traceback.extract_tb(error.__traceback__)
            where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if len(frames) > 1 else ""
            what = f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
        return EnvError(f"environment {n} failed {self._place(n, reset)}, after env step {self.total_steps}: {what}")

    def _not_finite(self, what: str, shown: str, n: int, reset: bool = False) -> NonFiniteError:
        return NonFiniteError(
            f"{what} of environment {n} is not finite ({shown}) {self._place(n, reset)}, "
            f"env step {self.total_steps + (0 if reset else self.together)}; "
            "the likely cause is the environment itself (a division by zero, or a simulation that has become unstable)"
        )

    def _check_obs(self, obs: NDArray[Any], first: int = 0, reset: bool = False) -> None:
        """Refuse numbers that are not finite or not in Discrete; obs (M, *obs_shape) of the environments `first` on."""
        if self.obs_types:
            good = (obs >= self.obs_range[0]) & (obs < self.obs_range[1])
            if np.count_nonzero(good) < good.size:
                n = int(np.flatnonzero(~good)[0])
                misfit = MisfitError(f"its observation {obs[n]} is not in {self.obs_space}")
                raise self._fault(misfit, first + n, reset)
        elif self.obs_dtype == np.float32:
            good = np.isfinite(obs) if obs.dtype == np.float32 else np.abs(obs) <= LARGEST
            if np.count_nonzero(good) < good.size:
                n = int(np.flatnonzero(~good.reshape(len(obs), -1).all(1))[0])
                try:
                    from_env(obs[n], self.obs_space)
                except MisfitError as error:  # finite, but not in float32
                    raise self._fault(error, first + n, reset) from error
                count = np.count_nonzero(~np.isfinite(obs[n]))
                raise self._not_finite("observation", f"{count} of {obs[n].size} entries", first + n, reset)

    def _check_rew(self, rew: NDArray[np.float64]) -> None:
        storable = np.abs(rew) <= LARGEST
        if np.count_nonzero(storable) < len(rew):
            n = int(np.flatnonzero(~storable)[0])
            if np.isfinite(rew[n]):
                raise self._fault(MisfitError(f"its reward {rew[n]} is too large for float32; scale it down"), n)
            raise self._not_finite("reward", f"{rew[n]}", n)

    def _finish_episode(self, n: int) -> None:
        ret, length = float(self.ep_ret[n]), int(self.ep_len[n])
        self.returns.append(ret)
        self.lengths.append(length)
        if length > MAX_REPLAYABLE:
            return
        if self.best is None or self.worst is None or ret > self.best.ret or ret < self.worst.ret:
            episode = Episode(self.ep_seed[n], np.array([a[n] for a in self.actions[self.ep_start[n] :]]), ret)
            if self.best is None or ret > self.best.ret:
                self.best = episode
            if self.worst is None or ret < self.worst.ret:
                self.worst = episode

    def end_epoch(self) -> tuple[dict[str, float], dict[str, Episode]]:
        """Close the books on the episodes that finished since the last call, of all ranks.

        Episodes that are still running are not touched: they count in the epoch that they finish in.

        Returns:
            The columns of `episode_stats` and `reward_stats`, with ClippedActions for Box, the share of action
            components that were clipped; and the episodes "best" and "worst" of those that can be played again, or {}
            if none can.
        """
        own = self.returns, self.lengths, self.best, self.worst, self.clipped, self.acted
        returns, lengths, best, worst, clipped, acted = zip(*mpi.gather_objects(own), strict=True)
        stats = episode_stats([r for part in returns for r in part], [n for part in lengths for n in part])
        rew, terminal = (mpi.gather(np.array(rewards)) for rewards in (self.rewards, self.terminal_rewards))
        stats |= reward_stats(rew, terminal, sum(map(len, returns)), sum(mpi.gather_objects(self.truncations)))
        if sum(acted):
            stats["ClippedActions"] = sum(clipped) / sum(acted)
        self._start_epoch()
        if not any(best):
            return stats, {}
        by_return = attrgetter("ret")
        return stats, {"best": max(filter(None, best), key=by_return), "worst": min(filter(None, worst), key=by_return)}

    def state_dict(self) -> dict[str, Any]:
        """The episodes in progress as seed and actions so far, which is all that there is to an environment.

        Of an episode longer than MAX_REPLAYABLE no action is kept: its `ep_start` is where `actions` ends.
        """
        began = self._first_needed()
        return {
            "obs": self.obs.copy(),
            "actions": np.array(self.actions[began:]),
            "ep_ret": self.ep_ret.copy(),
            "ep_len": self.ep_len.copy(),
            "ep_index": self.ep_index.copy(),
            "ep_seed": list(self.ep_seed),
            "ep_start": [
                (start if length <= MAX_REPLAYABLE else len(self.actions)) - began
                for start, length in zip(self.ep_start, self.ep_len, strict=True)
            ],
            "total_steps": self.total_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring every environment to where it was, by playing its episode again from its seed.

        Where that can't be done, a new episode begins, `restarted` names the environment, and `warnings` has a sentence
        about it: the episode was longer than MAX_REPLAYABLE, or the environment is not deterministic, carries state
        over its resets, or is another one.

        Raises:
            ValueError: the state is of other environments.
        """
        for name in ("obs", "ep_ret", "ep_len", "ep_index"):
            own = getattr(self, name)
            if state[name].shape != own.shape or state[name].dtype != own.dtype:
                raise ValueError(f"{name} is {state[name].dtype} {state[name].shape}, not {own.dtype} {own.shape}")
            setattr(self, name, state[name].copy())
        self.total_steps = int(state["total_steps"])
        self.ep_seed, self.ep_start = [int(x) for x in state["ep_seed"]], [int(x) for x in state["ep_start"]]
        if self.total_steps % self.together or self.total_steps < 0 or min(self.ep_index) < 0 or min(self.ep_seed) < 0:
            raise ValueError(f"{self.total_steps} env steps, episodes {self.ep_index}, seeds {self.ep_seed}")
        if len(self.ep_seed) != self.num_envs or len(self.ep_start) != self.num_envs or min(self.ep_start) < 0:
            raise ValueError(f"{len(self.ep_seed)} episodes for {self.num_envs} environments")
        self.actions = list(state["actions"])
        for n in range(self.num_envs):
            problem = self._play_on(n)
            if problem:
                self.restarted.append(n)
                self.warnings.append(f"environment {n} of rank {self.rank} {problem}; a new episode begins there")
                self.obs[n] = self._reset(n)

    def _play_on(self, n: int) -> str:
        """Repeat the episode in progress; why it is not where it was, or ""."""
        env, actions, length = self.envs[n], [step[n] for step in self.actions[self.ep_start[n] :]], self.ep_len[n]
        episode = f"its episode with seed {self.ep_seed[n]}"
        if length > MAX_REPLAYABLE:
            return f"had taken {length:,} steps of {episode}, and no more than {MAX_REPLAYABLE:,} can be played again"
        again = f"when {episode} was played again for {length} steps: "
        again += "it is not deterministic, or carries state over its resets"
        try:
            ret = 0.0
            obs, _ = env.reset(seed=self.ep_seed[n])
            for action in actions:
                obs, rew, terminated, truncated, _ = env.step(action.item() if self.discrete else action.copy())
                ret += number(rew)
                if terminated or truncated:
                    return f"ended early {again}"
            repeated = np.asarray(obs, self.obs_dtype)
        except Exception as error:  # foreign code
            return f"raised {type(error).__name__} {again}"
        if not np.array_equal(repeated, self.obs[n]):
            return f"was in another state {again}"
        return "" if ret == self.ep_ret[n] else f"had another return {again}"

    def close(self) -> None:
        """Close every environment, those of `another` too."""
        for env in (*self.envs, *self.others):
            env.close()
