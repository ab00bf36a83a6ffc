"""What is said of the columns: each has a title and a group."""

from pathlib import Path
from typing import Any

from rlsuite.rundir.columns import GROUPS, TITLES, tag
from rlsuite.rundir.runs import read_progress
from tests.conftest import PAIRS


def test_all_columns_of_all_algorithms_have_titles_and_no_title_is_left_over(tmp_path: Path, train: Any) -> None:
    runs = [train(tmp_path, algo, env=env) for algo, env in PAIRS]
    runs.append(train(tmp_path, "ppo", kl_coef=1.0))  # a setting that adds a column
    assert set().union(*map(read_progress, runs)) == set(TITLES)


def test_a_column_is_in_one_group_which_its_tag_names() -> None:
    assert sum(map(len, GROUPS.values())) == len(TITLES)
    assert tag("KL") == "policy/KL"
    assert tag("LossQ2") == "critic/LossQ2"
    assert tag("OfMyOwn") == "other/OfMyOwn"
