"""README.md and docs/: every command and every snippet runs as it stands, with a small budget appended."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ALGORITHMS, OFF_POLICY

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?P<before>[^\n]*)\n\n(?:<!--.*-->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
ELSEWHERE = (  # what runs in other tests, or is not ours
    "python3 -m venv",  # .ci/run does what README says
    "source .venv",
    "pip install",
    "mpiexec",  # test_hosts.py, test_mpi.py, test_pool.py
    "srun",
    "tensorboard",
    "diff",
)
TINY = {"total_steps": 600, "preset": "none", "test_episodes": 1}
SOON = {"start_steps": 64, "update_after": 64, "num_test_episodes": 1}


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Each fenced block of a page in that language, with the line before it."""
    found = [(m["before"], m["text"], m["language"]) for m in BLOCK.finditer(page.read_text())]
    return [(before, text) for before, text, its in found if its == language]


def commands(page: Path) -> list[list[str]]:
    """The words of each line of its blocks without a language."""
    return [
        words
        for _, text in blocks(page, "")
        for line in text.splitlines()
        if (words := shlex.split(line, comments=True)) and not line.startswith(ELSEWHERE)
    ]


def shortened(words: list[str]) -> list[str]:
    """A training with the smallest of budgets; without a window, which a test machine need not have."""
    if words[:3] == ["python", "-m", "rlsuite.run"] and "--help" not in words:
        small = {"total_steps": 700} if words[3] == "--resume" else TINY | (SOON if words[3] in OFF_POLICY else {})
        for name, value in small.items():
            if (flag := f"--{name.replace('_', '-')}") in words:
                words = words[: words.index(flag)] + words[words.index(flag) + 2 :]
            words = [*words, flag, str(value)]
    return [sys.executable, *(word for word in words[1:] if word != "--render")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_tells_to_do_can_be_done(page: Path, tmp_path: Path) -> None:
    """From top to bottom, in a folder that holds the package and what README's first command leaves."""
    shutil.copytree(ROOT / "rlsuite", tmp_path / "rlsuite", ignore=shutil.ignore_patterns("__pycache__"))
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(words: list[str]) -> None:
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"

    for before, text in blocks(page, "python"):
        if name := re.search(r"`([\w/]+\.py)`:$", before):
            (tmp_path / name[1]).write_text(text)
    run(shortened(shlex.split("python -m rlsuite.run ppo --env CartPole-v1 --stop-at 475")))
    for words in commands(page):
        run(shortened(words))
    for before, text in blocks(page, "python"):
        if before.endswith(".py`:"):
            continue
        if "import pandas" in text and not find_spec("pandas"):
            continue
        code = re.sub(r'env="CartPole-v1"(, total_steps=[\d_]+)?', 'env="CartPole-v1", total_steps=600', text)
        run([sys.executable, "-c", code])


def test_no_command_is_overlooked() -> None:
    """The shell blocks hold commands of ours, each in one line, and what ELSEWHERE names."""
    lines = [words for page in PAGES for words in commands(page)]
    assert all(words[:2] == ["python", "-m"] and words[2].startswith("rlsuite.") for words in lines), lines
    assert {words[2] for words in lines} >= {"rlsuite.run", "rlsuite.runs", "rlsuite.plot", "rlsuite.play"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_inline_command_names_what_there_is(page: Path) -> None:
    """Doors, experiments and algorithms that the sentences call."""
    text = page.read_text()
    for door, first in re.findall(r"python -m rlsuite\.(\w+)(?: (\w+))?", text):
        assert (ROOT / "rlsuite" / f"{door}.py").exists(), door
        assert door != "run" or first in {*ALGORITHMS, "awr", ""}, first
    for script in re.findall(r"python (experiments/\w+\.py)", text):
        assert (ROOT / script).exists(), script
