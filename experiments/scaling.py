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
measurements, data/scaling.png draws the model; `--draw` draws it again from the table, and measures nothing.
"""

import argparse
import csv
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from tables import DATA, ROOT, write_table

from rlsuite import mpi
from rlsuite.common.actor_critic import MLP
from rlsuite.common.optim import Adam
from rlsuite.figures.style import COLORS, GREY, LINES, STYLE, draw_frame, save_figure
from rlsuite.rundir.runs import find_runs, read_progress

MPIEXEC = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec") or "mpiexec"
COUNTS = [2**k for k in range(7)]  # processes that the model is asked about
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
    parser.add_argument("--draw", action="store_true", help="draw data/scaling.csv again, and measure nothing")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.draw:
        with (DATA / "scaling.csv").open(newline="", encoding="utf-8") as file:
            draw(list(csv.DictReader(file)), DATA / "scaling.png")
        return
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

    for name, (widths, activation, batch) in NETWORKS.items():
        a, b, n = gradient_step(widths, activation)
        print(f"{name}: {4 * n:,} bytes per Allreduce, a {a * 1e6:.0f} µs, b B {b * batch * 1e6:.0f} µs")
        for where, link in (("this machine", here), ("10 Gbit/s, assumed", NETWORK)):
            speedups = [predicted(a, b, n, batch, 1, link) / predicted(a, b, n, batch, count, link) for count in COUNTS]
            best = COUNTS[int(np.argmax(speedups))]
            rows += [
                {"what": f"{name}; {where}: speed-up of {count} processes", "model": f"{s:.2f}", "measured": ""}
                for count, s in zip(COUNTS, speedups, strict=True)
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
    draw(rows, DATA / "scaling.png")


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


def speedups_of(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[str, list[float]]]:
    """By the model: of each link and each network the speed-up of `COUNTS` processes, as the table has them."""
    speedups: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        name, _, end = row["what"].partition(": speed-up of ")
        if end:
            network, link = name.split("; ")
            speedups.setdefault(link, {}).setdefault(network, []).append(float(row["model"]))
    return speedups


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw the speed-up over the number of processes, by the model, in a panel for each link."""
    speedups = speedups_of(rows)
    drawn = [value for curves in speedups.values() for curve in curves.values() for value in curve]
    lowest, highest = min(drawn), max(drawn)
    with matplotlib.style.context(["default", STYLE]):
        fig = Figure()
        title = "Speed-up of a gradient step, at the same total batch"
        subtitle = "by the model, a panel for each way that messages go · grey: ideal"
        draw_frame(fig, (9, 3.6), title, subtitle, list(NETWORKS), "")
        axes = fig.subplots(1, len(speedups), sharex=True, sharey=True)
        for ax, (link, curves) in zip(axes, speedups.items(), strict=True):
            ax.set_title(link)
            ax.plot(COUNTS, COUNTS, color=GREY, linewidth=0.9)
            for k, network in enumerate(NETWORKS):
                ax.plot(COUNTS, curves[network], color=COLORS[k], linestyle=LINES[k], linewidth=1.8)
            ax.set_xscale("log", base=2)
            ax.set_yscale("log", base=2)
            ax.set_xticks(COUNTS, [str(count) for count in COUNTS])
            ax.set_yticks([0.5, 1, 2, 4, 8, 16], ["1/2", "1", "2", "4", "8", "16"])
            ax.set_ylim(0.8 * lowest, 1.25 * highest)
            ax.set_xlabel("processes")
        save_figure(fig, path)


if __name__ == "__main__":
    main()
