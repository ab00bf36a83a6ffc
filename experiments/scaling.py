"""What several processes gain: `python experiments/scaling.py` (extras `mpi`, `mujoco`).

On paper, one gradient step of N processes at a total batch of B samples takes

    T(N) = a + b B/N + ceil(log2 N) α + 2 (N-1)/N n β

a is what a step costs at any batch (seconds), b the arithmetic of one sample, n the number of parameters (float32: 4 n
bytes per Allreduce), α the latency of a message and β the time for one float. The last two terms are an Allreduce by
recursive halving and doubling: log2 N rounds, in which each rank sends and receives 2 (N-1)/N of the vector. a, b, α
and β are measured here, the last two between two processes of this machine. For a network they are assumed (25 µs,
10 Gbit/s). The model predicts from how many processes on communication dominates.

Source of the model: Thakur, Rabenseifner, Gropp 2005, "Optimization of Collective Communication Operations in MPICH".

Then real trainings: one process and two take turns at the same total batch. data/scaling.csv holds model and
measurements, data/scaling.png draws the model.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from tables import DATA, ROOT, write_table

from rlsuite import mpi
from rlsuite.common.actor_critic import MLP
from rlsuite.common.optim import Adam
from rlsuite.rundir.runs import find_runs, read_progress

MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"
SIZES = [1, 100, 1000, 10_000, 30_000, 72_000, 200_000, 1_000_000]
NETWORK = (25e-6, 32 / 10e9)  # α and β of 10 Gbit Ethernet: assumed, not measured
NETWORKS = {  # widths, activation, total batch
    "PPO HalfCheetah policy, 64 x 64, batch 256": ((17, 64, 64, 6), "tanh", 256),
    "PPO HalfCheetah policy, 64 x 64, batch 4096": ((17, 64, 64, 6), "tanh", 4096),
    "DDPG HalfCheetah critic, 256 x 256, batch 100": ((23, 256, 256, 1), "relu", 100),
    "DDPG HalfCheetah critic, 256 x 256, batch 1024": ((23, 256, 256, 1), "relu", 1024),
}
SHARED = ["--preset", "none", "--env", "HalfCheetah-v5", "--test-episodes", "0", "--quiet", "--checkpoint-every", "0"]
DDPG = ["ddpg", *SHARED, "--start-steps", "100", "--update-after", "100", "--num-test-episodes", "0"]
DDPG += ["--steps-per-epoch", "300", "--total-steps", "1200", "--batch-size"]
PPO = ["ppo", *SHARED, "--steps-per-epoch", "2048", "--total-steps", "6144"]
PPO += ["--minibatch-size", "256", "--train-iters", "10", "--target-kl", "inf"]
PPO_ONE, PPO_HALF = ["--num-envs", "1", "--rollout-len", "2048"], ["--num-envs", "1", "--rollout-len", "1024"]
PPO_TWO = ["--num-envs", "2", "--rollout-len", "1024"]
FULL = ["ppo", *SHARED, "--steps-per-epoch", "4096", "--total-steps", "16384"]
FULL += ["--minibatch-size", "4096", "--train-iters", "80", "--target-kl", "inf", "--num-envs", "1", "--rollout-len"]
TRAININGS = {  # command lines for one process and for two, at the same total batch and data
    "PPO, 4096 samples, 80 steps on all of them": ([*FULL, "4096"], [*FULL, "2048"]),
    "PPO, 2048 samples, minibatches of 256": ([*PPO, *PPO_ONE], [*PPO, *PPO_HALF]),
    # Two environments that step together in one process share each forward pass. So two processes gain less here.
    "PPO, 2048 samples, minibatches of 256, two environments in the one process": ([*PPO, *PPO_TWO], [*PPO, *PPO_HALF]),
    "DDPG, batch 100": ([*DDPG, "100"], [*DDPG, "100"]),
    "DDPG, batch 1024": ([*DDPG, "1024"], [*DDPG, "1024"]),
}


def allreduce_times() -> list[float]:
    """Median seconds of one average over the processes, for each of `SIZES`. All ranks must call it."""
    medians = []
    for size in SIZES:
        x, times = torch.ones(size), []
        for _ in range(200):
            mpi.gather_objects(None)
            start = time.perf_counter()
            mpi.average_(x)
            times.append(time.perf_counter() - start)
        medians.append(statistics.median(times))
    return medians


def fit(x: list[float], seconds: list[float]) -> tuple[float, float]:
    """Intercept and slope of a line, by least squares of the relative errors."""
    design = np.stack([np.ones(len(x)), np.array(x)], 1) / np.array(seconds)[:, None]
    (intercept, slope), *_ = np.linalg.lstsq(design, np.ones(len(x)), rcond=None)
    return float(max(intercept, 0.0)), float(slope)


def gradient_step(widths: tuple[int, ...], activation: str) -> tuple[float, float, int]:
    """The a and b of the model, and the number of parameters."""
    net = MLP(widths, activation)
    opt = Adam("Pi", net, lr=1e-3)
    batches, seconds = [16, 64, 256, 1024], []
    for batch in batches:
        x, times = torch.randn(batch, widths[0]), []
        for _ in range(60):
            start = time.perf_counter()
            net.outputs(x).square().mean().backward()
            opt.step()
            times.append(time.perf_counter() - start)
        seconds.append(statistics.median(times))
    return (*fit([float(b) for b in batches], seconds), len(opt.flat))


def predicted(a: float, b: float, n: int, batch: int, ranks: int, link: tuple[float, float]) -> float:
    """Seconds of a gradient step, by the model."""
    alpha, beta = link
    return a + b * batch / ranks + math.ceil(math.log2(ranks)) * alpha + 2 * (ranks - 1) / ranks * n * beta


def steps_per_second(words: list[str], ranks: int) -> float:
    """Env steps per second of a training in so many processes: the median over its epochs without the first."""
    with tempfile.TemporaryDirectory() as folder:
        start = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
        command = [*start, sys.executable, "-m", "rlsuite.run", *words, "--data-dir", folder]
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        (run,) = find_runs([folder])
        return float(np.median(read_progress(run)["StepsPerSec"][1:]))


def main() -> None:
    """Measure, fit, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of one and two processes")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.worker:
        medians = allreduce_times()
        if mpi.rank == 0:
            print(json.dumps(medians))
        return
    worker = [MPIEXEC, "-n", "2", sys.executable, __file__, "--worker"]
    seconds = json.loads(subprocess.run(worker, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    here = fit([float(size) for size in SIZES], seconds)
    rows: list[dict[str, str]] = []
    for size, measured in zip(SIZES, seconds, strict=True):
        line = f"{here[0] + here[1] * size:.2e}"
        rows.append({"what": f"Allreduce of {4 * size:,} bytes, seconds", "model": line, "measured": f"{measured:.2e}"})
    print(f"this machine: latency {here[0] * 1e6:.1f} µs, {4 / here[1] / 1e9:.2f} GB/s")

    curves = {}
    for name, (widths, activation, batch) in NETWORKS.items():
        a, b, n = gradient_step(widths, activation)
        print(f"{name}: {4 * n:,} bytes per Allreduce, a {a * 1e6:.0f} µs, b B {b * batch * 1e6:.0f} µs")
        for where, link in (("this machine", here), ("10 Gbit/s, assumed", NETWORK)):
            speedups = [predicted(a, b, n, batch, 1, link) / predicted(a, b, n, batch, 2**k, link) for k in range(7)]
            curves[f"{name}; {where}"] = speedups
            best = 2 ** int(np.argmax(speedups))
            rows += [
                {"what": f"{name}; {where}: speed-up of {2**k} processes", "model": f"{s:.2f}", "measured": ""}
                for k, s in enumerate(speedups)
            ]
            print(f"  {where}: best with {best} processes, {max(speedups):.2f} times as fast")

    for name, (one, two) in TRAININGS.items():
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(args.rounds):
            rates[1].append(steps_per_second(one, 1))
            rates[2].append(steps_per_second(two, 2))
        ratio = statistics.median(rates[2]) / statistics.median(rates[1])
        print(f"{name}: {rates} -> {ratio:.2f}", flush=True)
        rows.append(
            {"what": f"{name}: two processes / one, env steps per second", "model": "", "measured": f"{ratio:.2f}"}
        )
    # The best that two processes can do on this machine: both compute at once, compared with one alone.
    alone, together = (busy(count) for count in (1, 2))
    rows.append({"what": "two cores / one, matrix products", "model": "2", "measured": f"{together / alone:.2f}"})
    print(rows[-1])
    write_table(DATA / "scaling.csv", rows)
    draw(curves)


def busy(count: int) -> float:
    """Matrix products per second of `count` processes together."""
    code = (
        "import time, torch; torch.set_num_threads(1); a = torch.randn(256, 256); n = 0; end = time.time() + 3\n"
        "while time.time() < end: torch.mm(a, a); n += 1\nprint(n)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    return sum(int(process.communicate()[0]) for process in processes) / 3


def draw(curves: dict[str, list[float]]) -> None:
    """Speed-up over the number of processes, by the model."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(8, 4.5), layout="constrained")
    ax = fig.subplots()
    counts = [2**k for k in range(7)]
    ax.plot(counts, counts, color="0.7", linewidth=1)
    ax.annotate("ideal", (8, 8), color="0.5", textcoords="offset points", xytext=(-32, 0))
    for number, (name, speedups) in enumerate(curves.items()):
        style = "-" if number % 2 == 0 else "--"
        ax.plot(counts, speedups, style, color=f"C{number // 2}", marker=".", label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xticks(counts, [str(c) for c in counts])
    ax.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["1/4", "1/2", "1", "2", "4", "8"])
    ax.set_ylim(0.2, 10)
    ax.set_xlabel("processes, at the same total batch")
    ax.set_ylabel("speed-up of a gradient step, by the model")
    ax.legend(fontsize=7, loc="lower left", handlelength=4)
    ax.grid(alpha=0.3)
    fig.savefig(DATA / "scaling.png", dpi=130)


if __name__ == "__main__":
    main()
