"""One training on two hosts: `mpiexec -hosts node1,node2 -n 2 python -m rlsuite.run ...`.

Each host is a network namespace of this machine with an address and a name of its own. They reach each other over a
virtual cable only. What ssh does between real hosts, starting a command on the other one, a script does here.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsuite.rundir.runs import find_runs, read_config, read_progress
from tests.conftest import small_command, source_environment

MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"
TOOLS = ["ip", "unshare", "hostname", MPIEXEC]

Start = Callable[..., "subprocess.CompletedProcess[str]"]


def missing() -> str:
    """What this machine lacks for the test, or ""."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    where = "Debian has them in iproute2, util-linux and hostname; mpiexec comes with rlsuite[mpi]"
    return f"no {', no '.join(lacking)} ({where})" if lacking else ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "everything is there")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True, timeout=30).stdout


def state(node: str) -> dict[str, Any]:
    """Of a host's end of the cable."""
    (about,) = json.loads(ip("-n", node, "-s", "-j", "link", "show", "cable"))
    return dict(about)


def received(node: str) -> int:
    """Bytes that have come to a host over the cable."""
    return int(state(node)["stats64"]["rx"]["bytes"])


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two hosts, by name, connected by a cable."""
    names = [f"rlsuite{os.getpid()}-{n}" for n in (1, 2)]  # tests that run beside this one have other names
    settings = [Path("/etc/netns") / name for name in names]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
        except subprocess.CalledProcessError as error:  # root of a container, for example
            pytest.skip(f"this machine does not let root make network namespaces: {error.stderr.strip()}")
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        known = "".join(f"10.77.0.{n} {name}\n" for n, name in enumerate(names, start=1))
        for n, (name, folder) in enumerate(zip(names, settings, strict=True), start=1):
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n{known}")  # is /etc/hosts there
            ip("-n", name, "address", "add", f"10.77.0.{n}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        deadline = time.monotonic() + 30
        while not all(state(name)["operstate"] == "UP" for name in names):  # the two ends take a moment to find out
            assert time.monotonic() < deadline, [state(name) for name in names]
            time.sleep(0.05)
        yield names
    finally:
        for name, folder in zip(names, settings, strict=True):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=30)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(nodes: list[str], tmp_path: Path) -> Start:
    """Run a python program in two processes, one on each host."""
    shell = tmp_path / "shell"  # called as ssh would be: -x HOST WORD ...
    shell.write_text(
        "#!/bin/sh\n"
        'while [ "${1#-}" != "$1" ]; do shift; done\n'
        "node=$1; shift\n"
        'exec ip netns exec $node unshare --uts sh -c "hostname $node && exec $*"\n'
    )
    shell.chmod(0o755)

    def run(*argv: str) -> "subprocess.CompletedProcess[str]":
        launch = [MPIEXEC, "-launcher-exec", str(shell), "-hosts", ",".join(nodes), "-n", "2", "-ppn", "1"]
        words = [str(shell), nodes[0], shlex.join([*launch, sys.executable, *argv])]
        # By itself MPICH finds out that this is one machine, and sends its messages through memory.
        environment = {**source_environment(), "UCX_TLS": "tcp,self"}
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return run


def test_ranks_find_each_other_across_hosts(nodes: list[str], start: Start, tmp_path: Path) -> None:
    code = """
import socket
from rlsuite import mpi
open(f"rank{mpi.rank}", "w").write(f"{mpi.size} {socket.gethostname()}")
"""
    result = start("-c", code)
    assert result.returncode == 0, result.stderr
    assert [path.read_text() for path in sorted(tmp_path.glob("rank*"))] == [f"2 {name}" for name in nodes]


def test_two_hosts_train_what_two_processes_of_one_host_train(nodes: list[str], start: Start, tmp_path: Path) -> None:
    settings = {"num_envs": 1, "normalize_obs": "True", "test_episodes": 0}
    before = [received(name) for name in nodes]
    far = start("-m", "rlsuite.run", *small_command("ppo", data_dir=tmp_path / "far", **settings))
    assert far.returncode == 0, far.stderr
    words = [MPIEXEC, "-n", "2", sys.executable, "-m", "rlsuite.run"]
    words += small_command("ppo", data_dir=tmp_path / "near", **settings)
    near = subprocess.run(
        words, cwd=tmp_path, env=source_environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert near.returncode == 0, near.stderr
    (ours,), (theirs,) = find_runs([tmp_path / "far"]), find_runs([tmp_path / "near"])
    assert read_config(ours)["ranks"] == 2
    table, expected = read_progress(ours), read_progress(theirs)
    assert table.keys() == expected.keys()
    for name in table.keys() - {"Time", "StepsPerSec"}:
        np.testing.assert_array_equal(table[name], expected[name], err_msg=name)
    assert (ours / "policy.safetensors").read_bytes() == (theirs / "policy.safetensors").read_bytes()
    # Each gradient step has sent a gradient to the other host: of either network, at least its 64 x 64 weights.
    at_least = int(table["GradSteps"][-1]) * 4 * 64 * 64
    assert all(received(name) - bytes_before > at_least for name, bytes_before in zip(nodes, before, strict=True))
