"""The three ways in which a run can fail, each told in one sentence: what is wrong, where, what would be right."""

import argparse
from typing import NoReturn


class UserError(ValueError):
    """Bad input. Exit code 2; nothing has been created."""


class NonFiniteError(FloatingPointError):
    """NaN or infinity in an observation, reward, loss or gradient during training. Exit code 3."""


class EnvError(RuntimeError):
    """An environment that raised, or returned what does not fit its spaces. Exit code 3."""


def exit_code(error: BaseException) -> int:
    """The exit code of a process that an error ends: 2 for bad input, 3 for a failed run, 130 for Ctrl-C, else 1."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, UserError) else 3 if isinstance(error, NonFiniteError | EnvError) else 1


class ArgumentParser(argparse.ArgumentParser):
    """argparse with errors as one line."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage and leaving."""
        raise UserError(f"{message}; see --help")
