"""Where all randomness comes from: one integer seed."""

import random

import numpy as np
import torch

from rlsuite.common import mpi

TEST_EPISODES = 2**32 - 1
"""Stands in the place of the rank in the seeds of test episodes, which are so drawn apart from those of training."""


def seed_everything(seed: int) -> np.random.Generator:
    """Seed the generators of python, numpy and torch, differently on each rank (see mpi.py).

    Networks, and on-policy actions and minibatches, draw from torch's generator. The environments have their own seeds.

    Returns:
        A generator for exploration noise and for samples from a replay buffer.
    """
    state = np.random.SeedSequence([seed, mpi.rank]).generate_state(4)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))  # noqa: NPY002 - a user's environment may draw from the global generator
    torch.manual_seed(int(state[2]))
    return np.random.default_rng(int(state[3]))


def episode_seed(seed: int, rank: int, env_index: int, episode_index: int) -> int:
    """The seed that one episode's environment is reset with.

    Because each episode has its own, (environment id, episode seed, actions) is the whole episode, and it can be
    replayed without running those before it.

    Returns:
        A whole number in [0, 2^32).
    """
    return int(np.random.SeedSequence([seed, rank, env_index, episode_index]).generate_state(1)[0])
