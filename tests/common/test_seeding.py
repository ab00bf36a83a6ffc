"""One integer from which all randomness comes."""

import random

import numpy as np
import pytest
import torch

from rlsuite import mpi
from rlsuite.common.seeding import seed_everything


def draws(seed):
    rng = seed_everything(seed)
    return random.random(), np.random.rand(), torch.rand(()).item(), rng.random()  # noqa: NPY002


def test_equal_seeds_draw_equal_numbers_from_every_generator():
    one, same, other = draws(3), draws(3), draws(4)
    assert one == same
    assert all(a != b for a, b in zip(one, other, strict=True))
    assert len(set(one)) == 4


@pytest.mark.parametrize("rank", [1, 2])
def test_each_rank_draws_other_numbers(monkeypatch, rank):
    first = draws(3)
    monkeypatch.setattr(mpi, "rank", rank)
    assert all(a != b for a, b in zip(first, draws(3), strict=True))
