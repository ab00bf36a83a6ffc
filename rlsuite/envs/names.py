"""What the numbers of well-known environments mean, for figures."""

ACTIONS = {
    "CartPole-v1": ("left", "right"),
    "MountainCar-v0": ("left", "none", "right"),
    "Acrobot-v1": ("\N{MINUS SIGN}1 N·m", "0 N·m", "+1 N·m"),
    "LunarLander-v3": ("none", "left engine", "main engine", "right engine"),
    "FrozenLake-v1": ("left", "down", "right", "up"),
    "FrozenLake8x8-v1": ("left", "down", "right", "up"),
}
"""The names of discrete actions."""
FORCES = {"MountainCarContinuous-v0": "force (1: full power)", "Pendulum-v1": "torque (N·m)"}
"""What an action of one number is."""
PLANE = {
    "MountainCar-v0": ("position", "velocity"),
    "MountainCarContinuous-v0": ("position", "velocity"),
    "Pendulum-v1": ("θ (rad), 0 = up", "dθ/dt (rad/s)"),
}
"""What the two coordinates of a state are."""
