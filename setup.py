"""Metadata of rlsuite; the settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

MPI = ["mpi4py>=4", "mpich>=4.1; sys_platform != 'win32'"]
SWEEP = ["optuna>=5"]
EXTRAS = {
    "mujoco": ["gymnasium[mujoco]"],
    "box2d": ["gymnasium[box2d]"],
    "video": ["pillow>=9.1", "imageio-ffmpeg>=0.4.9", "pygame-ce>=2.1.3"],
    "tensorboard": ["tensorboard>=2.12"],
    "mpi": MPI,
    "sweep": SWEEP,
    "bench": ["stable-baselines3>=2.3", "sb3-contrib>=2.3", "gymnasium[mujoco]"],
    "test": [
        *MPI,
        *SWEEP,
        "pytest>=8",
        "pytest-xdist>=3.5",
        "hypothesis>=6.100",
        "tensorboard>=2.12",
        "stable-baselines3>=2.3",
        "gymnasium[mujoco,box2d,classic-control]",
        "pillow>=9.1",
        "imageio-ffmpeg>=0.4.9",
    ],
}
EXTRAS["dev"] = [*EXTRAS["test"], "ruff>=0.8", "mypy>=1.13", "pre-commit>=3.8", "pdoc>=14"]

setup(
    name="rlsuite",
    version="0.1.0",
    description="Deep reinforcement learning algorithms to read, run and diagnose",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["rlsuite", "rlsuite.*"]),
    package_data={"rlsuite.analysis": ["likeness.safetensors"], "rlsuite.rundir": ["curves.csv"]},
    install_requires=[
        "torch>=2.4",
        "gymnasium>=1.0",
        "numpy>=1.26",
        "scipy>=1.11",
        "matplotlib>=3.8",
        "safetensors>=0.4.3",
        "annotated-types>=0.6",
        "psutil>=5.9",
        "tyro>=0.9",
        "rich>=13",
    ],
    extras_require=EXTRAS,
    classifiers=["Programming Language :: Python :: 3", "Topic :: Scientific/Engineering :: Artificial Intelligence"],
)
