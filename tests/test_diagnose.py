"""The door to a diagnosis: its page, its figure, its exit codes and its refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlsuite.diagnose import main
from tests.analysis.test_diagnosis import CONFIG, ON_POLICY, changed, low


def write(run: Path, log: Any) -> Path:
    run.mkdir(parents=True)
    rows = [
        "\t".join(log.columns),
        *("\t".join(f"{x}" for x in row) for row in zip(*log.columns.values(), strict=True)),
    ]
    (run / "progress.txt").write_text("\n".join(rows) + "\n")
    (run / "config.json").write_text(json.dumps(CONFIG))
    return run


def test_a_sick_run_has_a_page_a_figure_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "sick", low(ON_POLICY, AdvLogpCorr=-0.3, EntropyShare=0.999))
    assert main([f"{run}", "--out", f"{tmp_path / 'page.png'}"]) == 1
    out = capsys.readouterr().out
    assert "The likeliest cause:\n  a loss, an advantage or the reward enters with the wrong sign" in out
    assert "- the update goes against the advantages, since env step 0\n" in out
    assert "correlation -0.30" in out
    assert "python -m rlsuite.probe ppo" in out
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_silence_is_explained_and_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{write(tmp_path / 'sound', changed(ON_POLICY))}"]) == 0
    assert "Nothing found by 37 rules" in capsys.readouterr().out


def test_findings_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "x" / "sick", low(ON_POLICY, UpdateRatioPi=0.0))
    write(tmp_path / "x" / "sound", changed(ON_POLICY))
    assert main([f"{tmp_path / 'x'}", "--json"]) == 1
    sick, sound = map(json.loads, capsys.readouterr().out.splitlines())
    assert sick["causes"][0] == "policy not trained"
    assert sick["findings"][0]["rule"] == "the policy stands still"
    assert (sound["causes"], sound["findings"]) == ([], [])


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["nowhere"], "does not exist"), ([], "RUN"), (["{run}", "--out", "page.txt"], "must end in"),
     (["{run}", "{other}", "--out", "page.png"], "--out draws one run")],
)  # fmt: skip
def test_bad_input_is_one_line(argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = (write(tmp_path / name, changed(ON_POLICY)) for name in ("a", "b"))
    assert main([word.format(run=run, other=other) for word in argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rlsuite: ")
    assert said in line
