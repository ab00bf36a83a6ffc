"""Stopping a training at any moment and going on as if nothing had happened.

After every epoch the whole state of a training goes to `<run>/checkpoint/`: networks, optimisers, statistics, replay
buffer, every random generator, and the episodes in progress as seed and actions, which are played again on resuming.
Each process (rank) has files of its own:

    epoch_<k>_rank_<r>.safetensors     everything but the replay buffer, after epoch k; the two newest are kept
    replay_<k>_rank_<r>.safetensors    transitions stored since the checkpoint before k; kept while any is in the buffer

No file is ever changed: each is written aside, forced to the disk and renamed, and carries a digest of its content. So
there is a whole checkpoint at every moment, and a damaged one is noticed. They hold arrays and JSON, no code.
"""

import hashlib
import json
import os
import random
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from torch import nn

from rlsuite.common import mpi
from rlsuite.common.checkpoint import load_weights, policy_arrays, read_safetensors, save_epoch, write_atomically
from rlsuite.common.checks import EnvError, UserError
from rlsuite.common.envs import Envs, Episode
from rlsuite.common.logger import Logger
from rlsuite.common.replay import ReplayBuffer

Arrays = dict[str, NDArray[Any]]
State = dict[str, Any]
"""Of one object: names to arrays, or to whatever JSON can hold."""


class Checkpoint:
    """The state of a training, as the objects that have one.

    A part is a module, an array that is only ever changed in place, a numpy `Generator`, a `ReplayBuffer`, or anything
    with `state_dict()` and `load_state_dict()`; None is passed over. The global generators of python, numpy and torch
    are always parts. What is not a part must follow from the settings and from `epoch`.
    """

    def __init__(self, logger: Logger, ac: nn.Module, envs: Envs, **parts: Any) -> None:
        """Take the parts, and if the logger resumes a run, put them into the state of its last checkpoint.

        Args:
            logger: started; knows the run directory and how often to write.
            ac: the networks; also saved as the policy to play and share.
            envs: the environments.
            parts: everything else that changes during training.

        Raises:
            UserError: no checkpoint is whole, or the newest whole one belongs to other settings.
        """
        assert logger.run_dir is not None, "start() comes first"
        self.logger, self.run_dir, self.folder = logger, logger.run_dir, logger.run_dir / "checkpoint"
        self.ac, self.envs = ac, envs
        self.parts = {"ac": ac, "envs": envs, "random": GlobalGenerators(), **parts}
        self.replay = next((part for part in parts.values() if isinstance(part, ReplayBuffer)), None)
        self.segments: list[tuple[int, int]] = []
        """of the replay buffer on disk: the epoch after which each was written, and transitions stored until then"""
        self.kept: list[tuple[int, int]] = []
        """checkpoints on disk: the epoch, and how many of the oldest transitions it does not need"""
        self.pending: dict[Path, bytes] = {}
        """files of the last whole epoch that are not on disk yet"""
        self.oldest = 0
        """transitions that the state in `pending` does not need"""
        self.epoch = 0
        """epochs finished"""
        if logger.resume:
            try:
                self._restore()
            except BaseException:
                logger.close()
                raise
        left = logger.config.total_steps - envs.total_steps
        self.last_epoch = self.epoch - (-left // logger.config.steps_per_epoch)

    def save(self, epoch: int, obs: NDArray[Any], episodes: dict[str, Episode]) -> None:
        """Save the policy, the epoch's episodes and, at six epochs of the run, a snapshot; then the whole state.

        Args:
            epoch: which one has just ended, from 1; its row is in progress.txt.
            obs: states that the epoch visited (K, *obs_shape).
            episodes: "best" and "worst", or nothing if none finished.

        Raises:
            OSError: the disk is full or not writable; the checkpoint before this one is whole.
        """
        with _signals_wait():
            save_epoch(self.run_dir, epoch, self.last_epoch, self.envs.total_steps, self.ac, obs, episodes)
            self.epoch = epoch
            every = self.logger.checkpoint_every
            if every:
                self._collect()
            if every and (epoch % every == 0 or epoch == self.last_epoch):
                self._write()

    def close(self) -> None:
        """Write the state after the last whole epoch, if it is not on disk yet; a disk that is full can't be helped."""
        with _signals_wait(), suppress(OSError):
            self._write(together=False)

    def _collect(self) -> None:
        """Copy the state as it is now into the bytes of files, which `_write` puts on the disk."""
        if self.replay is not None:
            last = self.segments[-1][1] if self.segments else 0
            self.segments.append((self.epoch, self.replay.stored))
            self.pending[self._path("replay", self.epoch)] = encode(self.replay.stored_since(last), {})
        self.oldest = self._oldest()
        needed = self._segments_since(self.oldest)
        names = {self._path("replay", k) for k, _ in needed}
        self.pending = {path: data for path, data in self.pending.items() if path in names}
        arrays: Arrays = {}
        facts: dict[str, State] = {}
        for name, part in self.parts.items():
            state = _state(part)
            arrays |= {f"{name}/{key}": value for key, value in state.items() if isinstance(value, np.ndarray)}
            facts[name] = {key: value for key, value in state.items() if not isinstance(value, np.ndarray)}
        about = {"epoch": self.epoch, "ranks": mpi.size, "segments": needed, "log": self.logger.state_dict()}
        self.pending[self._path("epoch", self.epoch)] = encode(arrays, {"parts": facts, **about})

    def _write(self, together: bool = True) -> None:
        """Put the collected state on the disk; `together` with the other ranks, which after an error may not follow."""
        if not self.pending:
            return
        self.folder.mkdir(parents=True, exist_ok=True)  # each host may have a disk of its own
        for path, data in self.pending.items():  # transitions first: the state needs them
            write_atomically(path, data)
        sync_directory(self.folder)
        self.pending = {}
        if mpi.size > 1 and not together:
            return
        mpi.gather_objects(None)  # only when all ranks have theirs is this checkpoint whole and may older ones go
        self.kept = [*self.kept[-1:], (self.epoch, self.oldest)]
        self.segments = self._segments_since(self.kept[0][1])
        names = {self._path("epoch", k).name for k, _ in self.kept} | {
            self._path("replay", k).name for k, _ in self.segments
        }
        for path in self.folder.glob(f"*_rank_{mpi.rank}.safetensors"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _oldest(self) -> int:
        """Transitions that had been stored before the oldest one in the replay buffer."""
        return self.replay.stored - len(self.replay) if self.replay is not None else 0

    def _segments_since(self, first: int) -> list[tuple[int, int]]:
        """The segments in which there is anything after the first `first` transitions, and the newest."""
        return [s for s in self.segments if s[1] > first or s[0] == self.epoch]

    def _path(self, kind: str, epoch: int) -> Path:
        return self.folder / f"{kind}_{epoch:06d}_rank_{mpi.rank}.safetensors"

    def _restore(self) -> None:
        """Go back to the newest checkpoint that is whole on all ranks."""
        names = [path.name for path in self.folder.glob("epoch_*_rank_*.safetensors")] if self.folder.is_dir() else []
        found = [match for name in names if (match := re.fullmatch(r"epoch_(\d+)_rank_(\d+)\.safetensors", name))]
        epochs = sorted({int(match[1]) for match in found}, reverse=True)
        if not mpi.gather_objects(epochs)[0]:
            self.logger.begin_anew()
            self.logger.say("no epoch was finished: this run starts from its beginning")
            return
        for epoch in mpi.gather_objects(epochs)[0]:
            problem = ""
            try:
                arrays, facts, segments = self._read(epoch)
            except UserError as error:
                problem = f"{error}"
            problem = next((p for p in mpi.gather_objects(problem) if p), "")
            if problem:
                if mpi.rank == 0:
                    print(f"rlsuite: {problem}; looking for an older checkpoint", file=sys.stderr)
                continue
            self._load(arrays, facts, segments)
            return
        raise UserError(f"{self.folder} holds no checkpoint that is whole: this run can't be resumed")

    def _read(self, epoch: int) -> tuple[Arrays, dict[str, Any], list[Arrays]]:
        """Read a checkpoint without changing anything; UserError if any part of it is missing or damaged."""
        path = self._path("epoch", epoch)
        arrays, facts = decode(path)
        try:
            ranks, log = int(facts["ranks"]), dict(facts["log"])
            segments = [(int(k), int(stop)) for k, stop in facts["segments"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{path} is damaged: {error!r}") from error
        if ranks == mpi.size:
            self.logger.check_log(log)
        return arrays, {**facts, "segments": segments}, [decode(self._path("replay", k))[0] for k, _ in segments]

    def _load(self, arrays: Arrays, facts: dict[str, Any], segments: list[Arrays]) -> None:
        """Put all parts into the state that was read."""
        if facts["ranks"] != mpi.size:
            raise UserError(
                f"{self.run_dir} was trained by {facts['ranks']} processes, and here are {mpi.size}; "
                f"resume with --cpus {facts['ranks']}"
            )
        self.logger.check_settings(facts["log"])
        try:
            for name, part in self.parts.items():
                own = {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}
                _load_state(part, {**facts["parts"][name], **own})
            if self.replay is not None:
                self.replay.load(segments)
                self.replay.end_episodes(self.envs.restarted)
            self.epoch = int(facts["epoch"])
        except EnvError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the checkpoint in {self.folder} does not fit the run's config.json: {reason}") from error
        self.segments = facts["segments"]
        if self.replay is not None and self.envs.restarted:  # the newest transitions have changed: store them again
            self.segments[-1] = (self.segments[-1][0], self.replay.stored - self.replay.num_envs)
        self.kept = [(self.epoch, self._oldest())]
        warnings = [text for part in mpi.gather_objects(self.envs.warnings) for text in part]
        self.logger.continue_log(facts["log"], self.epoch, warnings)
        self.logger.say(f"resumed after epoch {self.epoch}, {self.envs.total_steps:,} env steps")


class GlobalGenerators:
    """The generators that belong to no object: python's, numpy's and torch's own."""

    def state_dict(self) -> State:
        """Their states."""
        version, numbers, gauss = random.getstate()
        name, keys, pos, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - a user's environment may use it
        state: State = {"python": [version, list(numbers), gauss], "numpy": [name, int(pos), int(has_gauss), cached]}
        state |= {"numpy_keys": keys, "torch": torch.get_rng_state().numpy()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state().numpy()
        return state

    def load_state_dict(self, state: State) -> None:
        """Raises TypeError or ValueError for a state that is none."""
        version, numbers, gauss = state["python"]
        random.setstate((version, tuple(numbers), gauss))
        name, pos, has_gauss, cached = state["numpy"]
        np.random.set_state((name, state["numpy_keys"], pos, has_gauss, cached))  # noqa: NPY002 - likewise
        torch.set_rng_state(torch.from_numpy(state["torch"]))
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(torch.from_numpy(state["cuda"]))


def _state(part: Any) -> State:
    """A copy of the state of a part."""
    if part is None or isinstance(part, ReplayBuffer):
        return {}
    if isinstance(part, nn.Module):
        return dict(policy_arrays(part))
    if isinstance(part, np.ndarray):
        return {"array": part.copy()}
    if isinstance(part, np.random.Generator):
        return {"generator": part.bit_generator.state}
    state: State = part.state_dict()
    return {
        key: value.cpu().numpy().copy() if isinstance(value, torch.Tensor) else value for key, value in state.items()
    }


def _load_state(part: Any, state: State) -> None:
    if part is None or isinstance(part, ReplayBuffer):
        return
    if isinstance(part, nn.Module):
        load_weights(part, state)
    elif isinstance(part, np.ndarray):
        if state["array"].shape != part.shape or state["array"].dtype != part.dtype:
            raise ValueError(
                f"an array of {state['array'].dtype} {state['array'].shape} is not {part.dtype} {part.shape}"
            )
        part[...] = state["array"]
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state["generator"]
    else:
        part.load_state_dict(state)


def encode(arrays: Arrays, facts: dict[str, Any]) -> bytes:
    """A safetensors file of arrays and JSON facts, with a digest of both."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(facts)
    return save_arrays(arrays, metadata={"facts": text, "digest": _digest(arrays, text)})


def decode(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `encode` was given.

    Raises:
        UserError: there is no such file, or its content is not what was written.
    """
    arrays, metadata = read_safetensors(path)
    text = metadata.get("facts", "")
    if metadata.get("digest") != _digest(arrays, text):
        raise UserError(f"{path} is damaged: its digest does not fit its content")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(facts, dict):
        raise UserError(f"{path} is damaged: it holds no facts")
    return arrays, facts


def _digest(arrays: Arrays, text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def sync_directory(path: Path) -> None:
    """Force the names in a directory to the disk; a file that is synced but not named there would be lost."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect after this block."""
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
