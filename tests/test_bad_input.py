"""Bad input and bad numbers: one line that helps, the right exit code, and nothing left behind."""

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
from gymnasium import spaces

import rlsuite.play
import rlsuite.plot
import rlsuite.run
from rlsuite.errors import UserError
from rlsuite.loading import load
from rlsuite.rundir.runs import find_runs, read_progress
from tests.conftest import ALGORITHMS, CONTINUOUS, GRADIENT, OFF_POLICY

SPACES = {
    "Tuple": spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)]),
    "Dict": spaces.Dict(a=spaces.Box(0, 1)),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary(3),
}
OBSERVATIONS = {
    "Text": spaces.Text(5),
    "Sequence": spaces.Sequence(spaces.Discrete(2)),
    "Graph": spaces.Graph(spaces.Box(np.zeros(2, np.float32), np.ones(2, np.float32)), None),
    "Deep": spaces.Dict(
        a=spaces.Box(-np.ones(9, np.float32), np.arange(9, dtype=np.float32)), b=spaces.Tuple([spaces.Text(3)])
    ),
    "Nothing": spaces.Dict({}),
}
ACTIONS = {
    **SPACES,
    "Box": spaces.Box(-1, 1, (2,)),
    "Unbounded": spaces.Box(-1, np.array([1, np.inf], np.float32)),
    "Empty": spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32)),
    "Integers": spaces.Box(-1, 1, (2,), np.int64),
}


class Faulty(gym.Env):
    """Episodes of 10 steps; from step `after` of an instance's life on, something goes wrong."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(
        self,
        render_mode: str | None = None,
        where: str = "",
        value: str = "nan",
        after: int = 0,
        obs: str = "",
        act: str = "",
    ) -> None:
        self.where, self.value, self.after, self.count = where, float(value), after, 0
        self.observation_space = OBSERVATIONS.get(obs, self.observation_space)
        self.action_space = ACTIONS.get(act, self.action_space)

    def observe(self, where: str) -> np.ndarray:
        obs = self.np_random.normal(size=3).astype(np.float32)
        if self.where == where and self.count >= self.after:
            obs[1] = self.value
        return obs

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.observe("reset"), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        self.count += 1
        bad = self.where == "reward" and self.count >= self.after
        return self.observe("step"), self.value if bad else 1.0, self.time == 10, False, {}


gym.register("rlsuite-tests/Faulty-v0", Faulty)
gym.register("rlsuite-tests/Text-v0", Faulty, kwargs={"obs": "Text"})


def faulty(algo: str, **kwargs: Any) -> dict[str, str]:
    """Settings of the environment above, with actions that fit the algorithm."""
    fitting = {"act": "Box"} if algo in CONTINUOUS else {}
    return {"env": "rlsuite-tests/Faulty-v0", "env_kwargs": json.dumps(fitting | kwargs)}


Refuse = Callable[..., str]


def one_line(err: str) -> str:
    """The message, checked for its form."""
    assert err.startswith("rlsuite: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert not re.search(r"-{4}|─", err), "part of a frame"
    return err.removeprefix("rlsuite: ").rstrip("\n")


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recwarn: Any) -> Refuse:
    """Give a door arguments in an empty folder and return its message, having checked that it is a refusal."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(door: Any, argv: list[str]) -> str:
        capsys.readouterr()
        assert door.main(argv) == 2
        assert list(folder.iterdir()) == [], "left something behind"
        assert [str(warning.message) for warning in recwarn] == []
        return one_line(capsys.readouterr().err)

    return call


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["pppo", "--env", "CartPole-v1"], "unknown algorithm 'pppo'; did you mean ppo?"),
        (["zzz", "--env", "CartPole-v1"], "unknown algorithm 'zzz'; there are a2c, .*ppo.*, vpg"),
        (["ppo"], "--env is missing"),
        (["ppo", "--seed", "1"], "--env is missing, for example: python -m rlsuite.run ppo --env "),
        (["ppo", "CartPole-v1"], "unexpected 'CartPole-v1'; did you mean --env CartPole-v1.$"),
        (["PPO", "--env", "CartPole-v1"], "unknown algorithm 'PPO'; did you mean ppo.$"),
        (["sac2"], "did you mean sac.$"),
        (["td4"], "did you mean td3.$"),
        (["DDQN"], "did you mean dqn --double-q.$"),
        (["ppo_continuous_action"], "did you mean ppo.$"),
        (["dqn", "--env", "CartPole-v1", "--lr", "1"], "unknown flag --lr; here it is --q-lr$"),
        (["sac", "--ent-coef", "0.1"], "unknown flag --ent-coef; here it is --alpha$"),
        (["ppo", "--env"], "--env needs a value"),
        (["--env", "CartPole-v1"], "unknown algorithm '--env'"),
    ],
)
def test_the_command_itself(argv: list[str], expected: str, refuse: Refuse) -> None:
    assert re.search(expected, refuse(rlsuite.run, argv))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ("CartPol-v1", "CartPol-v1.*[Dd]id you mean.*CartPole"),
        ("CartPole-v9", "CartPole-v9.*v1"),
        ("Ant-v2", "Ant-v2.*gymnasium-robotics"),
        ("nothing:Env-v0", "nothing:Env-v0.*No module named 'nothing'"),
        ("bad id!", "bad id!"),
        ("", "Malformed|needs a value"),
        ("NoSuchNamespace/Env-v0", "NoSuchNamespace"),
    ],
)
def test_an_unknown_environment(env: str, expected: str, refuse: Refuse, command: Any) -> None:
    assert re.search(expected, refuse(rlsuite.run, command("ppo", env=env)))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('Box2D is not installed, run `pip install "gymnasium[box2d]"`', 'pip install "rlsuite[box2d]"'),
        ('MuJoCo is not installed, run `pip install "gymnasium[mujoco]"`', 'pip install "rlsuite[mujoco]"'),
        ("pip install something\nsecond line", "pip install something"),
    ],
)
def test_an_environment_whose_package_is_missing(
    text: str, hint: str, refuse: Refuse, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*args: Any, **options: Any) -> None:
        raise gym.error.DependencyNotInstalled(text)

    monkeypatch.setattr("gymnasium.make", make)
    assert refuse(rlsuite.run, command("ppo", env="LunarLander-v3")).endswith(hint)


@pytest.mark.parametrize("space", OBSERVATIONS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_unsupported_observation_space(algo: str, space: str, refuse: Refuse, command: Any) -> None:
    message = refuse(rlsuite.run, command(algo, **faulty(algo, obs=space)))
    assert f"observation space {' '.join(str(OBSERVATIONS[space]).split())} is not supported; Box and Disc" in message
    assert "gymnasium.wrappers.TransformObservation" in message


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_unsupported_action_space(algo: str, space: str, refuse: Refuse, command: Any) -> None:
    if space == "MultiDiscrete" and algo not in OFF_POLICY:
        return
    message = refuse(rlsuite.run, command(algo, **faulty(algo, act=space)))
    assert re.search(rf"action.*{re.escape(str(SPACES[space]))}", message)
    way_out = r"use ppo, trpo, a2c or vpg$" if space == "MultiDiscrete" else r"gymnasium\.(wrappers\.)?\w+"
    assert re.search(way_out, message)


@pytest.mark.parametrize(
    ("algo", "env", "expected", "others"),
    [
        (
            "dqn",
            "Pendulum-v1",
            "dqn needs Discrete actions, .* Box(-2.0, 2.0, (1,), float32)",
            "ppo trpo a2c vpg cem ddpg td3 sac",
        ),
        *(
            (algo, "CartPole-v1", "this algorithm needs continuous actions, .* Discrete(2)", "dqn ppo trpo a2c vpg cem")
            for algo in CONTINUOUS
        ),
    ],
)
def test_actions_of_the_other_kind(
    algo: str, env: str, expected: str, others: str, refuse: Refuse, command: Any
) -> None:
    message, _, advice = refuse(rlsuite.run, command(algo, env=env)).partition("; use ")
    assert re.search(re.escape(expected).replace(r"\.\*", ".*"), message)
    assert set(others.split()) <= set(re.findall(r"\w+", advice))


@pytest.mark.parametrize("algo", CONTINUOUS)
@pytest.mark.parametrize("space", ["Unbounded", "Empty"])
def test_continuous_q_learning_needs_a_finite_range_for_every_action(
    space: str, algo: str, refuse: Refuse, command: Any
) -> None:
    message = refuse(rlsuite.run, command(algo, **faulty(algo, act=space)))
    assert f"finite bounds low < high for every action, and this environment's are {ACTIONS[space]}" in message
    assert re.search(r"gymnasium.wrappers.TransformAction, or use ppo, trpo, a2c, vpg or cem", message)


def test_ddpg_needs_actions_that_are_not_whole_numbers(refuse: Refuse, command: Any) -> None:
    assert f"{ACTIONS['Integers']}; use " in refuse(rlsuite.run, command("ddpg", **faulty("ddpg", act="Integers")))


PPO_REFUSES = [
    ("--totl-steps 5", "unknown flag --totl-steps; did you mean --total-steps?"),
    ("--clip-ration 0.1", "did you mean --clip-ratio?"),
    ("--zzzz 5", "unknown flag --zzzz; see --help"),
    ("--no-gamma 5", "unknown flag --no-gamma"),
    ("--no-normalize-obs=true", "--no-normalize-obs takes no value"),
    ("--log-std-init -inf", "--log-std-init is -inf, but must be a finite number"),
    ("-x", "-x"),
    ("--seed 0 0", "--seed has a value twice: 0 0"),
    ("--seed 0 --seed 1", "--seed is given twice"),
    ("--seed", "--seed needs a value"),
    ("--seed=", "--seed"),
    ("--hidden-sizes", "--hidden-sizes needs a value"),
    ("--preset NoSuch", "--preset NoSuch does not exist for ppo; there are .*CartPole-v1, .*none"),
    ("--total-steps -5", "--total-steps is -5, but must be from 1 to 10.15"),
    ("--total-steps 0", "--total-steps is 0"),
    ("--total-steps 1.5", "--total-steps.*1.5"),
    ("--total-steps 1.5e0", "--total-steps.*1.5e0"),
    ("--total-steps 1e-3", "--total-steps.*1e-3"),
    ("--total-steps 1.0", "--total-steps.*1.0"),
    ("--total-steps 1e1 10", "--total-steps has a value twice: 10 10"),
    ("--seed 0,1,2", "--seed 0,1,2: separate values by spaces, --seed 0 1 2$"),
    ("--hidden-sizes (64,32)", "--hidden-sizes .64,32.: separate values by spaces, --hidden-sizes 64 32$"),
    ("--activation tanh,relu", "separate values by spaces, --activation tanh relu$"),
    ("--lr 1e-3", "unknown flag --lr; here it is --pi-lr and --vf-lr$"),
    ("--learning-rate=1e-3", "unknown flag --learning-rate; here it is --pi-lr and --vf-lr$"),
    ("--n-steps 3", "here it is --rollout-len$"),
    ("--num-steps 3", "here it is --rollout-len$"),
    ("--gae-lambda 0.9", "here it is --lam$"),
    ("--update-epochs 3", "here it is --train-iters$"),
    ("--n-epochs 3", "here it is --train-iters$"),
    ("--batch-size 3", "here it is --minibatch-size$"),
    ("--epochs 3", "here it is --total-steps = epochs × steps_per_epoch$"),
    ("--hid 64", "here it is --hidden-sizes$"),
    ("--replay-size 3", "unknown flag --replay-size; rlsuite calls it --buffer-size, which is no setting here$"),
    ("--num-envs 0", "--num-envs is 0"),
    ("--rollout-len 0", "--rollout-len is 0"),
    ("--steps-per-epoch 0", "--steps-per-epoch is 0"),
    ("--minibatch-size 0", "--minibatch-size is 0"),
    ("--train-iters 0", "--train-iters is 0"),
    ("--gamma 1.5", "--gamma is 1.5, but must be from 0 to 1"),
    ("--gamma -0.1", "--gamma is -0.1"),
    ("--gamma nan", "--gamma is nan"),
    ("--gamma abc", "--gamma.*'abc'"),
    ("--gamma 0.9 1.1", "--gamma is 1.1"),
    ("--lam inf", "--lam is inf"),
    ("--lam nan", "--lam is nan"),
    ("--pi-lr -1", "--pi-lr is -1.0"),
    ("--pi-lr nan", "--pi-lr is nan"),
    ("--pi-lr inf", "--pi-lr is inf"),
    ("--vf-lr inf", "--vf-lr is inf"),
    ("--ent-coef inf", "--ent-coef is inf"),
    ("--ent-coef -1", "--ent-coef is -1.0"),
    ("--log-std-init nan", "--log-std-init is nan"),
    ("--log-std-init inf", "--log-std-init is inf"),
    ("--clip-ratio 0", "--clip-ratio is 0.0"),
    ("--target-kl 0", "--target-kl is 0.0.*inf"),
    ("--target-kl nan", "--target-kl is nan"),
    ("--max-grad-norm 0", "--max-grad-norm is 0.0"),
    ("--hidden-sizes 0", "--hidden-sizes is "),
    ("--hidden-sizes 64 -1", "--hidden-sizes is "),
    ("--hidden-sizes 64 abc", "--hidden-sizes.*abc"),
    ("--activation gelu", "'gelu'.*--activation.*tanh.*relu"),
    ("--lr-schedule cosine", "'cosine'.*--lr-schedule.*constant.*linear"),
    ("--normalize-obs maybe", "--normalize-obs.*'maybe'"),
    ("--normalize-obs true maybe", "--normalize-obs.*'maybe'"),
    ("--seed -1", "--seed is -1"),
    ("--seed 4294967296", "--seed is 4294967296"),
    ("--seed 1.5", "--seed.*'1.5'"),
    ("--device abacus", "--device abacus"),
    ("--torch-threads -1", "--torch-threads is -1"),
    ("--test-episodes -3", "--test-episodes is -3"),
    ("--test-episodes abc", "--test-episodes.*'abc'"),
    ("--exp-name a/b", "--exp-name 'a/b'"),
    ("--exp-name ..", "--exp-name '..'"),
    ("--env-kwargs {", "--env-kwargs must be a JSON object"),
    ("--env-kwargs [1]", "--env-kwargs must be a JSON object"),
    ('--env-kwargs {"nosuch":1}', "CartPole-v1.*nosuch"),
    ('--env-kwargs {"max_episode_steps":"a"}', "CartPole-v1.*max_episode_steps"),
]
OFF_POLICY_REFUSES = [
    ("--totl-steps 5", "unknown flag --totl-steps; did you mean --total-steps?"),
    ("--total-steps 0", "--total-steps is 0"),
    ("--steps-per-epoch 0", "--steps-per-epoch is 0"),
    ("--gamma 1.5", "--gamma is 1.5, but must be from 0 to 1"),
    ("--q-lr -1", "--q-lr is -1.0, but must be 0 or more"),
    ("--q-lr nan", "--q-lr is nan"),
    ("--q-lr inf", "--q-lr is inf"),
    ("--buffer-size 0", "--buffer-size is 0, but must be from 1 to 10"),
    ("--buffer-size 1.5", "--buffer-size.*1.5"),
    ("--replay-size 3", "here it is --buffer-size$"),
    ("--learning-starts 3", "here it is --start-steps and --update-after$"),
    ("--tau 0.005", "unknown flag --tau; here it is 1 − tau: --polyak 0.995$"),
    ("--tau=1e-3", "here it is 1 − tau: --polyak 0.999$"),
    ("--tau", "here it is --polyak = 1 − tau$"),
    ("--gae-lambda 0.9", "rlsuite calls it --lam, which is no setting here$"),
    ("--buffer-size 15", "--buffer-size 15 is smaller than a batch .--batch-size 16"),
    ("--buffer-size 17 --num-envs 32", "--buffer-size 17 is smaller than .*--num-envs 32"),
    (
        "--buffer-size 1000000000000",
        r"--buffer-size 1000000000000 would take \d\d,\d{3}\.\d GB.*at most [\d,]+ transitions",
    ),
    ("--batch-size 0", "--batch-size is 0, but must be from 1 to 10"),
    ("--batch-size 1001", "--buffer-size 1000 is smaller than a batch .--batch-size 1001"),
    ("--start-steps -1", "--start-steps is -1, but must be from 0 to 10"),
    ("--update-after -1", "--update-after is -1, but must be from 0 to 10"),
    ("--update-after 513", "--total-steps 512 ends before the first update, at env step 520 .--update-after 513"),
    ("--update-every 0", "--update-every is 0, but must be from 1 to 10"),
    ("--update-every 513", "--total-steps 512 ends before the first update, at env step 514 .*--update-every 513"),
    ("--update-every 300 --update-after 301", "before the first update, at env step 600"),
    ("--update-every 513 --update-after 0", "before the first update, at env step 514"),
    ("--gradient-steps 0", "--gradient-steps is 0, but must be from 1 to 10"),
    ("--polyak -0.1", "--polyak is -0.1, but must be from 0 to 1"),
    ("--polyak 1.1", "--polyak is 1.1"),
    ("--polyak nan", "--polyak is nan"),
    ("--max-grad-norm 0", "--max-grad-norm is 0.0"),
    ("--hidden-sizes 0", "--hidden-sizes is "),
    ("--num-test-episodes -1", "--num-test-episodes is -1, but must be from 0 to 10"),
    ("--num-test-episodes 1.5", "--num-test-episodes.*'1.5'"),
    ("--lr-schedule cosine", "'cosine'.*--lr-schedule.*constant.*linear"),
]
DQN_REFUSES = [
    ("--epsilon-start -0.1", "--epsilon-start is -0.1, but must be from 0 to 1"),
    ("--epsilon-start 1.1", "--epsilon-start is 1.1"),
    ("--epsilon-end -0.1", "--epsilon-end is -0.1, but must be from 0 to 1"),
    ("--epsilon-end 1.1", "--epsilon-end is 1.1"),
    ("--epsilon-share -0.1", "--epsilon-share is -0.1, but must be from 0 to 1"),
    ("--epsilon-share 2", "--epsilon-share is 2.0"),
    ("--target-every 0", "--target-every is 0, but must be from 1 to 10"),
    ("--loss hubber", "'hubber'.*--loss.*squared.*huber"),
    ("--double-q maybe", "--double-q.*'maybe'"),
    ("--pi-lr 0.1", "unknown flag --pi-lr"),
]
DDPG_REFUSES = [
    ("--pi-lr -1", "--pi-lr is -1.0, but must be 0 or more"),
    ("--act-noise 0", "--act-noise is 0.0, but must be above 0"),
    ("--act-noise inf", "--act-noise is inf"),
    ("--noise-corr 1", "--noise-corr is 1.0, but must be from 0 to below 1"),
    ("--noise-corr -0.1", "--noise-corr is -0.1"),
    ("--noise-schedule cosine", "'cosine'.*--noise-schedule.*constant.*linear"),
    ("--target-every 5", "unknown flag --target-every"),
]
TD3_REFUSES = [
    ("--policy-delay 0", "--policy-delay is 0, but must be from 1 to 10"),
    ("--target-noise -0.1", "--target-noise is -0.1, but must be 0 or more"),
    ("--noise-clip -1", "--noise-clip is -1.0, but must be 0 or more"),
]
SAC_REFUSES = [
    ("--alpha 0", "--alpha is 0.0, but must be above 0"),
    ("--alpha-lr -1", "--alpha-lr is -1.0, but must be 0 or more"),
    ("--target-entropy nan", "--target-entropy is nan, but must be a finite number"),
    ("--act-noise 0.1", "unknown flag --act-noise"),
]
CEM_REFUSES = [
    ("--population 0", "--population is 0, but must be from 1 to 10"),
    ("--elite-share 1.1", "--elite-share is 1.1, but must be from 0 to 1"),
    ("--std-init 0", "--std-init is 0.0, but must be above 0"),
    ("--noise-init -1", "--noise-init is -1.0, but must be 0 or more"),
    ("--episodes-per-candidate 0", "--episodes-per-candidate is 0"),
    ("--gamma 0.9", "unknown flag --gamma"),
]
REFUSALS = [
    *(("ppo", *case) for case in PPO_REFUSES),
    *((algo, *case) for algo in OFF_POLICY for case in OFF_POLICY_REFUSES),
    *(("dqn", *case) for case in DQN_REFUSES),
    *((algo, *case) for algo in ("ddpg", "td3") for case in DDPG_REFUSES),
    *(("td3", *case) for case in TD3_REFUSES),
    *(("sac", *case) for case in SAC_REFUSES),
    *(("cem", *case) for case in CEM_REFUSES),
    ("random", "--pi-lr 0.1", "unknown flag --pi-lr"),
]


@pytest.mark.parametrize(("algo", "flags", "expected"), REFUSALS)
def test_settings_that_make_no_sense(algo: str, flags: str, expected: str, refuse: Refuse, command: Any) -> None:
    given = {flag.partition("=")[0].lstrip("-").replace("-", "_"): None for flag in re.findall(r"--\S+", flags)}
    assert re.search(expected, refuse(rlsuite.run, [*command(algo, **given), *flags.split()]))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_train_called_with_the_name_of_an_environment(algo: str) -> None:
    with pytest.raises(UserError, match=r'train takes settings, such as Config\(env="CartPole-v1"\), not '):
        import_module(f"rlsuite.algos.{algo}").train("CartPole-v1")


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_train_called_with_an_environment_instead_of_a_function(algo: str) -> None:
    module = import_module(f"rlsuite.algos.{algo}")
    with pytest.raises(UserError, match="env_fn must be a function that makes a new environment at each call, such as"):
        module.train(module.Config("CartPole-v1"), gym.make("CartPole-v1"))


@pytest.mark.parametrize("desc", ['{"map_name": "9x9"}', '{"map_name": 3}'])
def test_an_environment_that_fails_in_its_constructor(desc: str, refuse: Refuse, command: Any) -> None:
    message = refuse(rlsuite.run, command("ppo", env="FrozenLake-v1", env_kwargs=desc))
    assert "FrozenLake-v1" in message


@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("ppo", {"env": ("CartPole-v1", "NoSuch-v1")}),
        ("ppo", {"num_envs": (2, 10**6)}),
        ("ppo", {"minibatch_size": (32, 0)}),
        ("ppo", {"gamma": (0.9, 2)}),
        ("ppo", {"env": ("CartPole-v1", "rlsuite-tests/Text-v0")}),
        ("dqn", {"buffer_size": (1000, 10**12)}),
        ("dqn", {"update_after": (64, 1000)}),
        ("dqn", {"env": ("CartPole-v1", "Pendulum-v1")}),
        ("ddpg", {"buffer_size": (1000, 10**12)}),
        ("ddpg", {"env": ("Pendulum-v1", "CartPole-v1")}),
    ],
    ids=str,
)
def test_a_bad_value_in_a_grid_is_found_before_the_first_run(
    algo: str, settings: dict[str, Any], refuse: Refuse, command: Any
) -> None:
    refuse(rlsuite.run, command(algo, **settings))


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_data_directory_that_can_not_be_written(folder: str, tmp_path: Path, refuse: Refuse, command: Any) -> None:
    (tmp_path / "file").touch()
    message = refuse(rlsuite.run, command("ppo", data_dir=tmp_path / folder))
    assert str(tmp_path / "file") in message
    assert "--data-dir" in message


def test_refusals_of_a_real_process(tmp_path: Path, python: Any, command: Any) -> None:
    doors = [("run", command("ppo", env="CartPol-v1")), ("play", ["nowhere"])]
    for door, argv in doors:
        done = python(tmp_path, "-m", f"rlsuite.{door}", *argv)
        assert (done.returncode, done.stdout) == (2, "")
        one_line(done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    return train(tmp_path_factory.mktemp("finished"), "ppo", total_steps=256)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit(run: Path, **changes: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **changes}))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "policy missing": (lambda run: (run / "policy.safetensors").unlink(), "policy.safetensors does not exist"),
    "policy truncated": (lambda run: truncate(run / "policy.safetensors"), "policy.safetensors can't be read"),
    "policy empty": (lambda run: (run / "policy.safetensors").write_bytes(b""), "policy.safetensors can't be read"),
    "policy garbage": (lambda run: (run / "policy.safetensors").write_bytes(b"\xff" * 999), "can't be read"),
    "policy a folder": (
        lambda run: [(run / "policy.safetensors").unlink(), (run / "policy.safetensors").mkdir()],
        "policy.safetensors",
    ),
    "config garbage": (lambda run: (run / "config.json").write_text("{nonsense"), "config.json is not valid JSON"),
    "config binary": (lambda run: (run / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json"),
    "config a list": (lambda run: (run / "config.json").write_text("[]"), "config.json holds a JSON list"),
    "config empty": (lambda run: (run / "config.json").write_text("{}"), "config.json names no algorithm"),
    "config missing": (lambda run: (run / "config.json").unlink(), "config.json names no algorithm"),
    "other sizes": (
        lambda run: edit(run, hidden_sizes=[32, 32]),
        "does not fit its config.json: pi.*bias.*64.*expected.*32",
    ),
    "fewer layers": (lambda run: edit(run, hidden_sizes=[64]), "does not fit its config.json"),
    "sizes of text": (
        lambda run: edit(run, hidden_sizes="abc"),
        "config.json: --hidden-sizes is 'abc', but",
    ),
    "sizes null": (
        lambda run: edit(run, hidden_sizes=None),
        "config.json: --hidden-sizes is None, but",
    ),
    "sizes negative": (lambda run: edit(run, hidden_sizes=[-1]), r"config.json: --hidden-sizes is \[-1\], but must be"),
    "other spaces": (lambda run: edit(run, env="Acrobot-v1"), "does not fit its config.json"),
    "unsupported spaces": (
        lambda run: edit(run, env="rlsuite-tests/Text-v0"),
        "observation space",
    ),
    "other spaces, flattened": (lambda run: edit(run, env="Blackjack-v1"), "does not fit its config.json"),
    "env unknown": (lambda run: edit(run, env="NoSuch-v1"), "NoSuch"),
    "env a number": (lambda run: edit(run, env=3), "env"),
    "env_kwargs garbage": (lambda run: edit(run, env_kwargs="{"), "--env-kwargs must be a JSON object"),
    "own network": (lambda run: edit(run, network="mine.Wide"), "network class of its own"),
    "own environment": (lambda run: edit(run, custom_env=True), "environment function"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_play_of_a_damaged_run(damage: str, run: Path, refuse: Refuse) -> None:
    do, expected = DAMAGE[damage]
    do(run)
    assert re.search(expected, refuse(rlsuite.play, [str(run)]))


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        (lambda run: truncate(run / "episodes" / "epoch_000001.safetensors"), "epoch_000001.safetensors can't be read"),
        (lambda run: shutil.rmtree(run / "episodes"), "no episode of epoch 1: none has been saved yet"),
        (
            lambda run: shutil.copy(run / "policy.safetensors", run / "episodes" / "epoch_000001.safetensors"),
            "epoch_000001.safetensors holds no best episode",
        ),
    ],
    ids=["truncated", "missing", "another file"],
)
def test_replay_of_a_damaged_episode(do: Any, expected: str, run: Path, refuse: Refuse) -> None:
    do(run)
    assert re.search(expected, refuse(rlsuite.play, [str(run), "--best"]))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--epoch 1", "--epoch goes with --best or --worst"),
        ("--epoch 9 --best", "no episode of epoch 9: there are some for epochs 1 to 1"),
        ("--epoch 0 --best", "--epoch must be at least 1"),
        ("--epoch one --best", "one"),
        ("--best --worst", "--best and --worst exclude each other"),
        ("--episodes 0", "--episodes.* at least 1"),
        ("--episodes two", "two"),
        ("--seed -1", "--seed at least 0"),
        ("--video film.avi", r"--video film.avi must end in .mp4 or .gif"),
        ("--video film", r"--video film must end in"),
        ("--video no/film.mp4", "no"),
        ("--video film.mp4 --render", "--render and --video exclude each other"),
        ("--video", "--video"),
        ("--epizodes 3", "--epizodes"),
    ],
)
def test_play_refuses(flags: str, expected: str, finished: Path, refuse: Refuse) -> None:
    assert re.search(expected, refuse(rlsuite.play, [str(finished), *flags.split()]))


def test_play_needs_a_run(refuse: Refuse) -> None:
    refuse(rlsuite.play, [])


def test_play_refuses_an_environment_that_can_not_be_rendered(tmp_path: Path, train: Any, refuse: Refuse) -> None:
    run = train(tmp_path / "data", "ppo", env="rlsuite-tests/Faulty-v0", total_steps=128)
    message = refuse(rlsuite.play, [str(run), "--video", "film.gif"])
    assert "render" in message


@pytest.mark.parametrize("door", [rlsuite.play, rlsuite.plot], ids=["play", "plot"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [("nowhere", "nowhere does not exist"), ("file", "file is a file"), ("folder", "no progress.txt")],
)
def test_paths_without_a_run(door: Any, path: str, expected: str, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert expected in refuse(door, [str(tmp_path / path)])


@pytest.mark.parametrize("damage", ["config garbage", "config binary", "config a list"])
def test_plot_of_a_damaged_run(damage: str, run: Path, refuse: Refuse) -> None:
    do, expected = DAMAGE[damage]
    do(run)
    assert re.search(expected, refuse(rlsuite.plot, [str(run)]))
    assert list(run.glob("*.png")) == []


def test_plot_of_a_run_without_rows(run: Path, refuse: Refuse) -> None:
    (run / "progress.txt").write_text("")
    refuse(rlsuite.plot, [str(run)])


def test_value_map_of_a_damaged_snapshot(run: Path, refuse: Refuse) -> None:
    for path in run.glob("snapshots/*"):
        truncate(path)
    assert "can't be read" in refuse(rlsuite.plot, [str(run), "--value-map"])


def stopped(capsys: pytest.CaptureFixture[str], folder: Path) -> tuple[str, Path]:
    """The message of a training that bad numbers have stopped, and its run; what it says about the policy is true."""
    message = one_line(capsys.readouterr().err)
    (run,) = find_runs([folder])
    kept = message.endswith(f"; the policy of the last good epoch is in {run}")
    assert (run / "policy.safetensors").exists() is kept
    assert ("last good epoch" in message) is kept
    return message, run


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("where", ["reset", "step", "reward"])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_bad_numbers_from_the_environment(
    algo: str,
    where: str,
    value: str,
    tmp_path: Path,
    command: Any,
    capsys: pytest.CaptureFixture[str],
    recwarn: Any,
) -> None:
    env = faulty(algo, where=where, value=value, after=145)
    argv = command(algo, **env, total_steps=512, steps_per_epoch=128, data_dir=tmp_path)
    assert rlsuite.run.main(argv) == 3
    message, run = stopped(capsys, tmp_path)
    # Episodes have 10 steps: step 145 is the fifth of an episode, and the next reset follows step 150.
    tensor, when, env_step = {
        "reset": ("observation", "reset", 300),
        "step": ("observation", "step 5", 290),
        "reward": ("reward", "step 5", 290),
    }[where]
    assert f"{tensor} of environment 0 is not finite" in message
    assert f"at {when} of the episode" in message
    assert "likely cause" in message
    step = int(re.search(r"env step (\d+)", message).group(1))
    assert abs(step - env_step) <= 2
    assert where != "reward" or f"({value})" in message
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [128, 256]
    assert not (run / "result.json").exists()
    assert all(np.isfinite(p.detach().numpy()).all() for p in load(run).ac.parameters())
    assert rlsuite.play.main([str(run), "--best"]) == 0
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_first_observation_that_is_bad_leaves_nothing(
    algo: str, tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(algo, **faulty(algo, where="reset"), data_dir=tmp_path / "data")
    assert rlsuite.run.main(argv) == 3
    assert "observation of environment 0 is not finite" in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["1e38", "1e39"])
@pytest.mark.parametrize("algo", GRADIENT)
def test_rewards_too_large_for_float32(
    algo: str, value: str, tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str], recwarn: Any
) -> None:
    env = faulty(algo, where="reward", value=value, after=200)
    argv = command(algo, **env, total_steps=1024, data_dir=tmp_path)
    assert rlsuite.run.main(argv) == 3
    message, run = stopped(capsys, tmp_path)
    expected = {
        "1e38": "the (gradient of Loss(Pi|V|Q)|advantage of step) .*rewards",
        "1e39": r"environment 0 failed at step \d+ .* its reward 1e\+39 is too large",
    }
    assert re.match(expected[value], message)
    assert "step" in message
    assert read_progress(run)["TotalEnvInteracts"].tolist() == [256]
    assert all(np.isfinite(p.detach().numpy()).all() for p in load(run).ac.parameters())
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("algo", GRADIENT)
def test_a_learning_rate_far_too_high(
    algo: str, tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = "q_lr" if algo in OFF_POLICY else "vf_lr"
    assert rlsuite.run.main(command(algo, **{rate: 1e30}, data_dir=tmp_path)) == 3
    message, run = stopped(capsys, tmp_path)
    assert re.match(r"the gradient of Loss(Pi|V|Q) .*(inf|nan) at gradient step \d+; .*learning rate", message)
    assert read_progress(run) == {}


def test_large_but_finite_observations_train_without_a_warning(
    tmp_path: Path, command: Any, recwarn: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    kwargs = json.dumps({"where": "step", "value": "1e30", "after": 20})
    assert rlsuite.run.main(command("ppo", env="rlsuite-tests/Faulty-v0", env_kwargs=kwargs, data_dir=tmp_path)) == 0
    assert [str(warning.message) for warning in recwarn] == []
    assert capsys.readouterr().err == ""


def test_observations_too_large_to_standardise(
    tmp_path: Path, command: Any, recwarn: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    kwargs = json.dumps({"where": "step", "value": "1e30", "after": 20})
    argv = command("ppo", env="rlsuite-tests/Faulty-v0", env_kwargs=kwargs, data_dir=tmp_path, normalize_obs=True)
    if rlsuite.run.main(argv):
        assert "observation" in one_line(capsys.readouterr().err)
    else:
        assert all(np.isfinite(p.detach().numpy()).all() for p in load(find_runs([tmp_path])[0]).ac.parameters())
    assert [str(warning.message) for warning in recwarn] == []


def test_the_other_runs_of_a_grid_go_on(tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert rlsuite.run.main(command("ppo", vf_lr=(1e30, 1e-3), data_dir=tmp_path)) == 3
    results = {json.loads((run / "config.json").read_text())["vf_lr"]: run for run in find_runs([tmp_path])}
    assert not (results[1e30] / "result.json").exists()
    assert (results[1e-3] / "result.json").exists()
    failed, left = capsys.readouterr().err.splitlines()
    assert "LossV" in failed
    assert left.startswith("rlsuite: 1 of 2 runs are left (--vf-lr 1e+30); go on with: ")


def test_bad_numbers_in_a_real_process(tmp_path: Path, python: Any, command: Any) -> None:
    (tmp_path / "huge.py").write_text(
        "import gymnasium as gym\n"
        "def make():\n"
        "    return gym.wrappers.TransformReward(gym.make('CartPole-v1'), lambda reward: 1e38)\n"
        "gym.register('Huge-v0', make)\n"
    )
    done = python(tmp_path, "-m", "rlsuite.run", *command("ppo", env="huge:Huge-v0"), "--quiet")
    assert (done.returncode, done.stdout) == (3, "")
    message = one_line(done.stderr)
    assert "rewards" in message
    assert "1e+38" in message
