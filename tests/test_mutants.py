"""The list of mutants can't rot: each fault still has its place, and the tests that should catch it exist."""

import re
from pathlib import Path

import pytest

import rlsuite
from tests.mutants import MUTANTS, Mutant, main


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "_"))
def test_a_mutant_has_one_place_and_tests_that_exist(mutant: Mutant) -> None:
    source = (Path(rlsuite.__file__).parent / mutant.file).read_text()
    assert source.count(mutant.old) == 1
    compile(source.replace(mutant.old, mutant.new), mutant.file, "exec")
    assert mutant.tests
    for test in mutant.tests.split():
        file, _, name = test.partition("::")
        text = (Path(__file__).parent / file).read_text()
        assert not name or re.search(rf"^def {re.escape(name.partition('[')[0])}\(", text, re.MULTILINE), test


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 34


def test_a_word_that_no_mutant_has_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mutants.py", "--only", "no such fault"])
    assert main() == 2
    assert capsys.readouterr() == ("", "no mutant's name or file contains 'no such fault'\n")
