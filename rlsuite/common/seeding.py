"""Where all randomness comes from: one integer seed."""

import random

import numpy as np
import torch

from rlsuite import mpi


def seed_everything(seed: int) -> np.random.Generator:
    """Seed the generators of python, numpy and torch, differently on each rank.

    Networks, and on-policy actions and minibatches, draw from torch's generator. Each episode of an environment has a
    seed of its own, see `rlsuite.envs.episodes`.

    Returns:
        A generator for exploration and for samples from a replay buffer.
    """
    state = np.random.SeedSequence([seed, mpi.rank]).generate_state(4)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))  # noqa: NPY002 - a user's environment may draw from the global generator
    torch.manual_seed(int(state[2]))
    return np.random.default_rng(int(state[3]))
