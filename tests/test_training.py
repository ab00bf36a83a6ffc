"""What a training writes about itself, and what it leaves unchanged and changes."""

import ast
import itertools
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import rlsuite.algos
from rlsuite.algos import a2c, ppo, vpg
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checkpoint import load_policy, load_snapshot, read_safetensors
from rlsuite.common.checks import UserError
from rlsuite.common.envs import evaluate
from rlsuite.common.logger import Logger
from rlsuite.common.runs import find_runs, read_config, read_progress

ALGORITHMS = ["vpg", "a2c", "ppo"]
# fmt: off
COLUMNS = {
    "Epoch", "AverageEpRet", "StdEpRet", "MaxEpRet", "MinEpRet", "EpLen", "Entropy", "ActionEntropy", "KL",
    "ExplainedVariance", "StateEntropy", "GradNormPi", "GradNormV", "UpdateRatioPi", "UpdateRatioV", "LossPi", "LossV",
    "ValueMean", "ValueStd", "ReturnMean", "ValueBias", "AdvStd", "PiLR", "VfLR", "TotalEnvInteracts", "GradSteps",
    "Time", "StepsPerSec",
}
# fmt: on
PPO_COLUMNS = {"ClipFrac", "StopIter", "Ratio1"}
GAUSSIAN_COLUMNS = {"LogStd", "ClippedActions"}
RETURNS = ["AverageEpRet", "StdEpRet", "MaxEpRet", "MinEpRet", "EpLen"]
ENVS = ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"]


@pytest.fixture(scope="module", params=itertools.product(ALGORITHMS, ENVS), ids="-".join)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    """A run of each algorithm on each kind of space; 256 steps of 2 environments end no episode of Pendulum."""
    algo, env = request.param
    return train(tmp_path_factory.mktemp(algo), algo, env=env, total_steps=1024, seed=1)


def without_times(run: Path) -> list[list[str]]:
    """The cells of progress.txt but for the columns that depend on the clock."""
    lines = [line.split("\t") for line in (run / "progress.txt").read_text().splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if name not in ("Time", "StepsPerSec")]
    assert len(kept) == len(lines[0]) - 2
    return [[line[i] for i in kept] for line in lines]


def contents(run: Path) -> dict[str, Any]:
    """Everything in the run's safetensors files, arrays as bytes."""
    found = {}
    for path in run.rglob("*.safetensors"):
        arrays, metadata = read_safetensors(path)
        found[str(path.relative_to(run))] = {name: array.tobytes() for name, array in arrays.items()} | metadata
    return found


def test_every_row_has_every_column(run: Path) -> None:
    config, table = read_config(run), read_progress(run)
    expected = COLUMNS | (PPO_COLUMNS if config["algo"] == "ppo" else set())
    expected |= GAUSSIAN_COLUMNS if config["env"] == "Pendulum-v1" else set()
    assert set(table) == expected
    assert table["Epoch"].tolist() == [1, 2, 3, 4]


def test_values_are_finite_or_nan_where_they_may_be(run: Path) -> None:
    table = read_progress(run)
    unfinished = np.isnan(table["EpLen"])
    for name, column in table.items():
        assert not np.isinf(column).any(), name
        if name in RETURNS:
            assert (np.isnan(column) == unfinished).all(), name
        elif name == "ExplainedVariance":
            constant = (table["ReturnMean"] == 0) | (table["ValueStd"] == 0)
            assert (np.isfinite(column) | constant).all()
        else:
            assert np.isfinite(column).all(), name


def test_values_lie_in_their_ranges(run: Path) -> None:
    config, table = read_config(run), read_progress(run)
    done = np.isfinite(table["EpLen"])
    assert (table["MinEpRet"] <= table["AverageEpRet"])[done].all()
    assert (table["AverageEpRet"] <= table["MaxEpRet"])[done].all()
    n = {"CartPole-v1": 2, "Pendulum-v1": 16, "FrozenLake-v1": 4}[config["env"]]
    assert ((table["ActionEntropy"] >= 0) & (table["ActionEntropy"] <= np.log(n) + 1e-6)).all()
    if config["env"] != "Pendulum-v1":
        assert ((table["Entropy"] > 0) & (table["Entropy"] <= np.log(n) + 1e-6)).all()
        assert table["Entropy"][0] == pytest.approx(np.log(n), abs=0.05)
    else:
        # One standard deviation of the first policy: half width 2, ln sigma -0.5 in half widths.
        assert table["LogStd"][0] == pytest.approx(np.log(2) - 0.5, abs=1e-6)
        assert ((table["ClippedActions"] > 0) & (table["ClippedActions"] < 0.5)).all()
        expected = 0.5 * np.log(2 * np.pi * np.e) + table["LogStd"][0]
        assert table["Entropy"][0] == pytest.approx(expected, abs=0.2)
    np.testing.assert_allclose(table["ValueBias"], table["ValueMean"] - table["ReturnMean"], rtol=1e-4, atol=1e-4)
    assert (table["KL"] > 0).all()
    assert (table["ExplainedVariance"][np.isfinite(table["ExplainedVariance"])] <= 1).all()
    for name in ("StdEpRet", "GradNormPi", "GradNormV", "LossV", "ValueStd", "AdvStd", "StepsPerSec", "Time"):
        assert (table[name][np.isfinite(table[name])] >= 0).all(), name
    assert (np.diff(table["Time"]) >= 0).all()
    if config["algo"] == "ppo":
        assert (table["Ratio1"] < 1e-4).all()
        assert ((table["StopIter"] >= 1) & (table["StopIter"] <= 2)).all()
        assert ((table["ClipFrac"] >= 0) & (table["ClipFrac"] <= 1)).all()


def test_gradient_steps_are_counted(run: Path) -> None:
    config, table = read_config(run), read_progress(run)
    rollouts = 256 / (2 * config["rollout_len"])
    per_rollout = {"vpg": 1 + 3, "a2c": 2, "ppo": 2 * 2 * 4}[config["algo"]]
    assert table["GradSteps"].tolist() == [rollouts * per_rollout * epoch for epoch in (1, 2, 3, 4)]


def test_parameters_of_policy_and_critic_change_in_every_epoch(run: Path) -> None:
    table = read_progress(run)
    for part, column in [("pi", "UpdateRatioPi"), ("v", "UpdateRatioV")]:
        first, last = (
            {k: v for k, v in load_snapshot(run, epoch)[0].state_dict().items() if k.startswith(f"{part}.")}
            for epoch in (1, 4)
        )
        trained = [name for name in first if not name.endswith(("mid", "width"))]
        assert trained
        assert [name for name in trained if torch.equal(first[name], last[name])] == []
        assert (table[column] > 0).all()


def test_the_policy_file_is_the_policy_of_the_last_snapshot(run: Path) -> None:
    policy, (snapshot, obs) = load_policy(run).state_dict(), load_snapshot(run, 4)
    assert all(torch.equal(policy[name], value) for name, value in snapshot.state_dict().items())
    assert obs.shape == (256, *snapshot.obs_space.shape)


def test_kl_and_update_ratio_compare_whole_epochs(run: Path) -> None:
    """Snapshots 2 and 3 are the policies before and after epoch 3, and snapshot 3 holds its states."""
    table = read_progress(run)
    before, (after, obs) = load_snapshot(run, 2)[0], load_snapshot(run, 3)
    with torch.no_grad():
        x = torch.as_tensor(obs)
        kl = before.pi(before.encode(x)).kl(after.pi(after.encode(x))).mean()
    assert table["KL"][2] == pytest.approx(float(kl), rel=1e-3, abs=1e-7)
    for part, column in [("pi", "UpdateRatioPi"), ("v", "UpdateRatioV")]:
        old, new = (torch.cat([p.flatten() for p in getattr(ac, part).parameters()]).detach() for ac in (before, after))
        assert table[column][2] == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-3)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_equal_seeds_write_equal_bytes(algo: str, env: str, tmp_path: Path, train: Any) -> None:
    settings = {"env": env, "num_envs": 4, "normalize_obs": True, "scale_reward": True, "seed": 5, "test_episodes": 2}
    first = train(tmp_path / "a", algo, **settings)
    second = train(tmp_path / "b", algo, **settings)
    other = train(tmp_path / "c", algo, **{**settings, "seed": 6})
    assert len(without_times(first)) == 3
    assert without_times(first) == without_times(second) != without_times(other)
    assert contents(first) == contents(second) != contents(other)
    results = [(run / "result.json").read_bytes() for run in (first, second, other)]
    assert results[0] == results[1]
    assert env == "CartPole-v1" or results[0] != results[2]


def test_equal_seeds_in_two_processes(tmp_path: Path, train: Any, python: Any, command: Any) -> None:
    settings = {"env": "Acrobot-v1", "num_envs": 4, "normalize_obs": True, "scale_reward": True, "seed": 5}
    here = [train(tmp_path / "here", algo, **settings) for algo in ALGORITHMS]
    lines = [f"main({command(algo, **settings, data_dir='there')})" for algo in ALGORITHMS]
    assert python(tmp_path, "-c", "\n".join(["from rlsuite.run import main", *lines])).returncode == 0
    there = find_runs([tmp_path / "there"])
    for run in here:
        (same,) = (path for path in there if path.parent.name == run.parent.name)
        assert without_times(run) == without_times(same)
        assert contents(run) == contents(same)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_seed_sets_the_network_and_the_actions(algo: str, tmp_path: Path, train: Any) -> None:
    """Without training and in an environment without randomness, nothing else could make the difference."""
    settings = {"env": "rlsuite/Target-v0", "pi_lr": 0, "vf_lr": 0, "total_steps": 128}
    runs = [train(tmp_path / str(seed), algo, seed=seed, **settings) for seed in (0, 1)]
    first, other = (load_policy(run) for run in runs)
    assert not torch.equal(first.pi.net[0].weight, other.pi.net[0].weight)
    assert not torch.equal(first.v.net[0].weight, other.v.net[0].weight)
    returns = [read_progress(run)["AverageEpRet"][0] for run in runs]
    assert returns[0] != returns[1]


def test_environments_of_one_run_have_different_episodes(tmp_path: Path, train: Any) -> None:
    run = train(tmp_path, "ppo", env="Pendulum-v1", total_steps=4, num_envs=4, steps_per_epoch=256, rollout_len=64)
    assert len(np.unique(load_snapshot(run, 1)[1], axis=0)) == 4


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_learning_rate_zero_changes_nothing(algo: str, tmp_path: Path, train: Any) -> None:
    table = read_progress(train(tmp_path, algo, pi_lr=0, vf_lr=0))
    for name in ("KL", "UpdateRatioPi", "UpdateRatioV", "PiLR", "VfLR"):
        assert np.abs(table[name]).max() <= (1e-6 if name == "KL" else 0), name


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_each_learning_rate_has_its_own_network(algo: str, tmp_path: Path, train: Any) -> None:
    table = read_progress(train(tmp_path, algo, pi_lr=0, vf_lr=1e-3))
    assert (table["UpdateRatioPi"] == 0).all()
    assert (table["UpdateRatioV"] > 0).all()
    assert (table["VfLR"] == 1e-3).all()


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_linear_schedule_falls_to_the_last_rollouts_share(algo: str, tmp_path: Path, train: Any) -> None:
    rollout_len = 128  # one rollout per epoch
    settings = {"rollout_len": rollout_len, "total_steps": 1024, "pi_lr": 0.01, "vf_lr": 0.02, "minibatch_size": None}
    table = read_progress(train(tmp_path, algo, lr_schedule="linear", **settings))
    np.testing.assert_allclose(table["PiLR"], [0.01, 0.0075, 0.005, 0.0025])
    np.testing.assert_allclose(table["VfLR"], [0.02, 0.015, 0.01, 0.005])


def test_constant_schedule(tmp_path: Path, train: Any) -> None:
    assert read_progress(train(tmp_path, "ppo", pi_lr=0.01))["PiLR"].tolist() == [0.01, 0.01]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_epoch_without_a_finished_episode_has_no_returns(algo: str, tmp_path: Path, train: Any) -> None:
    run = train(tmp_path, algo, env="Pendulum-v1", total_steps=1024)
    table = read_progress(run)
    # Episodes last 200 steps: of 128 steps of each environment per epoch, those of epochs 2 and 4 end one.
    for name in RETURNS:
        assert np.isnan(table[name]).tolist() == [True, False, True, False]
    assert table["EpLen"][1] == table["EpLen"][3] == 200
    cells = (run / "progress.txt").read_text().splitlines()[1].split("\t")
    assert cells[1] == "nan"
    assert sorted(path.name for path in run.glob("episodes/*")) == [
        "epoch_000002.safetensors",
        "epoch_000004.safetensors",
    ]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_episodes_live_on_over_the_borders_of_epochs(algo: str, tmp_path: Path, train: Any) -> None:
    """Whatever the epochs, the steps of the finished episodes and those of the unfinished ones are all steps."""
    table = read_progress(train(tmp_path, algo, env="rlsuite/ConstantReward-v0", num_envs=2, total_steps=1024))
    # Each episode has 20 steps: 1024 / 2 / 20 = 25.6.
    assert (table["EpLen"] == 20).all()
    assert (table["MinEpRet"] == 20).all()
    assert (table["MaxEpRet"] == 20).all()


def test_target_kl_stops_the_passes(tmp_path: Path, train: Any) -> None:
    settings = {"train_iters": 3, "pi_lr": 1e-3}
    tiny = read_progress(train(tmp_path / "tiny", "ppo", target_kl=1e-12, **settings))
    never = read_progress(train(tmp_path / "never", "ppo", target_kl="inf", **settings))
    assert tiny["StopIter"].tolist() == [1, 1]
    assert never["StopIter"].tolist() == [3, 3]
    assert tiny["GradSteps"].tolist() == [16, 32]
    assert never["GradSteps"].tolist() == [48, 96]


def test_the_kl_stop_can_fall_between_the_first_and_the_last_pass(tmp_path: Path, train: Any) -> None:
    table = read_progress(train(tmp_path, "ppo", target_kl=0.005, train_iters=40, pi_lr=1e-3, rollout_len=128))
    assert ((table["StopIter"] > 1) & (table["StopIter"] < 40)).all()
    assert (table["KL"] > 0.005).all()
    assert (table["KL"] < 0.05).all()


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_policy_learns(algo: str, tmp_path: Path, train: Any) -> None:
    """One-step episodes whose best action is the observation: a random policy returns 0, the best 1."""
    settings = {"env": "rlsuite/Context-v0", "total_steps": 4096, "pi_lr": 0.02, "test_episodes": 20}
    table = read_progress(train(tmp_path, algo, **settings))
    assert table["AverageEpRet"][0] < 0.95
    assert table["AverageEpRet"][-1] > 0.95
    assert table["Entropy"][-1] < 0.3


def test_two_lines_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ac = ppo.train(ppo.Config(env="CartPole-v1", total_steps=256, steps_per_epoch=2048))
    (run,) = find_runs(["data"])
    assert run.parent == Path("data", "ppo_CartPole-v1")
    assert read_config(run)["command"] == ""
    saved = load_policy(run).state_dict()
    assert all(torch.equal(saved[name], value) for name, value in ac.state_dict().items())
    returns, _ = evaluate(ac, gym.make("CartPole-v1"), 3, seed=0)
    assert len(returns) == 3


def test_python_prints_a_line_per_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    vpg.train(vpg.Config("CartPole-v1", total_steps=16, steps_per_epoch=8, num_envs=2, rollout_len=4))
    assert [line.split()[:4] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["epoch", "1", "steps", "8"],
        ["epoch", "2", "steps", "16"],
    ]


class Wide(ActorCritic):
    """A user's own network: a critic with another shape."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.v.net = torch.nn.Sequential(torch.nn.Linear(self.encode.features, 7), torch.nn.Linear(7, 1))


@pytest.mark.parametrize("module", [vpg, a2c, ppo])
def test_own_environment_and_own_network(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = []

    def env_fn() -> gym.Env:
        made.append(gym.wrappers.TimeLimit(gym.make("Pendulum-v1").unwrapped, 10))
        return made[-1]

    sizes = {"total_steps": 64, "num_envs": 2, "steps_per_epoch": 64, "rollout_len": 32}
    ac = module.train(module.Config("mine", **sizes), env_fn=env_fn, actor_critic=Wide)
    assert isinstance(ac, Wide)
    assert len(made) == 2
    (run,) = find_runs(["data"])
    config = read_config(run)
    assert (config["env"], config["custom_env"]) == ("mine", True)
    assert config["network"].endswith(".Wide")
    assert read_progress(run)["EpLen"].tolist() == [10]
    arrays, _ = read_safetensors(run / "policy.safetensors")
    assert arrays["v.net.0.weight"].shape == (7, 3)
    np.testing.assert_array_equal(arrays["v.net.0.weight"], ac.v.net[0].weight.detach().numpy())


@pytest.mark.parametrize("path", sorted(Path(rlsuite.algos.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_no_algorithm_imports_another(path: Path) -> None:
    imported = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    assert [name for name in imported if name.startswith("rlsuite.") and not name.startswith("rlsuite.common.")] == []


@pytest.mark.parametrize(("one", "other"), [("vpg", "a2c"), ("a2c", "ppo")])
def test_the_main_loops_are_the_same_text(one: str, other: str) -> None:
    def loop(algo: str) -> str:
        source = Path(import_module(f"rlsuite.algos.{algo}").__file__ or "").read_text()
        return source[source.index("    for epoch, rollouts in enumerate") :]

    assert loop(one) == loop(other)


@pytest.mark.parametrize("settings", [{"total_steps": 64.0}, {"lr_schedule": "lineer"}, {"activation": "gelu"}])
def test_settings_of_the_wrong_kind_are_refused_from_python(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=next(iter(settings)).replace("_", "-")):
        ppo.train(ppo.Config("CartPole-v1", **settings), logger=Logger(data_dir=tmp_path))
    assert not list(tmp_path.iterdir())


def test_statistics_of_every_rollout_are_counted_once(tmp_path: Path) -> None:
    config = a2c.Config("CartPole-v1", total_steps=400, steps_per_epoch=200, normalize_obs=True)
    ac = a2c.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    assert ac.encode.count == 400
