"""Programs for several processes: `mpiexec -n N python tests/rank_programs.py NAME ARGUMENT ...`; see test_mpi.py."""

import functools
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from rlsuite import mpi
from rlsuite.algos.random import UniformPolicy
from rlsuite.common import replay, training
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.health import Averages, Epoch, StateScale, common_health
from rlsuite.common.logger import Logger
from rlsuite.common.replay import ReplayBuffer, Transitions
from rlsuite.envs.evaluation import test_episodes
from rlsuite.envs.making import make_env
from rlsuite.envs.stepping import Envs
from rlsuite.errors import UserError
from rlsuite.run import main
from rlsuite.rundir.checkpoint import Checkpoint
from rlsuite.rundir.policies import policy_arrays

# ---- whole updates: 6 environments of one rank, or their shares on 2 or 3 ranks, see and do the same

ENVIRONMENTS = 6
STEPS = 9  # of each
TESTS = 5


class Scripted(gym.Env):
    """What happens is written down for each environment, whatever is done; to a seed, for test episodes."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def __init__(self, act_space: spaces.Space[Any], number: int) -> None:
        self.action_space, self.number, self.time = act_space, number, 0
        self.script = np.random.default_rng(number)
        self.ended = 0

    @property
    def is_test(self) -> bool:
        return self.number >= ENVIRONMENTS

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if self.is_test:
            self.script = np.random.default_rng(seed)
        return self.observe(), {}

    def observe(self) -> NDArray[np.float32]:
        return self.script.normal(self.number % 4, 1 + self.number % 3, 3).astype(np.float32)

    def step(self, action: Any) -> Any:
        rew, end = self.script.normal(), self.script.random()
        self.ended += end < 0.25
        return self.observe(), rew, end < 0.15, 0.15 <= end < 0.25, {}


class Decided(ActorCritic):
    """Takes actions that follow from the observation, not from a rank's own random numbers.

    One hidden unit of its value function has no weights, and so is dead.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        with torch.no_grad():
            self.v.layers[0].weight[0] = 0
            self.v.layers[1].weight[:, 0] = 0

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        noise = np.sin(100 * obs)
        if isinstance(self.act_space, spaces.Discrete):
            return (noise[:, 0] > 0).astype(np.int64) + (noise[:, 1] > 0)
        if isinstance(self.act_space, spaces.MultiDiscrete):
            return (noise > 0).astype(np.int64)[:, :2] + np.array([0, 1]) * (noise[:, 2:] > 0)
        return (self.mode(obs) + noise[:, :2]).astype(np.float32)


def explore(q: NDArray[Any], epsilon: float, rng: Any) -> NDArray[Any]:
    """For DQN: an action that follows from the values."""
    return (q.argmax(1) + (np.sin(1e4 * q[:, 0]) > 0.5)) % q.shape[1]


def sample(buf: ReplayBuffer, batch_size: int) -> Transitions:
    """All transitions of the last four steps."""
    steps = buf.newest(4)
    assert len(steps.rew) * ENVIRONMENTS == batch_size
    fields = (getattr(steps, name) for name in Transitions._fields)
    return Transitions(*(torch.as_tensor(a.reshape(-1, *a.shape[2:])) for a in fields))


DISCRETE, BOX = spaces.Discrete(3), spaces.Box(np.array([-1, 0], np.float32), np.array([3, 1], np.float32))
COMPONENTS = spaces.MultiDiscrete([2, 3])
ON_POLICY = {"rollout_len": STEPS, "normalize_obs": True, "scale_reward": True}
OFF_POLICY = {"start_steps": 0, "update_after": 4 * ENVIRONMENTS, "update_every": 6, "batch_size": 4 * ENVIRONMENTS}
OFF_POLICY |= {"buffer_size": 1000, "num_test_episodes": TESTS, "normalize_obs": True, "activation": "tanh"}
BONUS, CLIPPED = {"ent_coef": 0.01}, {"max_grad_norm": 0.3}
PPO = {"minibatch_size": 3 * ENVIRONMENTS, "train_iters": 6, "target_kl": 2e-4, "pi_lr": 3e-3}
PPO |= {"clip_ratio": 0.01, **BONUS}
TRPO = {"minibatch_size": 3 * ENVIRONMENTS, "train_v_iters": 2, "target_kl": 0.1}
TRPO |= {"rollout_len": 3, "cg_iters": 5}
UPDATES: dict[str, tuple[spaces.Space[Any], dict[str, Any]]] = {
    "vpg": (DISCRETE, {**ON_POLICY, **BONUS, "train_v_iters": 5}),
    "vpg-box": (BOX, {**ON_POLICY, **BONUS, "train_v_iters": 5}),
    "a2c": (DISCRETE, {**ON_POLICY, **BONUS}),
    "a2c-box": (BOX, {**ON_POLICY, **BONUS}),
    "ppo": (DISCRETE, {**ON_POLICY, **PPO}),
    "ppo-box": (BOX, {**ON_POLICY, **PPO}),
    "ppo-components": (COMPONENTS, {**ON_POLICY, **PPO, "kl_coef": 0.1}),
    "trpo": (DISCRETE, {**ON_POLICY, **TRPO}),
    "trpo-box": (BOX, {**ON_POLICY, **TRPO}),
    "dqn": (DISCRETE, {**OFF_POLICY, "target_every": 12, "polyak": 0.5, "q_lr": 0.02, "epsilon_end": 0.1, **CLIPPED}),
    "ddpg": (BOX, {**OFF_POLICY, "act_noise": 0.2, "pi_lr": 0.3, "q_lr": 0.01}),
    "td3": (BOX, {**OFF_POLICY, "act_noise": 0.2, "pi_lr": 0.3, "q_lr": 0.01}),
    "sac": (BOX, {**OFF_POLICY, "pi_lr": 0.03, "q_lr": 0.01, "alpha": 0.5, "alpha_lr": 0.02, **CLIPPED}),
}


def updates(folder: str) -> None:
    """One epoch of every algorithm, with all its updates; what came out goes to folder/<name>_rank<r>.npz."""
    mine = ENVIRONMENTS // mpi.size
    for name, (act_space, settings) in UPDATES.items():
        algo = name.partition("-")[0]
        module = import_module(f"rlsuite.algos.{algo}")
        made: list[Scripted] = []

        def env_fn(act_space: Any = act_space, made: list[Scripted] = made) -> gym.Env:
            number = mpi.rank * mine + len(made) if len(made) < mine else ENVIRONMENTS
            made.append(Scripted(act_space, number))
            return made[-1]

        shape = {"num_envs": mine, "total_steps": ENVIRONMENTS * STEPS, "steps_per_epoch": ENVIRONMENTS * STEPS}
        config = module.Config("scripted", hidden_sizes=(8,), **shape, **settings)
        network = {"actor_critic": Decided} if "rollout_len" in settings else {}
        with (
            patch.object(torch, "randperm", lambda n, **_: torch.arange(n)),  # in the order of time
            patch.object(training, "RANDOM_STEPS", 10 * mine),
            patch.object(ReplayBuffer, "sample", sample),
            patch.object(module, "explore", explore, create=True),  # of DQN
            patch.object(module, "next_noise", lambda z, *_: 0 * z, create=True),  # of DDPG and TD3
            patch.object(torch, "randn_like", torch.zeros_like),  # of TD3 and SAC
        ):
            ac = module.train(config, env_fn, logger=Logger(name, folder, quiet=True), **network)
        tests = sum(env.ended for env in made if env.is_test)
        np.savez(Path(folder) / f"{name}_rank{mpi.rank}.npz", **policy_arrays(ac), tests=tests)


# ---- what is pooled, split and counted


def pooled(folder: str) -> None:
    """Statistics, shares and memory of two ranks, and test episodes, whose statistics go to folder/tests.json."""
    envs = Envs(lambda: make_env(["rlsuite/OneStep-v0", "rlsuite/ConstantReward-v0"][mpi.rank]), 1, seed=0)
    envs.reset()
    assert len(set(mpi.gather_objects(envs.ep_seed[0]))) == 2

    def epoch(*steps: int) -> Any:
        for _ in range(steps[mpi.rank]):
            envs.step(np.zeros(1, np.int64))
        return envs.end_epoch()

    stats, episodes = epoch(3, 20)  # returns 1, 1, 1 and 20
    means = stats["AverageEpRet"], stats["MaxEpRet"], stats["MinEpRet"], stats["EpLen"]
    assert means == (23 / 4, 20, 1, 23 / 4), stats
    assert (episodes["best"].ret, episodes["worst"].ret, len(episodes["best"].actions)) == (20, 1, 20)
    stats, episodes = epoch(2, 19)  # no episode of rank 1 ends
    assert (stats["AverageEpRet"], episodes["best"].ret) == (1, 1)
    stats, episodes = epoch(0, 0)
    assert math.isnan(stats["AverageEpRet"])
    assert episodes == {}

    averages = Averages("never")
    averages.add(3 - mpi.rank, Loss=mpi.rank)  # weights 3 and 2, values 0 and 1
    averages.add_max(Ratio1=mpi.rank)
    means = averages.means()
    assert math.isnan(means.pop("never"))
    assert means == {"Loss": 2 / 5, "Ratio1": 1}, means

    assert (mpi.share(17), mpi.share(2), mpi.mean(mpi.rank), mpi.ranks_on_this_host()) == (9, 1, 0.5, 2)
    buf = ReplayBuffer(17, envs, np.random.default_rng(0), torch.device("cpu"))
    assert buf.slots == 9 + 1
    obs = np.zeros((1, 1), np.float32)
    buf.store(obs, np.zeros(1), np.zeros(1), obs, np.zeros(1, bool), np.zeros(1, bool))
    assert len(buf.sample(17).rew) == 9

    epoch = Epoch(1, [1], UniformPolicy(envs.obs_space, envs.act_space, None), StateScale())
    epoch.note(np.zeros(1, np.float32), entropy=mpi.rank)
    epoch.keep_steps(buf.newest(1), np.zeros((1, 1), np.float32))
    assert common_health(epoch, envs.obs_space, envs.act_space)["Entropy"] == 0.5

    spaces_of = envs.obs_space, envs.act_space
    wanted = replay.check_memory(10**6, 1, *spaces_of)
    one_share = wanted / 2
    assert abs(one_share - 500_000 * (4 + 8 + 4 + 1 + 4)) < 1000  # for a million transitions, half of them on each rank
    for free, fits in ((1.5 * one_share, False), (2.5 * one_share, True)):
        with patch.object(replay.psutil, "virtual_memory", lambda free=free: type("Memory", (), {"available": free})):
            assert refuses(lambda: replay.check_memory(10**6, 1, *spaces_of)) is not fits

    result = played_tests()
    assert mpi.gather_objects(result["stats"])[0] == result["stats"]
    assert mpi.gather_objects(result["episodes"]) == [3, 2]
    if mpi.rank == 0:
        Path(folder, "tests.json").write_text(json.dumps(result["stats"]))


def refuses(call: Callable[[], Any]) -> bool:
    try:
        call()
    except UserError:
        return True
    return False


def played_tests() -> dict[str, Any]:
    """Five test episodes, and how many of them this rank has played."""
    env = Scripted(DISCRETE, ENVIRONMENTS)
    stats = test_episodes(lambda obs: np.zeros(len(obs), np.int64), env, TESTS, seed=7)
    return {"stats": stats, "episodes": env.ended}


# ---- the command line, as it is or with something that goes wrong


def door(lines: str) -> None:
    """Command lines, one after the other; after each epoch the networks must be equal everywhere, to the bit."""
    save = Checkpoint.save

    def compared(self: Checkpoint, epoch: int, last: bool) -> None:
        arrays = policy_arrays(self.parts["ac"])
        everywhere = mpi.gather_objects(hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest())
        assert len(everywhere) == mpi.size > 1
        assert len(set(everywhere)) == 1, everywhere
        save(self, epoch, last)

    with patch.object(Checkpoint, "save", compared):
        for words in json.loads(lines):
            assert main(words) == 0


def faulty(how: str, *words: str) -> None:
    """A command line that goes wrong on rank 1 after 700 env steps: `kill` or `raise`."""
    step = Envs.step

    def wrong(self: Envs, act: Any) -> Any:
        if mpi.rank == 1 and isinstance(self.seed_of, functools.partial) and self.total_steps >= 700:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the simulation has exploded")
        return step(self, act)

    with patch.object(Envs, "step", wrong):
        sys.exit(main(words))


def interrupted(*words: str) -> None:
    """An interrupt that reaches both ranks at once, of which rank 1 takes long to save."""
    step, close = Envs.step, Checkpoint.close

    def stop(self: Envs, act: Any) -> Any:
        if self.total_steps == 700 and isinstance(self.seed_of, functools.partial):
            raise KeyboardInterrupt
        return step(self, act)

    def slow(self: Checkpoint) -> None:
        time.sleep(1.5 * mpi.rank)
        close(self)

    with patch.object(Envs, "step", stop), patch.object(Checkpoint, "close", slow):
        sys.exit(main(words))


def waiting(on: str) -> None:
    """An interrupt, which finds rank 0 waiting for a message of rank 1, and rank 1 elsewhere."""

    def ring(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 1)
    said = "came through"
    try:
        if mpi.rank == 1:
            time.sleep(10)
        mpi.average_(torch.ones(3)) if on == "average" else mpi.gather_objects(None)
    except KeyboardInterrupt:
        said = "interrupted"
    begun = time.monotonic()
    mpi.wait_for_all(seconds=20)
    Path(f"rank{mpi.rank}").write_text(f"{said}, waited {'long' if time.monotonic() - begun > 15 else 'briefly'}")
    time.sleep(1)  # the other one writes too
    mpi.abort(130)


# ---- errors in a program of the user's, which calls `train`


class Exploding(gym.Env):
    """Raises at its tenth step."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        if self.time == 10:
            happens("the simulation has exploded")
        return np.zeros(2, np.float32), 1.0, False, False, {}


class Calm(Exploding):
    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 1.0, False, False, {}


def happens(text: str, kind: type[BaseException] = RuntimeError) -> None:
    """Raise an error, and note when."""
    Path("when").write_text(str(time.time()))
    raise kind(text)


def user_program(where: str) -> None:
    """A program that fails on one rank, `where`; the others wait in a training, or for a message."""
    from rlsuite.algos import ppo

    config = ppo.Config("mine", total_steps=10**6, num_envs=1, rollout_len=8, steps_per_epoch=16, minibatch_size=16)
    if where == "in training":
        ppo.train(config, Exploding if mpi.rank == 1 else Calm)
    elif where == "caught":
        try:
            ppo.train(config, Exploding if mpi.rank == 0 else Calm)
        except Exception:
            time.sleep(60)
    elif where == "before training":
        ppo.train(config, (lambda: happens("no such robot")) if mpi.rank == 1 else Calm)
    elif where == "bad input":
        ppo.train(config, (lambda: happens("no such robot", UserError)) if mpi.rank == 1 else Calm)
    elif mpi.rank == 1:
        happens("a slip of the user's", KeyboardInterrupt if where == "interrupted" else ZeroDivisionError)
    else:
        mpi.gather_objects(None)


if __name__ == "__main__":
    torch.set_num_threads(1)
    globals()[sys.argv[1]](*sys.argv[2:])
