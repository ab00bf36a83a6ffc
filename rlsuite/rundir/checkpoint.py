"""Stopping a training at any moment and going on as if nothing had happened.

After every epoch the whole state of a training goes to `<run>/checkpoint/`: networks, optimisers, statistics, replay
buffer, every random generator, and the episodes in progress as seed and actions, which are played again on resuming.
Each process (rank) has files of its own:

    epoch_<k>_rank_<r>.safetensors     everything but the replay buffer, after epoch k; the two newest are kept
    replay_<k>_rank_<r>.safetensors    transitions stored since the checkpoint before k; kept while any is in the buffer

No file is ever changed: each is written aside, forced to the disk and renamed, and carries a digest of its content. So
there is a whole checkpoint at every moment, and a damaged one is noticed. They hold arrays and JSON, no code.
"""

import random
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from rlsuite import mpi
from rlsuite.errors import EnvError, UserError
from rlsuite.rundir.files import Arrays, pack, sync_directory, unpack, write_atomically
from rlsuite.rundir.policies import load_weights, policy_arrays

State = dict[str, Any]
"""Of one object: names to arrays, or to whatever JSON can hold."""


@runtime_checkable
class Memory(Protocol):
    """A part that only grows at one end, so that a checkpoint needs no more than what is new: the replay buffer."""

    stored: int
    """transitions ever stored"""

    def __len__(self) -> int:
        """Transitions held."""

    def stored_since(self, stored: int) -> Arrays:
        """What was stored since there were `stored` transitions."""

    def load(self, parts: Sequence[Arrays]) -> None:
        """Fill it with what `stored_since` gave, in the order of time."""


class Log(Protocol):
    """What a checkpoint asks of the log, whose file goes on where the checkpoint was made."""

    def state_dict(self) -> State:
        """How far the log is."""

    def check_log(self, state: State) -> None:
        """Raise UserError if the file does not begin with what had been written in this state."""

    def check_settings(self, state: State) -> None:
        """Raise UserError if this state is of other settings."""


class Checkpoint:
    """The state of a training, as the objects that have one.

    A part is a module, an array that is only ever changed in place, a numpy `Generator`, a `Memory`, or anything with
    `state_dict()` and `load_state_dict()`. The global generators of python, numpy and torch are always parts. What is
    not a part must follow from the settings and from `epoch`.
    """

    def __init__(self, run_dir: Path, log: Log, every: int, parts: dict[str, Any]) -> None:
        """Remember what to save.

        Args:
            run_dir: of the run.
            log: its log.
            every: epochs from one checkpoint to the next; 0 for none.
            parts: all that changes during training, by name.
        """
        self.folder, self.log, self.every = run_dir / "checkpoint", log, every
        self.parts = {"random": GlobalGenerators(), **parts}
        self.memory = next((part for part in parts.values() if isinstance(part, Memory)), None)
        self.segments: list[tuple[int, int]] = []
        """of the memory on disk: the epoch after which each was written, and transitions stored until then"""
        self.kept: list[tuple[int, int]] = []
        """checkpoints on disk: the epoch, and how many of the oldest transitions it does not need"""
        self.pending: dict[Path, bytes] = {}
        """files of the last whole epoch that are not on disk yet"""
        self.oldest = 0
        """transitions that the state in `pending` does not need"""
        self.epoch = 0
        """epochs finished"""

    def save(self, epoch: int, last: bool) -> None:
        """Collect the whole state after an epoch, and write it every so many epochs and after the last one.

        Raises:
            OSError: the disk is full or not writable; the checkpoint before this one is whole.
        """
        self.epoch = epoch
        if self.every:
            self._collect()
            if epoch % self.every == 0 or last:
                self._write()

    def close(self) -> None:
        """Write the state after the last whole epoch, if it is not on disk yet; a disk that is full can't be helped."""
        with signals_wait(), suppress(OSError):
            self._write(together=False)

    def store_again(self, count: int) -> None:
        """The newest `count` transitions of the memory have changed: they go into the next segment once more."""
        if self.memory is not None and self.segments:
            self.segments[-1] = (self.segments[-1][0], self.memory.stored - count)

    def _collect(self) -> None:
        """Copy the state as it is now into the bytes of files, which `_write` puts on the disk."""
        if self.memory is not None:
            last = self.segments[-1][1] if self.segments else 0
            self.segments.append((self.epoch, self.memory.stored))
            self.pending[self._path("replay", self.epoch)] = pack(self.memory.stored_since(last), {})
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
        about = {"epoch": self.epoch, "ranks": mpi.size, "segments": needed, "log": self.log.state_dict()}
        self.pending[self._path("epoch", self.epoch)] = pack(arrays, {"parts": facts, **about})

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
        return self.memory.stored - len(self.memory) if self.memory is not None else 0

    def _segments_since(self, first: int) -> list[tuple[int, int]]:
        """The segments in which there is anything after the first `first` transitions, and the newest."""
        return [s for s in self.segments if s[1] > first or s[0] == self.epoch]

    def _path(self, kind: str, epoch: int) -> Path:
        return self.folder / f"{kind}_{epoch:06d}_rank_{mpi.rank}.safetensors"

    def restore(self) -> State | None:
        """Go back to the newest checkpoint that is whole on all ranks.

        Returns:
            The state of the log then; None if no epoch was finished on all ranks.

        Raises:
            UserError: no checkpoint is whole, or the newest whole one belongs to other settings.
        """
        names = [path.name for path in self.folder.glob("epoch_*_rank_*.safetensors")] if self.folder.is_dir() else []
        found = [match for name in names if (match := re.fullmatch(r"epoch_(\d+)_rank_(\d+)\.safetensors", name))]
        epochs = mpi.gather_objects(sorted({int(match[1]) for match in found}, reverse=True))[0]
        was_whole = False
        for epoch in epochs:
            problem = ""
            try:
                arrays, facts, segments = self._read(epoch)
            except UserError as error:
                problem = f"{error}"
            problem = next((p for p in mpi.gather_objects(problem) if p), "")
            if not problem:
                self._load(arrays, facts, segments)
                return dict(facts["log"])
            if mpi.rank == 0:
                print(f"rlsuite: {problem}; looking for an older checkpoint", file=sys.stderr)
            # The first one is missing on a rank if the job was killed before all ranks had written it.
            was_whole |= all(mpi.gather_objects(self._path("epoch", epoch).exists()))
        if was_whole:
            raise UserError(f"{self.folder} holds no checkpoint that is whole: this run can't be resumed")
        return None

    def _read(self, epoch: int) -> tuple[Arrays, State, list[Arrays]]:
        """Read a checkpoint without changing anything; UserError if any part of it is missing or damaged."""
        path = self._path("epoch", epoch)
        arrays, facts = unpack(path)
        try:
            ranks, log = int(facts["ranks"]), dict(facts["log"])
            segments = [(int(k), int(stop)) for k, stop in facts["segments"]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{path} is damaged: {error!r}") from error
        if ranks == mpi.size:
            self.log.check_log(log)
        return arrays, {**facts, "segments": segments}, [unpack(self._path("replay", k))[0] for k, _ in segments]

    def _load(self, arrays: Arrays, facts: State, segments: list[Arrays]) -> None:
        """Put all parts into the state that was read."""
        if facts["ranks"] != mpi.size:
            raise UserError(
                f"{self.folder.parent} was trained by {facts['ranks']} processes, and here are {mpi.size}; "
                f"resume with --cpus {facts['ranks']}"
            )
        self.log.check_settings(facts["log"])
        try:
            for name, part in self.parts.items():
                own = {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}
                _load_state(part, {**facts["parts"][name], **own})
            if self.memory is not None:
                self.memory.load(segments)
            self.epoch = int(facts["epoch"])
        except EnvError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the checkpoint in {self.folder} does not fit the run's config.json: {reason}") from error
        self.segments = facts["segments"]
        self.kept = [(self.epoch, self._oldest())]


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
    if isinstance(part, Memory):
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
    if isinstance(part, Memory):
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


@contextmanager
def signals_wait() -> Iterator[None]:
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
