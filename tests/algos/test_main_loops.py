"""The main loops: what the environments gave and took is what is learned from, in its place."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlsuite.algos import a2c, ddpg, dqn, ppo, sac, td3, trpo, vpg
from rlsuite.common.buffer import gae
from rlsuite.common.health import Epoch
from rlsuite.common.logger import Logger
from rlsuite.common.normalize import RewardScaler
from rlsuite.common.replay import ReplayBuffer
from tests.conftest import OFF_POLICY, ON_POLICY

BUTTONS, UNEVEN = spaces.Discrete(3), spaces.Box(np.array([-3, 0], np.float32), np.array([1, 10], np.float32))


class Diary(gym.Env):
    """Observes how manieth episode and step this is; episodes of 3 steps are terminated and truncated by turns."""

    observation_space = spaces.Box(0, np.inf, (2,), np.float32)

    def __init__(self, act_space: spaces.Space[Any]) -> None:
        self.action_space, self.episode, self.taken = act_space, -1, []

    def observe(self) -> np.ndarray:
        return np.array([self.episode, self.time], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.episode += 1
        self.time = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.taken.append(action)
        self.time += 1
        end, truncates = self.time == 3, self.episode % 2 == 1
        return self.observe(), 10.0 * self.time, end and not truncates, end and truncates, {}


def diary(first: int, steps: int) -> tuple[np.ndarray, ...]:
    """What two environments give from a step on: obs, rew, next_obs, terminated, truncated, (T, 2, ...)."""
    episode, time = np.divmod(np.arange(first, first + steps).repeat(2).reshape(-1, 2), 3)
    obs, next_obs = (np.stack([episode, at], 2).astype(np.float32) for at in (time, time + 1))
    end, truncates = time == 2, episode % 2 == 1
    return obs, (10.0 * (time + 1)).astype(np.float32), next_obs, end & ~truncates, end & truncates


def made_by(act_space: spaces.Space[Any]) -> tuple[list[Diary], Callable[[], Diary]]:
    """Environments that will be made, and the function that makes them."""
    made: list[Diary] = []
    return made, lambda: made.append(Diary(act_space)) or made[-1]


@pytest.mark.parametrize("scale_reward", [False, True])
@pytest.mark.parametrize("algo", [vpg, a2c, ppo, trpo], ids=ON_POLICY)
def test_an_update_gets_what_the_environments_gave_and_took(
    algo: ModuleType, scale_reward: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Any] = []
    monkeypatch.setattr(algo, "update", lambda ac, pi, v_opt, batch, *_: batches.append(batch))  # learns nothing
    shape = {"total_steps": 2 * 2 * 10, "num_envs": 2, "rollout_len": 10, "steps_per_epoch": 2 * 10}
    config = algo.Config("-", **shape, gamma=0.9, lam=0.8, scale_reward=scale_reward)
    made, env_fn = made_by(BUTTONS)
    ac = algo.train(config, env_fn, logger=Logger(data_dir=tmp_path, quiet=True))
    taken, scaler = np.stack([env.taken for env in made[:2]], 1), RewardScaler(config)
    assert len(batches) == 2
    for first, batch in zip((0, 10), batches, strict=True):
        obs, rew, next_obs, terminated, truncated = diary(first, 10)
        val, next_val = (np.stack([ac.value(row) for row in rows]) for rows in (obs, next_obs))
        rew = scaler(rew, terminated | truncated)
        adv = gae(rew, val, next_val, terminated, truncated, 0.9, 0.8)
        np.testing.assert_array_equal(batch.x, obs.reshape(20, 2))
        np.testing.assert_array_equal(batch.act, taken[first : first + 10].reshape(20))
        np.testing.assert_allclose(batch.adv, adv.reshape(20), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(batch.ret, (adv + val).reshape(20), rtol=1e-4, atol=1e-5)


class Paying(Diary):
    """Rewards of a walk that is not centred, in any unit."""

    def __init__(self, unit: float) -> None:
        super().__init__(BUTTONS)
        self.unit, self.walk = unit, np.random.default_rng(0)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, _, _, _, info = super().step(action)
        return obs, self.unit * self.walk.normal(0.3, 1), self.walk.random() < 0.02, False, info


@pytest.mark.parametrize("algo", [vpg, a2c, ppo, trpo], ids=ON_POLICY)
def test_scaled_rewards_bring_the_targets_of_the_critic_to_one_scale_whatever_the_unit(
    algo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[np.ndarray] = []
    monkeypatch.setattr(algo, "update", lambda ac, pi_opt, v_opt, batch, *_: targets.append(batch.ret.numpy()))
    for scale_reward in (True, False):
        for unit in (1.0, 1000.0):
            shape = {"total_steps": 2000, "num_envs": 2, "rollout_len": 500, "steps_per_epoch": 1000}
            config = algo.Config("-", **shape, gamma=0.95, lam=1.0, scale_reward=scale_reward)
            algo.train(config, lambda unit=unit: Paying(unit), logger=Logger(data_dir=tmp_path, quiet=True))
    (_, scaled, _, scaled_too, _, raw, _, raw_too) = targets
    np.testing.assert_allclose(scaled_too, scaled, rtol=1e-3, atol=1e-4)
    assert 0.5 < scaled.std() < 2
    assert raw.std() > 2
    assert raw_too.std() == pytest.approx(1000 * raw.std(), rel=0.01)


@pytest.mark.parametrize(
    ("algo", "act_space"), [(dqn, BUTTONS), (ddpg, UNEVEN), (td3, UNEVEN), (sac, UNEVEN)], ids=OFF_POLICY
)
def test_what_is_stored_and_valued_is_what_the_environments_gave_and_took(
    algo: ModuleType, act_space: spaces.Space[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[Any] = []
    noted: list[Any] = []
    store, note = ReplayBuffer.store, Epoch.note
    monkeypatch.setattr(ReplayBuffer, "store", lambda self, *step: stored.append(step) or store(self, *step))
    monkeypatch.setattr(Epoch, "note", lambda self, *step, **more: noted.append(step[0]) or note(self, *step, **more))
    monkeypatch.setattr(algo, "update", lambda *_: None)  # learns nothing
    exploring = {dqn: {"epsilon_start": 0.5, "epsilon_end": 0.5}, sac: {}}
    settings = exploring.get(algo, {"act_noise": 2.0})
    settings |= {"start_steps": 10, "update_after": 20, "batch_size": 8, "num_test_episodes": 0}
    made, env_fn = made_by(act_space)
    config = algo.Config("-", total_steps=60, num_envs=2, steps_per_epoch=60, **settings)
    ac = algo.train(config, env_fn, logger=Logger(data_dir=tmp_path, quiet=True))
    taken = np.stack([env.taken for env in made[:2]], 1)
    obs, act, rew, next_obs, terminated, truncated = (np.stack(column) for column in zip(*stored, strict=True))
    for ours, expected in zip((obs, rew, next_obs, terminated, truncated), diary(0, 30), strict=True):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(act, taken)
    assert len(np.unique(act)) > 2
    if algo is not dqn:
        at_bounds = ((act == act_space.low) | (act == act_space.high))[5:].mean()
        assert at_bounds == 0 if algo is sac else 0.2 < at_bounds < 0.9
        val = [ac.action_value(*pair) for pair in zip(obs, act, strict=True)]
    else:
        val = [ac.values(row)[[0, 1], a] for row, a in zip(obs, act, strict=True)]
    np.testing.assert_allclose(noted, val, rtol=1e-5)
