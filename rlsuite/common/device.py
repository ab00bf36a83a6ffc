"""Where torch computes, and with how many threads and which products."""

import ctypes
import itertools
import os
from contextlib import suppress
from typing import Any

import torch

from rlsuite import mpi, settings
from rlsuite.errors import UserError

# Multiplications in the largest matrix product of an update, from which on it pays:
WORTH_THREADS = 2**22  # to have several threads: below it they wait for each other
WORTH_ONEDNN = 15_000_000  # to call oneDNN, which on some processors is twice as fast as MKL, and starts later
MOST_THREADS = 4  # of one training; a product this small leaves more of them without work
KEPT_MB = 512  # of freed memory; the batches of a gradient step would else be asked for, page by page, in each of them
FLOAT32_ERROR = 1e-3  # of a product of 256 terms; with bfloat16 it is above 0.05


def set_up_torch(config: Any, samples: int = 0) -> torch.device:
    """Choose threads and products by the size of an update, and return the device that `config.device` names.

    That is "cpu", "cuda", "mps", or "auto" for the best there is. `config.torch_threads` 0 chooses by the largest
    product of an update: one thread if it is small, else one per core, or as many as OMP_NUM_THREADS says, up to four.

    Args:
        config: settings.
        samples: B of one gradient step; 0 where there is none.

    Raises:
        UserError: this machine has no such device, or `config` is no `Config`.
    """
    settings.expect_config(config)
    device = _device(config.device)
    product = samples and samples * max((a * b for a, b in itertools.pairwise(config.hidden_sizes)), default=0)
    threads = config.torch_threads or (_cores() if product >= WORTH_THREADS else 1)
    onednn = device.type == "cpu" and product >= WORTH_ONEDNN and _onednn_keeps_float32()
    use({"threads": threads, "float32_products": "medium" if onednn else "highest"})
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


def in_use() -> dict[str, Any]:
    """What was chosen, for config.json: results depend on it by a rounding error."""
    return {"threads": torch.get_num_threads(), "float32_products": torch.get_float32_matmul_precision()}


def use(chosen: Any) -> None:
    """Choose what `in_use` once returned.

    Raises:
        UserError: it did not.
    """
    try:
        torch.set_num_threads(chosen["threads"])
        torch.set_float32_matmul_precision(chosen["float32_products"])
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"config.json has no threads and products for torch, but {chosen!r}") from error


def _cores() -> int:
    """What one of the processes of this training may use."""
    with suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "")))
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(MOST_THREADS, max(1, cores // mpi.size))


def _onednn_keeps_float32() -> bool:
    """Whether "medium", which allows oneDNN to round to bfloat16, does not make it do so on this processor."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 256, 256, generator=generator)
    torch.set_float32_matmul_precision("medium")
    error: float = (a @ b - (a.double() @ b.double())).abs().max().item()
    return error < FLOAT32_ERROR


def _keep_freed_memory() -> None:
    """Have the C library keep what was freed, where it is glibc."""
    with suppress(OSError, AttributeError, TypeError):
        trim_threshold, mmap_threshold = -1, -3  # of malloc.h
        ctypes.CDLL(None).mallopt(trim_threshold, KEPT_MB * 2**20)
        ctypes.CDLL(None).mallopt(mmap_threshold, 32 * 2**20)  # the largest that it takes
