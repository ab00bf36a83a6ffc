"""A run that was stopped and resumed is the run that was never stopped; damage is noticed, and costs one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import ALGORITHMS, PAIRS, small_command
from hypothesis import given, settings
from hypothesis import strategies as st

import rlsuite
from rlsuite.common import resume as resume_module
from rlsuite.common.checks import UserError
from rlsuite.common.logger import Logger, lock
from rlsuite.common.replay import ReplayBuffer
from rlsuite.common.resume import Checkpoint, decode, encode
from rlsuite.common.runs import find_runs, group_by_settings
from rlsuite.run import main

FOUR_EPOCHS = {"total_steps": 512, "steps_per_epoch": 128}


def without_times(run: Path) -> str:
    rows = [line.split("\t") for line in (run / "progress.txt").read_text().splitlines()]
    timed = [rows[0].index(name) for name in ("Time", "StepsPerSec")]
    return "\n".join("\t".join(cell for i, cell in enumerate(row) if i not in timed) for row in rows)


def interrupted(monkeypatch, folder: Path, algo: str, epoch: int, **how) -> Path:
    """A run that stops in the middle of the epoch after `epoch`."""
    from rlsuite.common.envs import Envs

    step = Envs.step

    def stop(self, act):
        if self.rank == 0 and self.total_steps == 128 * epoch + 64:
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
    for kind in ("episodes", "snapshots"):
        names = sorted(path.name for path in (whole / kind).iterdir())
        assert sorted(path.name for path in (resumed / kind).iterdir()) == names
        for name in names:
            assert (resumed / kind / name).read_bytes() == (whole / kind / name).read_bytes(), name
    last = max((whole / "checkpoint").glob("epoch_*")).name
    ours, theirs = (decode(run / "checkpoint" / last) for run in (resumed, whole))
    assert ours[0].keys() == theirs[0].keys()
    for name, array in ours[0].items():
        np.testing.assert_array_equal(array, theirs[0][name], err_msg=name)
    assert ours[1]["parts"] == theirs[1]["parts"]


@pytest.mark.parametrize(("algo", "env"), PAIRS)
def test_a_resumed_run_is_the_run_that_was_not_interrupted(tmp_path, monkeypatch, train, algo, env):
    how = {"env": env, "normalize_obs": "True"}
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
]


@pytest.mark.parametrize(("algo", "how"), MORE_PARTS)
def test_settings_with_more_state(tmp_path, monkeypatch, train, algo, how):
    whole = train(tmp_path / "whole", algo, **FOUR_EPOCHS, **how)
    run = interrupted(monkeypatch, tmp_path / "cut", algo, 3, **how)
    assert resume(run) == 0
    assert_same(run, whole)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_interrupted_in_the_first_epoch_it_starts_anew(tmp_path, monkeypatch, train, algo):
    whole = train(tmp_path / "whole", algo, **FOUR_EPOCHS)
    run = interrupted(monkeypatch, tmp_path / "cut", algo, 0)
    assert resume(run) == 0
    assert_same(run, whole)


def test_a_run_is_resumed_many_times(tmp_path, monkeypatch, train):
    whole = train(tmp_path / "whole", "ddpg", **FOUR_EPOCHS)
    run = interrupted(monkeypatch, tmp_path / "cut", "ddpg", 1)
    for epoch in (2, 3):
        save = Checkpoint.save

        def stop(self, number, *rest, save=save, last=epoch):
            save(self, number, *rest)
            if number == last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", stop)
            assert resume(run) == 130
    assert resume(run) == 0
    assert_same(run, whole)
    assert len(json.loads((run / "config.json").read_text())["resumed"]) == 3


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


def test_a_resumed_run_stays_in_its_group(tmp_path, train):
    for seed in (0, 1):
        run = train(tmp_path, "ppo", seed=seed)
    assert resume(run) == 0
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
        arrays, facts = decode(path)
        inner = facts
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = value
        path.write_bytes(encode(arrays, facts))
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


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "epoch_000001_rank_0.safetensors"
    arrays = {"a": np.arange(5.0), "b": np.zeros((2, 3), np.uint8), "c": np.array(3)}
    content = bytearray(encode(arrays, {"epoch": 1, "x": [1.5, "text"]}))
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    path.write_bytes(content)
    with pytest.raises(UserError, match="epoch_000001"):
        decode(path)


def test_what_is_encoded_comes_back(tmp_path):
    path = tmp_path / "file.safetensors"
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(True), "c": np.zeros((0, 3), np.int64)}
    path.write_bytes(encode(arrays, {"n": 2**127, "list": [1, None]}))
    back, facts = decode(path)
    assert facts == {"n": 2**127, "list": [1, None]}
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


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
        ({"num_envs": "two"}, "num_envs"),
        ({"num_envs": 3}, "multiple"),
        ({"num_envs": 10**9}, "num-envs"),
        ({"hidden_sizes": [32]}, "other settings"),
        ({"gamma": 0.98}, "other settings"),
        ({"hidden_sizes": [10**9, 10**9]}, "hidden-sizes"),
        ({"hidden_sizes": 64}, "hidden_sizes"),
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
        (["--resume", "nowhere"], "no such directory"),
        (["--resume", "{run}", "--gamma", "0.9"], "unknown flag"),
        (["--resume", "{run}", "--total-steps", "100"], "below the budget"),
        (["--resume", "{run}", "--total-steps", "x"], "x"),
        (["--resume", "{run}", "{parent}"], "one value"),
        (["ppo", "--env", "CartPole-v1", "--resume", "{run}"], "--resume"),
        (["--resume", "{parent}"], "algorithm"),
    ],
)
def test_bad_commands_are_one_line(tmp_path, train, capsys, argv, word):
    run = train(tmp_path, "ppo")
    capsys.readouterr()
    assert main([part.format(run=run, parent=run.parent) for part in argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


@pytest.mark.parametrize("name", ["progress.txt", "config.json", "checkpoint", "lock", "episodes", ".config.json.tmp"])
def test_links_out_of_the_run_are_refused(tmp_path, train, capsys, name):
    run = train(tmp_path / "data", "ppo")
    outside = tmp_path / "outside"
    if (run / name).exists():
        shutil.move(run / name, outside)
    else:
        outside.write_text("mine")
    (run / name).symlink_to(outside)
    assert "is a link" in said_by(capsys, run)


def test_a_pickle_under_our_name_is_not_loaded(tmp_path, train, capsys):
    run = train(tmp_path, "ppo")
    payload = b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "owned") + b"'\ntR."
    for path in (run / "checkpoint").iterdir():
        path.write_bytes(payload)
    assert "no checkpoint that is whole" in said_by(capsys, run)
    assert not (tmp_path / "owned").exists()


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
    from rlsuite.algos import ppo

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
    environment = {**os.environ, "PYTHONPATH": str(Path(rlsuite.__file__).parents[1])}
    words = small_command("ppo", data_dir=tmp_path, total_steps=10**7, steps_per_epoch=1280)
    process = subprocess.Popen(
        [sys.executable, "-m", "rlsuite.run", *words], env=environment, stderr=subprocess.PIPE, text=True
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
    done = []

    def write():
        with resume_module._signals_wait():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_replay_buffer_is_rebuilt_from_its_parts(data):
    num_envs = data.draw(st.integers(1, 3))
    capacity = data.draw(st.integers(num_envs, 30))
    space, actions = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(5)
    rng = np.random.default_rng(0)
    whole = ReplayBuffer(capacity, num_envs, space, actions, np.random.default_rng(7))
    parts, held = [], []
    for _ in range(data.draw(st.integers(1, 6))):
        before = whole.stored
        for _ in range(data.draw(st.integers(0, 15))):
            ends = rng.random((2, num_envs)) < 0.2
            whole.store(
                rng.normal(size=(num_envs, 2)), rng.integers(5, size=num_envs), rng.normal(size=num_envs),
                rng.normal(size=(num_envs, 2)), *ends,
            )  # fmt: skip
        parts.append(whole.stored_since(before))
        held.append(whole.stored)
    first_needed = whole.stored - len(whole)
    needed = [part for part, stop in zip(parts, held, strict=True) if stop > first_needed] or parts[-1:]
    rebuilt = ReplayBuffer(capacity, num_envs, space, actions, np.random.default_rng(7))
    rebuilt.load(needed)
    assert len(rebuilt) == len(whole)
    for _ in range(3):
        if len(whole):
            samples = (buffer.sample(8, torch.device("cpu")) for buffer in (rebuilt, whole))
            for ours, theirs in zip(*samples, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        for _ in range(4):
            step = (
                rng.normal(size=(num_envs, 2)), rng.integers(5, size=num_envs), rng.normal(size=num_envs),
                rng.normal(size=(num_envs, 2)), *(rng.random((2, num_envs)) < 0.2),
            )  # fmt: skip
            for buffer in (whole, rebuilt):
                buffer.store(*step)
