"""The words of other suites: one table for readers and for the command line."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from rlsuite.errors import UserError
from rlsuite.flags import fields_of, parse_flags
from rlsuite.launching import Launch
from rlsuite.settings import flag
from rlsuite.synonyms import ALGORITHMS as OTHER_NAMES
from rlsuite.synonyms import OTHER_FORMS, SETTINGS, counterparts, table
from tests.conftest import ALGORITHMS

ROOT = Path(__file__).parents[1]
FIELDS = {algo: fields_of(import_module(f"rlsuite.algos.{algo}").Config, Launch) for algo in ALGORITHMS}
OURS = {name for fields in FIELDS.values() for name in fields}
THEIRS = sorted(
    {name for row in SETTINGS for cell in row[1:] for name in re.findall(r"`(\w+)`", cell)} | {*OTHER_FORMS}
)


def test_the_table_for_readers_is_this_one() -> None:
    pages = [path for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if table() in path.read_text()]
    assert len(pages) == 1


def test_all_that_the_table_calls_ours_is_ours() -> None:
    names = [name for ours, *_ in SETTINGS for name in re.findall(r"`(\w+)`", ours)]
    assert set(names) <= OURS
    assert {name.split()[0] for name in OTHER_NAMES.values()} <= set(ALGORITHMS)
    assert not {*OTHER_FORMS, *OTHER_NAMES} & {*OURS, *ALGORITHMS}


@pytest.mark.parametrize("word", THEIRS)
def test_every_word_of_the_table_is_understood(word: str) -> None:
    """It is a setting, or the error names what it is here: only what the algorithm has, where it has anything."""
    assert counterparts(word)
    for fields in FIELDS.values():
        if word.lower() in fields:
            assert list(parse_flags([flag(word), "1"], fields)) == [word]
            continue
        with pytest.raises(UserError) as error:
            parse_flags([flag(word.lower()), "1"], fields)
        named = {name[2:].replace("-", "_") for name in re.findall(r"--[\w-]+", str(error.value).partition(";")[2])}
        known = {name for name in counterparts(word) if name in fields}
        if known:
            assert named == known
        elif "did you mean" not in str(error.value):
            assert named == set(counterparts(word))


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("learning_starts", {"start_steps", "update_after"}),  # one word for two of ours
        ("policy_noise", {"target_noise"}),  # the first of several in its cell
        ("policy_frequency", {"policy_delay"}),  # the last
        ("train_v_iters", {"train_iters"}),  # several of theirs for one of ours
        ("delta", {"target_kl"}),
        ("LEARNING_RATE", {"pi_lr", "vf_lr", "q_lr"}),
        ("warmth", set()),
    ],
)
def test_names_in_a_cell_stand_for_ours_in_their_order(word: str, ours: set[str]) -> None:
    assert set(counterparts(word)) == ours
