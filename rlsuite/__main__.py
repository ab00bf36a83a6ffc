"""The list of all doors: `python -m rlsuite [--version]`."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import rlsuite
from rlsuite.errors import ArgumentParser, UserError


def doors() -> Iterator[tuple[str, str]]:
    """What each door is for, and its command: a door is a file beside this one whose first line says so."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        if found := re.match(r"The door to ([^:`]+): `([^`]+)`", text):
            yield found[1], found[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each door; return the exit code."""
    parser = ArgumentParser(prog="python -m rlsuite", description="List the commands of rlsuite.")
    parser.add_argument("--version", action="store_true", help="print the version")
    try:
        args = parser.parse_args(argv)
    except UserError as error:
        print(f"rlsuite: {error}", file=sys.stderr)
        return 2
    if args.version:
        print(f"rlsuite {rlsuite.__version__}")
        return 0
    found = list(doors())
    wide = max(len(purpose) for purpose, _ in found)
    print(f"{rlsuite.__doc__}\n")
    for purpose, command in found:
        print(f"{purpose.ljust(wide)}  {command}")
    print("\nEach explains itself with --help.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
