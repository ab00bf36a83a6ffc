import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsuite.errors import UserError
from rlsuite.rundir.runs import find_runs, group_by_settings, read_config, read_progress

TWO_ROWS = "Epoch\tKL\n1\t0.5\n2\t0.25\n"


def make_run(path: Path, progress: Any = TWO_ROWS, **config: Any) -> Path:
    path.mkdir(parents=True)
    (path / "progress.txt").write_bytes(progress if isinstance(progress, bytes) else progress.encode())
    if config:
        (path / "config.json").write_text(json.dumps(config))
    return path


def labels(runs: list[Path]) -> dict[str, list[str]]:
    return {group.label: [run.name for run in group.runs] for group in group_by_settings(runs)}


def test_find_runs_searches_below_each_path_and_names_each_run_once(tmp_path: Path) -> None:
    a = make_run(tmp_path / "data" / "exp" / "b_s1")
    b = make_run(tmp_path / "data" / "exp" / "a_s0")
    other = make_run(tmp_path / "other")
    assert find_runs([other, tmp_path / "data", str(a), tmp_path / "other" / ".." / "other"]) == [other, b, a]


def test_find_runs_does_not_look_inside_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    make_run(run / "copy")
    assert find_runs([tmp_path]) == [run]


def test_find_runs_says_what_it_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, expected in [
        (tmp_path, "progress.txt"),
        (file, "is a file"),
        (tmp_path / "no", "does not exist"),
        (tmp_path / ("x" * 5000), "does not exist"),
    ]:
        with pytest.raises(UserError, match=expected) as caught:
            find_runs([path])
        assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folders_and_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seed=0)
    for path, read in [(run / "progress.txt", read_progress), (run / "config.json", read_config)]:
        path.chmod(0)
        with pytest.raises(UserError, match="can't be read"):
            read(run)
    run.chmod(0)
    with pytest.raises(UserError, match="can't be read"):
        find_runs([tmp_path])
    run.chmod(0o700)


def test_progress_columns(tmp_path: Path) -> None:
    columns = read_progress(make_run(tmp_path / "r", "Epoch\tEpLen\r\n1\tnan\r\n2\t\r\n3\t1e3\r\n"))
    assert list(columns) == ["Epoch", "EpLen"]
    assert columns["EpLen"].dtype == np.float64
    np.testing.assert_array_equal(columns["Epoch"], [1, 2, 3])
    np.testing.assert_array_equal(columns["EpLen"], [np.nan, np.nan, 1000])


@pytest.mark.parametrize("last", ["3", "3\t", "3\t100", "3\n", "\n\n"])
def test_last_line_that_is_still_being_written_is_skipped(tmp_path: Path, last: str) -> None:
    columns = read_progress(make_run(tmp_path / "r", TWO_ROWS + last))
    np.testing.assert_array_equal(columns["KL"], [0.5, 0.25])


@pytest.mark.parametrize(("text", "names"), [("", []), ("Epo", []), ("Epoch\tKL\n", ["Epoch", "KL"])])
def test_progress_before_the_first_epoch(tmp_path: Path, text: str, names: list[str]) -> None:
    columns = read_progress(make_run(tmp_path / "r", text))
    assert list(columns) == names
    assert all(column.shape == (0,) for column in columns.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Epoch\tKL\n1\n2\t3\n", "line 2: 1 cells for 2 columns"),
        ("Epoch\tKL\n1\t2\t3\n", "line 2: 3 cells for 2 columns"),
        ("Epoch\tKL\n\n1\t2\n", "line 2: 1 cells for 2 columns"),
        ("Epoch\tKL\n1\t2\n2\tfast\n", "line 3, KL: 'fast' is not a number"),
        ("Epoch\tKL\n1\t__import__('os')\n", "line 2, KL: .* is not a number"),
        ("KL\tKL\n1\t2\n", "line 1: column 'KL' twice"),
        ("KL\t\n1\t2\n", "line 1: a column without a name"),
        (b"Epoch\tKL\n\0\t1\n", "line 2, Epoch"),
        (b"\x89PNG\r\n\x1a\n\xff\xff", "not a text file"),
    ],
)
def test_damaged_progress_names_file_and_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    run = make_run(tmp_path / "r", text)
    with pytest.raises(UserError, match=expected) as caught:
        read_progress(run)
    assert str(run / "progress.txt") in str(caught.value)


def test_named_pipe_is_no_progress(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "progress.txt")
    with pytest.raises(UserError, match="not a file"):
        read_progress(tmp_path)


def test_config(tmp_path: Path) -> None:
    assert read_config(make_run(tmp_path / "none")) == {}
    assert read_config(make_run(tmp_path / "some", seed=3, sizes=[64, 64])) == {"seed": 3, "sizes": [64, 64]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not valid JSON"),
        ("{'seed': 0}", "not valid JSON"),
        ("[1]", "JSON list"),
        ("null", "JSON NoneType"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested too deeply"),
        ('{"a":' + "9" * 5000 + "}", "not valid JSON"),
        ("\xff\xfe", "not a text file"),
    ],
)
def test_damaged_config(tmp_path: Path, text: str, expected: str) -> None:
    run = make_run(tmp_path / "r")
    (run / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=expected) as caught:
        read_config(run)
    assert str(run / "config.json") in str(caught.value)


def test_runs_that_differ_only_in_their_seed_are_one_group(tmp_path: Path) -> None:
    runs = [
        make_run(
            tmp_path / "exp" / f"s{seed}",
            algo="ppo",
            env="CartPole-v1",
            exp_name="ppo_CartPole-v1",
            seed=seed,
            note=f"try {seed}",
            versions={"torch": f"2.{seed}"},
            git_commit=str(seed),
            command=f"--seed {seed}",
            timestamp=f"2026010{seed}",
        )
        for seed in range(3)
    ]
    assert labels(runs) == {"ppo_CartPole-v1": ["s0", "s1", "s2"]}


def test_a_run_that_was_trained_further_stays_in_its_group(tmp_path: Path) -> None:
    common = {"algo": "ppo", "env": "CartPole-v1", "exp_name": "e"}
    make_run(tmp_path / "a", **common, seed=0, total_steps=100)
    make_run(tmp_path / "b", **common, seed=1, total_steps=300, first_total_steps=100)
    make_run(tmp_path / "c", **common, seed=2, total_steps=300)  # its schedules were other ones from the start
    assert labels(find_runs([tmp_path])) == {"total_steps=100": ["a", "b"], "total_steps=300": ["c"]}


def test_label_names_the_settings_that_differ(tmp_path: Path) -> None:
    common = {"algo": "ppo", "env": "CartPole-v1", "exp_name": "sweep", "gamma": 0.99}
    make_run(tmp_path / "a", **common, pi_lr=0.001, hidden_sizes=[64, 64], seed=0)
    make_run(tmp_path / "b", **common, pi_lr=3 * 0.0001, hidden_sizes=[64, 64], seed=0)
    make_run(tmp_path / "c", **common, pi_lr=0.001, hidden_sizes=[32], seed=0)
    make_run(tmp_path / "d", **common, pi_lr=0.0003, hidden_sizes=[64, 64], seed=1)
    assert labels(find_runs([tmp_path])) == {
        "hidden_sizes=[64, 64], pi_lr=0.001": ["a"],
        "hidden_sizes=[64, 64], pi_lr=0.0003": ["b", "d"],
        "hidden_sizes=[32], pi_lr=0.001": ["c"],
    }


def test_labels_leave_out_what_algorithm_and_environment_decide_and_the_environment(tmp_path: Path) -> None:
    for name, algo, env, settings in [
        ("a", "ppo", "CartPole-v1", {"clip_ratio": 0.2, "gamma": 0.99, "pi_lr": 0.001}),
        ("b", "ppo", "CartPole-v1", {"clip_ratio": 0.2, "gamma": 0.99, "pi_lr": 0.002}),
        ("c", "dqn", "CartPole-v1", {"epsilon": 0.1, "gamma": 0.9}),
        ("d", "ppo", "Acrobot-v1", {"clip_ratio": 0.3, "gamma": 0.99, "pi_lr": 0.001}),
    ]:
        make_run(tmp_path / name, algo=algo, env=env, exp_name=f"{algo}_{env}", seed=0, **settings)
    groups = group_by_settings(find_runs([tmp_path]))
    assert [(group.label, group.env) for group in groups] == [
        ("ppo, pi_lr=0.001", "CartPole-v1"),
        ("ppo, pi_lr=0.002", "CartPole-v1"),
        ("dqn", "CartPole-v1"),
        ("ppo, pi_lr=0.001", "Acrobot-v1"),
    ]


def test_one_algorithm_in_two_environments_is_labelled_with_its_name(tmp_path: Path) -> None:
    for name, env in [("a", "CartPole-v1"), ("b", "Acrobot-v1")]:
        make_run(tmp_path / name, algo="ppo", env=env, exp_name=f"ppo_{env}", seed=0)
    assert [group.label for group in group_by_settings(find_runs([tmp_path]))] == ["ppo", "ppo"]
    make_run(tmp_path / "c", algo="ppo", env="CartPole-v1", exp_name="again", seed=0)
    labelled = [group.label for group in group_by_settings(find_runs([tmp_path]))]
    assert labelled == ["ppo_CartPole-v1", "ppo_Acrobot-v1", "again"]


def test_groups_that_differ_only_in_name_are_labelled_with_it(tmp_path: Path) -> None:
    for name in ("old", "new"):
        make_run(tmp_path / f"{name}_run", algo="ppo", exp_name=name, seed=0)
    assert labels(find_runs([tmp_path])) == {"new": ["new_run"], "old": ["old_run"]}


def test_the_name_joins_the_label_where_the_settings_do_not_suffice(tmp_path: Path) -> None:
    for name, pi_lr in [("new", 0.1), ("new", 0.2), ("old", 0.1)]:
        make_run(tmp_path / f"{name}{pi_lr}", algo="ppo", exp_name=name, pi_lr=pi_lr, seed=0)
    assert list(labels(find_runs([tmp_path]))) == ["new, pi_lr=0.1", "new, pi_lr=0.2", "old, pi_lr=0.1"]


def test_a_setting_that_one_group_lacks(tmp_path: Path) -> None:
    make_run(tmp_path / "a", algo="ppo", exp_name="e", seed=0)
    make_run(tmp_path / "b", algo="ppo", exp_name="e", seed=0, target_kl=0.02)
    assert labels(find_runs([tmp_path])) == {"e": ["a"], "target_kl=0.02": ["b"]}


def test_run_without_config_is_named_after_its_experiment(tmp_path: Path) -> None:
    make_run(tmp_path / "exp" / "s0")
    make_run(tmp_path / "exp" / "s1")
    assert labels(find_runs([tmp_path])) == {"exp": ["s0", "s1"]}


def test_spinning_up_config(tmp_path: Path) -> None:
    for seed, width in [(0, 32), (10, 32), (0, 64)]:
        make_run(
            tmp_path / f"w{width}" / f"s{seed}",
            exp_name="su",
            env_name="Hopper-v2",
            seed=seed,
            ac_kwargs={"hidden_sizes": [width, width]},
            actor_critic=f"<class MLP at 0x7f{seed:02d}ab>",
            env_fn=f"<function <lambda> at 0x{seed}>",
            logger={f"<EpochLogger object at 0x{seed}>": {"output_dir": str(seed)}},
            logger_kwargs={"output_dir": f"/tmp/s{seed}"},
        )
    assert labels(find_runs([tmp_path])) == {
        "ac_kwargs.hidden_sizes=[32, 32]": ["s0", "s10"],
        "ac_kwargs.hidden_sizes=[64, 64]": ["s0"],
    }


def test_needs_neither_torch_nor_matplotlib() -> None:
    code = "import sys, rlsuite.rundir.runs; print({'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def mostly_sound(text: str) -> st.SearchStrategy[bytes]:
    """A file as it should be, with some of it replaced, or no such file at all."""
    sound = text.encode()
    places = st.integers(0, len(sound))
    changed = st.builds(lambda a, b, new: sound[: min(a, b)] + new + sound[max(a, b) :], places, places, st.binary())
    return st.one_of(st.binary(max_size=200), changed)


@given(mostly_sound("Epoch\tAverageEpRet\tKL\n1\t10.5\tnan\n2\t-3\t1e-5\n"))
@hypothesis.settings(max_examples=300, deadline=None)
def test_any_progress_file_is_read_or_refused(tmp_path_factory, content):
    run = tmp_path_factory.mktemp("run")
    (run / "progress.txt").write_bytes(content)
    with suppress(UserError):
        assert len({len(column) for column in read_progress(run).values()}) <= 1


CONFIG = '{"algo": "ppo", "env": "CartPole-v1", "seed": 0, "hidden_sizes": [64, 64], "gamma": 0.99}'


@given(mostly_sound(CONFIG))
@hypothesis.settings(max_examples=300, deadline=None)
def test_any_config_file_is_read_or_refused(tmp_path_factory, content):
    run = tmp_path_factory.mktemp("run")
    (run / "config.json").write_bytes(content)
    (run / "progress.txt").write_text("Epoch\n1\n")
    with suppress(UserError):
        assert isinstance(read_config(run), dict)
        group_by_settings([run])


@given(mostly_sound(CONFIG))
@hypothesis.settings(max_examples=300, deadline=None)
def test_any_config_file_is_resumed_or_refused(tmp_path_factory, content):
    import rlsuite.run

    run = tmp_path_factory.mktemp("run")
    (run / "config.json").write_bytes(content)
    (run / "progress.txt").write_text("Epoch\n1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rlsuite.run, "train_all", lambda *args: 0)
        assert rlsuite.run.main(["--resume", str(run), "--quiet"]) in (0, 2)
