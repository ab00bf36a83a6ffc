"""Training through the command line, from flags to files."""

import dataclasses
import json
import math
import os
import re
import shlex
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import import_module
from inspect import getsource
from pathlib import Path
from typing import Any

import gymnasium as gym
import hypothesis
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import rlsuite
import rlsuite.play
import rlsuite.plot
import rlsuite.run
from rlsuite.algos import ppo
from rlsuite.common.console import returns as digits
from rlsuite.errors import UserError
from rlsuite.launching import Launch, algorithm_names
from rlsuite.presets import PRESETS
from rlsuite.run import jobs_of, main
from rlsuite.rundir.files import lock
from rlsuite.rundir.runs import find_runs, read_config, read_progress
from tests.conftest import ALGORITHMS, OFF_POLICY, ON_POLICY, PAIRS

CONFIGS = {algo: import_module(f"rlsuite.algos.{algo}").Config for algo in ALGORITHMS}
NETWORKS = {
    **dict.fromkeys(ON_POLICY, "common.actor_critic.ActorCritic"),
    "dqn": "common.q_networks.QNetwork",
    "ddpg": "common.q_networks.MuQNetwork",
    "td3": "common.q_networks.MuTwinQNetwork",
    "sac": "common.soft_actor_critic.SoftActorCritic",
    "cem": "algos.cem.PolicyNetwork",
    "random": "algos.random.UniformPolicy",
}

USER_MODULE = """
import gymnasium as gym

class Short(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert 5 <= action < 8
        self.t += 1
        return self.observation_space.sample(), 1.0, self.t == 7, False, {}

gym.register("Short-v0", Short)
"""


class Endless(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 1.0, False, False, {}


gym.register("rlsuite-tests/Endless-v0", Endless)


def configs(folder: Path) -> list[dict[str, Any]]:
    return [read_config(run) for run in find_runs([folder])]


def stop_at(at: int) -> type[gym.Wrapper]:
    class Stop(gym.Wrapper):
        count = 0

        def step(self, action: Any) -> Any:
            Stop.count += 1
            if Stop.count == at:
                raise KeyboardInterrupt
            return super().step(action)

    return Stop


def test_the_algorithms_are_the_files_in_algos() -> None:
    assert set(ALGORITHMS) == set(algorithm_names())


@pytest.mark.parametrize(("algo", "env"), PAIRS)
def test_trains_on_every_kind_of_space(algo: str, env: str, tmp_path: Path, train: Any, command: Any) -> None:
    kwargs = '{"is_slippery": false}' if env == "FrozenLake-v1" else "{}"
    settings = {"env": env, "env_kwargs": kwargs, "seed": 3, "total_steps": 768, "note": "does it run?"}
    run = train(tmp_path, algo, **settings)
    folders = ["checkpoint", "episodes", "snapshots"]
    files = ["config.json", "lock", "policy.safetensors", "progress.txt", "result.json"]
    if (run / "policy_best.safetensors").exists():  # not where fewer than five episodes finish in every epoch
        files.insert(3, "policy_best.safetensors")
    assert sorted(path.name for path in run.iterdir()) == sorted(folders + files)
    config = json.loads((run / "config.json").read_text())
    assert {name: config[name] for name in settings} == settings
    assert config["algo"] == algo
    assert config["custom_env"] is False
    assert config["network"] == f"rlsuite.{NETWORKS[algo]}"
    assert config["command"].startswith(f"python -m rlsuite.run {algo} --env {env} ")
    assert "--note 'does it run?'" in config["command"]
    assert set(config["versions"]) >= {"python", "torch", "numpy", "gymnasium"}
    assert config["versions"]["gymnasium"] == gym.__version__
    names = {field.name for field in dataclasses.fields(CONFIGS[algo])}
    assert names <= set(config)
    assert {name for name, value in config.items() if isinstance(value, dict)} == {"random_play", "versions"}

    table = read_progress(run)
    assert table["Epoch"].tolist() == [1, 2, 3]
    assert table["TotalEnvInteracts"].tolist() == [256, 512, 768]
    result = json.loads((run / "result.json").read_text())
    assert result["TestEpisodes"] == 1
    assert all(math.isfinite(value) for value in result.values())
    assert result["MinEpRet"] == result["MaxEpRet"] == result["AverageEpRet"]
    assert len(list((run / "snapshots").iterdir())) == 3
    with_episode = [int(epoch) for epoch in table["Epoch"][np.isfinite(table["AverageEpRet"])]]
    assert sorted(path.stem for path in run.glob("episodes/*")) == [f"epoch_{epoch:06d}" for epoch in with_episode]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("Blackjack-v1", "Tuple observations are flattened by gymnasium.spaces.flatten, to 45 numbers each"),
        ("CartPole-v1", ""),
    ],
)
@pytest.mark.parametrize("quiet", [False, True])
def test_a_run_says_once_that_it_flattens_observations(
    env: str, said: str, quiet: bool, tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, "dqn", env=env, quiet=quiet, num_envs=4)
    assert [line for line in capsys.readouterr().out.splitlines() if "flatten" in line] == [said] * bool(
        said and not quiet
    )
    assert len(read_progress(run)["Epoch"]) == 2


def test_runs_of_the_same_second_do_not_overwrite_each_other(
    tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2030, 1, 1, 12)

    monkeypatch.setattr("rlsuite.common.logger.datetime", Noon)
    first = train(tmp_path, "ppo", total_steps=256)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    train(tmp_path, "ppo", total_steps=128)
    assert [run.name for run in find_runs([tmp_path])] == ["2030-01-01_12-00-00_s0", "2030-01-01_12-00-00_s0_2"]
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before


def test_the_run_lies_below_data_in_the_present_folder(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command("ppo", total_steps=128, env="rlsuite/Chain-v0")) == 0
    (run,) = find_runs(["data"])
    assert run.parent == Path("data", "ppo_rlsuite_Chain-v0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_s0", run.name)
    assert main(command("ppo", total_steps=128, exp_name="mine", data_dir="elsewhere")) == 0
    assert [path.parent for path in find_runs(["elsewhere"])] == [Path("elsewhere", "mine")]
    out = capsys.readouterr().out
    assert f"python -m rlsuite.plot {run}\n" in out
    assert f"play it:  python -m rlsuite.play {run}\n" in out


SHOWN_MODULE = """
import gymnasium as gym
import numpy as np

class Shown(gym.Env):
    metadata = {"render_modes": MODES, "render_fps": 10}
    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), 1.0, False, self.t == 7, {}

    def render(self):
        return np.zeros((10, 10, 3), np.uint8) if self.render_mode == "rgb_array" else None

gym.register("Shown-v0", Shown)
"""


@pytest.mark.parametrize(
    ("display", "modes", "expected"),
    [
        (":0", ["human", "rgb_array"], "watch it: python -m rlsuite.play {run} --render --import-env shown"),
        ("", ["human", "rgb_array"], "film it:  python -m rlsuite.play {run} --video film.mp4 --import-env shown"),
        (":0", ["rgb_array"], "film it:  python -m rlsuite.play {run} --video film.mp4 --import-env shown"),
        ("", ["human", "ansi"], "play it:  python -m rlsuite.play {run} --import-env shown"),
        (":0", [], "play it:  python -m rlsuite.play {run} --import-env shown"),
    ],
)
def test_the_commands_that_a_run_prints_at_its_end_work(
    display: str,
    modes: list[str],
    expected: str,
    tmp_path: Path,
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shown.py").write_text(SHOWN_MODULE.replace("MODES", repr(modes)))
    settings = {"data_dir": "my data", "total_steps": 128, "test_episodes": len(modes)}
    assert main(command("ppo", env="shown:Shown-v0", **settings)) == 0
    *_, plot, see = capsys.readouterr().out.splitlines()
    (run,) = find_runs(["my data"])
    assert plot == f"plot it:  python -m rlsuite.plot {shlex.quote(str(run))}"
    assert see == expected.format(run=shlex.quote(str(run)))
    del sys.modules["shown"]  # as in another process
    assert rlsuite.plot.main(shlex.split(plot)[5:]) == 0
    assert rlsuite.play.main(shlex.split(see)[5:]) == 0
    assert (tmp_path / "film.mp4").exists() == ("film it" in see)
    del sys.modules["shown"]


def test_the_command_that_goes_on_with_an_interrupted_run_names_the_module_of_its_environment(
    tmp_path: Path, command: Any, python: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_module.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    wrapper, make = stop_at(300), gym.make
    monkeypatch.setattr("gymnasium.make", lambda *args, **options: wrapper(make(*args, **options)))
    assert main(command("ppo", env="my_module:Short-v0", total_steps=512, data_dir=tmp_path / "data")) == 130
    (run,) = find_runs([tmp_path / "data"])
    again = f"python -m rlsuite.run --resume {run} --import-env my_module"
    assert capsys.readouterr().err.strip() == f"rlsuite: interrupted; go on with: {again}"
    assert python(tmp_path, *shlex.split(again)[1:]).returncode == 0
    assert read_progress(run)["TotalEnvInteracts"][-1] == 512


def test_the_printed_return_is_the_one_in_result_json(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, "ppo", test_episodes=3, total_steps=256)
    result = json.loads((run / "result.json").read_text())
    mean, std, low = digits(*(result[f"{name}EpRet"] for name in ("Average", "Std", "Min")))
    shown = f"final return {mean} ± {std} (min {low}, max"
    assert shown in capsys.readouterr().out
    assert result["TestEpisodes"] == 3


def test_no_test_episodes_no_result(tmp_path: Path, train: Any) -> None:
    assert not (train(tmp_path, "a2c", test_episodes=0, total_steps=128) / "result.json").exists()


def test_an_environment_that_never_ends_has_a_result_too(
    tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rlsuite.envs.evaluation.MAX_TEST_STEPS", 50)
    run = train(tmp_path, "ppo", env="rlsuite-tests/Endless-v0", total_steps=128, test_episodes=3)
    result = json.loads((run / "result.json").read_text())
    assert (result["TestEpisodes"], result["AverageEpRet"]) == (1, 50.0)
    out, err = capsys.readouterr()
    assert "final return 50.0 ± 0.0 (min 50.0, max 50.0; 1 deterministic test episodes)\n" in out
    assert f"plot it:  python -m rlsuite.plot {run}\n" in out
    assert err.startswith("rlsuite: a test episode of rlsuite-tests/Endless-v0 did not end within 50 env steps")


def test_several_seeds(tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("ppo", seed=(0, 1), total_steps=128, data_dir=tmp_path)) == 0
    assert sorted(config["seed"] for config in configs(tmp_path)) == [0, 1]
    out = capsys.readouterr().out
    assert "run 1 of 2: ppo on CartPole-v1, seed 0" in out
    assert "run 2 of 2: ppo on CartPole-v1, seed 1" in out
    assert out.count(f"plot all: python -m rlsuite.plot {tmp_path / 'ppo_CartPole-v1'}\n") == 2
    assert "watch it" not in out


def test_two_settings_make_their_product(tmp_path: Path, command: Any) -> None:
    assert main(command("vpg", gamma=(0.9, 0.99), seed=(0, 1), total_steps=128, data_dir=tmp_path)) == 0
    pairs = sorted((config["gamma"], config["seed"]) for config in configs(tmp_path))
    assert pairs == [(0.9, 0), (0.9, 1), (0.99, 0), (0.99, 1)]


def test_a_grid_names_what_varies_in_each_header_and_folder(
    tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"lam": ("0.9", "0.950"), "normalize_obs": ("true", "false"), "seed": (0, 1), "test_episodes": 0}
    assert main(command("ppo", **grid, total_steps=128, data_dir=tmp_path)) == 0
    apart = [(lam, norm, seed) for lam in (0.9, 0.95) for norm in (True, False) for seed in (0, 1)]
    headers = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")]
    assert headers == [
        f"run {number} of 8: ppo on CartPole-v1, seed {seed}, lam {lam}, normalize_obs {norm}"
        for number, (lam, norm, seed) in enumerate(apart, 1)
    ]
    runs = {run.name[19:]: read_config(run) for run in find_runs([tmp_path])}
    assert {name: (run["lam"], run["normalize_obs"], run["seed"]) for name, run in runs.items()} == {
        f"_s{seed}_lam{lam}_normalize_obs{norm}": (lam, norm, seed) for lam, norm, seed in apart
    }


def test_a_grid_of_presets_and_environments_is_told_apart(
    tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {"env": ("CartPole-v1", "rlsuite/Chain-v0"), "preset": ("CartPole-v1", "none"), "test_episodes": 0}
    assert main(command("ppo", **many, total_steps=128, data_dir=tmp_path, exp_name="mine")) == 0
    headers = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")]
    assert headers == [
        "run 1 of 4: ppo on CartPole-v1, seed 0, preset ppo/CartPole-v1",
        "run 2 of 4: ppo on CartPole-v1, seed 0, preset none",
        "run 3 of 4: ppo on rlsuite/Chain-v0, seed 0, preset ppo/CartPole-v1",
        "run 4 of 4: ppo on rlsuite/Chain-v0, seed 0, preset none",
    ]
    assert sorted(run.name[19:] for run in find_runs([tmp_path])) == [
        f"_s0_env{env}_preset{preset}"
        for env in ("CartPole-v1", "rlsuite-Chain-v0")
        for preset in ("CartPole-v1", "none")
    ]
    assert main(command("ppo", env=many["env"], total_steps=128, data_dir=tmp_path / "own")) == 0
    assert {run.name[19:] for run in find_runs([tmp_path / "own"])} == {"_s0"}  # the folder above names it


@pytest.mark.parametrize(
    ("varied", "suffix"),
    [
        ({}, ""),
        ({"lam": "0.95", "pi_lr": "1e-05"}, "_lam0.95_pi_lr1e-05"),
        ({"env_kwargs": '{"size": 8}', "x": "../.."}, "_env_kwargs-size-8_x"),
        ({"env": "a:B\0/ü.", "y": "con."}, "_enva-B_ycon"),
        ({"z": "9" * 999}, "_z" + "9" * 24),
    ],
)
def test_the_end_of_a_folder_name_is_short_and_plain(varied: dict[str, str], suffix: str) -> None:
    from rlsuite.launching import folder_suffix

    assert folder_suffix(varied) == suffix
    assert len(folder_suffix({f"setting_{i}": "1" * 99 for i in range(99)})) <= 100


def test_whole_numbers_may_be_written_as_people_write_them(tmp_path: Path, command: Any) -> None:
    words = command("ppo", total_steps=("1.28e2", "2_56"), hidden_sizes=("1e1", 8), data_dir=tmp_path)
    assert main(words) == 0
    assert sorted(config["total_steps"] for config in configs(tmp_path)) == [128, 256]
    assert [config["hidden_sizes"] for config in configs(tmp_path)] == [[10, 8]] * 2


def test_a_switch_takes_both_values(tmp_path: Path, command: Any) -> None:
    assert main(command("a2c", normalize_obs=("true", "false"), total_steps=128, data_dir=tmp_path)) == 0
    assert sorted(config["normalize_obs"] for config in configs(tmp_path)) == [False, True]


@pytest.mark.parametrize(("flag", "value"), [("--normalize-obs", True), ("--no-normalize-obs", False)])
def test_a_switch_needs_no_value(flag: str, value: bool, tmp_path: Path, command: Any) -> None:
    assert main([*command("a2c", total_steps=128, data_dir=tmp_path), flag]) == 0
    assert [config["normalize_obs"] for config in configs(tmp_path)] == [value]


def test_a_setting_of_several_values_makes_no_grid(tmp_path: Path, train: Any) -> None:
    run = train(tmp_path, "ppo", hidden_sizes=(8, 8, 4), total_steps=128)
    assert read_config(run)["hidden_sizes"] == [8, 8, 4]
    assert len(find_runs([tmp_path])) == 1


def test_preset_is_applied_named_and_overridden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = PRESETS["ppo"]["CartPole-v1"]
    explicit = {"total_steps": 256, "lam": 0.5, "data_dir": tmp_path}
    flags = [word for name, value in explicit.items() for word in ("--" + name.replace("_", "-"), str(value))]
    assert main(["ppo", "--env", "CartPole-v1", *flags]) == 0
    (config,) = configs(tmp_path)
    assert {name: config[name] for name in known} == {**known, "total_steps": 256, "lam": 0.5}
    lines = [line for line in capsys.readouterr().out.splitlines() if ", preset" in line]
    assert lines == ["ppo on CartPole-v1, seed 0, preset ppo/CartPole-v1"]


def test_preset_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--total-steps", "64", "--data-dir", str(tmp_path), "--preset", "none"]
    assert main(["ppo", "--env", "CartPole-v1", *flags]) == 0
    (config,) = configs(tmp_path)
    defaults = dataclasses.asdict(CONFIGS["ppo"]("CartPole-v1", total_steps=64))
    assert {name: config[name] for name in defaults} == {**defaults, "hidden_sizes": [64, 64]}
    assert ", preset" not in capsys.readouterr().out


def test_preset_of_another_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--total-steps", "64", "--data-dir", str(tmp_path), "--test-episodes", "1", "--preset", "CartPole-v1"]
    assert main(["ppo", "--env", "Acrobot-v1", *flags]) == 0
    (config,) = configs(tmp_path)
    assert (config["env"], config["lam"]) == ("Acrobot-v1", PRESETS["ppo"]["CartPole-v1"]["lam"])
    assert "preset ppo/CartPole-v1\n" in capsys.readouterr().out


def test_a_run_without_a_preset_for_its_environment_says_so(
    tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("ppo", env="rlsuite/Chain-v0", preset=None, total_steps=128, data_dir=tmp_path)) == 0
    first = "ppo on rlsuite/Chain-v0, seed 0, no preset for rlsuite/Chain-v0: the defaults of Config\n"
    assert capsys.readouterr().out.startswith(first)


@pytest.mark.parametrize(
    ("words", "lam", "said"),
    [
        (["--env", "CartPole-v1"], PRESETS["ppo"]["CartPole-v1"]["lam"], "those of preset ppo/CartPole-v1."),
        (["--env=CartPole-v1", "--gamma"], PRESETS["ppo"]["CartPole-v1"]["lam"], "those of preset ppo/CartPole-v1."),
        (["--env", "CartPole-v1", "--preset", "none"], CONFIGS["ppo"]("").lam, "those of Config."),
        (["--env", "rlsuite/Chain-v0"], CONFIGS["ppo"]("").lam, "those of Config."),
        (["--env", "CartPole-v1", "--preset", "Acrobot-v1"], PRESETS["ppo"]["Acrobot-v1"]["lam"], "ppo/Acrobot-v1."),
        (["--env"], CONFIGS["ppo"]("").lam, ""),
    ],
)
def test_help_for_an_environment_shows_what_a_run_there_starts_from(
    words: list[str], lam: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["ppo", *words, "--help"])
    assert stop.value.code == 0
    text = " ".join(re.sub("[│─╭╮╰╯|]", " ", capsys.readouterr().out).split())
    assert re.search(rf"--lam FLOAT [^(]*\(default: {lam}\)", text)
    assert said in text
    assert ("The defaults below are" in text) == bool(said)


@pytest.mark.parametrize("algo", [algo for algo in PRESETS if PRESETS[algo]])
def test_every_preset_is_one_that_the_algorithm_takes(algo: str) -> None:
    config = CONFIGS[algo]
    for env, settings in PRESETS[algo].items():
        config(env, **settings)
        gym.spec(env)


@pytest.mark.parametrize("total", [600, 258, 100, 2])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_budget_is_met_exactly(algo: str, total: int, tmp_path: Path, train: Any) -> None:
    # Two steps are no rollout: an on-policy algorithm takes them together with the rollout before.
    steps = {600: [256, 512, 600], 258: [258] if algo in ON_POLICY else [256, 258], 100: [100], 2: [2]}[total]
    one_update = {"update_after": total, "update_every": total} if algo in OFF_POLICY else {}
    table = read_progress(train(tmp_path, algo, total_steps=total, **one_update))
    assert table["TotalEnvInteracts"].tolist() == steps


@pytest.mark.parametrize(
    ("algo", "settings", "said", "steps"),
    [
        ("ppo", {"total_steps": 257}, "--total-steps 257 -> 258", [258]),
        ("ppo", {"steps_per_epoch": 200}, "--steps-per-epoch 200 -> 256", [256, 512]),
        ("ppo", {"minibatch_size": 48}, "", [256, 512]),
        (
            "dqn",
            {"total_steps": 513, "update_after": 513, "update_every": 1},
            "--total-steps 513 -> 514",
            [256, 512, 514],
        ),
        ("dqn", {"steps_per_epoch": 257}, "--steps-per-epoch 257 -> 258", [258, 512]),
    ],
)
def test_what_does_not_divide_is_rounded_up(
    algo: str,
    settings: dict[str, int],
    said: str,
    steps: list[int],
    tmp_path: Path,
    train: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(tmp_path, algo, **settings)
    assert read_progress(run)["TotalEnvInteracts"].tolist() == steps
    assert settings.items() <= read_config(run).items()
    lines = [line for line in capsys.readouterr().out.splitlines() if " -> " in line]
    assert [line.endswith(f": {said}") for line in lines] == [True] * bool(said)


def test_quiet_prints_nothing(tmp_path: Path, train: Any, capfd: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, "ppo", total_steps=256, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_an_environment_of_the_users_own_module(
    tmp_path: Path, command: Any, python: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_module.py").write_text(USER_MODULE)
    done = python(tmp_path, "-m", "rlsuite.run", *command("ppo", env="my_module:Short-v0", data_dir="out"))
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = find_runs([tmp_path / "out"])
    assert run.parent.name == "ppo_my_module_Short-v0"
    assert read_config(run)["env"] == "my_module:Short-v0"
    monkeypatch.syspath_prepend(tmp_path)
    assert main(command("dqn", env="my_module:Short-v0", data_dir=tmp_path / "out")) == 0
    runs = find_runs([tmp_path / "out"])
    assert len(runs) == 2
    for path in runs:
        assert set(read_progress(path)["AverageEpRet"]) == {7.0}
        assert len(rlsuite.play.play(path, episodes=2)) == 2


@pytest.mark.parametrize("algo", ["ppo", *OFF_POLICY])
def test_an_interrupted_training_keeps_what_it_has(
    algo: str, tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapper, make = stop_at(700), gym.make
    monkeypatch.setattr("rlsuite.common.training.Training._random_play", lambda self: {})
    untested = {"num_test_episodes": 0} if algo in OFF_POLICY else {}
    monkeypatch.setattr("gymnasium.make", lambda *args, **options: wrapper(make(*args, **options)))
    code = main([*command(algo, seed=(0, 1), total_steps=2048, data_dir=tmp_path, **untested), "--quiet"])
    (run,) = find_runs([tmp_path])  # the second one of the grid has not begun
    assert code == 130
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [256, 512]
    assert (run / "policy.safetensors").exists()
    of_the_run, of_the_grid = capsys.readouterr().err.strip().splitlines()
    assert of_the_run == f"rlsuite: interrupted in {run}"
    left = "rlsuite: 2 of 2 runs are left (--seed 0, --seed 1); go on with: "
    assert of_the_grid == left + read_config(run)["command"]


GRID = {"seed": (0, 1, 2), "total_steps": 384, "steps_per_epoch": 128}


def rows(folder: Path) -> dict[int, list[float]]:
    """The returns of each run below a folder, by its seed, of which none occurs twice."""
    runs = find_runs([folder])
    found = {read_config(run)["seed"]: read_progress(run)["AverageEpRet"].tolist() for run in runs}
    assert len(found) == len(runs)
    return found


def test_an_interrupted_grid_goes_on_where_it_was_when_it_is_started_again(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("ppo", **GRID, data_dir=tmp_path / "whole")) == 0
    words, make, wrapper = command("ppo", **GRID, data_dir=tmp_path / "cut"), gym.make, stop_at(600)
    with monkeypatch.context() as patch:
        patch.setattr("gymnasium.make", lambda *args, **options: wrapper(make(*args, **options)))
        assert main(words) == 130
    first, second = find_runs([tmp_path / "cut"])
    said = capsys.readouterr().err.splitlines()[-1]
    again = shlex.join(["python", "-m", "rlsuite.run", *words])
    assert said == f"rlsuite: 2 of 3 runs are left (--seed 1, --seed 2); go on with: {again}"
    before = (first / "progress.txt").read_bytes()
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert f"run 1 of 3: skipped, as {first} is finished\n" in out
    assert "run 2 of 3: ppo on CartPole-v1, seed 1, goes on\n" in out
    assert "run 3 of 3: ppo on CartPole-v1, seed 2\n" in out
    assert err == ""
    assert (first / "progress.txt").read_bytes() == before
    assert [len(read_config(run).get("resumed", [])) for run in (first, second)] == [0, 1]
    assert str(rows(tmp_path / "cut")) == str(rows(tmp_path / "whole"))
    assert main(words) == 0  # a whole grid is trained once more
    assert len(find_runs([tmp_path / "cut"])) == 6


def test_a_failed_run_of_a_grid_is_named_and_the_others_are_not_repeated(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(self: Any, action: Any) -> Any:
        raise RuntimeError("no power")

    words, train = command("ppo", **GRID, data_dir=tmp_path, quiet=True), ppo.train
    with monkeypatch.context() as patch:

        def fail(config: Any, **options: Any) -> Any:
            if config.seed == 1:
                patch.setattr("gymnasium.envs.classic_control.CartPoleEnv.step", explode)
            try:
                return train(config, **options)
            finally:
                patch.undo()
                patch.setattr(ppo, "train", fail)

        patch.setattr(ppo, "train", fail)
        monkeypatch.setattr("rlsuite.launching._check_environment", lambda *_: None)
        assert main(words) == 3
    assert "rlsuite: 1 of 3 runs are left (--seed 1); go on with: " in capsys.readouterr().err.splitlines()[-1]
    assert main(words) == 0
    assert sorted(rows(tmp_path)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_grid_leaves_alone_what_another_process_trains_and_what_other_source_or_words_have_made(
    tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command("ppo", **GRID, data_dir=tmp_path)
    assert main(words) == 0
    runs = find_runs([tmp_path])
    capsys.readouterr()
    (runs[0] / "result.json").unlink()  # as if it had been stopped before its test episodes
    descriptor = lock(runs[0])
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"run 1 of 3: skipped, as {runs[0]} is being trained by another process\n" in out
    assert out.count("skipped") == 3
    os.close(descriptor)
    assert main([*words, "--note", "another command line"]) == 0
    assert len(find_runs([tmp_path])) == 6
    for run in runs:
        os.utime(run / "config.json", (0, 0))  # made before the source was changed
    assert main(words) == 0
    assert len(find_runs([tmp_path])) == 9


def test_an_interrupted_training_without_checkpoints_says_where_its_policy_is(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapper, make = stop_at(400), gym.make
    monkeypatch.setattr("gymnasium.make", lambda *args, **options: wrapper(make(*args, **options)))
    assert main([*command("ppo", checkpoint_every=0, data_dir=tmp_path), "--quiet"]) == 130
    (run,) = find_runs([tmp_path])
    assert not (run / "checkpoint").exists()
    expected = f"rlsuite: interrupted; the policy of the last good epoch is in {run}"
    assert capsys.readouterr().err.strip() == expected


@pytest.mark.parametrize(("env", "trust"), [("CartPole-v1", ""), ("my_module:Mine-v0", " --import-env my_module")])
def test_the_command_that_goes_on_names_the_module_of_the_environment(env: str, trust: str, tmp_path: Path) -> None:
    from rlsuite.launching import how_to_go_on

    assert how_to_go_on(tmp_path, env) == f"; go on with: python -m rlsuite.run --resume {tmp_path}{trust}"


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_help_names_every_setting_with_its_meaning(algo: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([algo, "--help"])
    assert stop.value.code == 0
    text = " ".join(re.sub("[│─╭╮╰╯|]", " ", capsys.readouterr().out).split())
    for settings in (CONFIGS[algo], Launch):
        meanings = dict(re.findall(r"^    (\w+): .*?  # (.*)$", getsource(settings), re.MULTILINE))
        assert set(meanings) == {field.name for field in dataclasses.fields(settings)}
        for name, meaning in meanings.items():
            assert f"--{name.replace('_', '-')}" in text
            assert meaning in text


def test_no_arguments_print_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    usage = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == usage
    assert usage.startswith("usage: python -m rlsuite.run ALGO --env ID")
    assert all(algo in usage for algo in ALGORITHMS)


def test_the_command_line_is_called_as_a_module(tmp_path: Path, python: Any) -> None:
    done = python(tmp_path, "-m", "rlsuite.run")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("usage: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("gamma", ["1.5"], 1.5),
        ("hidden_sizes", ["64", "-1"], (64, -1)),
        ("hidden_sizes", ["100001"] * 30, (100001,) * 30),  # as long as several lines
        ("target_kl", ["0"], 0.0),
    ],
)
def test_the_command_line_says_what_python_says(
    name: str, words: list[str], value: Any, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as error:
        CONFIGS["ppo"]("CartPole-v1", **{name: value})
    assert main([*command("ppo", **{name: None}), "--" + name.replace("_", "-"), *words]) == 2
    assert capsys.readouterr().err == f"rlsuite: {error.value}\n"


CALLS = """
import sys
from rlsuite.run import main
def call(*words):
    try:
        print("code", main(list(words)))
    except SystemExit as stop:
        print("exit", stop.code)
call("--help")
call("mine", "--help")
call(*sys.argv[1:], "--warmth", "3")
call(*sys.argv[1:], "--warmth", "2", "1")
from rlsuite.rundir.runs import find_runs
call("--resume", str(find_runs(["data"])[0]), "--total-steps", "256")
"""


def test_a_new_algorithm_is_one_new_file(tmp_path: Path, python: Any, command: Any) -> None:
    """Its settings, whose types and defaults come from wherever its author likes, are on the command line."""
    package = tmp_path / "rlsuite"
    shutil.copytree(Path(rlsuite.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (package / "algos" / "vpg.py").read_text()
    for old, new in [
        ('Training("vpg"', 'Training("mine"'),
        ("hidden_sizes: settings.Widths = (64, 64)", "hidden_sizes: settings.Widths = WIDTHS"),
        (
            "from typing import Literal\n",
            "from typing import Annotated, Literal\nfrom annotated_types import Interval\n",
        ),
        ("@dataclass(frozen=True)\n", "WIDTHS = (24, 12)\n\n\n@dataclass(frozen=True)\n"),
        ("    seed: ", "    warmth: Annotated[float, Interval(ge=0, le=2)] = 0.5  # how warm it is\n    seed: "),
    ]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (package / "algos" / "mine.py").write_text(text)
    words = ["mine", *command("vpg", total_steps=128)[1:]]
    done = python(tmp_path, "-c", CALLS, *words)
    assert done.stderr == "rlsuite: --warmth is 3.0, but must be from 0 to 2\n"
    assert "algorithms: a2c cem ddpg dqn mine ppo" in done.stdout
    assert re.search(r"--warmth FLOAT\s+how warm it is", done.stdout)
    assert re.findall("^(?:code|exit) .*", done.stdout, re.MULTILINE) == [
        "code 0",
        "exit 0",
        "code 2",
        "code 0",
        "code 0",
    ]
    runs = configs(tmp_path / "data" / "mine_CartPole-v1")
    assert sorted((run["algo"], run["warmth"], run["hidden_sizes"]) for run in runs) == [
        ("mine", 1.0, [24, 12]),
        ("mine", 2.0, [24, 12]),
    ]
    assert sorted(run["total_steps"] for run in runs) == [128, 256]


def test_bad_values_are_found_before_processes_are_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Any] = []
    monkeypatch.setattr("rlsuite.run.relaunch", lambda *args: started.append(args) or 0)
    words = ["ppo", "--env", "CartPole-v1", "--cpus", "2", "--gamma"]
    assert main([*words, "2"]) == 2
    assert capsys.readouterr().err == "rlsuite: --gamma is 2.0, but must be from 0 to 1\n"
    assert started == []
    assert main([*words, "0.9", "1"]) == 0
    assert started == [([*words, "0.9", "1"], ["2"])]


def test_an_error_that_nobody_expected_ends_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[BaseException] = []
    monkeypatch.setattr("rlsuite.mpi.end_all", ended.append)
    monkeypatch.setattr("rlsuite.run.train_all", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError) as error:
        main(["ppo", "--env", "CartPole-v1"])
    assert ended == [error.value]


TOKENS = """
ppo dqn --env CartPole-v1 --seed --resume --cpus --no-quiet --quiet --total-steps --hidden-sizes 64 0 -1 1e9 inf nan
true --gamma --gamma= -- - --preset none auto --loss --env-kwargs {} --checkpoint-every --test-episodes --data-dir
"""
WORDS = st.one_of(
    st.sampled_from(TOKENS.split()),
    st.text(max_size=8).filter(lambda text: "\0" not in text),
)


@given(st.lists(WORDS, max_size=8))
@hypothesis.settings(max_examples=150, deadline=None)
def test_no_command_line_ends_in_a_traceback(argv):
    assume(not {"-h", "--help"} & set(argv))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlsuite.run, "train_all", lambda *args: 0)
        patch.setattr(rlsuite.run, "relaunch", lambda *args: 0)
        assert main(argv) in (0, 2)


def test_threads_may_read_command_lines_at_the_same_time() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            lines = [["ppo", "--env", "CartPole-v1", "--seed", f"{seed}"] for seed in range(60)]
            wanted = list(threads.map(jobs_of, lines))
    finally:
        sys.setswitchinterval(before)
    assert [job.config.seed for (job,) in wanted] == list(range(60))
