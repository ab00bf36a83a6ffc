"""Making, stepping and replaying environments.

shape letters: N environments, d action dimensions
"""

import math
import traceback
import warnings
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite.common import mpi, probes
from rlsuite.common.acting import greedy, sampler
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import storage_dtype
from rlsuite.common.checks import EnvError, NonFiniteError, UserError, json_object
from rlsuite.common.q_networks import MuQNetwork, QNetwork
from rlsuite.common.seeding import TEST_EPISODES, episode_seed

EnvFn = Callable[[], gym.Env]
Policy = ActorCritic | QNetwork | MuQNetwork
LARGEST = float(np.finfo(np.float32).max)  # that a reward may be, which is stored as float32

probes.register()


def make_env(env_id: str, env_kwargs: str = "{}", render_mode: str | None = None) -> gym.Env:
    """`gymnasium.make` with errors that are sentences.

    Args:
        env_id: an id, or "module:Id" for an environment that importing the module registers.
        env_kwargs: a JSON object of keyword arguments for the environment.
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


class Episode(NamedTuple):
    """A whole episode: reset with the seed, take the actions, and it happens again."""

    seed: int
    actions: NDArray[Any]
    """(length,) or (length, d), as the environment got them"""
    ret: float
    """undiscounted return"""


class Envs:
    """N copies of an environment that step together, each restarted where its episode ends.

    A plain loop: `gymnasium.vector.SyncVectorEnv` with autoreset disabled does the same at 1.1 to 2.5 times the cost.
    Every episode is reset with a seed of its own (see `seeding.episode_seed`).
    """

    def __init__(self, env_fn: EnvFn, num_envs: int, seed: int, rank: int = mpi.rank) -> None:
        """Make the environments.

        Args:
            env_fn: called once per environment.
            num_envs: N.
            seed: the run's seed.
            rank: which process this is; any other number gives other episodes.

        Raises:
            UserError: the copies are not copies, or one of them has other spaces than the first.
        """
        self.envs = [env_fn() for _ in range(num_envs)]
        if len(set(map(id, self.envs))) < num_envs:
            raise UserError("env_fn returns the same environment again; it must make a new one at each call")
        self.obs_space, self.act_space = self.envs[0].observation_space, self.envs[0].action_space
        for env in self.envs[1:]:
            if env.observation_space != self.obs_space or env.action_space != self.act_space:
                raise UserError("env_fn returns environments whose spaces differ; they must be equal")
        self.seed, self.rank = seed, rank
        self.discrete = isinstance(self.act_space, spaces.Discrete)
        self.obs_shape = tuple(self.obs_space.shape or ())
        self.batch_shape = (num_envs, *self.obs_shape)
        self.obs_end = (
            int(self.obs_space.start + self.obs_space.n) if isinstance(self.obs_space, spaces.Discrete) else 0
        )
        self.obs_dtype = storage_dtype(self.obs_space)
        self.obs = np.zeros(self.batch_shape, self.obs_dtype)
        self.ep_ret, self.ep_len = np.zeros(num_envs), np.zeros(num_envs, np.int64)
        self.ep_index = np.zeros(num_envs, np.int64)
        self.ep_seed = [0] * num_envs
        # The actions of the last steps, and at which of them each environment's episode began.
        self.actions: list[NDArray[Any]] = []
        self.ep_start = [0] * num_envs
        self.total_steps = 0  # of all ranks, which step together
        self.together = num_envs * mpi.size
        self.restarted: list[int] = []  # environments that did not repeat themselves
        self.warnings: list[str] = []  # a sentence about each of them
        self._start_epoch()

    def _start_epoch(self) -> None:
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self.best: Episode | None = None
        self.worst: Episode | None = None
        self.clipped = self.acted = 0
        unused = min(self.ep_start)
        del self.actions[:unused]
        self.ep_start = [start - unused for start in self.ep_start]

    def reset(self) -> NDArray[Any]:
        """Begin an episode everywhere and return the first observations (N, *obs_shape)."""
        for n in range(len(self.envs)):
            self.obs[n] = self._reset(n)
        return self.obs

    def _reset(self, n: int) -> Any:
        self.ep_seed[n] = episode_seed(self.seed, self.rank, n, int(self.ep_index[n]))
        self.ep_index[n] += 1
        self.ep_ret[n] = self.ep_len[n] = 0
        self.ep_start[n] = len(self.actions)
        try:
            obs, _ = self.envs[n].reset(seed=self.ep_seed[n])
            self._check_shape(obs)
            obs = np.asarray(obs, self.obs_dtype)
        except Exception as error:
            raise self._fault(error, n, "reset") from error
        self._check_range(obs)
        if not np.isfinite(obs).all():
            raise self._not_finite("observation", obs, n, "reset")
        return obs

    def step(self, act: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Step every environment; where an episode ends, `self.obs` holds the first observation of the next one.

        Args:
            act: (N,) int64, or (N, d) float32, which is clipped to the bounds here.

        Returns:
            next_obs (N, *obs_shape), what the step led to, also at the end of an episode; rew (N,) float64;
            terminated (N,) bool; truncated (N,) bool.

        Raises:
            NonFiniteError: an observation or reward is NaN or infinite.
            EnvError: an environment raised, or returned what does not fit its spaces.
        """
        num_envs = len(self.envs)
        actions = self._to_env(act)
        self.actions.append(actions.copy())  # an environment may change the action that it is given
        next_obs = np.empty(self.batch_shape, self.obs_dtype)
        rew = np.empty(num_envs)
        terminated, truncated = np.empty(num_envs, np.bool_), np.empty(num_envs, np.bool_)
        n = 0
        try:
            for n, (env, a) in enumerate(zip(self.envs, actions.tolist() if self.discrete else actions, strict=True)):
                obs, rew[n], terminated[n], truncated[n], _ = env.step(a)
                self._check_shape(obs)
                next_obs[n] = obs
        except Exception as error:
            raise self._fault(error, n, f"step {self.ep_len[n] + 1}") from error
        self._check_values(next_obs, rew)
        self.total_steps += self.together
        self.ep_ret += rew
        self.ep_len += 1
        self.obs = next_obs
        done = terminated | truncated
        if np.count_nonzero(done):
            self.obs = next_obs.copy()
            for n in map(int, np.flatnonzero(done)):
                self._finish_episode(n)
                self.obs[n] = self._reset(n)
        return next_obs, rew, terminated, truncated

    def passed(self, every: int) -> int:
        """How many multiples of `every` env steps the last step has reached: what is due, whatever num_envs is."""
        return self.total_steps // every - (self.total_steps - self.together) // every

    def _to_env(self, act: NDArray[Any]) -> NDArray[Any]:
        """Actions as the environments take them: (N,) shifted to start, or (N, *act_shape) within the bounds."""
        if isinstance(self.act_space, spaces.Discrete):
            return act + self.act_space.start if self.act_space.start else act
        assert isinstance(self.act_space, spaces.Box)
        if np.count_nonzero(np.isfinite(act)) < act.size:
            raise NonFiniteError(
                f"the policy's action is not finite at env step {self.total_steps + len(self.envs)}; "
                "the likely cause is a learning rate that is too high: lower it"
            )
        act = act.reshape(len(act), *self.act_space.shape)
        clipped = act.clip(self.act_space.low, self.act_space.high)
        self.clipped += int(np.count_nonzero(clipped != act))
        self.acted += act.size
        return clipped.astype(self.act_space.dtype, copy=False)

    def _check_shape(self, obs: Any) -> None:
        # Numpy would spread an observation of shape (1,) over a row of any length without a word.
        if np.shape(obs) != self.obs_shape:
            raise ValueError(f"observation of shape {np.shape(obs)} in {self.obs_space}")

    def _fault(self, error: Exception, n: int, when: str) -> EnvError:
        """What an environment, which is foreign code, did wrong, and in which line."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if len(frames) > 1 else ""
        return EnvError(
            f"environment {n} failed at {when} of the episode with seed {self.ep_seed[n]}, after env step "
            f"{self.total_steps}: {type(error).__name__}: {' '.join(str(error).split())}{where}"
        )

    def _check_range(self, obs: NDArray[Any]) -> None:
        if isinstance(self.obs_space, spaces.Discrete) and ((obs < self.obs_space.start) | (obs >= self.obs_end)).any():
            raise EnvError(f"an environment returned observation {obs} in {self.obs_space}")

    def _check_values(self, obs: NDArray[Any], rew: NDArray[np.float64]) -> None:
        self._check_range(obs)
        if np.count_nonzero(np.isfinite(obs)) < obs.size:
            n = int(np.flatnonzero(~np.isfinite(obs.reshape(len(obs), -1)).all(1))[0])
            raise self._not_finite("observation", obs[n], n, f"step {self.ep_len[n] + 1}")
        storable = np.abs(rew) <= LARGEST
        if np.count_nonzero(storable) < len(rew):
            n = int(np.flatnonzero(~storable)[0])
            raise self._not_finite("reward", np.array(rew[n]), n, f"step {self.ep_len[n] + 1}")

    def _not_finite(self, what: str, value: Any, n: int, when: str) -> NonFiniteError:
        value = np.asarray(value)
        env_step = self.total_steps + (0 if when == "reset" else len(self.envs))
        shown = f"{value}" if value.ndim == 0 else f"{np.count_nonzero(~np.isfinite(value))} of {value.size} entries"
        return NonFiniteError(
            f"{what} of environment {n} is not finite ({shown}) at {when} of the episode with seed {self.ep_seed[n]}, "
            f"env step {env_step}; the likely cause is the environment itself "
            "(a division by zero, or a simulation that has become unstable)"
        )

    def _finish_episode(self, n: int) -> None:
        ret, length = float(self.ep_ret[n]), int(self.ep_len[n])
        self.returns.append(ret)
        self.lengths.append(length)
        if self.best is None or self.worst is None or ret > self.best.ret or ret < self.worst.ret:
            episode = Episode(self.ep_seed[n], np.array([a[n] for a in self.actions[self.ep_start[n] :]]), ret)
            if self.best is None or ret > self.best.ret:
                self.best = episode
            if self.worst is None or ret < self.worst.ret:
                self.worst = episode

    def end_epoch(self) -> tuple[dict[str, float], dict[str, Episode]]:
        """Statistics and the best and worst of the episodes that finished since the last call; starts them anew.

        Episodes that are still running are not touched: they count in the epoch that they finish in.
        """
        own = self.returns, self.lengths, self.best, self.worst, self.clipped, self.acted
        returns, lengths, best, worst, clipped, acted = zip(*mpi.gather_objects(own), strict=True)
        stats = episode_stats([r for part in returns for r in part], [n for part in lengths for n in part])
        if sum(acted):
            stats["ClippedActions"] = sum(clipped) / sum(acted)
        self._start_epoch()
        if not any(returns):
            return stats, {}
        by_return = attrgetter("ret")
        return stats, {"best": max(filter(None, best), key=by_return), "worst": min(filter(None, worst), key=by_return)}

    def state_dict(self) -> dict[str, Any]:
        """The episodes in progress as seed and actions so far, which is all that there is to an environment."""
        began = min(self.ep_start)
        return {
            "obs": self.obs.copy(),
            "actions": np.array(self.actions[began:]),
            "ep_ret": self.ep_ret.copy(),
            "ep_len": self.ep_len.copy(),
            "ep_index": self.ep_index.copy(),
            "ep_seed": list(self.ep_seed),
            "ep_start": [start - began for start in self.ep_start],
            "total_steps": self.total_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring every environment to where it was, by playing its episode again from its seed.

        One that is not where it should be then is not deterministic, or another one: a sentence about it goes to
        `warnings`, and a new episode begins there.

        Raises:
            ValueError: the state is of other environments.
        """
        num_envs = len(self.envs)
        for name in ("obs", "ep_ret", "ep_len", "ep_index"):
            own = getattr(self, name)
            if state[name].shape != own.shape or state[name].dtype != own.dtype:
                raise ValueError(f"{name} is {state[name].dtype} {state[name].shape}, not {own.dtype} {own.shape}")
            setattr(self, name, state[name].copy())
        self.total_steps = int(state["total_steps"])
        self.ep_seed, self.ep_start = [int(x) for x in state["ep_seed"]], [int(x) for x in state["ep_start"]]
        if self.total_steps % self.together or self.total_steps < 0 or min(self.ep_index) < 0 or min(self.ep_seed) < 0:
            raise ValueError(f"{self.total_steps} env steps, episodes {self.ep_index}, seeds {self.ep_seed}")
        if len(self.ep_seed) != num_envs or len(self.ep_start) != num_envs or min(self.ep_start) < 0:
            raise ValueError(f"{len(self.ep_seed)} episodes for {num_envs} environments")
        self.actions = list(state["actions"])
        for n in range(num_envs):
            problem = self._play_on(n)
            if problem:
                self.restarted.append(n)
                self.warnings.append(
                    f"environment {n} of rank {self.rank} {problem} when its episode with seed {self.ep_seed[n]} was "
                    f"played again for {self.ep_len[n]} steps: it is not deterministic; a new episode begins there"
                )
                self.obs[n] = self._reset(n)

    def _play_on(self, n: int) -> str:
        """Repeat the episode in progress; what went differently, or ""."""
        env, actions = self.envs[n], [step[n] for step in self.actions[self.ep_start[n] :]]
        try:
            obs, _ = env.reset(seed=self.ep_seed[n])
            for action in actions:
                obs, _, terminated, truncated, _ = env.step(action.item() if self.discrete else action.copy())
                if terminated or truncated:
                    return "ended its episode"
        except Exception as error:  # foreign code
            return f"raised {type(error).__name__}"
        repeated = np.asarray(obs, self.obs_dtype)
        return "" if np.array_equal(repeated, self.obs[n]) else "was in another state"

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()


def episode_stats(returns: list[float], lengths: list[int], prefix: str = "") -> dict[str, float]:
    """Mean, standard deviation, maximum and minimum of returns, and the mean length; NaN without any episode."""
    ret = np.array(returns or [math.nan])
    return {
        f"Average{prefix}EpRet": float(ret.mean()),
        f"Std{prefix}EpRet": float(ret.std()),
        f"Max{prefix}EpRet": float(ret.max()),
        f"Min{prefix}EpRet": float(ret.min()),
        f"{prefix}EpLen": float(np.mean(lengths)) if lengths else math.nan,
    }


def evaluate(
    ac: Policy, env: gym.Env, episodes: int, seed: int, deterministic: bool = True
) -> tuple[list[float], list[int]]:
    """Run whole episodes with a policy that does not learn.

    Args:
        ac: acts by `mode`, or by `act` where its policy is stochastic.
        env: one environment, not closed here.
        episodes: how many.
        seed: of the test episodes, which are drawn apart from those of training.
        deterministic: take the most probable actions instead of sampling.

    Returns:
        Undiscounted returns and lengths in env steps, one per episode; fewer than asked for if an episode does not end
        within 100,000 steps.

    Raises:
        UserError: the policy is deterministic and can't be sampled from.
        NonFiniteError: an observation, reward or action is NaN or infinite.
    """
    if deterministic:
        choose = greedy(ac)
    elif hasattr(ac, "act"):
        choose = sampler(ac, 1)
    else:
        raise UserError("this policy is deterministic and can't be sampled from; leave --stochastic out")
    envs = Envs(lambda: env, 1, seed, rank=TEST_EPISODES)
    obs = envs.reset()
    while len(envs.returns) < episodes and envs.ep_len[0] < 100_000:
        envs.step(choose(obs))
        obs = envs.obs
    return envs.returns, envs.lengths


def random_return(env: gym.Env, episodes: int = 100) -> float:
    """Mean undiscounted return of uniformly random actions: what any learning has to beat."""
    env.action_space.seed(0)
    total = 0.0
    for episode in range(episodes):
        env.reset(seed=episode)
        done = False
        while not done:
            _, rew, terminated, truncated, _ = env.step(env.action_space.sample())
            total += float(rew)
            done = terminated or truncated
    return total / episodes


def replay(env: gym.Env, episode: Episode) -> float:
    """Play a recorded episode again and return what it returns this time; equal if the environment is deterministic."""
    env.reset(seed=episode.seed)
    total = 0.0
    for action in episode.actions:
        _, rew, _, _, _ = env.step(action.item() if isinstance(env.action_space, spaces.Discrete) else action.copy())
        total += float(rew)
    return total
