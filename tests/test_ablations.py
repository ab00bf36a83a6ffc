"""The ablation study: what its settings leave out, what it makes of planted returns, and starting it again."""

import csv
import dataclasses
import importlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlsuite.algos import ppo
from rlsuite.analysis.statistics import smallest_found
from rlsuite.run import jobs_of
from rlsuite.rundir.runs import find_runs, read_config, read_progress

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
FLAGS = {
    "no clipping": {"clip_ratio": 1e9},
    "no GAE": {"lam": 1.0},
    "no observation normalisation": {"normalize_obs": False},
    "no early stop": {"target_kl": float("inf")},
    "no clipping, no early stop": {"clip_ratio": 1e9, "target_kl": float("inf")},
}
WHOLE = "whole algorithm"
IN_CODE = ["no advantage normalisation", "no small final layer", "truncation as termination"]


@pytest.fixture
def ablations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The script in a folder of its own, as a copy, since its trainings start it there."""
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "experiments"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ppo, "train", ppo.train)  # so that what the script changes is put back
    monkeypatch.setattr(ppo, "standardize", ppo.standardize)  # type: ignore[attr-defined]
    names = ("ablations", "ablation_results", "tables")
    for name in names:
        sys.modules.pop(name, None)
    yield importlib.import_module("ablations")
    for name in names:
        sys.modules.pop(name, None)


def small(ablations: Any, monkeypatch: pytest.MonkeyPatch, seeds: int = 1) -> None:
    """A study of a few steps."""
    monkeypatch.setattr(ablations, "BUDGETS", {"CartPole-v1": 256})
    monkeypatch.setattr(ablations, "ALL", {"normalize_obs": "True", "test_episodes": "1"})
    monkeypatch.setattr(ablations, "SEEDS", seeds)
    monkeypatch.setattr(ablations.runs_of, "__defaults__", (seeds, (), ()))


def test_each_setting_leaves_out_one_detail_which_is_there_in_the_whole(ablations: Any) -> None:
    assert [*FLAGS, *IN_CODE] == sorted({*ablations.SETTINGS} - {WHOLE}, key=[*FLAGS, *IN_CODE].index)
    assert len(ablations.runs_of()) == 9 * 3 * 10 + 3 * 3
    assert len({run.command for run in ablations.runs_of()}) == 9 * 3 * 10 + 3 * 3
    for env, budget in (("CartPole-v1", 50_000), ("Pendulum-v1", 100_000), ("LunarLander-v3", 200_000)):
        configs = {}
        for setting in ablations.SETTINGS:
            (job,) = jobs_of(ablations.Run(env, setting, 3).words)
            configs[setting] = dataclasses.asdict(job.config)
            assert job.launch.test_episodes == 50
        whole = configs.pop(WHOLE)
        assert (whole["total_steps"], whole["seed"], whole["env"], whole["kl_coef"]) == (budget, 3, env, 0)
        assert whole["clip_ratio"] == 0.2
        assert whole["lam"] < 1
        assert whole["normalize_obs"]
        assert whole["target_kl"] == 0.05
        for setting, config in configs.items():
            changed = {name: value for name, value in config.items() if value != whole[name]}
            assert changed == FLAGS.get(setting, {}), setting


def test_the_final_layer_is_as_large_as_that_of_v_and_nothing_else_is_changed(ablations: Any) -> None:
    for env_id in ("CartPole-v1", "Pendulum-v1"):
        env, config = gym.make(env_id), ppo.Config(env_id)
        networks = []
        for network in (ppo.ActorCritic, ablations.LargeFinalLayer):
            torch.manual_seed(0)
            networks.append(network(env.observation_space, env.action_space, config))
        small, large = (dict(ac.named_parameters()) for ac in networks)
        changed = [name for name in small if not torch.equal(small[name], large[name])]
        assert changed == ["pi.layers.2.weight"]
        gains = torch.linalg.svdvals(large[changed[0]].detach())
        torch.testing.assert_close(gains, torch.ones_like(gains))


def test_a_time_limit_ends_as_a_termination_does(ablations: Any) -> None:
    env = ablations.TimeLimitEnds(gym.make("Pendulum-v1", max_episode_steps=2))
    env.reset(seed=0)
    assert env.step(np.zeros(1, np.float32))[2:4] == (False, False)
    assert env.step(np.zeros(1, np.float32))[2:4] == (True, False)


@pytest.mark.parametrize("setting", IN_CODE)
def test_what_is_left_out_in_the_code_is_missing_in_training(
    setting: str, ablations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ppo.Config("Pendulum-v1", total_steps=400, num_envs=1, steps_per_epoch=400, rollout_len=400, train_iters=1)
    seen: list[tuple[str, bool]] = []
    gae, policy_loss = ppo.gae, ppo.policy_loss  # type: ignore[attr-defined]

    def look_at_ends(*args: Any) -> Any:
        seen.append((IN_CODE[2], not args[4].any() and bool(args[3][199])))
        return gae(*args)

    def look_at_advantages(logp: Any, logp_old: Any, adv: Any, clip: float) -> Any:
        seen.append((IN_CODE[0], bool(adv.abs().mean() > 5)))  # standardised ones are at about 1
        return policy_loss(logp, logp_old, adv, clip)

    monkeypatch.setattr(ppo, "gae", look_at_ends)
    monkeypatch.setattr(ppo, "policy_loss", look_at_advantages)
    ablations.leave_out(setting)
    ac = ppo.train(config)
    seen.append((IN_CODE[1], bool(ac.pi.layers[-1].weight.norm() > 0.5)))  # type: ignore[union-attr, operator, index]
    assert {detail: missing for detail, missing in seen} == {detail: detail == setting for detail in IN_CODE}


def planted(shift: dict[tuple[str, str], float], seeds: int = 10) -> list[dict[str, str]]:
    """Returns of a whole study: 100, the seed's luck, and what is added to a setting's."""
    rng = np.random.default_rng(0)
    rows = []
    for env in ("CartPole-v1", "Pendulum-v1", "LunarLander-v3"):
        luck = rng.normal(0, 20, seeds)
        for setting in [WHOLE, *FLAGS, *IN_CODE, "random play"]:
            noise = 0.0 if setting == WHOLE or (env, setting) in UNUSED else rng.normal(0, 4, seeds)
            returns = 100 + luck + noise + shift.get((env, setting), 0)
            rows += [
                {"environment": env, "setting": setting, "seed": f"{s}", "return": f"{ret:.4f}", "env steps": "100"}
                | {"return while training": f"{ret / 2:.4f}", "commit": "a" * 40, "command": f"{env} {setting} {s}"}
                for s, ret in enumerate(returns)
                if setting != "random play" or s < 3
            ]
    return rows


UNUSED = {("Pendulum-v1", "no clipping")}
SHIFT = {
    **dict.fromkeys([(env, "random play") for env in ("CartPole-v1", "Pendulum-v1", "LunarLander-v3")], -90.0),
    ("CartPole-v1", "no GAE"): -50.0,
    ("LunarLander-v3", "no early stop"): 30.0,
    ("LunarLander-v3", "no clipping, no early stop"): -60.0,
}


def test_planted_differences_are_found_and_chance_is_not(ablations: Any) -> None:
    results = importlib.import_module("ablation_results")
    found = results.compared(results.returns_of(planted(SHIFT), "return"))
    verdicts = {key: c.verdict for key, c in found.items() if c.verdict != "no difference found"}
    assert verdicts == {
        ("CartPole-v1", "no GAE"): "worse",
        ("LunarLander-v3", "no early stop"): "better",
        ("LunarLander-v3", "no clipping, no early stop"): "worse",
    }
    assert {c.cells for c in found.values()} == {24}
    assert all(c.paired and c.n == (10, 10) for c in found.values())
    gae = found["CartPole-v1", "no GAE"]
    assert gae.low < -50 < gae.high  # pairs: the seeds' luck would make it twice as wide
    assert gae.high - gae.low < 12
    assert results.verdict(gae) == f"worse by {-gae.difference:.1f}"


def test_the_report_says_what_is_unused_what_is_missing_and_what_interacts(ablations: Any) -> None:
    results = importlib.import_module("ablation_results")
    rows = planted(SHIFT)
    lines = results.report(rows, 279)
    assert max(map(len, lines)) <= 100
    assert lines[0] == "279 of 279 runs are finished; of commit aaaaaaa"
    assert not any("not the whole study" in line for line in lines)
    ends = [line.split()[7:] for line in lines if line.startswith("no clipping  ")]
    assert [(words[0], " ".join(words[2:])) for words in ends] == 2 * [
        ("0", "no difference found"),
        ("10", "not in use"),
        ("0", "no difference found"),
    ]
    gae = next(line for line in lines if line.startswith("no GAE"))
    whole, without = (np.array([float(r["return"]) for r in rows[:90] if r["setting"] == s]) for s in (WHOLE, "no GAE"))
    finds = smallest_found(10, float((without - whole).std(ddof=1)), paired=True, level=1 - 0.05 / 24)
    assert gae.split()[8] == f"{finds:.1f}"
    told = [line.strip() for line in lines if line.endswith(" (10 seeds)")]
    assert told == [
        "no interaction found (10 seeds)",
        "no interaction found (10 seeds)",
        "they stand in for each other: one makes up for the other's absence (10 seeds)",
    ]
    means = [float(x) for x in next(line for line in lines if line.startswith("LunarLander-v3   ")).split()[1:]]
    np.testing.assert_allclose(means[:5], [0, 30, 30, -60, -90], atol=8)
    assert means[5] < means[4] < means[6]
    some = results.report(rows[:-1], 279, ["CartPole-v1, no GAE, seed 3"])
    assert some[:3] == [
        "278 of 279 runs are finished; of commit aaaaaaa",
        "This is not the whole study: all below may change.",
        "failed, and left out: CartPole-v1, no GAE, seed 3",
    ]


@pytest.mark.parametrize("left_out", [WHOLE, "no early stop", "random play"])
def test_there_is_a_report_and_a_figure_of_a_study_that_has_only_begun(
    left_out: str, ablations: Any, tmp_path: Path
) -> None:
    results = importlib.import_module("ablation_results")
    for seeds in (1, 2, 3):
        rows = [row for row in planted(SHIFT, seeds) if row["setting"] != left_out or row["environment"][0] != "C"]
        rows[1]["return while training"] = "nan"
        assert max(map(len, results.report(rows, 279))) <= 100
        results.draw(tmp_path / "ablations.png", rows, 279)
    assert (tmp_path / "ablations.png").stat().st_size > 5000


def test_started_again_it_trains_what_is_left(
    ablations: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small(ablations, monkeypatch)
    words = ["--jobs", "2", "--only", "no-small-final-layer", "no-GAE"]
    assert ablations.main(words) == 0
    capfd.readouterr()
    runs = {read_config(run)["exp_name"]: run for run in find_runs([tmp_path / "data"])}
    assert sorted(runs) == ["no-GAE_CartPole-v1", "no-small-final-layer_CartPole-v1"]
    log = read_progress(run := runs["no-small-final-layer_CartPole-v1"])
    (run / "result.json").unlink()  # as if it had been interrupted before its test episodes
    assert ablations.main([*words, "random-play", "truncation-as-termination"]) == 0
    said = capfd.readouterr().out
    assert said.count("skipped") == 1
    assert "no GAE, seed 0: skipped" in said
    assert len(find_runs([tmp_path / "data"])) == 4
    np.testing.assert_array_equal(read_progress(run)["AverageEpRet"], log["AverageEpRet"])
    with (tmp_path / "data" / "ablations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["setting"] for row in rows] == ["no GAE", *IN_CODE[1:], "random play"]
    row = rows[1]
    assert (row["env steps"], row["seed"]) == ("256", "0")
    assert float(row["return"]) == pytest.approx(
        json.loads((run / "result.json").read_text())["AverageEpRet"], abs=1e-3
    )
    assert float(row["return while training"]) == pytest.approx(log["AverageEpRet"][0], abs=1e-3)
    # The command of a row trains that row's setting, by hand too.
    assert row["command"] == read_config(run)["command"]
    program, script, *rest = shlex.split(row["command"])
    assert (program, script, rest[:2]) == ("python", "experiments/ablations.py", ["--train", "no-small-final-layer"])
    assert read_config(run)["network"].endswith("LargeFinalLayer")
    assert "4 of 10 runs are finished" in said


def test_the_mean_while_training_weighs_env_steps(ablations: Any, tmp_path: Path) -> None:
    (tmp_path / "progress.txt").write_text("TotalEnvInteracts\tAverageEpRet\n100\tnan\n200\t10\n250\t40\n")
    assert ablations.mean_while_training(tmp_path) == pytest.approx(20)  # (100 · 10 + 50 · 40) / 150


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "11"], "--seeds is from 1 to 10"),
        (["--jobs", "0"], "--jobs 1 or more"),
        (["--only", "no-luck"], "no-luck"),
        (["--env", "Acrobot-v1"], "Acrobot-v1"),
        (["--train", "no-luck", "ppo", "--env", "CartPole-v1"], "no-luck"),
        (["--train"], "--train"),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, ablations: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablations.main(words) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


def test_the_tables_of_the_docs_are_those_of_the_published_returns(ablations: Any) -> None:
    page = (EXPERIMENTS.parent / "docs" / "ablations.md").read_text()
    with (EXPERIMENTS.parent / "data" / "ablations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    results = sys.modules["ablation_results"]
    for column in (results.RETURN, results.LEARNING):
        assert "\n".join(results.table(rows, column)) in page
