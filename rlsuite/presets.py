"""Settings that work, per algorithm and environment. The command line applies and names them; `--preset none` does not.

Each was tuned on seeds 1000 and up; README.md reports seeds 0 and up. What is not named here is the default of the
algorithm's `Config`.
"""

from typing import Any

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "ppo": {
        # Tuned for seconds, not steps: many environments share the cost of acting, few passes that of learning.
        "CartPole-v1": {
            "total_steps": 100_000,
            "num_envs": 16,
            "rollout_len": 64,
            "minibatch_size": 128,
            "train_iters": 5,
            "lam": 0.9,
            "pi_lr": 2.5e-3,
            "vf_lr": 2.5e-3,
            "lr_schedule": "linear",
        },
        # Swinging up well, not just up, is a matter of some ten steps in eighty: a longer horizon, and scaled
        # rewards.
        "Acrobot-v1": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "steps_per_epoch": 4096,
            "minibatch_size": 256,
            "gamma": 0.995,
            "lam": 0.97,
            "pi_lr": 1e-3,
            "vf_lr": 1e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # The small speeds of the car are scaled up, its returns of -200 down.
        "MountainCar-v0": {
            "total_steps": 500_000,
            "num_envs": 16,
            "steps_per_epoch": 8192,
            "rollout_len": 64,
            "minibatch_size": 256,
            "lam": 0.98,
            "pi_lr": 1e-3,
            "vf_lr": 1e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # A long horizon: landing is worth something hundreds of steps later.
        "LunarLander-v3": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "steps_per_epoch": 8192,
            "rollout_len": 512,
            "minibatch_size": 256,
            "gamma": 0.995,
            "ent_coef": 0.01,
            "pi_lr": 1e-3,
            "vf_lr": 1e-3,
            "lr_schedule": "linear",
            "max_grad_norm": 1.0,
        },
        # A short horizon: one swing takes about a second, and 1/(1 - gamma) = 20 steps are one.
        "Pendulum-v1": {
            "total_steps": 200_000,
            "num_envs": 4,
            "steps_per_epoch": 4096,
            "rollout_len": 1024,
            "gamma": 0.95,
            "pi_lr": 1e-3,
            "vf_lr": 1e-3,
            "lr_schedule": "linear",
        },
        "InvertedPendulum-v5": {"total_steps": 300_000, "lr_schedule": "linear"},
        # Observations and rewards scaled, and a sigma that begins narrow, since torques cost. The short horizon and the
        # narrow clip are those of rl-baselines3-zoo.
        "HalfCheetah-v5": {
            "total_steps": 1_000_000,
            "gamma": 0.98,
            "lam": 0.92,
            "clip_ratio": 0.1,
            "lr_schedule": "linear",
            "log_std_init": -1.0,
            "normalize_obs": True,
            "scale_reward": True,
        },
        # As for HalfCheetah, with the usual horizon, and for the hopper the usual clip.
        "Hopper-v5": {
            "total_steps": 1_000_000,
            "lr_schedule": "linear",
            "log_std_init": -1.0,
            "normalize_obs": True,
            "scale_reward": True,
        },
        "Walker2d-v5": {
            "total_steps": 1_000_000,
            "clip_ratio": 0.1,
            "lr_schedule": "linear",
            "log_std_init": -1.0,
            "normalize_obs": True,
            "scale_reward": True,
        },
        # The ice makes every return a matter of luck: many samples in each step, and an entropy bonus, which keeps the
        # other actions in play until the difference shows.
        "FrozenLake-v1": {
            "total_steps": 300_000,
            "num_envs": 32,
            "rollout_len": 64,
            "minibatch_size": 512,
            "train_iters": 4,
            "ent_coef": 0.05,
            "pi_lr": 1e-3,
            "vf_lr": 5e-3,
            "lr_schedule": "linear",
        },
        # sigma starts wide enough to reach the top by chance; the one reward of 100 is scaled down.
        "MountainCarContinuous-v0": {
            "total_steps": 100_000,
            "num_envs": 16,
            "rollout_len": 64,
            "lr_schedule": "linear",
            "log_std_init": 0.5,
            "normalize_obs": True,
            "scale_reward": True,
        },
    },
    "trpo": {
        "CartPole-v1": {"total_steps": 100_000, "lr_schedule": "linear"},
        # Short rollouts: the KL bounds each update, so what counts is how many there are.
        "Acrobot-v1": {
            "total_steps": 100_000,
            "rollout_len": 128,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
        },
        "MountainCar-v0": {
            "total_steps": 100_000,
            "num_envs": 16,
            "rollout_len": 128,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # Many updates on short rollouts. Even so, some seeds still hover when the budget ends.
        "LunarLander-v3": {
            "total_steps": 400_000,
            "steps_per_epoch": 8192,
            "rollout_len": 128,
            "target_kl": 0.02,
            "train_v_iters": 15,
            "minibatch_size": 128,
            "lr_schedule": "linear",
            "scale_reward": True,
        },
        # A short horizon, as for PPO; a lower lam leans on a critic that explains nearly all of the return.
        "Pendulum-v1": {
            "total_steps": 100_000,
            "num_envs": 4,
            "rollout_len": 512,
            "gamma": 0.95,
            "lam": 0.9,
            "target_kl": 0.03,
            "train_v_iters": 15,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
        },
        "Hopper-v5": {
            "total_steps": 1_000_000,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        "HalfCheetah-v5": {
            "total_steps": 1_000_000,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        "Walker2d-v5": {
            "total_steps": 1_000_000,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # As for PPO.
        "MountainCarContinuous-v0": {
            "total_steps": 50_000,
            "num_envs": 8,
            "rollout_len": 128,
            "lr_schedule": "linear",
            "log_std_init": 0.5,
            "normalize_obs": True,
            "scale_reward": True,
        },
        # Small steps on many samples, since the ice makes every return a matter of luck.
        "FrozenLake-v1": {
            "total_steps": 300_000,
            "num_envs": 32,
            "rollout_len": 64,
            "target_kl": 0.003,
            "vf_lr": 1e-2,
            "lr_schedule": "linear",
        },
    },
    "a2c": {
        "CartPole-v1": {"total_steps": 500_000, "lr_schedule": "linear"},
        # With returns of -500 unscaled, three of ten seeds lost the swing again; longer rollouts make steadier steps.
        "Acrobot-v1": {
            "total_steps": 500_000,
            "num_envs": 16,
            "rollout_len": 32,
            "lam": 0.95,
            "pi_lr": 1e-3,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # As for Acrobot; the top is rarer still, so that updates come more often.
        "MountainCar-v0": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "rollout_len": 16,
            "lam": 0.98,
            "pi_lr": 1e-3,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # As for PPO.
        "MountainCarContinuous-v0": {
            "total_steps": 100_000,
            "num_envs": 16,
            "rollout_len": 64,
            "lam": 0.95,
            "pi_lr": 2e-3,
            "vf_lr": 5e-3,
            "lr_schedule": "linear",
            "log_std_init": 0.5,
            "normalize_obs": True,
            "scale_reward": True,
        },
        # The short horizon of PPO's, and rollouts long enough for a few strides.
        "HalfCheetah-v5": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "rollout_len": 64,
            "gamma": 0.98,
            "lam": 0.95,
            "pi_lr": 1e-3,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "log_std_init": -1.0,
            "normalize_obs": True,
            "scale_reward": True,
        },
        # As for Acrobot.
        "Hopper-v5": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "rollout_len": 32,
            "lam": 0.95,
            "pi_lr": 1e-3,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # As for PPO, with more env steps; it is not enough.
        "FrozenLake-v1": {
            "total_steps": 1_000_000,
            "num_envs": 32,
            "rollout_len": 64,
            "lam": 0.95,
            "ent_coef": 0.05,
            "pi_lr": 2e-3,
            "vf_lr": 1e-2,
            "lr_schedule": "linear",
        },
    },
    "vpg": {
        "CartPole-v1": {"total_steps": 500_000, "lr_schedule": "linear"},
        # One policy step per rollout: short rollouts of many environments, with rewards scaled down.
        "Acrobot-v1": {
            "total_steps": 500_000,
            "num_envs": 16,
            "steps_per_epoch": 2048,
            "rollout_len": 128,
            "train_v_iters": 40,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        "MountainCar-v0": {
            "total_steps": 500_000,
            "num_envs": 16,
            "steps_per_epoch": 2048,
            "rollout_len": 128,
            "lam": 0.98,
            "train_v_iters": 40,
            "vf_lr": 3e-3,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        # As for PPO.
        "FrozenLake-v1": {
            "total_steps": 300_000,
            "num_envs": 32,
            "steps_per_epoch": 2048,
            "rollout_len": 64,
            "train_v_iters": 20,
            "ent_coef": 0.05,
            "pi_lr": 1e-2,
            "vf_lr": 1e-2,
            "lr_schedule": "linear",
        },
        # As for PPO.
        "MountainCarContinuous-v0": {
            "total_steps": 300_000,
            "num_envs": 16,
            "steps_per_epoch": 2048,
            "rollout_len": 128,
            "lr_schedule": "linear",
            "log_std_init": 0.5,
            "normalize_obs": True,
            "scale_reward": True,
        },
        # One policy step per rollout, as for Acrobot; with observations and rewards scaled that is enough to run.
        "HalfCheetah-v5": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "steps_per_epoch": 2048,
            "rollout_len": 128,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        "Hopper-v5": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "steps_per_epoch": 2048,
            "rollout_len": 128,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
        "Walker2d-v5": {
            "total_steps": 1_000_000,
            "num_envs": 16,
            "steps_per_epoch": 2048,
            "rollout_len": 128,
            "lr_schedule": "linear",
            "normalize_obs": True,
            "scale_reward": True,
        },
    },
    "dqn": {
        # Many gradient steps at once, while the acting policy stands still, towards a target that follows closely.
        "CartPole-v1": {
            "total_steps": 50_000,
            "update_every": 256,
            "gradient_steps": 128,
            "target_every": 10,
            "double_q": True,
            "epsilon_share": 0.16,
            "epsilon_end": 0.04,
            "q_lr": 2.3e-3,
            "lr_schedule": "linear",
            "hidden_sizes": (256, 256),
        },
        # Reward comes only at the top. What drives the car there is that Q starts at 0, above all that is possible, so
        # that whatever has not been tried looks best. A high learning rate and many gradient steps at once let the
        # values of what has been tried fall quickly.
        "MountainCar-v0": {
            "total_steps": 150_000,
            "steps_per_epoch": 5000,
            "gamma": 0.98,
            "buffer_size": 50_000,
            "batch_size": 128,
            "update_every": 16,
            "gradient_steps": 8,
            "target_every": 600,
            "epsilon_end": 0.07,
            "loss": "huber",
            "q_lr": 4e-3,
            "lr_schedule": "linear",
            "hidden_sizes": (256, 256),
        },
        "Acrobot-v1": {
            "total_steps": 100_000,
            "steps_per_epoch": 5000,
            "batch_size": 128,
            "target_every": 250,
            "epsilon_share": 0.12,
            "epsilon_end": 0.1,
            "q_lr": 6.3e-4,
            "lr_schedule": "linear",
        },
        "LunarLander-v3": {
            "total_steps": 200_000,
            "steps_per_epoch": 5000,
            "buffer_size": 50_000,
            "batch_size": 128,
            "gradient_steps": 2,
            "target_every": 250,
            "epsilon_share": 0.12,
            "epsilon_end": 0.1,
            "q_lr": 6.3e-4,
            "lr_schedule": "linear",
            "hidden_sizes": (256, 256),
        },
        # The ice makes every target random; the falling learning rate averages over it.
        "FrozenLake-v1": {
            "total_steps": 100_000,
            "steps_per_epoch": 5000,
            "epsilon_share": 0.5,
            "epsilon_end": 0.1,
            "lr_schedule": "linear",
            "hidden_sizes": (64,),
        },
    },
    "ddpg": {
        "Pendulum-v1": {"total_steps": 20_000, "steps_per_epoch": 2000, "start_steps": 1000, "gamma": 0.98},
        # The car is slow: only noise that pushes in one direction for some ten steps ever gets it to the top. A policy
        # that learns fast is stuck at full throttle before that: a low pi_lr, and speeds scaled up.
        "MountainCarContinuous-v0": {
            "total_steps": 60_000,
            "start_steps": 1000,
            "act_noise": 0.5,
            "noise_corr": 0.9,
            "noise_schedule": "linear",
            "pi_lr": 1e-4,
            "hidden_sizes": (64, 64),
            "normalize_obs": True,
        },
        "InvertedPendulum-v5": {"total_steps": 50_000, "start_steps": 2000, "lr_schedule": "linear"},
        "HalfCheetah-v5": {"total_steps": 300_000},
    },
    "td3": {
        "Pendulum-v1": {
            "total_steps": 20_000,
            "steps_per_epoch": 2000,
            "start_steps": 1000,
            "gamma": 0.98,
            "lr_schedule": "linear",
        },
        # As for DDPG, with twice the pi_lr: the policy takes half as many steps. Even so it takes longer.
        "MountainCarContinuous-v0": {
            "total_steps": 100_000,
            "start_steps": 1000,
            "act_noise": 0.5,
            "noise_corr": 0.9,
            "noise_schedule": "linear",
            "pi_lr": 2e-4,
            "hidden_sizes": (64, 64),
            "normalize_obs": True,
        },
        "InvertedPendulum-v5": {"total_steps": 50_000, "start_steps": 2000, "lr_schedule": "linear"},
        "HalfCheetah-v5": {"total_steps": 300_000},
    },
    "sac": {
        "Pendulum-v1": {"total_steps": 20_000, "steps_per_epoch": 2000, "start_steps": 1000, "gamma": 0.98},
        # Random actions that are new at each step take the car to the top in one episode of a thousand; each repeated 8
        # times, in six of ten. So the critic sees the reward before the temperature has cooled. 12,500 x 8 = 100,000
        # steps of the environment itself.
        "MountainCarContinuous-v0": {
            "frame_skip": 8,
            "total_steps": 12_500,
            "steps_per_epoch": 2500,
            "start_steps": 2000,
            "alpha": 0.1,
            "alpha_lr": 1e-3,
            "pi_lr": 1e-3,
            "q_lr": 1e-3,
            "lr_schedule": "linear",
            "hidden_sizes": (64, 64),
            "normalize_obs": True,
        },
        # The lander with continuous engines. Half as many gradient steps as env steps are enough.
        "LunarLander-v3": {
            "env_kwargs": '{"continuous": true}',
            "total_steps": 300_000,
            "steps_per_epoch": 10_000,
            "update_every": 2,
            "polyak": 0.99,
            "alpha_lr": 1e-3,
            "pi_lr": 1e-3,
            "q_lr": 1e-3,
            "lr_schedule": "linear",
            "hidden_sizes": (128, 128),
        },
        "HalfCheetah-v5": {"total_steps": 300_000},
    },
    "cem": {
        # Without noise, some seeds settle on a policy that falls before 500 steps.
        "CartPole-v1": {"total_steps": 50_000, "noise_init": 0.5, "noise_fall": 0.05},
        # Single episodes of one policy differ by more than the policies do.
        "Acrobot-v1": {
            "total_steps": 500_000,
            "episodes_per_candidate": 3,
            "noise_init": 0.5,
            "noise_fall": 0.05,
        },
        # Each start asks for another swing, so one episode says little of a policy.
        "MountainCar-v0": {
            "total_steps": 500_000,
            "episodes_per_candidate": 3,
            "noise_init": 0.5,
            "noise_fall": 0.05,
            "normalize_obs": True,
        },
        # The cheapest swing is the one that only just reaches the top: with fewer episodes per candidate, some of the
        # elite reach it from most starts only.
        "MountainCarContinuous-v0": {
            "total_steps": 500_000,
            "population": 16,
            "elite_share": 0.25,
            "episodes_per_candidate": 5,
            "std_init": 0.5,
            "noise_init": 0.1,
            "noise_fall": 0.01,
            "normalize_obs": True,
        },
        # Each episode is a win or a loss by the luck of the ice: many of them for each candidate.
        "FrozenLake-v1": {
            "total_steps": 300_000,
            "episodes_per_candidate": 20,
            "noise_init": 0.5,
            "noise_fall": 0.02,
        },
    },
}
