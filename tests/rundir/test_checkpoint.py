"""A run that was stopped and resumed is the run that was never stopped; damage is noticed, and costs one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsuite.algos import ppo
from rlsuite.common.logger import Logger
from rlsuite.common.replay import ReplayBuffer
from rlsuite.envs import evaluation, stepping
from rlsuite.envs.stepping import Envs
from rlsuite.play import main as play
from rlsuite.run import main
from rlsuite.rundir.checkpoint import Checkpoint, signals_wait
from rlsuite.rundir.files import lock, pack, unpack
from rlsuite.rundir.policies import load_best_policy
from rlsuite.rundir.runs import find_runs, group_by_settings, read_progress
from tests.conftest import ALGORITHMS, NORMALIZED, PAIRS, small_command, source_environment

FOUR_EPOCHS = {"total_steps": 512, "steps_per_epoch": 128}


def without_times(run: Path) -> str:
    rows = [line.split("\t") for line in (run / "progress.txt").read_text().splitlines()]
    timed = [rows[0].index(name) for name in ("Time", "StepsPerSec")]
    return "\n".join("\t".join(cell for i, cell in enumerate(row) if i not in timed) for row in rows)


def interrupted(monkeypatch, folder: Path, algo: str, epoch: int, **how) -> Path:
    """A run that stops in the middle of the epoch after `epoch`."""
    step = Envs.step

    def stop(self, act):
        in_training = isinstance(self.seed_of, partial)  # and not in a test episode, or in the random steps before
        if in_training and self.total_steps == 128 * epoch + 64:
            raise KeyboardInterrupt
        return step(self, act)

    with monkeypatch.context() as patch:
        patch.setattr(Envs, "step", stop)
        assert main(small_command(algo, data_dir=folder, **FOUR_EPOCHS, **how)) == 130
    return find_runs([folder])[0]


def resume(run: Path, *more: str) -> int:
    return main(["--resume", str(run), "--test-episodes", "1", *more])


def assert_same(resumed: Path, whole: Path) -> None:
    assert without_times(resumed) == without_times(whole)
    for name in ("policy.safetensors", "result.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    best = [run / "policy_best.safetensors" for run in (resumed, whole)]
    assert len({path.exists() and path.read_bytes() for path in best}) == 1
    for kind in ("episodes", "snapshots"):
        names = sorted(path.name for path in (whole / kind).iterdir())
        assert sorted(path.name for path in (resumed / kind).iterdir()) == names
        for name in names:
            assert (resumed / kind / name).read_bytes() == (whole / kind / name).read_bytes(), name
    last = max((whole / "checkpoint").glob("epoch_*")).name
    ours, theirs = (unpack(run / "checkpoint" / last) for run in (resumed, whole))
    assert ours[0].keys() == theirs[0].keys()
    for name, array in ours[0].items():
        np.testing.assert_array_equal(array, theirs[0][name], err_msg=name)
    assert ours[1]["parts"] == theirs[1]["parts"]


@pytest.mark.parametrize(("algo", "env"), PAIRS)
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, monkeypatch, train, algo, env):
    how = {"env": env, **NORMALIZED[algo]}
    whole = train(tmp_path / "whole", algo, **FOUR_EPOCHS, **how)
    run = interrupted(monkeypatch, tmp_path / "cut", algo, 2, **how)
    assert len(without_times(run).splitlines()) == 1 + 2
    assert resume(run) == 0
    assert_same(run, whole)
    assert json.loads((run / "config.json").read_text())["resumed"][0]["after_epoch"] == 2


MORE_PARTS = [
    ("ppo", {"scale_reward": "True", "lr_schedule": "linear", "num_envs": 1}),
    ("dqn", {"buffer_size": 200, "double_q": "True", "dueling": "True", "num_envs": 4}),
    ("dqn", {"polyak": 0.9, "target_every": 2, "num_envs": 1}),
    ("ddpg", {"noise_corr": 0.9, "noise_schedule": "linear", "buffer_size": 100, "num_envs": 1}),
    ("ppo", {"frame_skip": 3, "normalize_obs": "True"}),
    ("ppo", {"kl_coef": 1.0, "target_kl": 0.05, "pi_lr": 0.003}),
    ("cem", {"noise_init": 1, "noise_fall": 0.1, "num_envs": 4, "episodes_per_candidate": 2, "rollout_len": 4}),
]


@pytest.mark.parametrize(("algo", "how"), MORE_PARTS)
def test_settings_with_more_state(tmp_path, monkeypatch, train, algo, how):
    whole = train(tmp_path / "whole", algo, **FOUR_EPOCHS, **how)
    run = interrupted(monkeypatch, tmp_path / "cut", algo, 3, **how)
    assert resume(run) == 0
    assert_same(run, whole)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_interrupted_in_the_first_epoch_it_starts_anew(tmp_path, monkeypatch, train, algo):
    how = NORMALIZED[algo]
    whole = train(tmp_path / "whole", algo, **FOUR_EPOCHS, **how)
    run = interrupted(monkeypatch, tmp_path / "cut", algo, 0, **how)
    assert resume(run) == 0
    assert_same(run, whole)


def test_an_experiment_is_resumed_in_its_newest_run(tmp_path, train, capsys):
    old, new = (train(tmp_path / name, "ppo", seed=seed) for seed, name in enumerate("ab"))
    for run, day in ((old, 1), (new, 2)):
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps({**config, "started": f"2026-01-0{day} 00:00:00"}))
    capsys.readouterr()
    assert resume(tmp_path, "--total-steps", "768") == 0
    line = f"rlsuite: of the 2 runs in {tmp_path} this is the newest: {new}\n"
    assert capsys.readouterr().err == line
    assert [read_progress(run)["TotalEnvInteracts"][-1] for run in (old, new)] == [512, 768]
    assert resume(old.parent, "--total-steps", "768", "--quiet") == 0  # the only run of its experiment
    assert resume(tmp_path, "--total-steps", "1024", "--quiet") == 0
    assert [read_progress(run)["TotalEnvInteracts"][-1] for run in (old, new)] == [768, 1024]
    assert capsys.readouterr().err == ""


def test_a_run_is_resumed_many_times(tmp_path, monkeypatch, train):
    whole = train(tmp_path / "whole", "ddpg", **FOUR_EPOCHS)
    run = interrupted(monkeypatch, tmp_path / "cut", "ddpg", 1)
    for epoch in (2, 3):
        save = Checkpoint.save

        def stop(self, number, last, save=save, at=epoch):
            save(self, number, last)
            if number == at:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", stop)
            assert resume(run) == 130
    assert resume(run) == 0
    assert_same(run, whole)
    assert len(json.loads((run / "config.json").read_text())["resumed"]) == 3


@pytest.mark.parametrize(("algo", "how"), [("ppo", {"pi_lr": 0.1}), ("sac", {"num_test_episodes": 3})])
def test_the_best_policy_of_a_resumed_run_is_that_of_the_run_that_was_not_interrupted(
    tmp_path, monkeypatch, train, algo, how
):
    """Also where it is of an epoch before the interruption, and the epochs after it are worse."""
    how = {**how, "seed": 2, "env_kwargs": '{"max_episode_steps": 20}'}  # at least five episodes in every epoch
    whole = train(tmp_path / "whole", algo, **FOUR_EPOCHS, **how)
    column = "AverageEpRet" if algo == "ppo" else "AverageTestEpRet"
    best = int(np.nanargmax(read_progress(whole)[column])) + 1
    assert best < 4
    assert load_best_policy(whole)[1] == best
    for epoch in range(1, 4):
        run = interrupted(monkeypatch, tmp_path / f"cut{epoch}", algo, epoch, **how)
        assert resume(run) == 0
        assert_same(run, whole)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_finished_run_goes_on_to_a_larger_budget(tmp_path, train, algo):
    whole = train(tmp_path / "whole", algo, **{**FOUR_EPOCHS, "total_steps": 768}, epsilon_share=None)
    run = train(tmp_path / "short", algo, **FOUR_EPOCHS)
    assert resume(run, "--total-steps", "768") == 0
    if algo == "ppo":  # whose settings have no schedule: the same as in one go
        assert without_times(run) == without_times(whole)
        assert (run / "policy.safetensors").read_bytes() == (whole / "policy.safetensors").read_bytes()
    assert without_times(run).splitlines()[-1].split("\t")[0] == "6"
    assert json.loads((run / "config.json").read_text())["total_steps"] == 768


def test_checkpoints_can_be_rarer_than_epochs_and_an_interrupt_still_saves_the_last_one(tmp_path, monkeypatch, train):
    whole = train(tmp_path / "whole", "dqn", **FOUR_EPOCHS, checkpoint_every=1)
    run = interrupted(monkeypatch, tmp_path / "cut", "dqn", 3, checkpoint_every=2)
    kept = sorted(path.name for path in (run / "checkpoint").glob("epoch_*"))
    assert kept == [f"epoch_{k:06d}_rank_0.safetensors" for k in (2, 3)]
    assert resume(run) == 0
    assert_same(run, whole)


@pytest.mark.parametrize("every", [2, 100])
def test_an_interrupt_in_mid_epoch_saves_what_the_epoch_before_had(tmp_path, monkeypatch, train, every):
    how = {"buffer_size": 130, "num_envs": 1}  # of which half has been overwritten since
    whole = train(tmp_path / "whole", "dqn", **FOUR_EPOCHS, **how)
    run = interrupted(monkeypatch, tmp_path / "cut", "dqn", 3, checkpoint_every=every, **how)
    assert resume(run) == 0
    assert_same(run, whole)


def test_no_checkpoints_if_none_are_wanted(tmp_path, train):
    run = train(tmp_path, "ppo", checkpoint_every=0)
    assert not (run / "checkpoint").exists()


def test_two_checkpoints_are_kept_and_only_the_transitions_that_they_need(tmp_path, train):
    run = train(tmp_path, "dqn", total_steps=1280, steps_per_epoch=128, buffer_size=256)
    names = sorted(path.name for path in (run / "checkpoint").iterdir())
    assert names == [
        *(f"epoch_{k:06d}_rank_0.safetensors" for k in (9, 10)),
        *(f"replay_{k:06d}_rank_0.safetensors" for k in (8, 9, 10)),
    ]


def test_a_run_without_checkpoints_is_not_begun_anew(tmp_path, train, capsys):
    run = train(tmp_path, "ppo", checkpoint_every=0)
    assert "no checkpoint" in said_by(capsys, run)


@pytest.mark.parametrize("budgets", [[512], [768], [768, 1024]])
def test_a_resumed_run_stays_in_its_group(tmp_path, train, budgets):
    for seed in (0, 1):
        run = train(tmp_path, "ppo", seed=seed)
    for total_steps in budgets:
        assert resume(run, "--total-steps", str(total_steps)) == 0
    assert read_progress(run)["TotalEnvInteracts"][-1] == budgets[-1]
    assert len(group_by_settings(find_runs([tmp_path]))) == 1


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("log", "bytes"), 10.5), (("log", "bytes"), float("inf")), (("log", "seconds"), "1.5"), (("log", "crc"), "x"),
        (("log", "steps"), None), (("ranks",), float("inf")), (("segments",), [[1, float("inf")]]), (("epoch",), "x"),
        (("parts", "envs", "total_steps"), 511), (("parts", "envs", "ep_seed"), [-1, 0]),
        (("parts", "envs", "ep_start"), [10**9, 0]), (("parts", "random", "python"), [3, [1, 2], None]),
        (("parts", "pi_opt", "steps"), "x"), (("parts",), {}),
    ],
)  # fmt: skip
def test_a_forged_checkpoint_is_one_line(tmp_path, train, capsys, where, value):
    run = train(tmp_path, "ppo")
    for path in (run / "checkpoint").iterdir():
        arrays, facts = unpack(path)
        inner = facts
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = value
        path.write_bytes(pack(arrays, facts))
    capsys.readouterr()
    assert resume(run) in (0, 2)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "rlsuite: " in err


def newest(run: Path, kind: str = "epoch") -> Path:
    return max((run / "checkpoint").glob(f"{kind}_*"))


@pytest.mark.parametrize("kind", ["epoch", "replay"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, monkeypatch, train, capsys, kind, damage):
    whole = train(tmp_path / "whole", "dqn", **FOUR_EPOCHS)
    run = interrupted(monkeypatch, tmp_path / "cut", "dqn", 3)
    path = newest(run, kind)
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 16
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "flip": data, "empty": b""}[damage])
    capsys.readouterr()
    assert resume(run, "--quiet") == 0
    said = capsys.readouterr().err.splitlines()
    if (kind, damage) == ("epoch", "gone"):  # then the one before is the newest
        assert said == []
    else:
        assert len(said) == 1
        assert str(path) in said[0]
        assert "older checkpoint" in said[0]
    assert_same(run, whole)


def said_by(capsys, run: Path, *more: str) -> str:
    """The one line of a refused resume, which changes nothing."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert resume(run, *more) == 2
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "lock"}
    assert after == {path: data for path, data in before.items() if path.name != "lock"}
    lines = capsys.readouterr().err.splitlines()
    return lines[-1]


def test_when_all_checkpoints_are_damaged_it_says_so_and_changes_nothing(tmp_path, train, capsys):
    run = train(tmp_path, "ppo")
    for path in (run / "checkpoint").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert "no checkpoint that is whole" in said_by(capsys, run)


def test_a_log_that_lost_its_end_is_written_again_from_the_checkpoint_before(tmp_path, train, capsys):
    run = train(tmp_path, "ppo")
    whole = without_times(run)
    path = run / "progress.txt"
    path.write_bytes(path.read_bytes()[:-5])
    assert resume(run) == 0
    assert "progress.txt is damaged" in capsys.readouterr().err
    assert without_times(run) == whole


def test_a_log_that_is_damaged_further_up_is_refused(tmp_path, train, capsys):
    run = train(tmp_path, "ppo")
    path = run / "progress.txt"
    path.write_bytes(path.read_bytes()[1:])
    assert "no checkpoint that is whole" in said_by(capsys, run)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"algo": "sarsa"}, "algorithm"),
        ({"algo": ["ppo"]}, "algorithm"),
        ({"num_envs": "two"}, "num-envs"),
        ({"num_envs": 3}, "other settings"),
        ({"num_envs": 10**9}, "num-envs"),
        ({"hidden_sizes": [32]}, "other settings"),
        ({"gamma": 0.98}, "other settings"),
        ({"hidden_sizes": [10**9, 10**9]}, "hidden-sizes"),
        ({"hidden_sizes": 64}, "hidden-sizes"),
        ({"gamma": "0.9"}, "gamma"),
        ({"gamma": 1e999}, "gamma"),
        ({"gamma": 10**400}, "gamma"),
        ({"env": "Pendulum-v1"}, "other settings"),
        ({"env": "Nothing-v0"}, "Nothing-v0"),
        ({"env": "antigravity:Env-v0"}, "--import-env antigravity"),
        ({"env": None}, "env"),
        ({"env_kwargs": "[]"}, "env-kwargs"),
        ({"custom_env": True}, "env_fn"),
        ({"total_steps": 10**30}, "total-steps"),
        ({"steps_per_epoch": 2**62}, "steps-per-epoch"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(tmp_path, train, capsys, change, word):
    run = train(tmp_path, "ppo")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **change}))
    assert word in said_by(capsys, run)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--resume"], "needs a value"),
        (["--resume", "nowhere"], "does not exist"),
        (["--resume", "{run}", "--gamma", "0.9"], "unknown flag"),
        (["--resume", "{run}", "--total-steps", "100"], "below the budget"),
        (["--resume", "{run}", "--total-steps", "x"], "x"),
        (["--resume", "{run}", "{parent}"], "one value"),
        (["ppo", "--env", "CartPole-v1", "--resume", "{run}"], "--resume"),
        (["--resume", "{run}/checkpoint"], "no run in"),
    ],
)
def test_bad_commands_are_one_line(tmp_path, train, capsys, argv, word):
    run = train(tmp_path, "ppo")
    capsys.readouterr()
    assert main([part.format(run=run, parent=run.parent) for part in argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
@pytest.mark.parametrize("kind", ["symbolic", "hard", "pipe"])
@pytest.mark.parametrize("name", ["progress.txt", "lock"])
def test_a_link_or_pipe_that_would_be_written_through_is_refused(tmp_path, train, capsys, name, kind):
    run = train(tmp_path / "data", "ppo")
    outside = tmp_path / "outside"
    shutil.move(run / name, outside)
    before = outside.read_bytes()
    {"symbolic": os.symlink, "hard": os.link, "pipe": lambda _, path: os.mkfifo(path)}[kind](outside, run / name)
    assert f"{name} is a link or no plain file, and this run would write through it" in said_by(capsys, run)
    assert outside.read_bytes() == before


@pytest.mark.parametrize("name", ["config.json", ".config.json.tmp", "policy.safetensors", ".policy.safetensors.tmp"])
def test_nothing_is_written_through_a_link_to_a_file_that_is_replaced_as_a_whole(tmp_path, train, name):
    run = train(tmp_path / "data", "ppo")
    outside = tmp_path / "outside"
    if (run / name).exists():
        shutil.move(run / name, outside)
    else:
        outside.write_text("mine")
    before = outside.read_bytes()
    (run / name).symlink_to(outside)
    assert resume(run, "--total-steps", "768") == 0
    assert outside.read_bytes() == before
    assert not (run / name).is_symlink()
    assert read_progress(run)["Epoch"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["", "checkpoint", "episodes", "snapshots"])
def test_a_folder_may_lie_on_another_disk_behind_a_link(tmp_path, train, name):
    """Trained into a folder that is a link; then the run, or a folder in it, is moved away and linked to."""
    whole = train(tmp_path / "whole", "dqn", **{**FOUR_EPOCHS, "total_steps": 768})
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "data").symlink_to(disk, target_is_directory=True)
    run = train(tmp_path / "data", "dqn", **FOUR_EPOCHS, exp_name="exp")
    assert run.parent == tmp_path / "data" / "exp"
    shutil.move(run / name, tmp_path / "moved")
    (run / name).symlink_to(tmp_path / "moved", target_is_directory=True)
    assert resume(run, "--total-steps", "768") == 0
    assert read_progress(run)["Epoch"].tolist() == read_progress(whole)["Epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert (run / name).is_symlink()
    newest = {kind: f"{kind}/epoch_000006.safetensors" for kind in ("episodes", "snapshots")}
    newest |= {"checkpoint": "checkpoint/epoch_000006_rank_0.safetensors", "": "policy.safetensors"}
    assert (tmp_path / "moved" / Path(newest[name]).relative_to(name)).samefile(run / newest[name])
    assert (run / "policy.safetensors").stat().st_mtime > (whole / "policy.safetensors").stat().st_mtime
    assert play([str(run), "--episodes", "1"]) == 0
    assert play([str(run), "--best"]) == 0


def test_a_pickle_under_our_name_is_not_loaded(tmp_path, train, capsys):
    run = train(tmp_path, "ppo")
    payload = b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "owned") + b"'\ntR."
    for path in (run / "checkpoint").iterdir():
        path.write_bytes(payload)
    assert "no checkpoint that is whole" in said_by(capsys, run)
    assert not (tmp_path / "owned").exists()


class Walk(gym.Env):
    """Never ends."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=1).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x += 0.1 * (2 * action - 1)
        return self.x.copy(), 1.0, False, False, {}


gym.register("rlsuite-tests/Walk-v0", Walk)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_run_whose_episode_never_ends_does_not_grow_and_goes_on(tmp_path, train, monkeypatch, capsys, algo):
    monkeypatch.setattr(stepping, "MAX_REPLAYABLE", 100)
    monkeypatch.setattr(evaluation, "MAX_TEST_STEPS", 20)
    sizes, actions, save = [], [], Checkpoint.save

    def measured(self, epoch, last):
        save(self, epoch, last)
        sizes.append(sum(path.stat().st_size for path in self.folder.iterdir()))
        actions.append(len(self.parts["envs"].actions))

    monkeypatch.setattr(Checkpoint, "save", measured)
    how = {"env": "rlsuite-tests/Walk-v0", "num_envs": 1, "steps_per_epoch": 64, "test_episodes": 0}
    how |= {"buffer_size": 128} if algo == "dqn" else {"minibatch_size": 32}
    run = train(tmp_path, algo, total_steps=20 * 64, **how)
    assert len(sizes) == 20
    assert max(sizes[4:]) - min(sizes[4:]) < 100  # numbers with more digits
    assert (actions[0], actions[1:]) == (64, [0] * 19)
    for epochs in (22, 24):
        capsys.readouterr()
        assert main(["--resume", str(run), "--total-steps", str(64 * epochs), "--test-episodes", "0"]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if "a new episode begins" in line]
        assert len(lines) == 1
        assert "environment 0 of rank 0 had taken " in lines[0]
        assert "no more than 100 can be played again" in lines[0]
    table = read_progress(run)
    assert table["TotalEnvInteracts"].tolist() == [64 * epoch for epoch in range(1, 25)]
    assert (np.diff(table["GradSteps"]) > 0).all()
    assert len(json.loads((run / "config.json").read_text())["resumed"]) == 2


def test_a_buffer_in_which_an_episode_was_broken_off_comes_back_from_the_disk(tmp_path, train, monkeypatch):
    """Resumed after epoch 2, where the episode is too long to be played again, and killed after epoch 3."""
    monkeypatch.setattr(stepping, "MAX_REPLAYABLE", 100)
    held, save, restore = [], Checkpoint.save, Checkpoint.restore

    def kept(self, epoch, last):
        save(self, epoch, last)
        held.append(self.memory.newest(1000))

    def again(self):
        log = restore(self)
        held.append(self.memory.newest(1000))
        return log

    monkeypatch.setattr(Checkpoint, "save", kept)
    monkeypatch.setattr(Checkpoint, "restore", again)
    how = {"env": "rlsuite-tests/Walk-v0", "steps_per_epoch": 128, "num_test_episodes": 0, "test_episodes": 0}
    run = train(tmp_path, "dqn", total_steps=256, **how)
    for total_steps in ("384", "512"):
        assert main(["--resume", str(run), "--total-steps", total_steps, "--test-episodes", "0"]) == 0
    _, saved_2, restored_2, saved_3, restored_3, _ = held
    for saved, restored in ((saved_2, restored_2), (saved_3, restored_3)):
        for name, array in saved._asdict().items():
            np.testing.assert_array_equal(getattr(restored, name), array, err_msg=name)
    assert np.argwhere(saved_3.truncated).tolist() == [[127, 0], [127, 1]]
    assert (np.abs(saved_3.next_obs - saved_3.obs) < 0.2).all()  # none leads into the new episode


class Fickle(gym.Env):
    """Begins somewhere else at each reset, whatever the seed."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.x = np.random.default_rng().normal(size=1).astype(np.float32)
        return self.x, {}

    def step(self, action):
        return self.x, 1.0, False, False, {}


def test_an_environment_that_does_not_repeat_itself_is_named_and_starts_a_new_episode(tmp_path, capsys):
    shape = {"num_envs": 2, "rollout_len": 16, "minibatch_size": 32, "steps_per_epoch": 32}
    ppo.train(ppo.Config("fickle", total_steps=64, **shape), Fickle, logger=Logger("x", tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    ppo.train(ppo.Config("fickle", total_steps=96, **shape), Fickle, logger=Logger(resume=run, quiet=True))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "environment 0" in lines[0]
    assert "not deterministic" in lines[0]
    assert len(json.loads((run / "config.json").read_text())["resumed"][0]["warnings"]) == 2
    assert len(without_times(run).splitlines()) == 1 + 3


def test_a_run_that_is_being_written_is_not_resumed(tmp_path, train, capsys):
    run = train(tmp_path, "ppo")
    holder = lock(run)
    assert "another process" in said_by(capsys, run)
    os.close(holder)
    assert resume(run) == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_a_command_that_goes_on(tmp_path, number, code):
    words = small_command("ppo", data_dir=tmp_path, total_steps=10**7, steps_per_epoch=1280)
    process = subprocess.Popen(
        [sys.executable, "-m", "rlsuite.run", *words],
        env=source_environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a background job inherits that SIGINT is ignored
    )
    while not list(tmp_path.glob("*/*/checkpoint/epoch_*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    (run,) = find_runs([tmp_path])
    assert f"python -m rlsuite.run --resume {run}" in err
    assert "Traceback" not in err


def test_signals_wait_for_the_end_of_a_write():
    done, before = [], signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job lacks

    def write():
        with signals_wait():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            write()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_replay_buffer_is_rebuilt_from_its_parts(data):
    num_envs = data.draw(st.integers(1, 3))
    capacity = data.draw(st.integers(num_envs, 30))
    envs = SimpleNamespace(num_envs=num_envs, obs_space=gym.spaces.Box(-1, 1, (2,)), act_space=gym.spaces.Discrete(5))
    envs.obs_shape, envs.obs_dtype, envs.act_shape, envs.act_dtype = (2,), np.float32, (), np.int64
    rng = np.random.default_rng(0)

    def empty():
        return ReplayBuffer(capacity, envs, np.random.default_rng(7), torch.device("cpu"))

    def step():
        obs, rew, act = rng.normal(size=(2, num_envs, 2)), rng.normal(size=num_envs), rng.integers(5, size=num_envs)
        return obs[0], act, rew, obs[1], *(rng.random((2, num_envs)) < 0.2)

    whole, parts, held = empty(), [], []
    for _ in range(data.draw(st.integers(1, 6))):
        before = whole.stored
        for _ in range(data.draw(st.integers(0, 15))):
            whole.store(*step())
        parts.append(whole.stored_since(before))
        held.append(whole.stored)
    first_needed = whole.stored - len(whole)
    needed = [part for part, stop in zip(parts, held, strict=True) if stop > first_needed] or parts[-1:]
    rebuilt = empty()
    rebuilt.load(needed)
    assert len(rebuilt) == len(whole)
    for _ in range(3):
        if len(whole):
            for ours, theirs in zip(rebuilt.sample(8), whole.sample(8), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        for _ in range(4):
            transitions = step()
            for buffer in (whole, rebuilt):
                buffer.store(*transitions)
