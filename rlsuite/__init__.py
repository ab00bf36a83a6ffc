"""rlsuite: deep reinforcement learning algorithms to read, run and diagnose."""

__version__ = "0.1.0"
