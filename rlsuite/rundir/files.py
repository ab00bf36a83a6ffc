"""Files that are written whole or not at all, read without running anything, and locked against a second writer."""

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays

from rlsuite.errors import UserError

Arrays = dict[str, NDArray[Any]]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill, finds either the old content or the new one, never half of it."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.unlink(missing_ok=True)  # if it is a link, writing would change what it points to
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def sync_directory(path: Path) -> None:
    """Force the names in a directory to the disk; a file that is synced but not named there would be lost."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_safetensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays and metadata of a file.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    if path.exists() and not path.is_file():  # a named pipe would wait forever
        raise UserError(f"{path} can't be read: it is no file")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (OSError, safetensors.SafetensorError, TypeError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error


def pack(arrays: Arrays, facts: dict[str, Any]) -> bytes:
    """A safetensors file of arrays and JSON facts, with a digest of both."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(facts)
    return save_arrays(arrays, metadata={"facts": text, "digest": _digest(arrays, text)})


def unpack(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What `pack` was given.

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


def new_directory(parent: Path, name: str) -> Path:
    """Make a directory that did not exist before, numbering the name if it did."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = parent / (name if number == 1 else f"{name}_{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise UserError(f"{parent} already holds a thousand runs called {name}")


def lock(run_dir: Path) -> int | None:
    """Take the run for this process, until it ends in whatever way or closes the file descriptor returned.

    Raises:
        UserError: another process is writing this run, or the file `lock` is a link.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    refuse_link(run_dir / "lock")
    descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    for tries_left in range(10, -1, -1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if tries_left:  # `is_locked` holds it for an instant
                time.sleep(0.01)
                continue
            os.close(descriptor)
            raise UserError(f"{run_dir} is being trained by another process; wait for it to end, or stop it") from error
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        return descriptor
    raise AssertionError


@contextmanager
def claim(folder: Path, name: str) -> Iterator[bool]:
    """Take a name for this process, until it leaves or dies; False if another process has it.

    The file `.claims` stays empty: a name is a lock on one of the bytes that it could have.

    Raises:
        OSError: the folder can't be made or written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".claims", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    byte, free = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest()), True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except OSError as error:  # other errors: a file system without locks
        free = error.errno not in (errno.EACCES, errno.EAGAIN)
    try:
        yield free
    finally:
        os.close(descriptor)


def is_locked(run_dir: Path) -> bool:
    """Whether a process has taken the run with `lock`, as far as this system tells."""
    try:
        import fcntl

        descriptor = os.open(run_dir / "lock", os.O_RDONLY | os.O_NONBLOCK)  # a named pipe would wait forever
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def refuse_link(path: Path) -> None:
    """Raise UserError if writing to this file would change, or wait for, something outside its run.

    A folder that lies on another disk by a link is as good as any.
    """
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        raise UserError(f"{path} is a link or no plain file, and this run would write through it; put a copy there")
