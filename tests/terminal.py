"""A program on a terminal of its own, and what is on its screen in the end."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import source_environment

HEIGHT = 40
TOKEN = re.compile(r"\x1b\[(?P<number>[0-9;?]*)(?P<code>[A-Za-z])|(?P<char>[^\x1b])", re.DOTALL)
TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job inherits that it is ignored
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Screen:
    """Characters in rows, as a terminal shows them that is high enough."""

    def __init__(self, width: int) -> None:
        self.width, self.rows, self.row, self.column = width, [[" "] * width], 0, 0

    def draw(self, text: str) -> None:
        for token in TOKEN.finditer(text):
            char, code = token["char"], token["code"]
            if code == "A":
                self.row -= int(token["number"] or 1)
                assert self.row >= 0
            elif code == "K":
                self.rows[self.row] = [" "] * self.width
            elif code:
                assert code in "mhl", token[0]  # colours, and whether the cursor is shown
            elif char == "\r":
                self.column = 0
            elif char == "\n" or self.column == self.width:
                self.row += 1
                self.rows += [[" "] * self.width] * (self.row == len(self.rows))
                self.column = self.column if char == "\n" else 0
            if char and char not in "\r\n":
                self.rows[self.row][self.column] = char
                self.column += 1

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.rows]


def on_terminal(
    folder: Path, width: int, *words: str, ctrl_c: Callable[[str], bool] = lambda text: False
) -> tuple[int, list[str]]:
    """Run a program until it ends, with one Ctrl-C as soon as the screen is as `ctrl_c` wants it.

    Returns:
        The exit code, and the lines of the screen that are not empty.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, width, 0, 0))
    environment = {**source_environment(), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *words],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen, data, pressed, deadline = Screen(width), b"", False, time.monotonic() + 300
    try:
        while True:
            assert time.monotonic() < deadline, screen.lines
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    new = os.read(ours, 65536)
                except OSError:  # all have closed it
                    break
                if not new:
                    break
                data += new
                whole = data[: data.rfind(b"\n") + 1] if b"\x1b" in data[-8:] or data[-1] > 127 else data
                data = data[len(whole) :]
                screen.draw(whole.decode())
            if not pressed and ctrl_c("\n".join(screen.lines)):
                os.write(ours, b"\x03")
                pressed = True
    finally:
        if process.poll() is None and time.monotonic() >= deadline:
            process.kill()
        code = process.wait(timeout=30)
        os.close(ours)
    return code, [line for line in screen.lines if line]
