"""Watching policies and replaying training episodes."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlsuite.common.console import returns as digits
from rlsuite.common.logger import Logger
from rlsuite.envs.episodes import TEST_EPISODES, episode_seed
from rlsuite.errors import UserError
from rlsuite.loading import load, run_env
from rlsuite.play import main, play, play_again
from rlsuite.rundir.policies import load_episode
from rlsuite.rundir.runs import read_config, read_progress
from tests.conftest import OFF_POLICY


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    return train(tmp_path_factory.mktemp("cartpole"), "ppo", total_steps=768, num_envs=4, rollout_len=64)


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    """3 environments of 64 steps per epoch: episodes of 200 steps end in epochs 4, 7 and 10, begun in 1, 4 and 7."""
    settings = {"env": "Pendulum-v1", "num_envs": 3, "steps_per_epoch": 192, "total_steps": 192 * 10}
    return train(tmp_path_factory.mktemp("pendulum"), "vpg", rollout_len=64, **settings)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    """An environment without any randomness, so that only the sampled action makes a difference."""
    return train(tmp_path_factory.mktemp("target"), "a2c", env="rlsuite/Target-v0", total_steps=128)


@pytest.fixture(scope="module", params=["ppo", *OFF_POLICY, "cem"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    """Episodes are cut at 60 steps, so that some end in each epoch of 64 steps."""
    settings = {"total_steps": 768, "num_envs": 4, "env_kwargs": '{"max_episode_steps": 60}'}
    return train(tmp_path_factory.mktemp(request.param), request.param, **settings)


def test_equal_seeds_play_equal_episodes(run: Path) -> None:
    first = play(run, episodes=4, seed=1)
    assert len(first) == 4
    assert first == play(run, episodes=4, seed=1)
    assert len({tuple(play(run, episodes=4, seed=seed)) for seed in range(4)}) > 1


def test_what_is_played_is_the_most_probable_action(run: Path) -> None:
    env, policy = run_env(read_config(run)), load(run)
    obs, _ = env.reset(seed=episode_seed(7, TEST_EPISODES, 0, 0))
    rewards, done = [], False
    while not done:
        obs, rew, terminated, truncated, _ = env.step(policy(obs))
        rewards.append(float(rew))
        done = terminated or truncated
    assert play(run, episodes=1, seed=7) == [pytest.approx(sum(rewards), rel=1e-9)]


@pytest.mark.parametrize("run", [algo for algo in OFF_POLICY if algo != "sac"], indirect=True)
def test_a_deterministic_policy_can_not_be_sampled(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--stochastic"]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert re.fullmatch("rlsuite: this policy is deterministic and can't be sampled from.*\n", out.err)


def test_sampled_actions_depend_on_the_seed(target: Path) -> None:
    assert len(set(play(target, seed=0) + play(target, seed=1))) == 1
    first = play(target, episodes=10, seed=0, stochastic=True)
    assert len(set(first)) > 3
    assert first != play(target, episodes=10, seed=1, stochastic=True)


def test_sampled_actions_repeat_with_the_seed(target: Path) -> None:
    first = play(target, episodes=3, seed=2, stochastic=True)
    assert first == play(target, episodes=3, seed=2, stochastic=True)


def test_prints_what_it_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    returns = play(run, episodes=3, seed=5)
    capsys.readouterr()
    assert main([str(run), "--episodes", "3", "--seed", "5"]) == 0
    low, mean, high = min(returns), sum(returns) / 3, max(returns)
    length = 60 if read_config(run)["env"] == "Pendulum-v1" else mean
    mean, _, low, high = digits(mean, float(np.std(returns)), low, high)
    stats = rf"return {mean} ± [\d.]+ \(min {low}, max {high}\), length {length:.1f}"
    assert re.fullmatch(f"3 deterministic episodes: {stats}\n", capsys.readouterr().out)


def test_the_best_policy_is_played_when_it_is_asked_for(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, "ppo", total_steps=1024, pi_lr=0.1, seed=2)
    returns = read_progress(run)["AverageEpRet"]
    assert np.argmax(returns) < len(returns) - 1
    capsys.readouterr()
    assert main([str(run), "--best-policy"]) == 0
    said = capsys.readouterr().out
    best = play(run, best_policy=True)
    assert said.startswith(
        f"best policy: after epoch {np.argmax(returns) + 1}, whose mean return was {max(returns):.1f}\n"
    )
    shutil.copy(run / "policy_best.safetensors", run / "policy.safetensors")
    assert play(run) == best
    (run / "policy_best.safetensors").unlink()
    assert main([str(run), "--best-policy"]) == 2
    assert "has no best policy: no epoch had test episodes, or at least five" in capsys.readouterr().err
    assert main([str(run), "--best-policy", "--best"]) == 2
    assert "leave --best-policy out" in capsys.readouterr().err


def test_an_experiment_of_one_run_is_that_run(cartpole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(cartpole.parent), "--episodes", "1"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--episodes", "1"], ["--best"]])
def test_an_experiment_is_its_newest_run(
    words: list[str], cartpole: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(target), *words]) == 0
    expected = capsys.readouterr().out
    shutil.copytree(cartpole, tmp_path / "old")
    new = shutil.copytree(target, tmp_path / "new")
    config = json.loads((new / "config.json").read_text())
    (new / "config.json").write_text(json.dumps(config | {"started": "2999-01-01 00:00:00"}))
    assert main([str(tmp_path), *words]) == 0
    assert capsys.readouterr() == (expected, f"rlsuite: of the 2 runs in {tmp_path} this is the newest: {new}\n")


def test_best_and_worst_are_the_extremes_of_their_row(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = read_progress(run)
    for row, epoch in enumerate((1, 2, 3)):
        for which, column in (("best", "MaxEpRet"), ("worst", "MinEpRet")):
            assert main([str(run), "--epoch", str(epoch), f"--{which}"]) == 0
            out = capsys.readouterr().out
            assert out.startswith(f"{which} episode of epoch {epoch}: return {digits(table[column][row])[0]}, length ")
            replayed, recorded = play_again(run, epoch, which)
            assert replayed == pytest.approx(recorded, rel=1e-9)
            assert recorded == pytest.approx(table[column][row], rel=1e-6)
            capsys.readouterr()


def test_an_episode_that_began_in_an_earlier_epoch_is_replayed_whole(pendulum: Path) -> None:
    table = read_progress(pendulum)
    epochs = [int(epoch) for epoch in table["Epoch"][np.isfinite(table["EpLen"])]]
    assert epochs == [4, 7, 10]
    for epoch in epochs:
        for which, column in (("best", "MaxEpRet"), ("worst", "MinEpRet")):
            assert load_episode(pendulum, epoch, which).actions.shape == (200, 1)
            replayed, recorded = play_again(pendulum, epoch, which)
            assert replayed == pytest.approx(recorded, rel=1e-9)
            assert replayed == pytest.approx(table[column][epoch - 1], rel=1e-6)
    assert table["MaxEpRet"][3] > table["MinEpRet"][3]


def test_the_last_epoch_with_an_episode_is_the_default(pendulum: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pendulum), "--best"]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("best episode of epoch 10: ")
    assert out.err == ""


def test_an_episode_that_does_not_repeat_itself_is_reported(
    pendulum: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(pendulum, run)
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace('"env_kwargs": "{}"', '"env_kwargs": "{\\"g\\": 5.0}"'))
    assert main([str(run), "--epoch", "4", "--best"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("rlsuite: in training it returned ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["film.gif", "FILM.MP4"])
def test_the_film_of_a_training_episode_shows_every_state(name: str, cartpole: Path, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / name
    assert main([str(cartpole), "--epoch", "2", "--worst", "--video", str(path)]) == 0
    reader = ffmpeg.read_frames(path)
    about = next(reader)
    assert about["fps"] == 50
    width, height = about["size"]
    assert (width, height) == (600, 464)
    frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3)[:400].astype(float) for frame in reader]
    assert len(frames) == 1 + len(load_episode(cartpole, 2, "worst").actions)
    assert np.abs(frames[0] - frames[-1]).max() > 50
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_filming_does_not_change_the_episodes(cartpole: Path, tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    filmed = play(cartpole, episodes=2, seed=0, video=tmp_path / "film.mp4")
    assert filmed == play(cartpole, episodes=2, seed=0)


class Screen(gym.Env):
    """Episodes of 3 steps, whose libraries talk on stderr when they are loaded and when they draw the first time."""

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}  # noqa: RUF012 - as Gymnasium has it
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    made: list[str | None] = []  # noqa: RUF012 - of all of them
    shown = 0

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.drawn = render_mode, False
        Screen.made.append(render_mode)
        os.write(2, b"libEGL warning: MESA-LOADER: failed to open swrast\n")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        if self.render_mode == "human":
            Screen.shown += 1
        return np.zeros(1, np.float32), 1.0, self.time == 3, False, {}

    def render(self) -> Any:
        if not self.drawn:
            os.write(2, b"ALSA lib confmisc.c:855:(parse_card) cannot find card '0'\n")
        self.drawn = True
        return np.zeros((10, 10, 3), np.uint8)


gym.register("rlsuite-tests/Screen-v0", Screen)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    return train(tmp_path_factory.mktemp("screen"), "ppo", env="rlsuite-tests/Screen-v0", total_steps=128)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(Screen, "shown", 0)


@pytest.mark.usefixtures("display")
def test_one_episode_is_shown_or_filmed_where_ten_are_counted(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    film = tmp_path / "film.gif"
    for words, episodes, frames in ([], 10, 0), (["--episodes", "2"], 2, 0), (["--video", str(film)], 1, 4):
        assert main([str(screen), *words]) == 0
        many = f"{episodes} deterministic episodes: return 3.00 ± 0.00 (min 3.00, max 3.00), length 3.0\n"
        one = "1 deterministic episode: return 3.00, length 3\n"
        made = f"{film}: {frames} frames, 0.4 seconds\n"
        assert capsys.readouterr().out == (made if frames else "") + (one if episodes == 1 else many)
    assert Screen.shown == 0
    assert main([str(screen), "--render"]) == 0
    assert Screen.shown == 3
    assert main([str(screen), "--render", "--episodes", "4"]) == 0
    assert Screen.shown == 3 + 12


@pytest.mark.usefixtures("display")
def test_the_replay_of_a_training_episode_is_shown_or_filmed_when_that_is_asked_for(
    screen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    assert main([str(screen), "--best"]) == 0
    assert Screen.shown == 0
    said = capsys.readouterr().out
    assert main([str(screen), "--best", "--render"]) == 0
    assert Screen.shown == 3
    assert capsys.readouterr().out == said
    film = tmp_path / "film.gif"
    assert main([str(screen), "--best", "--video", str(film)]) == 0
    assert capsys.readouterr().out == f"{film}: 4 frames, 0.4 seconds\n{said}"


@pytest.mark.usefixtures("display")
@pytest.mark.parametrize(("error", "code"), [(RuntimeError("no GL"), 2), (KeyboardInterrupt(), 130)])
def test_a_window_whose_first_frame_fails_is_closed(
    error: BaseException,
    code: int,
    screen: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(self: Screen) -> None:
        raise error

    closed: list[str | None] = []
    monkeypatch.setattr(Screen, "render", fail)
    monkeypatch.setattr(Screen, "close", lambda self: closed.append(self.render_mode))
    assert main([str(screen), "--render"]) == code
    assert closed == [None, "human"]
    said = "rlsuite: this machine can't render rlsuite-tests/Screen-v0 as human: no GL\n"
    assert capsys.readouterr() == ("", said if code == 2 else "")


def test_a_film_is_made_without_a_word_of_the_drivers(
    screen: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    assert main([str(screen), "--video", str(tmp_path / "film.mp4")]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [[], ["--best"]])
def test_without_a_display_a_window_is_refused_before_anything_is_done(
    words: list[str],
    screen: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    for copy in ("a", "b"):
        shutil.copytree(screen, tmp_path / copy)
    monkeypatch.setattr(Screen, "made", [])
    assert main([str(tmp_path), "--render", *words]) == 2
    said = "rlsuite: --render needs a display, and there is none here; --video film.mp4 makes a film\n"
    assert capfd.readouterr() == ("", said)
    assert Screen.made == []


@pytest.mark.parametrize("algo", ["ppo", *OFF_POLICY])
def test_a_training_can_be_watched_while_it_runs(
    algo: str, tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_epoch, seen = Logger.log_epoch, []

    def log_and_play(self: Logger, row: Any) -> None:
        log_epoch(self, row)
        if row["Epoch"] == 3:
            folder = str(self.run_dir)
            assert read_progress(self.run_dir)["Epoch"].tolist() == [1, 2, 3]
            seen.append(main([folder, "--episodes", "1"]))
            seen.append(main([folder, "--best"]))
            with (self.run_dir / "progress.txt").open("a") as file:
                file.write("4\t12.")
            seen.append(main([folder, "--epoch", "1", "--worst"]))
            assert not (self.run_dir / "result.json").exists()

    monkeypatch.setattr(Logger, "log_epoch", log_and_play)
    train(tmp_path, algo, total_steps=768, env_kwargs='{"max_episode_steps": 120}')
    out = capsys.readouterr()
    assert seen == [0, 0, 0]
    assert out.out.count("1 deterministic episode: return ") == 1
    assert "best episode of epoch 2: " in out.out
    assert "worst episode of epoch 1: " in out.out
    assert out.err == ""


def test_playing_leaves_the_run_as_it_is(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert main([str(run), "--episodes", "1"]) == 0
    assert main([str(run), "--best"]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_film_as_a_module_has_nothing_on_stderr(cartpole: Path, tmp_path: Path, python: Any) -> None:
    pytest.importorskip("imageio_ffmpeg")
    done = python(tmp_path, "-m", "rlsuite.play", str(cartpole), "--worst", "--video", "film.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"film\.mp4: \d+ frames, \d\.\d seconds\nworst episode of epoch 3: ", done.stdout)


def test_play_as_a_module(cartpole: Path, tmp_path: Path, python: Any) -> None:
    done = python(tmp_path, "-m", "rlsuite.play", str(cartpole), "--epoch", "1", "--best")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"return {digits(read_progress(cartpole)['MaxEpRet'][0])[0]}," in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def skipping(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    """Each action is repeated 3 times: 20 steps of reward 1 are 7 decisions."""
    settings = {"env": "rlsuite/ConstantReward-v0", "frame_skip": 3, "update_after": 64, "test_episodes": 2}
    return train(tmp_path_factory.mktemp("skipping"), "dqn", **settings)


def test_training_test_and_final_episodes_skip_alike_and_lengths_count_decisions(skipping: Path) -> None:
    table = read_progress(skipping)
    for name, value in {"AverageEpRet": 20, "EpLen": 7, "AverageTestEpRet": 20, "TestEpLen": 7}.items():
        assert table[name].tolist() == [value] * 2, name
    result = json.loads((skipping / "result.json").read_text())
    assert (result["AverageEpRet"], result["EpLen"]) == (20, 7)
    assert run_env(read_config(skipping)).reset(seed=0)
    assert play(skipping, episodes=2) == [20, 20]


def test_an_episode_in_which_actions_were_repeated_is_played_again_to_its_return(tmp_path: Path, train: Any) -> None:
    run = train(tmp_path, "ppo", frame_skip=3)
    for which in ("best", "worst"):
        episode = load_episode(run, 1, which)
        assert play_again(run, 1, which) == (episode.ret, episode.ret)
        assert len(episode.actions) == -(-episode.ret // 3)  # CartPole's reward is 1 at each of its own steps
    assert load_episode(run, 1, "best").ret > 3
    saved = (run / "config.json").read_text()
    (run / "config.json").write_text(saved.replace('"frame_skip": 3', '"frame_skip": 0'))
    with pytest.raises(UserError, match=r"^config\.json: --frame-skip is 0, but must be "):
        play_again(run, 1, "best")
