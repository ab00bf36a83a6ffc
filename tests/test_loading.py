"""`rlsuite.load(run_dir)(obs)`: what a run has learned, as a function that an environment can be stepped with."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import rlsuite
from rlsuite.algos import a2c, cem, ddpg, dqn, ppo
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.logger import Logger
from rlsuite.errors import UserError
from rlsuite.loading import algorithm, load_snapshots, run_env
from rlsuite.rundir.files import read_safetensors
from rlsuite.rundir.policies import save_policy, save_snapshot
from rlsuite.rundir.runs import find_runs, read_config

GRID = spaces.Box(-1, 1, (2, 3), np.float32)
KINDS: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "from-five": (GRID, spaces.Discrete(3, start=5)),
    "counted": (spaces.Discrete(4, start=2), spaces.Discrete(2)),
    "matrix": (GRID, spaces.Box(np.array([[-3, 0, 1], [-1, -2, -5]]), np.array([[1, 9, 2], [1, 2, -4]]), (2, 3))),
    "narrow": (spaces.Box(-1, 1, (3,), np.float64), spaces.Box(-0.001, 0.001, (2,), np.float64)),
    "number": (spaces.Box(0, 255, (4, 4), np.uint8), spaces.Box(0, 1, ())),
    "parts": (
        spaces.Dict(
            a=spaces.Tuple([spaces.Box(-1, 1, (2, 2)), spaces.Discrete(3, start=1)]),
            b=spaces.MultiBinary(3),
            c=spaces.MultiDiscrete([2, 3]),
        ),
        spaces.Discrete(3),
    ),
    "pair": (spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.MultiDiscrete([[2, 3], [4, 2]])]), spaces.Box(-1, 2, (2,))),
    "switches": (spaces.MultiBinary(4), spaces.Discrete(2)),
    "components": (GRID, spaces.MultiDiscrete([[2, 3], [4, 2]], np.uint8, start=[[0, 1], [5, 0]])),
    "component": (spaces.Discrete(2), spaces.MultiDiscrete(3)),
}
PARTS = ("parts", "pair", "switches")
PAIRS = [
    *((algo, kind) for algo in (ppo, a2c) for kind in KINDS),
    *((cem, kind) for kind in KINDS if not kind.startswith("component")),
    *((dqn, kind) for kind in ("from-five", "counted", "parts", "switches")),
    *((ddpg, kind) for kind in ("matrix", "narrow", "number", "pair")),
]
SHORT = {"total_steps": 64, "steps_per_epoch": 32, "num_envs": 1, "hidden_sizes": (8,)}
OFF_POLICY = {"update_after": 16, "batch_size": 8, "buffer_size": 100, "num_test_episodes": 1}


def name_of(value: Any) -> str:
    return value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else str(value)


def contains(space: spaces.Space[Any], act: Any) -> bool:
    """A number out of an array of numbers is no array, and as good."""
    return space.contains(np.asarray(act) if isinstance(space, spaces.Box | spaces.MultiDiscrete) else act)


def several(space: spaces.Space[Any], count: int) -> Any:
    """A batch of observations, as an array where they are arrays."""
    batch = [space.sample() for _ in range(count)]
    return batch if isinstance(space, spaces.Dict | spaces.Tuple) else np.array(batch)


class Any5(gym.Env):
    """Any spaces; an action outside of them is an error."""

    def __init__(self, kind: str) -> None:
        self.observation_space, self.action_space = KINDS[kind]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert contains(self.action_space, action), action
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == 5, False, {}


gym.register("rlsuite-tests/Any-v0", Any5)


def train(algo: ModuleType, folder: Path, kind: str, **settings: Any) -> Path:
    settings = SHORT | (OFF_POLICY if algo in (dqn, ddpg) else {"rollout_len": 16}) | settings
    config = algo.Config("rlsuite-tests/Any-v0", env_kwargs={"kind": kind}, **settings)
    algo.train(config, logger=Logger(data_dir=folder, quiet=True))
    return find_runs([folder])[-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModuleType, str], Path]:
    runs: dict[tuple[ModuleType, str], Path] = {}

    def run(algo: ModuleType, kind: str) -> Path:
        if (algo, kind) not in runs:
            runs[algo, kind] = train(algo, tmp_path_factory.mktemp(kind), kind)
        return runs[algo, kind]

    return run


@pytest.mark.parametrize(("algo", "kind"), PAIRS, ids=name_of)
def test_actions_are_those_that_the_environment_takes(algo: ModuleType, kind: str, trained: Any) -> None:
    policy = rlsuite.load(trained(algo, kind))
    obs_space, act_space = KINDS[kind]
    obs_space.seed(0)
    env = Any5(kind)
    obs, _ = env.reset(seed=0)
    for _ in range(5):
        obs, _, _, _, _ = env.step(policy(obs))
    batch = several(obs_space, 200)
    acts = policy(batch)
    assert acts.shape == (200, *act_space.shape)
    for one, act in zip(batch[:20], acts, strict=False):
        single = policy(one)
        assert contains(act_space, single), single
        np.testing.assert_allclose(single, act, rtol=1e-4, atol=1e-6)  # a matrix product rounds by its size
    alone = policy(batch[:1])
    assert alone.shape == (1, *act_space.shape)
    np.testing.assert_allclose(alone, acts[:1], rtol=1e-4, atol=1e-6)
    if isinstance(act_space, spaces.Discrete):
        assert type(policy(batch[0])) is int
        assert act_space.start <= acts.min() <= acts.max() < act_space.start + act_space.n
    else:
        assert acts.dtype == act_space.dtype
    if kind == "components":
        assert policy.ac.pi(policy.ac.encode(batch)).logits.shape == (200, 4, 4)


@pytest.mark.parametrize(("algo", "kind"), [pair for pair in PAIRS if pair[0] is ppo], ids=name_of)
def test_sampled_actions_are_within_the_bounds_too(algo: ModuleType, kind: str, trained: Any) -> None:
    policy, (obs_space, act_space) = rlsuite.load(trained(algo, kind)), KINDS[kind]
    batch = [obs_space.sample()] * 500
    acts = policy(batch, sample=True)
    assert all(contains(act_space, act) for act in acts)
    assert contains(act_space, policy(batch[0], sample=True))
    assert np.ptp(acts, axis=0).min() > 0
    assert np.ptp(policy(batch), axis=0).max() < 1e-5


@pytest.mark.parametrize(("algo", "kind"), [(dqn, "counted"), (ddpg, "matrix")], ids=name_of)
def test_a_deterministic_policy_can_not_be_sampled_from(algo: ModuleType, kind: str, trained: Any) -> None:
    policy = rlsuite.load(trained(algo, kind))
    with pytest.raises(UserError, match=r"^this policy is deterministic and can't be sampled from; [^\n]*$"):
        policy(KINDS[kind][0].sample(), sample=True)


@pytest.mark.parametrize("kind", PARTS)
def test_an_observation_in_parts_is_seen_as_the_networks_were_trained_on_it(kind: str, trained: Any) -> None:
    policy, obs_space = rlsuite.load(trained(ppo, kind)), KINDS[kind][0]
    batch = several(obs_space, 50)
    flat = np.array([spaces.flatten(obs_space, obs) for obs in batch], np.float32)
    logits_or_mu = policy.ac.pi(policy.ac.encode(flat))[0].numpy(force=True)
    assert np.ptp(logits_or_mu, axis=0).min() > 0
    expected = policy.ac.mode(flat)
    np.testing.assert_allclose(policy(batch), expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(policy(tuple(batch)), policy(list(batch)))
    given = rlsuite.load(trained(ppo, kind), Any5(kind))  # an environment of the user's, who has wrapped it in nothing
    np.testing.assert_array_equal(given(batch), policy(batch))


@pytest.mark.parametrize("obs", [{"a": 1}, {}, 3, None, [{"a": 1}], "text", np.zeros(3), np.zeros((2, 12))], ids=str)
def test_what_is_no_observation_in_parts_is_one_sentence(obs: Any, trained: Any) -> None:
    with pytest.raises(UserError, match=r"^that is no observation of this policy's environment, nor a batch [^\n]*$"):
        rlsuite.load(trained(ppo, "parts"))(obs)


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (6,), (4, 3, 2), (1, 1, 2, 3)])
def test_an_observation_of_another_shape_is_one_sentence(shape: tuple[int, ...], trained: Any) -> None:
    with pytest.raises(UserError) as error:
        rlsuite.load(trained(ppo, "matrix"))(np.zeros(shape))
    assert str(error.value).startswith("that is no observation of this policy's environment, nor a batch of them: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("obs", [6, 1, [2, 6], 2.5, "2", None, {"obs": 2}])
def test_a_number_that_is_no_observation_is_one_sentence(obs: Any, trained: Any) -> None:
    with pytest.raises(UserError, match=r"^that is no observation of this policy's environment, nor a batch") as error:
        rlsuite.load(trained(ppo, "counted"))(obs)
    assert "\n" not in str(error.value)


def test_observations_may_be_numbers_lists_or_arrays_of_any_type(trained: Any) -> None:
    policy = rlsuite.load(trained(ppo, "counted"))
    assert policy(3) == policy(np.int64(3)) == policy(np.array(3, np.int8)) == policy([3])[0]
    policy = rlsuite.load(trained(ppo, "matrix"))
    obs = np.full((2, 3), 0.5)
    for same in (obs.tolist(), obs.astype(np.float16), np.asfortranarray(obs)):
        np.testing.assert_array_equal(policy(same), policy(obs))


def test_the_run_may_be_named_by_text_or_path_and_lie_behind_a_link(trained: Any, tmp_path: Path) -> None:
    run = trained(ppo, "matrix")
    (tmp_path / "link").symlink_to(run)
    obs = np.random.default_rng(0).normal(size=(5, 2, 3))
    for name in (str(run), run, tmp_path / "link", f"{tmp_path}/link/"):
        np.testing.assert_array_equal(rlsuite.load(name)(obs), rlsuite.load(run)(obs))


def test_loading_and_acting_leave_the_run_as_it_is(trained: Any) -> None:
    run = trained(ppo, "matrix")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.rglob("*")}
    rlsuite.load(run)(np.zeros((2, 3)))
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.rglob("*")} == before


def test_what_is_loaded_acts_as_what_was_trained(tmp_path: Path) -> None:
    config = ppo.Config("Pendulum-v1", total_steps=256, num_envs=2, steps_per_epoch=128, normalize_obs=True)
    ac = ppo.train(config, logger=Logger(data_dir=tmp_path, quiet=True))
    obs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    policy = rlsuite.load(find_runs([tmp_path])[0])
    np.testing.assert_allclose(policy(obs), ac.mode(obs).clip(-2, 2), rtol=1e-6)
    np.testing.assert_allclose(policy.ac.value(obs), ac.value(obs), rtol=1e-6)
    torch.manual_seed(0)
    expected = ac.act(obs).clip(-2, 2)
    torch.manual_seed(0)
    np.testing.assert_allclose(policy(obs, sample=True), expected, rtol=1e-6)


class Wide(ActorCritic):
    """A user's own network."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.v = torch.nn.Sequential(torch.nn.Linear(self.encode.features, 7), torch.nn.Linear(7, 1), Squeeze())


class Squeeze(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(-1)


def test_a_run_on_an_environment_function_is_loaded_with_the_environment(tmp_path: Path) -> None:
    config = ppo.Config("mine", **SHORT, rollout_len=16)
    ac = ppo.train(config, lambda: Any5("matrix"), Wide, Logger(data_dir=tmp_path, quiet=True))
    (run,) = find_runs([tmp_path])
    obs = GRID.sample()
    with pytest.raises(UserError, match=f"network class of its own; pass it as actor_critic={Wide.__module__}.Wide$"):
        rlsuite.load(run, Any5("matrix"))
    with pytest.raises(UserError, match=r"on an environment function; in Python, rlsuite\.load\(run_dir, env\)"):
        rlsuite.load(run, actor_critic=Wide)
    policy = rlsuite.load(run, Any5("matrix"), Wide)
    assert torch.equal(policy.ac.v[0].weight, ac.v[0].weight)
    space = KINDS["matrix"][1]
    expected = ac.mode(obs[None])[0].reshape(2, 3).clip(space.low, space.high)
    np.testing.assert_allclose(policy(obs), expected, rtol=1e-5, atol=1e-6)


def test_an_environment_that_is_given_stays_open(trained: Any) -> None:
    class Closing(Any5):
        def close(self) -> None:
            raise AssertionError("it was closed")

    rlsuite.load(trained(ppo, "matrix"), Closing("matrix"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with nothing in it but a policy, a snapshot and config.json."""
    configure(tmp_path)
    env = gym.make("CartPole-v1")
    ac = ActorCritic(env.observation_space, env.action_space, ppo.Config("CartPole-v1", hidden_sizes=(8, 8)))
    save_policy(tmp_path, ac)
    save_snapshot(tmp_path, 1, 30, ac, np.zeros((5, 4), np.float32))
    return tmp_path


def configure(folder: Path, **changes: Any) -> None:
    config = {"algo": "ppo", "env": "CartPole-v1", "hidden_sizes": [8, 8]} | changes
    (folder / "config.json").write_text(json.dumps({name: v for name, v in config.items() if v is not None}))


LOADS: list[Callable[[Path], Any]] = [rlsuite.load, lambda run: load_snapshots(run, 1)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_sizes": [16, 8]}, "does not fit its config.json: .*is .*, expected"),
        ({"hidden_sizes": [8]}, "does not fit its config.json: .*, expected"),
        ({"hidden_sizes": None}, "does not fit its config.json: .*, expected"),
        ({"env": "Acrobot-v1"}, "does not fit its config.json: .*, expected"),
        ({"env": "Pendulum-v1"}, "does not fit its config.json: .*, expected"),
        ({"hidden_sizes": 8}, "config.json: --hidden-sizes is 8"),
        ({"gamma": "0.9"}, "config.json: --gamma is '0.9'"),
        ({"env": None}, "config.json has no env"),
        ({"env": 5}, "config.json: --env is 5"),
        ({"env": "NoSuch-v0"}, "NoSuch"),
        ({"env": "antigravity:Env-v0"}, "importing that runs its code"),
        ({"algo": None}, "names no algorithm of rlsuite, but 'None'"),
        ({"algo": "sarsa"}, "names no algorithm of rlsuite, but 'sarsa'"),
        ({"algo": "../run"}, "names no algorithm of rlsuite, but '../run'"),
        ({"algo": ["ppo"]}, "names no algorithm of rlsuite"),
        ({"algo": "__init__"}, "names no algorithm of rlsuite"),
        ({"algo": "dqn", "env": "CartPole-v1"}, "does not fit its config.json"),
        ({"algo": "ddpg"}, "this algorithm needs continuous actions"),
        ({"network": "mine.Wide"}, "with a network class of its own; pass it as actor_critic=mine.Wide$"),
        ({"custom_env": True}, "trained on an environment function"),
    ],
)
@pytest.mark.parametrize("load", LOADS, ids=["policy", "snapshot"])
def test_what_does_not_fit_config_json_is_one_sentence(
    load: Any, changes: dict[str, Any], sentence: str, run: Path
) -> None:
    load(run)
    configure(run, **changes)
    with pytest.raises(UserError, match=sentence) as error:
        load(run)
    assert "\n" not in str(error.value)


def test_without_a_policy_or_snapshots_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in "):
        rlsuite.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"policy\.safetensors does not exist"):
        rlsuite.load(tmp_path)
    with pytest.raises(UserError, match="has no snapshots yet"):
        load_snapshots(tmp_path, 6)
    with pytest.raises(UserError, match="does not exist"):
        rlsuite.load(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"\x80\x04garbage" * 100])
def test_a_file_of_something_else_is_one_sentence(content: bytes, run: Path) -> None:
    (run / "policy.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"policy\.safetensors can't be read"):
        rlsuite.load(run)


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [1, 9]), (3, [1, 5, 9]), (6, [1, 3, 4, 6, 7, 9])])
def test_snapshots_are_spread_evenly_in_the_order_of_time(most: int, expected: list[int], run: Path) -> None:
    arrays, obs = read_safetensors(run / "policy.safetensors")[0], np.zeros((5, 4), np.float32)
    ac = rlsuite.load(run).ac
    for epoch in range(1, 10):
        with torch.no_grad():
            next(ac.v.parameters()).fill_(epoch)
        save_snapshot(run, epoch, 30 * epoch, ac, obs + epoch)
    kept = load_snapshots(run, most)
    assert [snapshot.epoch for snapshot in kept] == expected
    for epoch, states, network in kept:
        assert (states == epoch).all()
        assert (next(network.v.parameters()) == epoch).all()
        assert set(network.state_dict()) == set(arrays)


def test_the_environment_of_a_run_is_made_with_its_arguments(trained: Any) -> None:
    env = run_env(read_config(trained(ppo, "matrix")))
    assert env.observation_space == GRID
    assert algorithm({"algo": "ppo"}) is ppo
    with pytest.raises(UserError, match=re.escape("in Python, rlsuite.load(run_dir, env)")):
        run_env({"custom_env": True, "env": "CartPole-v1"})


def test_an_experiment_is_its_newest_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = train(ppo, tmp_path, "counted", seed=1)
    assert rlsuite.load(first.parent).ac.state_dict().keys() == rlsuite.load(first).ac.state_dict().keys()
    assert capsys.readouterr().err == ""
    second = train(ppo, tmp_path, "counted", seed=2)
    for newest, older, year in (first, second, 2999), (second, first, 3000):
        config = json.loads((newest / "config.json").read_text())
        (newest / "config.json").write_text(json.dumps(config | {"started": f"{year}-01-01 00:00:00"}))
        weights, wanted, other = (rlsuite.load(run).ac.state_dict() for run in (tmp_path, newest, older))
        assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
        assert not all(torch.equal(weights[name], other[name]) for name in other)
        assert capsys.readouterr() == ("", f"rlsuite: of the 2 runs in {tmp_path} this is the newest: {newest}\n")
