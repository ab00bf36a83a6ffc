"""What the logger writes besides what the doors' own tests read."""

import math
import sys

import pytest

from rlsuite.algos import ppo
from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checks import UserError
from rlsuite.common.logger import Logger

CONFIG = ppo.Config("CartPole-v1")


def test_tensorboard_gets_every_finite_number_at_its_env_step(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = Logger(data_dir=tmp_path, tensorboard=True, quiet=True)
    logger.start("ppo", CONFIG, ActorCritic)
    for steps, ret in ((100, math.nan), (200, 7.0)):
        logger.log_epoch({"Epoch": steps // 100, "AverageEpRet": ret, "KL": 0.5, "TotalEnvInteracts": steps})
    logger.close()
    events = EventAccumulator(str(logger.run_dir))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("AverageEpRet")] == [(200, 7.0)]
    assert [(e.step, e.value) for e in events.Scalars("KL")] == [(100, 0.5), (200, 0.5)]


def test_tensorboard_that_is_not_installed_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"rlsuite\[tensorboard\]"):
        Logger(data_dir=tmp_path, tensorboard=True).start("ppo", CONFIG, ActorCritic)
    assert not list(tmp_path.iterdir())


def test_columns_must_not_change_within_a_run(tmp_path):
    logger = Logger(data_dir=tmp_path, quiet=True)
    logger.start("ppo", CONFIG, ActorCritic)
    logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": 1})
    with pytest.raises(UserError, match="KL"):
        logger.log_epoch({"Epoch": 2, "TotalEnvInteracts": 2, "KL": 0.0})
    logger.close()


def test_a_row_can_be_read_as_soon_as_it_is_logged(tmp_path):
    logger = Logger(data_dir=tmp_path, quiet=True)
    logger.start("ppo", CONFIG, ActorCritic)
    logger.log_epoch({"Epoch": 1, "TotalEnvInteracts": 1})
    header, row = (logger.run_dir / "progress.txt").read_text().splitlines()
    logger.close()
    assert dict(zip(header.split("\t"), row.split("\t"), strict=True))["Epoch"] == "1"
