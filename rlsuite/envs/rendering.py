"""What it takes to see an environment: a screen for a window, and drivers that keep quiet for a film."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any


def has_display() -> bool:
    """Whether a window can open here. Linux says so in a variable; other systems nearly always have a screen."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def render_modes(env: Any) -> list[str]:
    """How an environment can be shown: "human" in a window, "rgb_array" as pictures."""
    return list((getattr(env, "metadata", None) or {}).get("render_modes") or [])


@contextmanager
def drivers(mode: str) -> Iterator[None]:
    """Choose the drivers of an environment that is made, and draws its first picture, in this context.

    Args:
        mode: "human": SDL, which pygame draws with, fails without a screen instead of drawing where nobody sees it.
            "rgb_array": SDL asks for neither screen nor sound, MuJoCo draws without a screen where there is none, and
            nothing that is written on stderr is seen. What the user has chosen by variables stays.
    """
    if mode == "human":
        chosen = {"SDL_VIDEODRIVER": "x11,wayland"} if sys.platform == "linux" else {}
    else:
        chosen = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
        chosen |= {} if has_display() else {"MUJOCO_GL": "egl"}
    chosen = {name: value for name, value in chosen.items() if name not in os.environ}
    os.environ.update(chosen)
    try:
        with nullcontext() if mode == "human" else no_stderr():
            yield
    finally:
        for name in chosen:
            del os.environ[name]


@contextmanager
def no_stderr() -> Iterator[None]:
    """Drop what is written on stderr, by C libraries too, which know nothing of Python's `sys.stderr`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
