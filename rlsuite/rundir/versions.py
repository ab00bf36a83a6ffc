"""Which code a run was made with."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def version(package: str) -> str:
    """Of an installed package; "unknown" for one that is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def versions() -> dict[str, str]:
    """Of python and of the packages that results depend on."""
    packages = ("rlsuite", "torch", "numpy", "gymnasium")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def git_commit() -> str:
    """The commit of the source that runs, with "+" for uncommitted changes of any module, or "" outside a checkout."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return ""
    git = ["git", "-C", os.fspath(source)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "*.py"], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + "+" * bool(changed.returncode) if not head.returncode else ""
