"""Which code a run was made with."""

import subprocess
from pathlib import Path

import pytest

from rlsuite.rundir import versions


def test_the_commit_has_a_plus_where_a_module_has_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, data = tmp_path / "rlsuite" / "rundir" / "versions.py", tmp_path / "results.csv"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(versions, "__file__", str(module))
    module.write_text("")
    data.write_text("")
    assert versions.git_commit() == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = versions.git_commit()
    assert len(commit) == 40
    data.write_text("a result\n")
    assert versions.git_commit() == commit
    module.write_text("import os\n")
    assert versions.git_commit() == commit + "+"
