"""The frame around a main loop: run directory, epochs, annealing, saving, resuming, closing. Nothing learns here."""

import math
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import torch

from rlsuite import mpi, settings
from rlsuite.common.console import acting, returns
from rlsuite.common.health import Epoch, StateScale
from rlsuite.common.logger import Logger
from rlsuite.common.optim import FlatOptimizer, FlatParameters
from rlsuite.common.replay import ReplayBuffer
from rlsuite.envs.evaluation import test_episodes
from rlsuite.envs.recording import look
from rlsuite.envs.spaces import is_flattened
from rlsuite.envs.stepping import Envs
from rlsuite.rundir.checkpoint import Checkpoint, GlobalGenerators, signals_wait
from rlsuite.rundir.policies import save_best_policy, save_episodes, save_policy, save_snapshot

RANDOM_STEPS = 1000  # env steps of each rank, for the first statistics of observations
LOOKS = 10  # parts of a run after each of which, but the last, its log is looked at for what is wrong
SNAPSHOTS = 6  # epochs of a run whose policy is kept, for value maps
CONFIRMING = 20  # test episodes that have to reach `stop_at` too
LOOK_SHARE = 0.1  # of the budget in env steps that random play at the start takes at most
ENOUGH_EPISODES = 5  # finished episodes of an epoch whose mean says something about the policy


class Training:
    """A training from its first step, or from its last checkpoint, to its end: `with Training(...) as training`."""

    def __init__(self, algo: str, config: Any, logger: Logger | None, envs: Envs, ac: Any, **parts: Any) -> None:
        """Take what the training is made of. Nothing is created yet.

        Args:
            algo: the algorithm's name.
            config: its settings.
            logger: where to write; None for `data/<algo>_<env>/<timestamp>_s<seed>/`.
            envs: the environments.
            ac: the networks; also saved as the policy to play and share.
            parts: everything else that changes during training, see `Checkpoint`. Optimisers are found among them.
        """
        self.algo, self.config, self.logger, self.envs, self.ac = algo, config, logger or Logger(), envs, ac
        self.optimizers = [part for part in parts.values() if isinstance(part, FlatParameters)]
        self.memory = next((part for part in parts.values() if isinstance(part, ReplayBuffer)), None)
        self.state_scale = StateScale()
        self.returns = EpochReturns()
        self.recording: Any = None  # of random play at the start
        self.parts = {"ac": ac, "envs": envs, "state_scale": self.state_scale, "returns": self.returns, **parts}
        self.total_steps = _round_up(config.total_steps, envs.together)
        self.finished = 0  # epochs
        self.last_epoch = 0
        for opt in self.optimizers:
            if isinstance(opt, FlatOptimizer) and config.compile:  # other parameters need what torch does not compile
                opt.module.compile(dynamic=True)  # one program for all batch sizes

    def __enter__(self) -> "Training":
        """Create the run directory, or open it and go back to its last checkpoint.

        Raises:
            UserError: it can't be written, or can't be resumed.
        """
        try:
            self._begin()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _begin(self) -> None:
        network = f"{type(self.ac).__module__}.{type(self.ac).__qualname__}"
        logger, envs = self.logger, self.envs
        if logger.stop_at < math.inf:
            self.test_env = envs.another()
        if not logger.resume:
            self._first_observations()  # before anything is written: an environment may fail at once
        facts = {"network": network, "custom_env": envs.custom, "num_threads": torch.get_num_threads()}
        if mpi.rank == 0 and not logger.resume:
            facts["random_play"] = self._random_play()
        run_dir = logger.start(self.algo, self.config, self.total_steps, lambda: envs.total_steps, **facts)
        self.run_dir = run_dir
        if logger.resume:  # another number of threads adds in another order, and so rounds differently
            saved = mpi.gather_objects(logger.saved("num_threads"))[0]
            torch.set_num_threads(saved if isinstance(saved, int) and saved > 0 else self.config.torch_threads or 1)
        self.checkpoint = Checkpoint(run_dir, logger, logger.checkpoint_every, self.parts)
        if self.recording is not None and logger.advise and not logger.quiet:
            for text in logger.advise(self.recording):
                logger.say(f"rlsuite: {text}")
        self.recording = None  # it would fill the memory
        if is_flattened(envs.raw_obs_space):
            kind, features = type(envs.raw_obs_space).__name__, envs.obs_shape[0]
            logger.say(f"{kind} observations are flattened by gymnasium.spaces.flatten, to {features} numbers each")
        if self.memory is not None:
            size = f"{self.memory.nbytes / 1e6:,.1f} MB for {self.config.buffer_size:,} transitions"
            logger.say(f"replay buffer: {size}" + (f" on each of {mpi.size} ranks" if mpi.size > 1 else ""))
        log = self.checkpoint.restore() if logger.resume else None
        if log is not None:
            self._continue(log)
            return
        if logger.resume:
            self._first_observations()
            logger.begin_anew()
            logger.say("no epoch was finished: this run starts from its beginning")
        if self.ac.encode.normalize:
            logger.say(f"first statistics of observations: {RANDOM_STEPS:,} random steps, not counted in the budget")

    def _random_play(self) -> dict[str, Any]:
        """What random play returns here, for config.json. The training that follows is the same as without it."""
        generators = GlobalGenerators()
        before = generators.state_dict()  # an environment may draw from them
        facts, self.recording = look(self.envs.apart, int(LOOK_SHARE * self.total_steps), self.config.seed)
        generators.load_state_dict(before)
        return facts

    def _first_observations(self) -> None:
        """Begin an episode everywhere, after random steps that fill the statistics of observations if there are any."""
        if self.ac.encode.normalize:
            self.ac.encode.update(self.envs.random_observations(RANDOM_STEPS))
        self.envs.reset()

    def _continue(self, log: dict[str, Any]) -> None:
        self.finished = self.checkpoint.epoch
        if self.memory is not None and self.envs.restarted:
            self.memory.end_episodes(self.envs.restarted)
            self.checkpoint.store_again(self.memory.num_envs)
        warnings = [text for part in mpi.gather_objects(self.envs.warnings) for text in part]
        self.logger.continue_log(log, self.finished, warnings)
        self.logger.say(f"resumed after epoch {self.finished}, {self.envs.total_steps:,} env steps")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Save the last whole epoch and close everything; an error on one of several ranks ends them all."""
        # Of an interrupt mpiexec has told on the terminal, below our table.
        self.logger.close_table(redraw=mpi.size == 1 or error is None or isinstance(error, Exception))
        if hasattr(self, "checkpoint"):
            self.checkpoint.close()
        if isinstance(error, Exception):
            self.logger.save_error(error)
        self.logger.close()
        self.envs.close()
        if isinstance(error, Exception):
            mpi.end_all(error)
        elif error is not None:
            # A signal, which reaches all ranks: the first to end must not stop the others' saving.
            mpi.wait_for_all(seconds=5)

    def epochs(self, rollout_len: int = 1, losses: tuple[str, ...] = ()) -> Iterator[Epoch]:
        """The epochs that are left of the budget; none is begun once the logger's `stop_at` has been reached.

        Args:
            rollout_len: steps of each environment between two updates. Less than half a rollout at the end of the
                budget is joined to the one before: an update on a handful of samples would do harm.
            losses: columns that are NaN in an epoch without gradient steps.
        """
        epoch_steps = _round_up(self.config.steps_per_epoch, rollout_len * self.envs.together)
        self._say_what_is_rounded(epoch_steps)
        left = (self.total_steps - self.envs.total_steps) // self.envs.together
        plan = list(plan_epochs(left, epoch_steps // self.envs.together, rollout_len))
        self.last_epoch = self.finished + len(plan)
        for number, rollouts in enumerate(plan, start=self.finished + 1):
            if self._reached():  # of a resumed run, too, this is the first question
                break
            for opt in self.optimizers:
                opt.begin_epoch()
            yield Epoch(number, rollouts, self.ac, self.state_scale, losses)

    def _reached(self) -> bool:
        """Whether the last epoch's mean return was `stop_at` or more, and test episodes confirm it; says so."""
        goal = self.logger.stop_at
        if self.returns.last < goal:
            return False
        tests = test_episodes(self.ac.mode, self.test_env, CONFIRMING, self.config.seed)["AverageTestEpRet"]
        (ret,), (tested,), (wanted,) = returns(self.returns.last), returns(tests), returns(goal)
        found = f"epoch {self.finished} returned {ret} and {CONFIRMING} {acting(self.ac)} test episodes {tested}"
        if tests < goal:
            self.logger.say(f"{found}, less than --stop-at {wanted}: training goes on")
            return False
        steps = f"after {self.envs.total_steps:,} of {self.total_steps:,} env steps"
        self.logger.say(f"stopped early, {steps}: {found}; --stop-at is {wanted}")
        self.logger.stopped_at = self.envs.total_steps
        self.logger.save_result({})
        return True

    def _say_what_is_rounded(self, epoch_steps: int) -> None:
        changes = settings.rounded(self.config, mpi.size)
        for name, value in (("steps_per_epoch", epoch_steps), ("total_steps", self.total_steps)):
            if getattr(self.config, name) != value:
                changes.insert(0, f"{settings.flag(name)} {getattr(self.config, name)} -> {value}")
        if changes:
            ranks = f" of {mpi.size} processes" if mpi.size > 1 else ""
            self.logger.say(f"rounded up to whole steps, rollouts and shares{ranks}: {', '.join(changes)}")

    @property
    def share_left(self) -> float:
        """How much of the budget is left, from 1 to 0."""
        return 1 - self.envs.total_steps / self.total_steps

    def anneal(self, *optimizers: FlatOptimizer) -> None:
        """Set the learning rates as `lr_schedule` says: constant, or falling to 0 in a line over the budget."""
        if self.config.lr_schedule == "linear":
            for opt in optimizers:
                opt.lr = opt.base_lr * self.share_left

    def end_epoch(self, epoch: Epoch, health: dict[str, float]) -> None:
        """Write the row of an epoch, the policy, the best and worst episode, now and then a snapshot, and the state.

        The policy is written once more, as the best one, if no epoch before had as high a return.

        Raises:
            OSError: the disk is full or not writable; the epochs before are whole.
        """
        count = sum(mpi.gather_objects(len(self.envs.returns)))
        stats, episodes = self.envs.end_epoch()
        row = {"Epoch": epoch.number, **stats, **health, **epoch.stats.means()}
        for opt in self.optimizers:
            row |= opt.columns()
        row |= {
            "TotalEnvInteracts": self.envs.total_steps,
            "GradSteps": sum(opt.steps for opt in self.optimizers),
        }
        self.logger.log_epoch(row)
        self.finished = epoch.number
        with signals_wait():
            best = self.returns.add(row, count)
            if mpi.rank == 0:
                save_policy(self.run_dir, self.ac)
                if best:
                    save_best_policy(self.run_dir, self.ac, epoch.number, self.returns.best)
                save_episodes(self.run_dir, epoch.number, episodes)
                if epoch.number in np.linspace(1, self.last_epoch, SNAPSHOTS).astype(np.int64):
                    save_snapshot(self.run_dir, epoch.number, self.envs.total_steps, self.ac, epoch.obs)
            self.checkpoint.save(epoch.number, last=epoch.number == self.last_epoch)
        looks = np.linspace(0, self.last_epoch, LOOKS + 1).astype(np.int64)[1:-1]  # the end has its own words
        if self.logger.watch and not self.logger.quiet and epoch.number in looks:
            for text in self.logger.watch(self.run_dir):
                self.logger.say(f"rlsuite: {text}")


class EpochReturns:
    """The return of the last epoch, and the highest that counts, by which the best policy is chosen."""

    def __init__(self) -> None:
        """No epoch yet."""
        self.last = self.best = -math.inf

    def add(self, row: Mapping[str, float], episodes: int) -> bool:
        """Take the mean return of an epoch, that of its test episodes if it has any.

        Args:
            row: the epoch's columns.
            episodes: that finished in it, on all ranks. Without test episodes, the mean of fewer than five never counts
                as the best.

        Returns:
            Whether the policy is the best so far: the mean counts, and no earlier one that counts was as high.
        """
        tested = row.get("AverageTestEpRet", math.nan)
        ret = row["AverageEpRet"] if math.isnan(tested) else tested
        self.last = -math.inf if math.isnan(ret) else ret
        if self.last <= self.best or (math.isnan(tested) and episodes < ENOUGH_EPISODES):
            return False
        self.best = self.last
        return True

    def state_dict(self) -> dict[str, float]:
        """Both."""
        return {"last": self.last, "best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Raises ValueError or TypeError for what is no number."""
        self.last, self.best = float(state["last"]), float(state["best"])


def plan_epochs(steps: int, epoch_steps: int, rollout_len: int) -> Iterator[list[int]]:
    """Split a budget into epochs of rollouts, so that it is met exactly.

    The last rollout is shorter where at least half of one is left. Less than that is joined to the rollout before.

    Args:
        steps: the budget, in steps of each environment, like all the others.
        epoch_steps: of an epoch, a multiple of rollout_len.
        rollout_len: of a rollout.

    Yields:
        For each epoch the lengths of its rollouts.
    """
    while steps > 0:
        taken = epoch_steps if 2 * (steps - epoch_steps) >= rollout_len else steps
        steps -= taken
        whole, rest = divmod(taken, rollout_len)
        if whole and 2 * rest < rollout_len:
            yield [rollout_len] * (whole - 1) + [rollout_len + rest]
        else:
            yield [rollout_len] * whole + [rest]


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
