"""`python -m rlsuite`: which doors there are, and which version this is."""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import rlsuite
from rlsuite.__main__ import main

PACKAGE = Path(rlsuite.__file__).parent


def test_every_file_that_can_be_called_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    callable_files = {path.stem for path in PACKAGE.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    listed = re.findall(r"^\w[\w ]*  python -m rlsuite\.(\w+) ", out, re.MULTILINE)
    assert {"run", "runs", "plot", "play"} <= set(listed)
    assert sorted(listed) == sorted(callable_files - {"__main__"})
    assert out.startswith("rlsuite: deep reinforcement learning")


def test_the_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    version = metadata.version("rlsuite")
    assert rlsuite.__version__ == version
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rlsuite {version}\n"


def test_the_version_is_written_in_one_place() -> None:
    version = re.escape(metadata.version("rlsuite"))
    written = [path for path in PACKAGE.rglob("*.py") if re.search(rf"[\"']{version}[\"']", path.read_text())]
    assert written == []
    setup = PACKAGE.parent / "setup.py"
    assert len(re.findall(rf'version="{version}"', setup.read_text())) == 1


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'rlsuite' has no attribute 'trains'"):
        rlsuite.trains  # noqa: B018


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ppo"]) == 2
    assert capsys.readouterr().err == "rlsuite: unrecognized arguments: ppo; see --help\n"


def test_the_list_from_outside_waits_for_nothing(tmp_path: Path, python: Any) -> None:
    done = python(tmp_path, "-m", "rlsuite")
    assert (done.returncode, done.stderr) == (0, "")
    done = python(tmp_path, "-X", "importtime", "-m", "rlsuite")
    assert not re.search(r"\| +(torch|numpy|matplotlib)$", done.stderr, re.MULTILINE)
