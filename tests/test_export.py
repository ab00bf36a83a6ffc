"""An exported policy acts as the one that it was made from."""

import numpy as np
import pytest
import torch
from conftest import PAIRS

from rlsuite.common.checkpoint import load_policy
from rlsuite.common.envs import make_env
from rlsuite.play import main

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("algo", "env_id"), PAIRS)
def test_the_file_acts_as_the_policy(tmp_path, train, capsys, algo, env_id):
    run, path = train(tmp_path, algo, env=env_id, normalize_obs="True"), tmp_path / "policy.onnx"
    capsys.readouterr()
    assert main([str(run), "--export", str(path)]) == 0
    assert "policy.onnx: obs -> act" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["policy.onnx"]
    ac, env = load_policy(run), make_env(env_id)
    session = onnxruntime.InferenceSession(path)
    obs, _ = env.reset(seed=0)
    for _ in range(20):
        batch = np.array(obs)[None]
        (act,) = session.run(None, {"obs": batch})
        wanted = ac.mode(torch.as_tensor(batch)).numpy()
        if act.dtype == np.float32:
            wanted = wanted.reshape(act.shape).clip(env.action_space.low, env.action_space.high)
        np.testing.assert_allclose(act, wanted, rtol=0, atol=1e-5)
        assert env.action_space.contains(act[0])
        obs, _, terminated, truncated, _ = env.step(act[0])
        if terminated or truncated:
            obs, _ = env.reset()


def test_actions_beyond_the_bounds_are_clipped_in_the_file(tmp_path, train):
    from rlsuite.common.export import export_onnx

    ac = load_policy(train(tmp_path, "ppo", env="Pendulum-v1"))
    with torch.no_grad():
        ac.pi.net[-1].weight.fill_(1.0)
    path = tmp_path / "policy.onnx"
    assert export_onnx(ac, path) <= 1e-5
    obs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    (act,) = onnxruntime.InferenceSession(path).run(None, {"obs": obs})
    assert act.shape == (50, 1)
    assert np.abs(act).max() == 2.0
    assert np.abs(ac.mode(torch.tensor(obs)).numpy()).max() > 2.0


@pytest.mark.parametrize("name", ["policy.pt", "nowhere/policy.onnx"])
def test_a_wrong_file_name_is_one_line(tmp_path, train, capsys, name):
    run = train(tmp_path, "ppo")
    capsys.readouterr()
    assert main([str(run), "--export", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--export" in line
