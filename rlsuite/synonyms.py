"""What other suites call our settings and columns: one table, for docs/other-suites.md and for the command line."""

import re

# The cells of that table, as they stand there: ours, Spinning Up's, CleanRL's, Stable-Baselines3's. Words between
# backticks are names. Names that a comma separates stand for ours in that order; a single one stands for all of ours.
SETTINGS = [
    ("`env`", "`env`", "`env_id`", "`env`"),
    ("`total_steps`", "`epochs` × `steps_per_epoch`", "`total_timesteps`", "`total_timesteps`"),
    ("`num_envs`", "–", "`num_envs`", "`n_envs`"),
    ("`cpus`", "`num_cpu`", "–", "–"),
    ("`rollout_len`", "`steps_per_epoch`", "`num_steps`", "`n_steps`"),
    ("`train_iters`", "`train_pi_iters`, `train_v_iters`", "`update_epochs`", "`n_epochs`"),
    ("`minibatch_size`", "all of the rollout", "`minibatch_size`", "`batch_size`"),
    ("`pi_lr`, `vf_lr`", "`pi_lr`, `vf_lr`", "`learning_rate`", "`learning_rate`"),
    ("`pi_lr`, `q_lr` (DDPG, TD3)", "the same", "`learning_rate`", "`learning_rate`"),
    ("`pi_lr`, `q_lr` (SAC)", "`lr`", "`policy_lr`, `q_lr`", "`learning_rate`"),
    ("`q_lr` (DQN)", "–", "`learning_rate`", "`learning_rate`"),
    ("`lr_schedule`", "–", "`anneal_lr`", "a function"),
    ("`hidden_sizes`", "`hid`, `l`", "–", "`net_arch`"),
    ("`lam`", "`lam`", "`gae_lambda`", "`gae_lambda`"),
    ("`clip_ratio`", "`clip_ratio`", "`clip_coef`", "`clip_range`"),
    ("`ent_coef`, `target_kl`, `max_grad_norm`", "–, `target_kl`, –", "the same", "the same"),
    (
        "`target_kl`, `cg_iters`, `damping_coeff` (TRPO)",
        "`delta`, the same, the same",
        "–",
        "`target_kl`, `cg_max_steps`, `cg_damping` (sb3-contrib)",
    ),
    (
        "`backtrack_iters`, `backtrack_coeff`, `train_v_iters` (TRPO)",
        "the same",
        "–",
        "`line_search_max_iter`, `line_search_shrinking_factor`, `n_critic_updates`",
    ),
    ("`normalize_obs`, `scale_reward`", "–", "`NormalizeObservation`, `NormalizeReward`", "`VecNormalize`"),
    (
        "`start_steps`, `update_after`",
        "the same",
        "`learning_starts` (DQN: no random phase)",
        "`learning_starts` for both",
    ),
    ("`update_every`, `gradient_steps`", "`update_every` for both", "`train_frequency`, 1", "`train_freq`, the same"),
    ("`buffer_size`, `batch_size`", "`replay_size`, `batch_size`", "the same", "the same"),
    ("`polyak`", "`polyak`", "1 − `tau`", "1 − `tau`"),
    ("`target_every`", "–", "`target_network_frequency`", "`target_update_interval`"),
    (
        "`epsilon_start`, `epsilon_end`, `epsilon_share`",
        "–",
        "`start_e`, `end_e`, `exploration_fraction`",
        "`exploration_initial_eps`, `exploration_final_eps`, `exploration_fraction`",
    ),
    (
        "`act_noise` (half widths)",
        "`act_noise` (env units)",
        "`exploration_noise` (half widths)",
        "`NormalActionNoise` (half widths)",
    ),
    (
        "`target_noise`, `noise_clip`, `policy_delay` (TD3)",
        "the same",
        "`policy_noise`, `noise_clip`, `policy_frequency`",
        "`target_policy_noise`, `target_noise_clip`, `policy_delay`",
    ),
    ("`alpha` (SAC)", "`alpha`", "`alpha`", "`ent_coef`"),
    ("`target_entropy` (SAC; per action dimension)", "–", "always −d", "`target_entropy` (of all dimensions)"),
]
COLUMNS = [
    ("`AverageEpRet`", "`AverageEpRet`", "`charts/episodic_return`", "`rollout/ep_rew_mean`"),
    (
        "`KL` (exact, at the end)",
        "`KL` (k1 estimate)",
        "`losses/approx_kl` (k3 estimate)",
        "`train/approx_kl` (k3 estimate)",
    ),
    ("`ClipFrac`", "`ClipFrac`", "`losses/clipfrac`", "`train/clip_fraction`"),
    (
        "`LossPi`, `LossV`",
        "`LossPi`, `LossV`",
        "`losses/policy_loss`, `losses/value_loss` (halved)",
        "`train/policy_gradient_loss`, `train/value_loss`",
    ),
]
OTHER_FORMS = {
    "lr": "learning_rate",
    "timesteps": "total_timesteps",
    "num_timesteps": "total_timesteps",
    "steps": "total_timesteps",
    "gym_id": "env_id",
    "environment": "env_id",
    "num_cpus": "num_cpu",
    "layers": "l",
    "clip": "clip_range",
    "entropy_coef": "ent_coef",
    "replay_buffer_size": "replay_size",
}
"""Words that are no suite's in the table, or not its main one, and the word there that they stand for."""
ALGORITHMS = {"reinforce": "vpg", "pg": "vpg", "a3c": "a2c", "ddqn": "dqn --double-q", "double_dqn": "dqn --double-q"}
"""Algorithms under another name, and what they are here."""


def table() -> str:
    """The table, in Markdown."""
    rows = [("rlsuite", "Spinning Up", "CleanRL", "Stable-Baselines3"), ("---",) * 4, *SETTINGS, *COLUMNS]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows).replace(" --- ", "---")


def counterparts(word: str) -> dict[str, str]:
    """Our settings for another suite's word, each with the cell of the table that says so.

    Args:
        word: such as "learning_rate"; small and capital letters are the same.

    Returns:
        For example {"polyak": "1 − tau"}.
    """
    words = {word.lower(), OTHER_FORMS.get(word.lower(), word.lower())}
    found: dict[str, str] = {}
    for ours, *theirs in SETTINGS:
        names = _names(ours)
        for cell in theirs:
            parts = cell.split(", ")
            for i, part in enumerate(parts):
                if words & {name.lower() for name in _names(part)}:
                    chosen = names if len(parts) == 1 else [names[min(i, len(names) - 1)]]
                    found |= dict.fromkeys(chosen, part.replace("`", ""))
    return found


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)
