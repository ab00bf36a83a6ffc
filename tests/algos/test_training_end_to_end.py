"""What a training writes about itself, and what it leaves unchanged and changes."""

import ast
import dataclasses
import functools
import itertools
import json
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import rlsuite.algos
from rlsuite.algos import a2c, cem, ddpg, dqn, ppo, sac, td3, trpo, vpg
from rlsuite.common.actor_critic import ActorCritic, CategoricalPolicy
from rlsuite.common.distributions import Categorical, SquashedGaussian
from rlsuite.common.logger import Logger
from rlsuite.common.q_networks import DeterministicPolicy, DiscreteQ, MuQNetwork, MuTwinQNetwork, QNetwork
from rlsuite.common.soft_actor_critic import SoftActorCritic, SquashedPolicy
from rlsuite.common.training import RANDOM_STEPS, Training
from rlsuite.envs import evaluation
from rlsuite.envs.evaluation import evaluate
from rlsuite.errors import UserError
from rlsuite.loading import Snapshot, load, load_snapshots
from rlsuite.rundir.files import read_safetensors
from rlsuite.rundir.runs import find_runs, read_config, read_progress
from tests.conftest import ALGORITHMS, CONTINUOUS, ENVS, GRADIENT, NORMALIZED, OFF_POLICY, ON_POLICY, PAIRS

RETURNS = ["AverageEpRet", "StdEpRet", "MaxEpRet", "MinEpRet", "EpLen"]
TEST_RETURNS = ["AverageTestEpRet", "StdTestEpRet", "MaxTestEpRet", "MinTestEpRet", "TestEpLen"]
# fmt: off
COLUMNS = {
    "Epoch", *RETURNS, "Entropy", "ActionEntropy", "KL", "ExplainedVariance", "StateEntropy", "ValueMean", "ValueStd",
    "ReturnMean", "ValueBias", "TotalEnvInteracts", "GradSteps", "Time", "StepsPerSec",
    "TruncatedShare", "RewMin", "RewMax", "RewMean", "RewStd", "RewTerminal", "EntropyShare", "ActionShareMax",
    "InputAbsMax", "InputStdMin", "InputStdMax", "DeadUnits", "TargetMin", "TargetMax",
}
# fmt: on
OFF_POLICY_COLUMNS = {*TEST_RETURNS, "QVals", "TDError", "ExplainedVarianceTD", "TargetGap"}
ON_POLICY_COLUMNS = {"AdvMean", "AdvStd", "AdvReturnCorr", "AdvLogpCorr", "ExplainedVarianceAfter"}
OWN_COLUMNS = {
    "vpg": ON_POLICY_COLUMNS,
    "a2c": ON_POLICY_COLUMNS,
    "ppo": ON_POLICY_COLUMNS | {"ClipFrac", "StopIter", "Ratio1"},
    "trpo": ON_POLICY_COLUMNS | {"BacktrackIters", "StepAccepted", "KLPredicted"},
    "dqn": OFF_POLICY_COLUMNS | {"Epsilon", "GreedyFlips"},
    "ddpg": OFF_POLICY_COLUMNS | {"ActNoise", "ActionSaturation", "ActorGain"},
    "td3": OFF_POLICY_COLUMNS | {"ActNoise", "ActionSaturation", "ActorGain", "LossQ2", "QGap"},
    "sac": OFF_POLICY_COLUMNS | {"Alpha", "LogStd", "ActionSaturation", "ActorGain", "LossQ2", "QGap"},
    "cem": {
        *TEST_RETURNS,
        "LossPi",
        "GradNormPi",
        "ClippedGradPi",
        "UpdateRatioPi",
        "EliteRet",
        "ParamStd",
        "Generation",
    },
    "random": {"LossPi", "GradNormPi", "ClippedGradPi", "UpdateRatioPi"},
}
# What an algorithm without gradients or a critic can't measure.
UNMEASURED = {"LossPi", "GradNormPi", "ValueMean", "ValueStd", "ValueBias", "ReturnMean", "ExplainedVariance"}
UNMEASURED |= {"ClippedGradPi", "DeadUnits", "TargetMin", "TargetMax"}
NEVER = {"cem": UNMEASURED | {"EntropyShare"}, "random": UNMEASURED | {"UpdateRatioPi"}}
# The networks that are trained, those of them that have a learning rate, and its setting and column.
PARTS = {**dict.fromkeys(ON_POLICY, ("pi", "v")), "dqn": ("q",), "ddpg": ("pi", "q")}
PARTS |= {"td3": ("pi", "q"), "sac": ("pi", "q", "alpha"), "cem": (), "random": ()}
RATED = {**PARTS, "trpo": ("v",)}
RATES = {"pi": ("pi_lr", "PiLR"), "v": ("vf_lr", "VfLR"), "q": ("q_lr", "QLR"), "alpha": ("alpha_lr", "AlphaLR")}
GAUSSIAN_NOISE_ENTROPY = 0.5 * np.log(2 * np.pi * np.e)


class Clock(gym.Env):
    """Reward 1 for ever; an observation is how manieth episode and how manieth step this is."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, continuous: bool = False) -> None:
        self.action_space = spaces.Box(-3, 1, (1,)) if continuous else spaces.Discrete(2)
        self.seeds: list[int | None] = []

    def observe(self) -> np.ndarray:
        return np.array([len(self.seeds), self.time], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.seeds.append(seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.observe(), 1.0, False, False, {}


gym.register("rlsuite-tests/Clock-dqn-v0", Clock)
for name in CONTINUOUS:
    gym.register(f"rlsuite-tests/Clock-{name}-v0", Clock, kwargs={"continuous": True})


def constant_reward(algo: str, limit: int) -> dict[str, str]:
    """Settings of an environment whose episodes all last `limit` steps."""
    kwargs = {"continuous": algo in CONTINUOUS, "max_episode_steps": limit}
    return {"env": "rlsuite/ConstantReward-v0", "env_kwargs": json.dumps(kwargs)}


def columns_of(algo: str, prefix: str) -> list[str]:
    """For example UpdateRatioPi and UpdateRatioV."""
    return [prefix + part.capitalize() for part in PARTS[algo]]


def rates(algo: str, value: float | None = 0) -> dict[str, float | None]:
    """All learning rates at one value; and for TRPO's policy a trust region that no step is within."""
    return {RATES[part][0]: value for part in RATED[algo]} | ({"target_kl": 1e-30} if algo == "trpo" else {})


def parameters(module: torch.nn.Module) -> torch.Tensor:
    """All parameters of a module in one vector, as they are now."""
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def mlp_of(module: torch.nn.Module) -> torch.nn.Module:
    """The layers that a network consists of."""
    return next(part for part in module.modules() if hasattr(part, "layers"))


def snapshots(run: Path) -> dict[int, Snapshot]:
    """The networks of each epoch of a short run, and the states that it visited, by the epoch's number."""
    return {snapshot.epoch: snapshot for snapshot in load_snapshots(run, most=100)}


def epsilon_greedy(epsilon: float, n: int) -> tuple[float, float]:
    """Probabilities of the greedy action and of each other one."""
    return 1 - epsilon + epsilon / n, epsilon / n


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Callable[[str, str], Path]:
    """A run of an algorithm in an environment; 256 steps of 2 environments end no episode of Pendulum."""

    @functools.cache
    def run(algo: str, env: str) -> Path:
        fast = {"q_lr": 0.01} if algo in OFF_POLICY else {}  # so that some greedy actions change
        return train(tmp_path_factory.mktemp(algo), algo, env=env, total_steps=1024, seed=1, **fast)

    return run


@pytest.fixture(params=PAIRS, ids="-".join)
def run(request: pytest.FixtureRequest, trained: Any) -> Path:
    return trained(*request.param)


@pytest.fixture(params=[pair for pair in PAIRS if pair[0] in GRADIENT], ids="-".join)
def gradient_run(request: pytest.FixtureRequest, trained: Any) -> Path:
    return trained(*request.param)


@pytest.fixture(params=[pair for pair in PAIRS if pair[0] in ON_POLICY], ids="-".join)
def on_policy_run(request: pytest.FixtureRequest, trained: Any) -> Path:
    return trained(*request.param)


@pytest.fixture(params=[pair for pair in PAIRS if pair[0] in OFF_POLICY], ids="-".join)
def off_policy_run(request: pytest.FixtureRequest, trained: Any) -> Path:
    return trained(*request.param)


def without_times(run: Path) -> list[list[str]]:
    """The cells of progress.txt but for the columns that depend on the clock."""
    lines = [line.split("\t") for line in (run / "progress.txt").read_text().splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if name not in ("Time", "StepsPerSec")]
    assert len(kept) == len(lines[0]) - 2
    return [[line[i] for i in kept] for line in lines]


def contents(run: Path) -> dict[str, Any]:
    """Everything in the run's safetensors files, arrays as bytes; of checkpoints without the clock."""
    found = {}
    for path in run.rglob("*.safetensors"):
        arrays, metadata = read_safetensors(path)
        if path.parent.name == "checkpoint":
            facts = json.loads(metadata["facts"])
            metadata = {"facts": json.dumps({name: fact for name, fact in facts.items() if name != "log"})}
        found[str(path.relative_to(run))] = {name: array.tobytes() for name, array in arrays.items()} | metadata
    return found


def test_every_row_has_every_column(run: Path) -> None:
    config, table = read_config(run), read_progress(run)
    algo = config["algo"]
    expected = COLUMNS | OWN_COLUMNS[algo] | {RATES[part][1] for part in PARTS[algo]}
    expected.update(*(columns_of(algo, prefix) for prefix in ("GradNorm", "ClippedGrad", "UpdateRatio", "Loss")))
    if config["env"] == "Pendulum-v1":
        expected |= {"ClippedActions", "LogStd"} if algo in ON_POLICY else {"ClippedActions"}
    assert set(table) == expected
    assert table["Epoch"].tolist() == [1, 2, 3, 4]


def test_values_are_finite_or_nan_where_they_may_be(run: Path) -> None:
    table = read_progress(run)
    unfinished = np.isnan(table["EpLen"])
    for name, column in table.items():
        assert not np.isinf(column).any(), name
        if name in NEVER.get(read_config(run)["algo"], ()):
            assert np.isnan(column).all(), name
        elif name == "EliteRet":
            assert (np.isnan(column) == (table["KL"] == 0)).all()
        elif name.startswith("ClippedGrad"):
            config = read_config(run)
            unlimited = config["max_grad_norm"] == np.inf or (config["algo"] == "trpo" and name == "ClippedGradPi")
            assert (np.isnan(column) == unlimited).all(), name
        elif name == "EntropyShare":
            assert (np.isnan(column) == (read_config(run)["env"] == "Pendulum-v1")).all()
        elif name == "RewTerminal":
            assert (np.isnan(column) <= (unfinished | (table["TruncatedShare"] == 1))).all()
        elif name in (*RETURNS, "TruncatedShare"):
            assert (np.isnan(column) == unfinished).all(), name
        elif name == "PiLR" and read_config(run)["algo"] == "trpo":
            assert np.isnan(column).all()  # it has none
        elif name == "ExplainedVariance":
            constant = (table["ReturnMean"] == 0) | (table["ValueStd"] == 0)
            assert (np.isfinite(column) | constant).all()
        else:
            assert np.isfinite(column).all(), name


def test_values_lie_in_their_ranges(run: Path) -> None:
    config, table = read_config(run), read_progress(run)
    for kind in ("", "Test") if "AverageTestEpRet" in table else ("",):
        low, mean, high = (table[f"{statistic}{kind}EpRet"] for statistic in ("Min", "Average", "Max"))
        done = np.isfinite(mean)
        assert (low <= mean)[done].all()
        assert (mean <= high)[done].all()
    n = {"CartPole-v1": 2, "Pendulum-v1": 16, "FrozenLake-v1": 4, "rlsuite/Switches-v0": 2 * 3}[config["env"]]
    assert ((table["ActionEntropy"] >= 0) & (table["ActionEntropy"] <= np.log(n) + 1e-6)).all()
    np.testing.assert_allclose(table["ValueBias"], table["ValueMean"] - table["ReturnMean"], rtol=1e-4, atol=1e-4)
    for name in ("AdvReturnCorr", "AdvLogpCorr"):
        column = table.get(name, np.zeros(0))
        assert (np.abs(column[np.isfinite(column)]) <= 1 + 1e-6).all(), name
    for name in ("ExplainedVariance", "ExplainedVarianceAfter", "ExplainedVarianceTD"):
        column = table.get(name, np.zeros(0))
        assert (column[np.isfinite(column)] <= 1).all(), name
    not_negative = {"StdEpRet", "StdTestEpRet", "ValueStd", "AdvStd", "StepsPerSec", "Time", "TDError", "TargetGap"}
    not_negative.update(columns_of(config["algo"], "GradNorm"), {"LossV", "LossQ", "LossQ2", "QGap", "Alpha"})
    for name in not_negative & set(table):
        assert (table[name][np.isfinite(table[name])] >= 0).all(), name
    shares = {"ClipFrac", "ClippedActions", "GreedyFlips", "Epsilon", "ActionSaturation", "StepAccepted"}
    shares |= {
        "ActionShareMax",
        "EntropyShare",
        "TruncatedShare",
        "DeadUnits",
        *columns_of(config["algo"], "ClippedGrad"),
    }
    for name in shares & set(table):
        column = table[name][np.isfinite(table[name])]
        assert ((column >= 0) & (column <= 1 + 1e-6)).all(), name
    for name in ("Input", "Target", "Rew"):
        low, high = (table[f"{name}{end}"] for end in (("StdMin", "StdMax") if name == "Input" else ("Min", "Max")))
        assert ((low <= high) | np.isnan(low)).all(), name
    assert (np.diff(table["Time"]) >= 0).all()


def test_values_of_stochastic_policies_lie_in_their_ranges(on_policy_run: Path) -> None:
    config, table = read_config(on_policy_run), read_progress(on_policy_run)
    if config["env"] != "Pendulum-v1":
        n = {"CartPole-v1": 2, "FrozenLake-v1": 4, "rlsuite/Switches-v0": 2 * 3}[config["env"]]
        assert ((table["Entropy"] > 0) & (table["Entropy"] <= np.log(n) + 1e-6)).all()
        assert table["Entropy"][0] == pytest.approx(np.log(n), abs=0.05)
    else:
        # One standard deviation of the first policy: half width 2, ln sigma -0.5 in half widths.
        assert table["LogStd"][0] == pytest.approx(np.log(2) - 0.5, abs=1e-6)
        assert ((table["ClippedActions"] > 0) & (table["ClippedActions"] < 0.5)).all()
        assert table["Entropy"][0] == pytest.approx(GAUSSIAN_NOISE_ENTROPY + table["LogStd"][0], abs=0.2)
    assert (table["KL"] > 0).all()
    if config["algo"] == "ppo":
        assert (table["Ratio1"] < 1e-4).all()
        assert ((table["StopIter"] >= 1) & (table["StopIter"] <= 2)).all()
    if config["algo"] == "trpo":
        assert (table["StepAccepted"] > 0).all()
        assert ((table["BacktrackIters"] >= 0) & (table["BacktrackIters"] < config["backtrack_iters"])).all()
        assert ((table["KLPredicted"] > 0) & (table["KLPredicted"] <= config["target_kl"])).all()
        assert (table["LossPi"] < 0).all()


def test_values_of_off_policy_algorithms_follow_from_each_other(off_policy_run: Path) -> None:
    config, table = read_config(off_policy_run), read_progress(off_policy_run)
    assert table["QVals"].tolist() == table["ValueMean"].tolist()
    assert (table["TargetGap"] > 0).all()
    assert (table["TDError"] > 0).all()
    if config["algo"] == "dqn":
        g, o = epsilon_greedy(table["Epsilon"], {"CartPole-v1": 2, "FrozenLake-v1": 4}[config["env"]])
        np.testing.assert_allclose(table["KL"], table["GreedyFlips"] * (g - o) * np.log(g / o), rtol=1e-5)
        assert table["GreedyFlips"].max() > 0
    else:
        assert (table["KL"] > 0).all()


def test_gradient_steps_are_counted(on_policy_run: Path) -> None:
    config, table = read_config(on_policy_run), read_progress(on_policy_run)
    rollouts = 256 / (2 * config["rollout_len"])
    per_rollout = {"vpg": 1 + 3, "a2c": 2, "ppo": 2 * 2 * 4, "trpo": 1 + 2 * 4}[config["algo"]]
    assert table["GradSteps"].tolist() == [rollouts * per_rollout * epoch for epoch in (1, 2, 3, 4)]


def test_parameters_of_every_network_change_in_every_epoch(gradient_run: Path) -> None:
    run = gradient_run
    table, algo = read_progress(run), read_config(run)["algo"]
    for part, column in zip(PARTS[algo], columns_of(algo, "UpdateRatio"), strict=True):
        kept = snapshots(run)
        first, last = (dict(getattr(kept[epoch].ac, part).named_parameters()) for epoch in (1, 4))
        assert first
        assert [name for name in first if torch.equal(first[name], last[name])] == []
        assert (table[column] > 0).all()


def test_the_policy_file_is_the_policy_of_the_last_snapshot(run: Path) -> None:
    policy, (_, obs, ac) = load(run).ac.state_dict(), snapshots(run)[4]
    assert all(torch.equal(policy[name], value) for name, value in ac.state_dict().items())
    assert obs.shape == (256, *ac.obs_space.shape)


@torch.no_grad()
def kl_between(before: Any, after: Any, obs: np.ndarray, config: dict[str, Any]) -> float:
    """Mean KL of two policies, as the algorithm defines it; epsilon and the noise are those of the end."""
    if config["algo"] == "dqn":
        g, o = epsilon_greedy(config["epsilon_end"], int(after.act_space.n))
        return (before.mode(obs) != after.mode(obs)).mean() * (g - o) * np.log(g / o)
    if config["algo"] in ("ddpg", "td3"):
        return np.square((before.mode(obs) - after.mode(obs)) / (config["act_noise"] * 2)).sum(1).mean() / 2
    return before.pi(before.encode(obs)).kl(after.pi(after.encode(obs))).mean().item()


def test_kl_and_update_ratio_compare_whole_epochs(gradient_run: Path) -> None:
    """Snapshots 2 and 3 are the policies before and after epoch 3, and snapshot 3 holds its states."""
    run = gradient_run
    config, table, kept = read_config(run), read_progress(run), snapshots(run)
    before, after = kept[2].ac, kept[3].ac
    kl = kl_between(before, after, kept[3].obs, config)
    assert table["KL"][2] == pytest.approx(kl, rel=1e-3, abs=1e-7)
    for part, column in zip(PARTS[config["algo"]], columns_of(config["algo"], "UpdateRatio"), strict=True):
        old, new = (parameters(getattr(ac, part)) for ac in (before, after))
        assert table[column][2] == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-3)


@pytest.mark.parametrize(("algo", "env"), [pair for pair in PAIRS if pair[1] != "FrozenLake-v1"])
def test_equal_seeds_write_equal_bytes(algo: str, env: str, tmp_path: Path, train: Any) -> None:
    settings = {"env": env, "num_envs": 4, **NORMALIZED[algo], "seed": 5, "test_episodes": 2}
    settings |= {"scale_reward": True} if algo in ON_POLICY else {}
    first = train(tmp_path / "a", algo, **settings)
    second = train(tmp_path / "b", algo, **settings)
    other = train(tmp_path / "c", algo, **{**settings, "seed": 6})
    assert len(without_times(first)) == 3
    assert without_times(first) == without_times(second) != without_times(other)
    assert contents(first) == contents(second) != contents(other)
    results = [(run / "result.json").read_bytes() for run in (first, second, other)]
    assert results[0] == results[1]
    assert env in ("CartPole-v1", "rlsuite/Switches-v0") or results[0] != results[2]  # these may all be the best


def test_equal_seeds_in_two_processes(tmp_path: Path, train: Any, python: Any, command: Any) -> None:
    settings = {algo: {"num_envs": 4, **NORMALIZED[algo], "seed": 5} for algo in ALGORITHMS}
    for algo in ON_POLICY:
        settings[algo] |= {"env": "Acrobot-v1", "scale_reward": True}
    here = [train(tmp_path / "here", algo, **settings[algo]) for algo in ALGORITHMS]
    lines = [f"main({command(algo, **settings[algo], data_dir='there')})" for algo in ALGORITHMS]
    assert python(tmp_path, "-c", "\n".join(["from rlsuite.run import main", *lines])).returncode == 0
    there = find_runs([tmp_path / "there"])
    for run in here:
        (same,) = (path for path in there if path.parent.name == run.parent.name)
        assert without_times(run) == without_times(same)
        assert contents(run) == contents(same)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_seed_sets_the_network_and_the_actions(algo: str, tmp_path: Path, train: Any) -> None:
    """Without training and in an environment without randomness, nothing else could make the difference."""
    env = "rlsuite/Chain-v0" if algo == "dqn" else "rlsuite/Target-v0"
    settings = {"env": env, "total_steps": 128, **rates(algo)}
    runs = [train(tmp_path / str(seed), algo, seed=seed, **settings) for seed in (0, 1)]
    first, other = (load(run).ac for run in runs)
    for part in {*PARTS[algo]} - {"alpha"}:  # which starts where the settings say
        assert not torch.equal(parameters(getattr(first, part)), parameters(getattr(other, part)))
    assert len({read_progress(run)["ActionEntropy"][0] for run in runs}) == 2


def test_environments_of_one_run_have_different_episodes(tmp_path: Path, train: Any) -> None:
    run = train(tmp_path, "ppo", env="Pendulum-v1", total_steps=4, num_envs=4, steps_per_epoch=256, rollout_len=64)
    assert len(np.unique(snapshots(run)[1].obs, axis=0)) == 4


@pytest.mark.parametrize("algo", GRADIENT)
def test_learning_rate_zero_changes_nothing(algo: str, tmp_path: Path, train: Any) -> None:
    table = read_progress(train(tmp_path, algo, **rates(algo)))
    unchanged = [*columns_of(algo, "UpdateRatio"), *(RATES[part][1] for part in RATED[algo])]
    for name in ("KL", *unchanged, *({"GreedyFlips", "TargetGap"} & set(table))):
        assert np.abs(table[name]).max() <= (1e-6 if name == "KL" else 0), name


@pytest.mark.parametrize(
    ("algo", "part"), [(algo, part) for algo in ALGORITHMS if len(PARTS[algo]) > 1 for part in RATED[algo]]
)
def test_each_learning_rate_has_its_own_network(algo: str, part: str, tmp_path: Path, train: Any) -> None:
    setting, column = RATES[part]
    table = read_progress(train(tmp_path, algo, **{**rates(algo), setting: 1e-3}))
    for name in columns_of(algo, "UpdateRatio"):
        assert ((table[name] > 0) == name.endswith(part.capitalize())).all(), name
    assert (table[column] == 1e-3).all()


def test_the_trust_region_has_its_own_network(tmp_path: Path, train: Any) -> None:
    table = read_progress(train(tmp_path, "trpo", vf_lr=0, target_kl=0.02))
    assert (table["UpdateRatioPi"] > 0).all()
    assert (table["UpdateRatioV"] == 0).all()


@pytest.mark.parametrize("env", ENVS["trpo"])
def test_with_one_rollout_per_epoch_its_kl_is_within_target_kl(env: str, tmp_path: Path, train: Any) -> None:
    settings = {"env": env, "rollout_len": 128, "total_steps": 2048, "target_kl": 0.02}
    table = read_progress(train(tmp_path, "trpo", **settings))
    assert len(table["KL"]) == 8
    assert (table["KL"] <= 0.02 * (1 + 1e-5)).all()
    taken = table["StepAccepted"] == 1
    np.testing.assert_allclose(table["KLPredicted"][taken], 0.02 * 0.8 ** (2 * table["BacktrackIters"][taken]))
    assert (table["KL"][~taken] < 1e-6).all()
    assert taken.sum() > 4


@pytest.mark.parametrize("algo", GRADIENT)
def test_linear_schedule_falls_to_the_last_rollouts_share(algo: str, tmp_path: Path, train: Any) -> None:
    # On-policy: one rollout per epoch, and the share that is left at its beginning. Off-policy: a share for each step.
    settings = {"rollout_len": 128, "minibatch_size": None} if algo in ON_POLICY else {}
    left = np.array([1, 0.75, 0.5, 0.25] if algo in ON_POLICY else [0.75, 0.5, 0.25, 0])
    settings |= {RATES[part][0]: rate for part, rate in zip(RATED[algo], (0.01, 0.02, 0.03), strict=False)}
    table = read_progress(train(tmp_path, algo, lr_schedule="linear", total_steps=1024, **settings))
    for part in RATED[algo]:
        setting, column = RATES[part]
        one_step = 0 if algo in ON_POLICY else 2 / 1024 * settings[setting]
        np.testing.assert_allclose(table[column], left * settings[setting], rtol=1e-6, atol=one_step)


@pytest.mark.parametrize(("algo", "setting", "column"), [("ppo", "pi_lr", "PiLR"), ("dqn", "q_lr", "QLR")])
def test_constant_schedule(algo: str, setting: str, column: str, tmp_path: Path, train: Any) -> None:
    assert read_progress(train(tmp_path, algo, **{setting: 0.01}))[column].tolist() == [0.01, 0.01]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_epoch_without_a_finished_episode_has_no_returns(algo: str, tmp_path: Path, train: Any) -> None:
    run = train(tmp_path, algo, total_steps=1024, **constant_reward(algo, limit=200))
    table = read_progress(run)
    # Of 128 steps of each environment per epoch, those of epochs 2 and 4 end an episode.
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
    table = read_progress(train(tmp_path, algo, num_envs=2, total_steps=1024, **constant_reward(algo, limit=20)))
    # 1024 / 2 / 20 = 25.6.
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


@pytest.mark.parametrize("algo", ON_POLICY)
def test_the_policy_learns(algo: str, tmp_path: Path, train: Any) -> None:
    """One-step episodes whose best action is the observation: a random policy returns 0, the best 1."""
    settings = {"env": "rlsuite/Context-v0", "total_steps": 4096, "test_episodes": 20}
    settings |= {"target_kl": 0.05} if algo == "trpo" else {"pi_lr": 0.02}
    table = read_progress(train(tmp_path, algo, **settings))
    assert table["AverageEpRet"][0] < 0.95
    assert table["AverageEpRet"][-1] > 0.95
    assert table["Entropy"][-1] < 0.3


@pytest.mark.parametrize(
    ("algo", "total_steps"), [("ppo", 256), ("dqn", 1100), ("ddpg", 1010), ("td3", 1010), ("sac", 1010)]
)
def test_two_lines_of_python(algo: str, total_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module, env = import_module(f"rlsuite.algos.{algo}"), ENVS[algo][0]
    ac = module.train(module.Config(env=env, total_steps=total_steps, steps_per_epoch=2048))
    (run,) = find_runs(["data"])
    assert run.parent == Path("data", f"{algo}_{env}")
    assert read_config(run)["command"] == ""
    saved = load(run).ac.state_dict()
    assert all(torch.equal(saved[name], value) for name, value in ac.state_dict().items())
    returns, _ = evaluate(ac.mode, gym.make(env), 3, seed=0)
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


def widened(network: type[torch.nn.Module], critic: str) -> type[torch.nn.Module]:
    """A user's own network: a critic with another shape."""

    class Wide(network):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            mlp = mlp_of(getattr(self, critic))
            new = torch.nn.Linear(mlp.layers[0].in_features, 7), torch.nn.Linear(7, mlp.layers[-1].out_features)
            mlp.layers = torch.nn.ModuleList(new)

    return Wide


@pytest.mark.parametrize(
    ("module", "network", "critic", "features", "settings"),
    [
        *((module, ActorCritic, "v", 3, {"rollout_len": 32}) for module in (vpg, a2c, ppo, trpo)),
        (dqn, QNetwork, "q", 4, {"update_after": 32}),
        (ddpg, MuQNetwork, "q", 3 + 1, {"update_after": 32}),
        (td3, MuTwinQNetwork, "q", 3 + 1, {"update_after": 32}),
        (sac, SoftActorCritic, "q", 3 + 1, {"update_after": 32}),
    ],
    ids=GRADIENT,
)
def test_own_environment_and_own_network(
    module: Any,
    network: Any,
    critic: str,
    features: int,
    settings: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made = []

    def env_fn() -> gym.Env:
        env_id = "CartPole-v1" if module is dqn else "Pendulum-v1"
        made.append(gym.wrappers.TimeLimit(gym.make(env_id).unwrapped, 5))
        return made[-1]

    config = module.Config("mine", total_steps=64, num_envs=2, steps_per_epoch=64, **settings)
    ac = module.train(config, env_fn=env_fn, actor_critic=widened(network, critic))
    assert type(ac).__name__ == "Wide"
    assert len(made) == (3 if network is ActorCritic else 4)  # to train, for random play, and to test
    (run,) = find_runs(["data"])
    config = read_config(run)
    assert (config["env"], config["custom_env"]) == ("mine", True)
    assert config["network"].endswith(".Wide")
    assert read_progress(run)["EpLen"].tolist() == [5]
    arrays, _ = read_safetensors(run / "policy.safetensors")
    name, *_ = (name for name in arrays if name.startswith(f"{critic}.") and name.endswith("layers.0.weight"))
    assert arrays[name].shape == (7, features)
    np.testing.assert_array_equal(arrays[name], mlp_of(getattr(ac, critic)).layers[0].weight.detach().numpy())


@pytest.mark.parametrize("path", sorted(Path(rlsuite.algos.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_no_algorithm_imports_another(path: Path) -> None:
    imported = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    floors = ("rlsuite.common.", "rlsuite.envs.", "rlsuite.settings", "rlsuite.errors", "rlsuite.mpi")
    assert [name for name in imported if name.startswith("rlsuite") and not name.startswith(floors)] == []


def test_the_main_loops_are_the_same_text_but_for_the_graph_that_a2c_keeps_and_the_penalty_of_ppo() -> None:
    def loop(algo: str) -> list[str]:
        source = Path(import_module(f"rlsuite.algos.{algo}").__file__ or "").read_text()
        return source[source.index("        obs = envs.obs\n") :].splitlines()

    assert loop("vpg") == [line.replace("epoch.stats, penalty)", "epoch.stats)") for line in loop("ppo")]
    assert loop("trpo") == [
        line.replace("pi_opt, v_opt)", "v_opt)").replace("pi_opt", "pi_flat") for line in loop("vpg")
    ]
    ours, theirs = ({line.strip() for line in loop(algo)} for algo in ("a2c", "vpg"))
    assert theirs - ours == {"with torch.no_grad():"}
    assert [line.split()[0] for line in ours - theirs] == ["#"]


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (ppo, {"total_steps": 64.0}),
        (ppo, {"lr_schedule": "lineer"}),
        (ppo, {"activation": "gelu"}),
        (dqn, {"buffer_size": 1e6}),
        (dqn, {"loss": "hubber"}),
        (ddpg, {"noise_schedule": "cosine"}),
    ],
)
def test_settings_of_the_wrong_kind_are_refused_from_python(
    module: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=next(iter(settings)).replace("_", "-")):
        module.train(module.Config("CartPole-v1", **settings), logger=Logger(data_dir=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "env"),
    [(a2c, "CartPole-v1"), (dqn, "CartPole-v1"), (ddpg, "Pendulum-v1"), (cem, "CartPole-v1")],
)
def test_statistics_of_every_step_are_counted_once(module: Any, env: str, tmp_path: Path) -> None:
    """After those of the random steps before."""
    settings = {"update_after": 380, "num_test_episodes": 1} if module in (dqn, ddpg) else {}
    config = module.Config(env, total_steps=400, steps_per_epoch=200, normalize_obs=True, **settings)
    ac = module.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    assert ac.encode.count == RANDOM_STEPS + 400


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("update_every", [2, 50])
@pytest.mark.parametrize("algo", OFF_POLICY)
def test_updates_that_are_due_are_kept_whatever_the_number_of_environments(
    algo: str, update_every: int, num_envs: int, tmp_path: Path, train: Any
) -> None:
    settings = {"num_envs": num_envs, "steps_per_epoch": 48, "total_steps": 120, "update_every": update_every}
    table = read_progress(train(tmp_path, algo, **settings, gradient_steps=2, update_after=64, num_test_episodes=0))
    due = [sum(step % update_every == 0 for step in range(64, total + 1)) for total in (48, 96, 120)]
    steps = 3 if algo == "td3" else 2 * len(PARTS[algo])  # the policy of TD3 takes one for two of the critics
    assert table["GradSteps"].tolist() == [steps * count for count in due]


@pytest.mark.parametrize("algo", OFF_POLICY)
def test_before_the_first_update_nothing_changes_and_nothing_is_measured(algo: str, tmp_path: Path, train: Any) -> None:
    table = read_progress(train(tmp_path, algo, update_after=300))
    measured = ["TDError", "ExplainedVarianceTD", *columns_of(algo, "Loss"), *columns_of(algo, "GradNorm")]
    for name in measured:
        assert np.isnan(table[name]).tolist() == [True, False], name
    for name in ("GradSteps", "KL", "TargetGap", *columns_of(algo, "UpdateRatio")):
        assert (table[name] == 0).tolist() == [True, False], name


@pytest.mark.parametrize(
    ("algo", "env", "volume", "bins"),
    [
        ("dqn", "rlsuite/ConstantReward-v0", 2, 2),
        ("dqn", "FrozenLake-v1", 4, 4),
        ("ddpg", "Pendulum-v1", 2 + 2, 16),
        ("ddpg", "rlsuite/Target-v0", 3 + 1, 16),
        ("td3", "Pendulum-v1", 2 + 2, 16),
        ("sac", "Pendulum-v1", 2, 16),  # in half widths of the bounds
    ],
)
def test_the_first_actions_are_uniform(algo: str, env: str, volume: int, bins: int, tmp_path: Path, train: Any) -> None:
    """Whatever epsilon; and after start_steps no more."""
    settings = {"env": env, "total_steps": 640, "steps_per_epoch": 512, "start_steps": 512, **rates(algo)}
    settings |= {"epsilon_start": 0, "epsilon_end": 0} if algo == "dqn" else {}
    table = read_progress(train(tmp_path, algo, num_envs=4, seed=1, **settings))
    assert table["Entropy"][0] == pytest.approx(np.log(volume), rel=1e-6)
    assert table["ActionEntropy"][0] == pytest.approx(np.log(bins), abs=0.03)
    if algo == "sac":  # nearly uniform still, but an estimate for each step
        assert 0.5 < table["Entropy"][1] < np.log(volume) - 0.001
    else:
        assert table["ActionEntropy"][1] < np.log(bins) - 0.1
    if algo in CONTINUOUS:
        assert table["ClippedActions"][0] == 0
    else:
        assert table["Epsilon"].tolist() == [1, 0]
        assert table["Entropy"][1] == 0


def test_epsilon_falls_on_a_line_and_the_entropy_with_it(tmp_path: Path, train: Any) -> None:
    settings = {"epsilon_start": 0.9, "epsilon_end": 0.1, "epsilon_share": 0.5, "start_steps": 64}
    table = read_progress(train(tmp_path, "dqn", **settings, total_steps=320, steps_per_epoch=32))
    # Both environments step at once: at env steps 0, 2, 4, ...; from step 160 on epsilon stays.
    epsilon = np.array([1.0 if t < 64 else 0.9 - 0.8 * min(1, t / 160) for t in range(0, 320, 2)]).reshape(10, 16)
    np.testing.assert_allclose(table["Epsilon"], epsilon[:, -1], rtol=1e-6)
    g, o = epsilon_greedy(epsilon, 2)
    np.testing.assert_allclose(table["Entropy"], (-g * np.log(g) - o * np.log(o)).mean(1), rtol=1e-5)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_noise_follows_its_schedule_and_the_entropy_follows_the_noise(
    schedule: str, tmp_path: Path, train: Any
) -> None:
    settings = {"act_noise": 0.3, "noise_schedule": schedule, "start_steps": 64, "total_steps": 320}
    table = read_progress(train(tmp_path, "ddpg", **settings, steps_per_epoch=64, update_every=16))
    share_left = 1 - np.arange(0, 320, 2).reshape(5, 32) / 320 if schedule == "linear" else np.ones((5, 32))
    np.testing.assert_allclose(table["ActNoise"], 0.3 * share_left[:, -1], rtol=1e-6)
    # The half width of Pendulum's bounds is 2.
    entropy = (GAUSSIAN_NOISE_ENTROPY + np.log(2 * 0.3 * share_left)).mean(1)
    np.testing.assert_allclose(table["Entropy"], [np.log(4), *entropy[1:]], rtol=1e-5)


def test_noise_is_as_wide_as_it_says(tmp_path: Path, train: Any) -> None:
    """The first policy is near the middle of the bounds: 0 ± 2 at 0.5 half widths, so that 1 in 22 is outside."""
    settings = {"act_noise": 0.5, "start_steps": 0, "update_after": 2048, "total_steps": 2048, "num_envs": 8}
    table = read_progress(train(tmp_path, "ddpg", **settings, steps_per_epoch=2048))
    assert table["ClippedActions"][0] == pytest.approx(0.0455, abs=0.015)


@pytest.mark.parametrize("algo", OFF_POLICY)
def test_a_target_that_never_moves_and_one_that_always_does(algo: str, tmp_path: Path, train: Any) -> None:
    # The last update of each epoch is not at its last step, so that the target can follow.
    settings = {"steps_per_epoch": 250, "update_after": 300, "total_steps": 750}
    settings |= {"dqn": {"target_every": 1}, "td3": {"policy_delay": 1}}.get(algo, {})
    tables = (read_progress(train(tmp_path / str(p), algo, polyak=p, **settings)) for p in (0, 1))
    copied, never = (table["TargetGap"] for table in tables)
    assert (np.diff(never, prepend=0) > 0).tolist() == [False, True, True]
    # The others measure at the end of the epoch, DQN before each move, of which one in eight follows a gradient step.
    assert (copied == 0).tolist() == [True, algo != "dqn", algo != "dqn"]
    assert (copied[1:] < 0.2 * never[1:]).all()


@pytest.mark.parametrize(("polyak", "num_envs"), [(0.0, 1), (0.75, 3)])
@pytest.mark.parametrize(
    ("module", "env", "every"),
    [(dqn, "CartPole-v1", 30), (ddpg, "Pendulum-v1", 1), (td3, "Pendulum-v1", 3), (sac, "Pendulum-v1", 1)],
)
def test_the_target_is_a_moving_average_of_the_network(
    module: Any, env: str, every: int, polyak: float, num_envs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one update for every env step, an update finds what the one before it and a move of the target have left."""
    update, targets = module.update, []

    def checked(ac: Any, target: Any, *rest: Any) -> None:
        if targets:
            moves = len(targets) % every == 0
            copied = ac.q if module is sac else ac
            expected = polyak * targets[-1] + (1 - polyak) * parameters(copied) if moves else targets[-1]
            torch.testing.assert_close(parameters(target), expected)
        targets.append(parameters(target))
        update(ac, target, *rest)

    monkeypatch.setattr(module, "update", checked)
    settings = {"polyak": polyak, "update_every": 1, "update_after": num_envs, "hidden_sizes": (16, 16)}
    settings |= {dqn: {"target_every": every}, td3: {"policy_delay": every}}.get(module, {})
    config = module.Config(env, total_steps=99, num_envs=num_envs, steps_per_epoch=99, num_test_episodes=0, **settings)
    module.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    assert len(targets) == 99
    assert not torch.equal(targets[0], targets[-1])


@pytest.mark.parametrize(("limit", "num_envs"), [(1, 1), (7, 3)])
@pytest.mark.parametrize("module", [dqn, ddpg, td3, sac], ids=OFF_POLICY)
def test_a_time_limit_leaves_the_next_observation_and_the_future(
    module: Any, limit: int, num_envs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, times = module.update, set()

    def checked(*args: Any) -> None:
        (batch,) = (arg for arg in args if hasattr(arg, "next_obs"))
        torch.testing.assert_close(batch.next_obs, batch.obs + torch.tensor([0.0, 1.0]))
        assert not batch.terminated.any()
        times.update(batch.next_obs[:, 1].tolist())
        update(*args)

    monkeypatch.setattr(module, "update", checked)
    settings = {"total_steps": 210, "num_envs": num_envs, "steps_per_epoch": 105, "num_test_episodes": 1}
    settings |= {"update_after": 30, "buffer_size": 60, "batch_size": 32, "hidden_sizes": (16, 16)}
    config = module.Config("Clock", **settings)
    module.train(
        config,
        env_fn=lambda: gym.wrappers.TimeLimit(Clock(module is not dqn), limit),
        logger=Logger(data_dir=tmp_path, quiet=True),
    )
    assert times == set(range(1, limit + 1))


@pytest.mark.parametrize("algo", [*OFF_POLICY, "cem"])
def test_test_episodes_do_not_change_the_training(algo: str, tmp_path: Path, train: Any) -> None:
    runs = [train(tmp_path / str(n), algo, num_test_episodes=n, test_episodes=2) for n in (0, 2)]
    without, tested = (read_progress(run) for run in runs)
    for name in tested:
        if name in TEST_RETURNS:
            assert np.isnan(without[name]).all()
            assert np.isfinite(tested[name]).all()
        elif name not in ("Time", "StepsPerSec"):
            np.testing.assert_array_equal(without[name], tested[name], name)
    policies = [read_safetensors(run / "policy.safetensors")[0] for run in runs]
    for name, array in policies[0].items():
        np.testing.assert_array_equal(array, policies[1][name])
    # The episodes of the end are the same again, with the same policy.
    result = json.loads((runs[1] / "result.json").read_text())
    for name in RETURNS:
        assert tested[name.replace("Ep", "TestEp")][-1] == pytest.approx(result[name], rel=1e-6)


@pytest.mark.parametrize("module", [dqn, ddpg, td3, sac], ids=OFF_POLICY)
def test_test_episodes_are_the_same_after_each_epoch_and_none_of_training(module: Any, tmp_path: Path) -> None:
    made = []

    def env_fn() -> gym.Env:
        made.append(Clock(module is not dqn))
        return gym.wrappers.TimeLimit(made[-1], 10)

    settings = {"total_steps": 128, "steps_per_epoch": 64, "num_envs": 2, "update_after": 100, "num_test_episodes": 2}
    module.train(module.Config("Clock", **settings), env_fn=env_fn, logger=Logger(data_dir=tmp_path, quiet=True))
    *training, test, _ = (env.seeds for env in made)  # the last is for random play
    assert test[: len(test) // 2] == test[len(test) // 2 :]
    assert len(set(test)) >= 2
    seeds = [*itertools.chain(*training)]
    assert len(set(seeds)) == len(seeds) == 2 * (1 + 64 // 10)
    assert not set(seeds) & set(test)


@pytest.mark.slow
@pytest.mark.parametrize("algo", GRADIENT)
def test_compiled_networks_learn_the_same(algo: str, tmp_path: Path, train: Any) -> None:
    one, other = (train(tmp_path / flag, algo, compile=flag, total_steps=256) for flag in ("False", "True"))
    (plain, compiled) = (load(run).ac.state_dict() for run in (one, other))
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-3, atol=1e-4)


class LeaningPolicy(CategoricalPolicy):
    """An edited forward pass, with a layer more, that takes action 1."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        add_layer(self)

    def forward(self, x: torch.Tensor) -> Categorical:
        return Categorical(super().forward(x).logits + torch.stack([-self.lean, 8 + self.lean]))


class LeaningQ(DiscreteQ):
    """Likewise, for DQN."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        add_layer(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.stack([-self.lean, 80 + self.lean])


class LeaningMu(DeterministicPolicy):
    """Likewise, for DDPG: it takes the upper bound."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        add_layer(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mid + self.width * (super().forward(x) + self.lean + 4).tanh()


class LeaningGaussian(SquashedPolicy):
    """Likewise, for SAC, and certain of it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        add_layer(self)

    def forward(self, x: torch.Tensor) -> SquashedGaussian:
        pi = super().forward(x)
        return pi._replace(mu=pi.mu + self.lean + 4, log_std=pi.log_std - 9)


def add_layer(module: torch.nn.Module) -> None:
    layer = torch.nn.Linear(16, 16)
    torch.nn.init.eye_(layer.weight)
    mlp_of(module).layers.insert(1, layer)
    module.lean = torch.nn.Parameter(torch.zeros(()))


class LeaningDirectPolicy(cem.DirectPolicy):
    """Likewise, for CEM."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        add_layer(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.outputs(x) + torch.stack([-self.lean, 8 + self.lean])).argmax(-1)


class LeaningActorCritic(ActorCritic):
    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        super().__init__(obs_space, act_space, config)
        self.pi = LeaningPolicy(self.encode.features, act_space, config.hidden_sizes, config.activation)


class LeaningQNetwork(QNetwork):
    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        super().__init__(obs_space, act_space, config)
        self.q = LeaningQ(self.encode.features, 2, config.hidden_sizes, config.activation, False)


class LeaningMuQNetwork(MuQNetwork):
    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        super().__init__(obs_space, act_space, config)
        self.pi = LeaningMu(self.encode.features, act_space, config.hidden_sizes, config.activation)


class LeaningMuTwinQNetwork(MuTwinQNetwork):
    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        super().__init__(obs_space, act_space, config)
        self.pi = LeaningMu(self.encode.features, act_space, config.hidden_sizes, config.activation)


class LeaningSoftActorCritic(SoftActorCritic):
    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        super().__init__(obs_space, act_space, config)
        self.pi = LeaningGaussian(self.encode.features, act_space, config.hidden_sizes, config.activation)


class LeaningPolicyNetwork(cem.PolicyNetwork):
    def __init__(self, obs_space: Any, act_space: Any, config: Any) -> None:
        super().__init__(obs_space, act_space, config)
        self.pi = LeaningDirectPolicy(self.encode.features, act_space, config.hidden_sizes, config.activation)


SHORT = {"total_steps": 256, "num_envs": 2, "steps_per_epoch": 128, "hidden_sizes": (16, 16)}
GREEDY = {"buffer_size": 1000, "start_steps": 0, "update_after": 64, "batch_size": 16}
OWN = {
    **dict.fromkeys(ON_POLICY, (LeaningActorCritic, "pi", {"rollout_len": 32})),
    "trpo": (LeaningActorCritic, "pi", {"rollout_len": 32, "target_kl": 1e-4}),
    "dqn": (LeaningQNetwork, "q", {**GREEDY, "epsilon_start": 0, "epsilon_end": 0}),
    "ddpg": (LeaningMuQNetwork, "pi", {**GREEDY, "act_noise": 0.01, "pi_lr": 1e-5}),
    "td3": (LeaningMuTwinQNetwork, "pi", {**GREEDY, "act_noise": 0.01, "pi_lr": 1e-5}),
    "sac": (LeaningSoftActorCritic, "pi", {**GREEDY, "pi_lr": 1e-5}),
    "cem": (LeaningPolicyNetwork, "pi", {"std_init": 0.01, "population": 4, "rollout_len": 4}),
}


@pytest.mark.parametrize("algo", OWN)
def test_an_edited_network_trains_acts_saves_loads_and_resumes(algo: str, tmp_path: Path) -> None:
    module, (network, part, settings) = import_module(f"rlsuite.algos.{algo}"), OWN[algo]
    config = module.Config(ENVS[algo][0], **SHORT, **settings)
    longer = dataclasses.replace(config, total_steps=512)
    ac = module.train(config, actor_critic=network, logger=Logger("cut", tmp_path))
    (run,) = find_runs([tmp_path])
    assert (read_progress(run)["ActionEntropy"] < 0.05).all()  # no other action: what acts is the edited network
    assert getattr(ac, part).lean.item() != 0
    assert not torch.equal(mlp_of(getattr(ac, part)).layers[1].weight, torch.eye(16))

    policy = load(run, actor_critic=network)
    for name, tensor in policy.ac.state_dict().items():
        assert torch.equal(tensor, ac.state_dict()[name]), name
    obs = np.random.default_rng(0).normal(size=(20, *ac.obs_space.shape)).astype(np.float32)
    np.testing.assert_allclose(policy(obs), np.full((20, 1), 2.0) if algo in CONTINUOUS else np.ones(20), atol=0.01)
    name = f"{network.__module__}.{network.__qualname__}"
    with pytest.raises(UserError, match=f"network class of its own; pass it as actor_critic={re.escape(name)}$"):
        load(run)

    module.train(longer, actor_critic=network, logger=Logger(resume=run))
    module.train(longer, actor_critic=network, logger=Logger("whole", tmp_path))
    assert read_progress(run)["Epoch"].tolist() == [1, 2, 3, 4]
    (whole,) = find_runs([tmp_path / "whole"])
    assert (run / "policy.safetensors").read_bytes() == (whole / "policy.safetensors").read_bytes()


@pytest.mark.parametrize("algo", GRADIENT)
def test_features_do_not_change_between_acting_and_training(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Statistics come from random steps, so that those of the first epoch are good ones too; ReLU shows any change."""
    module = import_module(f"rlsuite.algos.{algo}")
    settings = {"rollout_len": 64} if algo in ON_POLICY else {"update_after": 64, "num_test_episodes": 1}
    settings |= {"minibatch_size": 32} if algo == "ppo" else {}
    env_id = "CartPole-v1" if algo == "dqn" else "Pendulum-v1"
    seen: list[list[tuple[int, bytes]]] = [[]]  # of each epoch: the statistics in use, at each step and at each update
    network, act = {
        "dqn": (QNetwork, "values"),
        "ddpg": (MuQNetwork, "mode"),
        "td3": (MuTwinQNetwork, "mode"),
        "sac": (SoftActorCritic, "act_and_logp"),
    }.get(algo, (ActorCritic, "act"))
    taken, update, end_epoch = getattr(network, act), module.update, Training.end_epoch

    def note(encode: Any) -> None:
        seen[-1].append((int(encode.count), encode.mean.numpy().tobytes() + encode.var.numpy().tobytes()))

    def acting(self: Any, obs: Any) -> Any:
        note(self.encode)
        return taken(self, obs)

    def training(ac: Any, *rest: Any) -> None:
        note(ac.encode)
        update(ac, *rest)

    def ending(self: Any, *rest: Any) -> None:
        end_epoch(self, *rest)
        seen.append([])

    monkeypatch.setattr(network, act, acting)
    monkeypatch.setattr(module, "update", training)
    monkeypatch.setattr(Training, "end_epoch", ending)
    config = module.Config(env_id, **SHORT, normalize_obs=True, activation="relu", **settings)
    module.train(config, logger=Logger(data_dir=tmp_path))
    first, second, _ = seen
    assert len(first) > 60
    assert [len(set(epoch)) for epoch in (first, second)] == [1, 1]
    assert [epoch[0][0] for epoch in (first, second)] == [1000, 1128]
    assert first[0][1] != second[0][1]
    assert capsys.readouterr().out.count("first statistics of observations: 1,000 random steps, not counted") == 1
    (run,) = find_runs([tmp_path])
    table = read_progress(run)
    assert table["TotalEnvInteracts"].tolist() == [128, 256]
    if algo == "ppo":
        assert (table["Ratio1"] < 1e-5).all()


def test_a_handful_of_samples_at_the_end_of_the_budget_is_no_update_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient step on 8 samples, after steps on 128, would undo what they have learned."""
    update, sizes = vpg.update, []

    def counted(ac: Any, pi_opt: Any, v_opt: Any, batch: Any, *rest: Any) -> None:
        sizes.append(len(batch.adv))
        update(ac, pi_opt, v_opt, batch, *rest)

    monkeypatch.setattr(vpg, "update", counted)
    config = vpg.Config("CartPole-v1", total_steps=264, num_envs=4, steps_per_epoch=128, rollout_len=32)
    vpg.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    assert sizes == [128, 136]
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [128, 264]


@pytest.mark.parametrize("algo", OFF_POLICY)
def test_an_environment_that_never_ends(
    algo: str, tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation, "MAX_TEST_STEPS", 50)
    evaluation._say_once.cache_clear()
    run = train(tmp_path, algo, env=f"rlsuite-tests/Clock-{algo}-v0", num_test_episodes=3, test_episodes=3)
    table = read_progress(run)
    assert table["TotalEnvInteracts"].tolist() == [256, 512]
    for name in TEST_RETURNS:
        assert table[name].tolist() == ([0, 0] if "Std" in name else [50, 50]), name
    assert np.isnan(table["EpLen"]).all()
    assert (table["GradSteps"] > 0).all()
    assert json.loads((run / "result.json").read_text())["EpLen"] == 50
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rlsuite: a test episode of rlsuite-tests/Clock-{algo}-v0 did not end within 50 env steps")


def test_values_that_mean_the_same_are_taken_from_python(tmp_path: Path) -> None:
    config = ppo.Config("FrozenLake-v1", env_kwargs={"is_slippery": False}, seed=np.int64(3), total_steps=64)
    ppo.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    saved = read_config(run)
    assert (saved["env_kwargs"], saved["seed"]) == ('{"is_slippery": false}', 3)
    assert run.name.endswith("_s3")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ppo.Config("CartPole-v1", pi_lr="3e-4"), "--pi-lr is '3e-4', but must be a number, not text"),
        (
            lambda: ppo.train("CartPole-v1"),
            "train takes settings, such as Config(env=\"CartPole-v1\"), not 'CartPole-v1'",
        ),
        (
            lambda: ppo.train(ppo.Config("mine"), env_fn=gym.make("CartPole-v1")),
            "env_fn must be a function that makes a new environment at each call",
        ),
        (
            lambda: dqn.train(dqn.Config("mine"), gym.vector.SyncVectorEnv([Clock])),
            "env_fn must be a function that makes a new environment at each call",
        ),
    ],
    ids=["text", "no-config", "an-environment", "a-vector-environment"],
)
def test_what_is_easily_mistaken_is_one_sentence(
    call: Any, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        call()
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


NEW_ALGORITHM = """
import sys
from pathlib import Path
import numpy as np
from rlsuite import load, play, plot, run
from rlsuite.rundir.runs import find_runs, read_progress

assert Path(run.__file__).parent == Path("rlsuite").resolve(), run.__file__
assert run.main(sys.argv[1:]) == 0
(folder,) = find_runs(["data"])
assert folder.parent.name == "mine_Pendulum-v1", folder
assert run.main(["--resume", str(folder), "--total-steps", "768", "--test-episodes", "1"]) == 0
assert read_progress(folder)["Epoch"].tolist() == [1, 2, 3]
assert load(folder)(np.zeros((5, 3))).shape == (5, 1)
assert play.main([str(folder), "--episodes", "1"]) == 0
assert plot.main([str(folder), "--value-map", "--out", "map.png"]) == 0
"""


def test_a_new_algorithm_is_one_file_for_every_door(tmp_path: Path, python: Any, command: Any) -> None:
    """Run, resumed, loaded, played and drawn, with no other file touched."""
    shutil.copytree(Path(rlsuite.algos.__file__).parents[1], tmp_path / "rlsuite", ignore=shutil.ignore_patterns("_*_"))
    source = Path(ddpg.__file__).read_text()
    assert source.count('Training("ddpg"') == 1
    (tmp_path / "rlsuite" / "algos" / "mine.py").write_text(source.replace('Training("ddpg"', 'Training("mine"'))
    done = python(tmp_path, "-c", NEW_ALGORITHM, "mine", *command("ddpg")[1:])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "map.png").stat().st_size > 1000
