"""Where torch computes, and with how many threads."""

import ctypes
import itertools
import math
import os
from contextlib import suppress
from typing import Any

import torch

from rlsuite import mpi, settings
from rlsuite.errors import UserError

LARGE = 2**22  # multiplications in a matrix product of an update, from which on its memory and its threads matter
WIDE = 2**15  # weights between two layers from which on threads pay; with fewer, passes over the samples dominate
MOST_THREADS = 4  # of one training; a product of this size leaves more of them without work
KEPT_MB = 512  # of freed memory


def set_up_torch(config: Any, *batch: str) -> torch.device:
    """Choose the number of threads, and return the device that `config.device` names.

    That is "cpu", "cuda", "mps", or "auto" for the best there is. With `config.torch_threads` 0 it is one thread,
    unless the CPU multiplies large matrices for wide layers: then it is OMP_NUM_THREADS, or without that one for each
    core, up to four. Where the matrices are large, however wide, the C library, if it is glibc, is told to keep up to
    512 MB of freed memory: else the batches of each gradient step are taken from the system page by page, and given
    back.

    Args:
        config: settings.
        batch: settings whose product is about the number of samples of a gradient step; none where there is no such.

    Raises:
        UserError: this machine has no such device, or `config` is no `Config`.
    """
    settings.expect_config(config)
    device = _device(config.device)
    samples = math.prod(getattr(config, name) for name in batch) if batch else 0
    weights = max((a * b for a, b in itertools.pairwise(config.hidden_sizes)), default=0) if batch else 0
    large = device.type == "cpu" and samples * weights >= LARGE
    torch.set_num_threads(config.torch_threads or (_cores() if large and weights >= WIDE else 1))
    if large:
        _keep_freed_memory()
    return device


def _device(name: str) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available.get(name.split(":")[0], False):
        raise UserError(f"--device {name} is not available on this machine; use --device cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name} is no device; use cpu, cuda or mps") from error


def _cores() -> int:
    """What one of the processes of this training may use."""
    with suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "")))
    return min(MOST_THREADS, max(1, mpi.cores() // mpi.size))


def _keep_freed_memory() -> None:
    with suppress(OSError, AttributeError, TypeError):  # another C library, or another system
        trim_threshold, mmap_threshold = -1, -3  # of malloc.h
        ctypes.CDLL(None).mallopt(trim_threshold, KEPT_MB * 2**20)
        ctypes.CDLL(None).mallopt(mmap_threshold, 32 * 2**20)  # the largest that it takes
