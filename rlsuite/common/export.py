"""A policy as one ONNX file, which other languages and machines can run without torch and without rlsuite."""

import importlib
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlsuite.common.actor_critic import ActorCritic
from rlsuite.common.checks import UserError
from rlsuite.common.envs import Policy
from rlsuite.common.q_networks import QNetwork


class DeterministicActions(nn.Module):
    """Observations (B, *obs_shape) as the environment gives them to actions as it takes them.

    Inside are the normaliser, the first number of a Discrete space and the bounds of a Box. Actions are (B,) int64 or
    (B, *act_shape) float32.
    """

    low: Tensor
    high: Tensor

    def __init__(self, ac: Policy) -> None:
        """Of the networks of any algorithm."""
        super().__init__()
        self.ac, self.space = ac, ac.act_space
        if isinstance(self.space, spaces.Box):
            self.register_buffer("low", torch.as_tensor(self.space.low, dtype=torch.float32))
            self.register_buffer("high", torch.as_tensor(self.space.high, dtype=torch.float32))

    def forward(self, obs: Tensor) -> Tensor:
        """Actions (B, ...)."""
        x = self.ac.encode(obs)
        if isinstance(self.ac, QNetwork):
            act: Tensor = self.ac.q(x).argmax(1)
        else:
            pi: Any = self.ac.pi(x)
            act = pi.mode() if isinstance(self.ac, ActorCritic) else pi
        if isinstance(self.space, spaces.Discrete):
            return act + int(self.space.start)
        return act.reshape(act.shape[0], *self.low.shape).clamp(self.low, self.high)


def export_onnx(ac: Policy, path: Path) -> float:
    """Write a policy to an .onnx file with input "obs" and output "act", and compare the two.

    Args:
        ac: the networks.
        path: of the file.

    Returns:
        The largest difference of an action between torch and onnxruntime, over 256 observations.

    Raises:
        UserError: a package is missing, the file can't be written, or the two differ by more than 1e-5.
    """
    try:
        import onnxruntime

        importlib.import_module("onnxscript")  # what torch.onnx works with
    except ImportError as error:
        raise UserError(f'--export needs a missing package: pip install "rlsuite[onnx]" ({error})') from error
    policy = DeterministicActions(ac.cpu()).eval()
    obs = torch.from_numpy(typical_observations(ac, 256))
    batch = torch.export.Dim("batch")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            policy, (obs,), input_names=["obs"], output_names=["act"], dynamic_shapes=({0: batch},), verbose=False
        )
    assert program is not None
    try:
        program.save(path)
    except OSError as error:
        raise UserError(f"--export {path} can't be written: {error.strerror}") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        wanted = policy(obs).numpy()
    worst = 0.0
    for part in (slice(None), slice(1)):
        (act,) = session.run(["act"], {"obs": obs[part].numpy()})
        worst = max(worst, float(np.abs(act.astype(np.float64) - wanted[part]).max()))
    if not worst <= 1e-5 * max(1.0, float(np.abs(wanted).max())):
        raise UserError(f"{path} differs from the policy by up to {worst:g}: it should not be used")
    return worst


def typical_observations(ac: Policy, count: int) -> Any:
    """Observations (count, *obs_shape) of the kind that the policy's normaliser has seen, as the encoder takes them."""
    space, rng = ac.obs_space, np.random.default_rng(0)
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.start, space.start + space.n, count)
    if space.dtype == np.uint8:
        return rng.integers(0, 256, (count, *(space.shape or ())), dtype=np.uint8)
    mean, std = ac.encode.mean.numpy(), ac.encode.var.numpy() ** 0.5
    x = mean + std * rng.standard_normal((count, len(mean)))
    return x.reshape(count, *(space.shape or ())).astype(np.float32)
