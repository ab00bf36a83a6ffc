"""Several processes that train one network: gradients are averaged, statistics pooled.

Each process (rank) has its own environments and data and makes the same gradient steps, so that the networks stay equal
everywhere. Without `mpiexec` there is one process, all functions here return what they are given, and mpi4py is never
imported.
"""

import io
import os
import pickle
import stat
import sys
import time
import traceback
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlsuite.errors import EnvError, NonFiniteError, UserError, exit_code

if TYPE_CHECKING:  # reading a log must not wait for torch
    from torch import Tensor

# How the launchers tell a process that it is one of several: MPICH and Intel MPI, Open MPI, SLURM's srun.
SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


def launched_ranks() -> int:
    """How many processes the launcher has started, by its environment variables; 1 without a launcher."""
    return max(int(os.environ.get(name, "1")) for name in SIZE_VARIABLES)


def is_pool() -> bool:
    """Whether this is `python -m mpi4py.futures`: its processes wait for tasks, and none is a rank of one training."""
    return launched_ranks() > 1 and "mpi4py.futures" in sys.modules


def _connect() -> tuple[Any, Any]:
    if launched_ranks() == 1 or is_pool():
        return None, None
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise UserError(
            f'mpiexec needs mpi4py, which can\'t be loaded ({error}): pip install "rlsuite[mpi]"'
        ) from error
    if MPI.COMM_WORLD.Get_size() == 1:  # else each would train the same run for itself
        raise UserError(
            f"the launcher started {launched_ranks()} processes, and MPI does not connect them; use the mpiexec of "
            "mpi4py's own MPI, which --cpus finds, or srun --mpi=pmi2; for runs apart unset SLURM_STEP_NUM_TASKS"
        )
    if MPI.COMM_WORLD.Get_rank() == 0:
        _print_to_terminal()
    return MPI.COMM_WORLD, MPI.IN_PLACE


def _print_to_terminal() -> None:
    """Let this process print to the terminal that its mpiexec prints to: through mpiexec's pipes no bar could move."""
    import psutil

    launcher = None
    with suppress(psutil.Error):  # a parent that is gone
        launcher = next((parent for parent in psutil.Process().parents() if parent.name().startswith("mpi")), None)
    for descriptor in (1, 2):
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):  # where the user wants it
            continue
        path = f"/proc/{launcher.pid if launcher else 0}/fd/{descriptor}"
        with suppress(OSError):  # another system, or another user's
            if stat.S_ISCHR(os.stat(path).st_mode):
                terminal = os.open(path, os.O_WRONLY | os.O_NOCTTY)
                if os.isatty(terminal):
                    os.dup2(terminal, descriptor)
                os.close(terminal)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.isatty():
        sys.stdout.reconfigure(line_buffering=True)  # it was made for a pipe


_comm, _in_place = _connect()
_last_comm = _comm and _comm.Dup()  # for `wait_for_all`: in the other one, messages may be under way for ever
size: int = _comm.Get_size() if _comm else 1
"""number of processes"""
rank: int = _comm.Get_rank() if _comm else 0
"""which of them this is, from 0; rank 0 writes files and prints"""


def cores() -> int:
    """How many this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def share(count: int) -> int:
    """This rank's part of `count` samples, rounded up: every rank has equally many."""
    return -(-count // size)


def ranks_on_this_host() -> int:
    """How many of the processes share this machine's memory; every rank must ask."""
    if not _comm:
        return 1
    from mpi4py import MPI

    host = _comm.Split_type(MPI.COMM_TYPE_SHARED)
    count = int(host.Get_size())
    host.Free()
    return count


_let_others_run = getattr(os, "sched_yield", lambda: None)  # there may be more processes than cores


_abandoned: list[Any] = []


def _complete(request: Any, *buffers: Any) -> None:
    """Wait for the other ranks in Python, which Ctrl-C can interrupt: MPI would wait for ever for one that has left."""
    try:
        while not request.Test():
            _let_others_run()
    except BaseException:
        _abandoned.append((request, buffers))  # MPI may still write into them
        raise


def average_(x: "Tensor") -> None:
    """Replace x, of equal shape everywhere, by its mean over the ranks: one message per gradient step."""
    if _comm:
        data = x.cpu().numpy()  # the memory of x itself, if x is on the CPU
        _complete(_comm.Iallreduce(_in_place, data), data)
        data /= size
        if x.device.type != "cpu":
            x.copy_(x.new_tensor(data))


def broadcast_(x: "Tensor") -> None:
    """Replace x by that of rank 0."""
    if _comm:
        data = x.cpu().numpy()
        _complete(_comm.Ibcast(data), data)
        x.copy_(x.new_tensor(data))


def gather(values: NDArray[Any], axis: int = 0) -> NDArray[Any]:
    """The arrays of all ranks one after the other along an axis, on every rank."""
    return np.concatenate(gather_objects(values), axis) if _comm else values


def gather_objects(value: Any) -> list[Any]:
    """What each rank has, in the order of the ranks, on every rank."""
    if not _comm:
        return [value]
    own, counts = np.frombuffer(pickle.dumps(value), np.uint8), np.empty(size, np.int64)
    length = np.array([len(own)])
    _complete(_comm.Iallgather(length, counts), length, counts)
    everything = np.empty(counts.sum(), np.uint8)
    _complete(_comm.Iallgatherv(own, (everything, counts)), own, everything)
    return [pickle.loads(part.tobytes()) for part in np.split(everything, counts.cumsum()[:-1])]


def mean(value: float) -> float:
    """The mean of a number over the ranks, on every rank."""
    return float(sum(gather_objects(value)) / size)


def wait_for_all(seconds: float) -> None:
    """Return when all ranks have come here, or after so many seconds: some may be waiting for a message in vain."""
    if _comm:
        everywhere, start = _last_comm.Ibarrier(), time.monotonic()
        while not everywhere.Test() and time.monotonic() - start < seconds:
            time.sleep(0.01)


def abort(code: int) -> None:
    """End all processes at once: the others wait for this one, which will not answer any more."""
    if _comm:
        # What was printed must get through mpiexec first, and rank 0 may be about to say why.
        time.sleep(0.5 if rank == 0 else 1.5)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where MPI would say that we abort
        _comm.Abort(code)


def end_all(error: BaseException) -> None:
    """Say what ended this rank, and end the others with it; returns where there is only one process."""
    if not _comm:
        return
    if rank > 0:
        time.sleep(1)  # rank 0 may be about to say the same and to end all
    if isinstance(error, UserError | NonFiniteError | EnvError):
        text = f"rlsuite: {error}"
    elif isinstance(error, KeyboardInterrupt):
        text = "rlsuite: interrupted"
    else:
        text = "".join(traceback.format_exception(error)).rstrip()
    print(f"{text} (rank {rank} of {size})", file=sys.stderr, flush=True)
    abort(exit_code(error))


def _uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    end_all(error)


if _comm:  # a script that calls `train` and fails on one rank must not leave the others waiting
    sys.excepthook = _uncaught
