"""The door to a diagnosis: its page, its figure, its exit codes and its refusals."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rlsuite.analysis.diagnosis import LIKENESS, Log
from rlsuite.analysis.rules import RULES
from rlsuite.analysis.watch import Watch
from rlsuite.diagnose import main
from rlsuite.run import main as train
from tests.analysis.test_diagnosis import ALONE, CONFIG, ON_POLICY, changed, low


def write(run: Path, log: Any) -> Path:
    run.mkdir(parents=True)
    rows = [
        "\t".join(log.columns),
        *("\t".join(f"{x}" for x in row) for row in zip(*log.columns.values(), strict=True)),
    ]
    (run / "progress.txt").write_text("\n".join(rows) + "\n")
    (run / "config.json").write_text(json.dumps(CONFIG))
    return run


@pytest.fixture
def rules_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what looks at all columns: logs made by hand look like no run."""
    monkeypatch.setattr("rlsuite.diagnose.RULES", ALONE)


@pytest.mark.usefixtures("rules_alone")
def test_a_sick_run_has_a_page_a_figure_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "sick", low(ON_POLICY, AdvLogpCorr=-0.3, EntropyShare=0.999))
    assert main([f"{run}", "--out", f"{tmp_path / 'page.png'}"]) == 1
    out = capsys.readouterr().out
    assert "The likeliest cause:\n  a loss, an advantage or the reward enters with the wrong sign" in out
    assert "- the update goes against the advantages, since env step 0 (AdvLogpCorr; ours)\n" in out
    assert "correlation -0.30," in out
    assert "python -m rlsuite.probe ppo" in out
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_silence_is_explained_and_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{write(tmp_path / 'sound', changed(ON_POLICY))}"]) == 0
    assert f"None of {len(RULES)} rules speaks" in capsys.readouterr().out


def test_a_cause_that_only_the_likeness_names_has_its_evidence_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mild = low(ON_POLICY, AverageEpRet=5.0, AdvReturnCorr=math.nan)  # a finding of 0.25 and many causes
    assert main([f"{write(tmp_path / 'mild', mild)}"]) == 1
    out = capsys.readouterr().out
    assert "Evidence:\n- looks like known faults, since env step 0 (" in out
    assert "its columns resemble those of planted faults: " in out


def test_what_all_columns_say_stands_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{write(tmp_path / 'sick', low(ON_POLICY, KL=3.0))}"]) == 1
    out = capsys.readouterr().out
    assert out.count(LIKENESS) == 0
    assert out.count("\nAll columns together (") == 1


@pytest.mark.usefixtures("rules_alone")
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


def test_a_training_warns_once_of_a_finding_and_says_it_again_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ppo", "--env", "CartPole-v1", "--total-steps", "4000", "--steps-per-epoch", "200", "--data-dir"]
    words += [f"{tmp_path}", "--preset", "none", "--rollout-len", "100", "--num-envs", "2", "--pi-lr", "1e-7"]
    assert train(words) == 0
    lines = capsys.readouterr().out.splitlines()
    warned = [at for at, line in enumerate(lines) if line.startswith("rlsuite: the policy creeps: ")]
    assert len(warned) == 1
    assert lines[warned[0] - 1].startswith("epoch 4 "), "of the first three epochs nothing is said"
    end = [line.partition(":")[0] for line in lines if not line.startswith("epoch")]
    assert end[-5:-2] == ["the policy creeps", "likeliest cause", "why"]


def test_a_sound_training_is_not_warned_of_and_a_quiet_one_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["ppo", "--env", "CartPole-v1", "--steps-per-epoch", "500", "--data-dir", f"{tmp_path}"]
    assert train([*short, "--total-steps", "10000"]) == 0
    assert "rlsuite: " not in (out := capsys.readouterr().out)
    assert "likeliest cause" not in out
    assert train([*short, "--total-steps", "5000", "--pi-lr", "1e-9", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_what_a_watch_can_not_read_ends_no_training(tmp_path: Path) -> None:
    assert Watch()(tmp_path / "nowhere") == []


def test_a_training_that_breaks_off_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ppo", "--env", "CartPole-v1", "--preset", "none", "--total-steps", "2000", "--steps-per-epoch", "200"]
    assert train([*words, "--rollout-len", "50", "--vf-lr", "1e30", "--data-dir", f"{tmp_path}"]) == 3
    *_, number, cause, why = capsys.readouterr().out.splitlines()
    assert number.startswith("no number: it broke off: the gradient of LossV has a norm of nan")
    assert cause == "likeliest cause: the steps are too large"
    assert why.startswith("why:      python -m rlsuite.diagnose ")


def test_a_run_of_another_suite_is_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("AverageEpRet", "StdEpRet", "MaxEpRet", "MinEpRet", "EpLen", "TotalEnvInteracts", "LossPi", "KL")
    run = write(tmp_path / "run", Log({name: ON_POLICY.get(name, 0.1 * ON_POLICY["KL"]) for name in names}, {}))
    (run / "config.json").write_text('{"env_name": "CartPole-v1", "exp_name": "ppo"}')
    assert main([f"{run}"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{run}: a run of another suite, 40,000 env steps"
    assert second == "return 285.4; the first epoch returned 20 ± 10"
