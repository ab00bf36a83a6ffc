"""The frame around a main loop, at work: what is said and written, and how a training ends."""

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlsuite import mpi
from rlsuite.algos import dqn, vpg
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.buffer import RolloutBuffer, evaluate_rollout
from rlsuite.common.health import on_policy_health
from rlsuite.common.logger import Logger
from rlsuite.common.training import SNAPSHOTS, Training
from rlsuite.envs.stepping import Envs
from rlsuite.errors import EnvError, UserError
from rlsuite.run import main
from rlsuite.rundir.files import lock
from rlsuite.rundir.policies import saved_epochs
from rlsuite.rundir.runs import find_runs, group_by_settings, read_config, read_object, read_progress


def interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt


class Watched(gym.Env):
    """Two observations for ever; knows whether it was closed."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.ones(2, np.float32), 1.0, False, False, {}

    def close(self) -> None:
        self.closed = True


class Frame:
    """A training in which nothing is learned: three epochs of two rollouts of four steps in two environments."""

    def __init__(self, folder: Path, *, resume: Path | None = None, checkpoint_every: int = 1, **how: Any) -> None:
        self.made: list[Watched] = []
        settings = {"total_steps": 48, "num_envs": 2, "steps_per_epoch": 16, "rollout_len": 4} | how
        self.config = vpg.Config("watched", **settings)
        self.envs = Envs.of(self.config, self.make)
        self.ac = ActorCritic(self.envs.obs_space, self.envs.act_space, self.config)
        logger = Logger("x", folder, resume=resume, checkpoint_every=checkpoint_every)
        self.training = Training("vpg", self.config, logger, self.envs, self.ac)

    def make(self) -> Watched:
        self.made.append(Watched())
        return self.made[-1]

    def epochs(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """The number of each epoch, all of whose steps have been taken, and what ends it."""
        for epoch in self.training.epochs(self.config.rollout_len):
            for rollout_len in epoch.rollouts:
                buf = RolloutBuffer(rollout_len, self.envs)
                for _ in range(rollout_len):
                    obs = self.envs.obs
                    act = self.ac.act(obs)
                    next_obs, rew, terminated, truncated = self.envs.step(act)
                    buf.store(obs, act, rew, next_obs, terminated, truncated)
                _, val, next_val, pi = evaluate_rollout(self.ac, buf)
                epoch.keep(buf, val, next_val, next_val, pi)
            health = on_policy_health(epoch, self.ac, 0.9)
            yield epoch.number, lambda epoch=epoch, health=health: self.training.end_epoch(epoch, health)

    def run(self, stop: BaseException | None = None, after: int = 0) -> None:
        """Train, and raise `stop` in the epoch after `after`."""
        with self.training:
            for number, end in self.epochs():
                if stop is not None and number == after + 1:
                    raise stop
                end()


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoint").iterdir())


def test_a_finished_run_goes_on_from_its_end_with_a_larger_budget(tmp_path: Path) -> None:
    Frame(tmp_path).run()
    (run,) = find_runs([tmp_path])
    more = Frame(tmp_path, resume=run, total_steps=88)
    with more.training as training:
        assert training.share_left == pytest.approx(40 / 88)
        for _, end in more.epochs():
            end()
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [16, 32, 48, 64, 80, 88]


@pytest.mark.parametrize("last", [1, 2, 5, 6, 7, 13, 40])
def test_snapshots_at_six_epochs_of_a_run_or_at_all_of_a_shorter_one(last: int, tmp_path: Path) -> None:
    Frame(tmp_path, total_steps=2 * last, steps_per_epoch=2, rollout_len=1, checkpoint_every=0).run()
    kept = saved_epochs(find_runs([tmp_path])[0], "snapshots")
    assert SNAPSHOTS == 6
    assert len(kept) == min(6, last)
    assert (kept[0], kept[-1]) == (1, last)
    assert last == 1 or np.ptp(np.diff(kept)) <= 1


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({}, None),
        ({"total_steps": 47}, "--total-steps 47 -> 48"),
        ({"steps_per_epoch": 9}, "--steps-per-epoch 9 -> 16"),
        ({"total_steps": 31, "steps_per_epoch": 15}, "--total-steps 31 -> 32, --steps-per-epoch 15 -> 16"),
    ],
)
def test_what_is_rounded_up_is_said_in_one_line(
    settings: dict[str, int], changes: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Frame(tmp_path, **settings).run()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("round")]
    assert lines == ([f"rounded up to whole steps, rollouts and shares: {changes}"] if changes else [])


def test_the_memory_of_a_replay_buffer_is_said_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dqn.Config("CartPole-v1", total_steps=32, update_after=16, buffer_size=100_000, num_test_episodes=0)
    dqn.train(config, logger=Logger(data_dir=tmp_path))
    # 100,001 rows of 4 float32 observed, int64, float32, bool and int32; and the 16 first ends of episodes.
    size = f"{(100_001 * (16 + 8 + 4 + 1 + 4) + 16 * 16) / 1e6:.1f} MB for 100,000 transitions\n"
    assert f"replay buffer: {size}" in capsys.readouterr().out


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors with which all ranks would have been ended."""
    errors: list[BaseException] = []
    monkeypatch.setattr(mpi, "end_all", errors.append)
    return errors


@pytest.mark.parametrize(
    "stop",
    [EnvError("it exploded"), ZeroDivisionError(), KeyboardInterrupt(), SystemExit(3)],
    ids=lambda e: type(e).__name__,
)
def test_whatever_ends_a_training_the_last_whole_epoch_is_kept_and_everything_closed(
    stop: BaseException, tmp_path: Path, ended: list[BaseException]
) -> None:
    frame = Frame(tmp_path, checkpoint_every=100)
    with pytest.raises(type(stop)):
        frame.run(stop, after=2)
    (run,) = find_runs([tmp_path])
    assert checkpoints(run) == ["epoch_000002_rank_0.safetensors"]
    assert [env.closed for env in frame.made] == [True] * 3  # two to train in, one for random play
    assert ended == ([stop] if isinstance(stop, Exception) else [])  # a signal reaches all ranks by itself
    Frame(tmp_path, resume=run).run()  # nobody holds the lock any more
    assert read_progress(run)["Epoch"].tolist() == [1, 2, 3]


def test_a_loop_that_is_left_early_is_no_error(tmp_path: Path, ended: list[BaseException]) -> None:
    frame = Frame(tmp_path, checkpoint_every=100)
    with frame.training:
        for _, end in frame.epochs():
            end()
            break
    assert ended == []
    assert checkpoints(find_runs([tmp_path])[0]) == ["epoch_000001_rank_0.safetensors"]
    assert all(env.closed for env in frame.made)


def test_an_error_on_the_way_in_closes_everything_too(tmp_path: Path, ended: list[BaseException]) -> None:
    Frame(tmp_path).run()
    (run,) = find_runs([tmp_path])
    other = Frame(tmp_path, resume=run, gamma=0.5)
    with pytest.raises(UserError, match="other settings"):
        other.run()
    assert ["other settings" in str(error) for error in ended] == [True]
    assert [env.closed for env in other.made] == [True, True]
    Frame(tmp_path, resume=run, total_steps=64).run()


def test_an_environment_that_fails_at_once_leaves_no_run_behind(tmp_path: Path, ended: list[BaseException]) -> None:
    class Broken(Watched):
        def reset(self, **_: Any) -> Any:
            raise RuntimeError("no power")

    config = vpg.Config("broken", normalize_obs=True)
    with pytest.raises(EnvError, match="no power"):
        vpg.train(config, Broken, logger=Logger("x", tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert len(ended) == 1


def test_a_run_stopped_in_its_first_epoch_says_that_it_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Frame(tmp_path).run(KeyboardInterrupt())
    (run,) = find_runs([tmp_path])
    capsys.readouterr()
    Frame(tmp_path, resume=run).run()
    assert "no epoch was finished: this run starts from its beginning\n" in capsys.readouterr().out
    assert read_progress(run)["Epoch"].tolist() == [1, 2, 3]


SOLVED = {"env": "rlsuite/ConstantReward-v0", "lr_schedule": "linear"}
"""Every episode returns 20, whatever it does."""


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_run_ends_early_once_the_return_is_reached(
    algo: str, tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = read_progress(train(tmp_path / "whole", algo, **SOLVED, stop_at=20.001))
    assert "stopped early" not in capsys.readouterr().out
    run = train(tmp_path / "early", algo, **SOLVED, stop_at=20)
    said = "epoch 1 returned 20.0 and 20 deterministic test episodes 20.0; --stop-at is 20.0\n"
    out = capsys.readouterr().out
    assert f"\nstopped early, after 256 of 512 env steps: {said}final return 20.0 ± 0.0" in out
    table = read_progress(run)
    assert table["TotalEnvInteracts"].tolist() == [256]
    for name in set(table) - {"Time", "StepsPerSec"}:  # learning rates too: those of the whole budget
        assert np.array_equal(table[name], whole[name][:1], equal_nan=True), name
    result = json.loads((run / "result.json").read_text())
    assert (result["StoppedAt"], result["AverageEpRet"]) == (256, 20)
    assert (read_config(run)["total_steps"], read_config(run)["stop_at"]) == (512, 20)
    assert len(group_by_settings(find_runs([tmp_path]))) == 1  # what stops a run does not set it apart
    untested = train(tmp_path / "untested", algo, **SOLVED, stop_at=20, test_episodes=0)
    assert json.loads((untested / "result.json").read_text()) == {"StoppedAt": 256}


def test_test_episodes_must_confirm_the_return_of_an_epoch(
    tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def tests(choose: Any, env: Any, episodes: int, seed: int) -> dict[str, float]:
        asked.append((episodes, seed))
        return {"AverageTestEpRet": 19.99}

    monkeypatch.setattr("rlsuite.common.training.test_episodes", tests)
    run = train(tmp_path, "ppo", **SOLVED, stop_at=20, seed=3)
    assert asked == [(20, 3)]  # not after the last epoch, when there is nothing to stop
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [256, 512]
    goes_on = "20 deterministic test episodes 19.99, less than --stop-at 20.0: training goes on\n"
    assert f"epoch 1 returned 20.0 and {goes_on.replace('19.99', '20.0')}" in capsys.readouterr().out
    assert "StoppedAt" not in json.loads((run / "result.json").read_text())


def test_a_run_that_is_stopped_while_it_is_confirmed_ends_there_when_it_is_resumed(
    tmp_path: Path, train: Any, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", "ppo", **SOLVED, stop_at=20, checkpoint_every=5)
    with monkeypatch.context() as patch:
        patch.setattr("rlsuite.common.training.test_episodes", interrupt)
        assert main(command("ppo", **SOLVED, stop_at=20, checkpoint_every=5, data_dir=tmp_path / "cut")) == 130
    (run,) = find_runs([tmp_path / "cut"])
    for _ in range(2):  # a run that has ended does so once more
        assert main(["--resume", str(run), "--test-episodes", "1"]) == 0
        assert read_progress(run)["TotalEnvInteracts"].tolist() == [256]
        for name in ("policy.safetensors", "result.json"):
            assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert main(["--resume", str(run), "--stop-at", "inf"]) == 0
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [256, 512]
    assert "StoppedAt" not in json.loads((run / "result.json").read_text())


def test_a_return_to_stop_at_from_python(tmp_path: Path) -> None:
    config = vpg.Config("rlsuite/ConstantReward-v0", total_steps=512, num_envs=2, steps_per_epoch=128, rollout_len=64)
    vpg.train(config, logger=Logger("x", tmp_path, stop_at=20))
    (run,) = find_runs([tmp_path])
    assert read_progress(run)["Epoch"].tolist() == [1]
    assert json.loads((run / "result.json").read_text()) == {"StoppedAt": 128}


def test_what_a_run_says_about_itself(tmp_path: Path) -> None:
    Frame(tmp_path).run()
    (run,) = find_runs([tmp_path])
    saved = read_config(run)
    assert (saved["algo"], saved["custom_env"], saved["total_steps"], saved["ranks"]) == ("vpg", True, 48, 1)
    assert saved["network"] == "rlsuite.common.actor_critic.ActorCritic"
    names = (run / "progress.txt").read_text().split("\n")[0].split("\t")
    assert names[:2] == ["Epoch", "AverageEpRet"]
    assert names[-4:] == ["TotalEnvInteracts", "GradSteps", "Time", "StepsPerSec"]
    assert all(math.isnan(value) for value in read_progress(run)["AverageEpRet"])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (EnvError("the floor is wet"), "the floor is wet"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), None),
    ],
)
def test_what_ended_a_run_is_kept_until_it_goes_on(error: BaseException, why: str | None, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        Frame(tmp_path).run(stop=error, after=1)
    (run,) = find_runs([tmp_path])
    assert read_object(run / "error.json").get("error") == why
    Frame(tmp_path, resume=run).run()
    assert not (run / "error.json").exists()


def test_an_attempt_that_may_not_write_a_run_does_not_call_it_failed(tmp_path: Path) -> None:
    Frame(tmp_path).run()
    (run,) = find_runs([tmp_path])
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(UserError, match="other settings"):
        Frame(tmp_path, resume=run, gamma=0.5).run()
    taken = lock(run)
    with pytest.raises(UserError, match="another process"):
        Frame(tmp_path, resume=run, total_steps=64).run()
    assert taken is not None
    os.close(taken)
    assert sorted(path.name for path in run.iterdir()) == before
