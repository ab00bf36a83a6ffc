"""Which one-line faults do the tests catch? `make mutants`, or: python tests/mutants.py [--only WORD] [--jobs 2]

A test that would pass with the thing it names left out is no test. Here each fault is put into a copy of the suite, and
the tests that should catch it run there, up to the first that fails. A mutant that survives all of them shows what is
not tested. Faults that change nothing that anybody could see do not belong here.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LIMIT = 600  # seconds; a fault after which the tests never end is caught too


class Mutant(NamedTuple):
    """One fault."""

    name: str
    """what is wrong, in plain words"""
    file: str
    """below rlsuite/"""
    old: str
    """occurs there once"""
    new: str
    """takes its place"""
    tests: str
    """which should catch it: files or single tests below tests/, separated by spaces"""


# fmt: off
LOSSES, Q_LOSSES, UPDATES = "algos/test_losses.py", "algos/test_q_losses.py", "algos/test_updates.py"
WHOLE, LOOPS = "algos/test_training_end_to_end.py", "algos/test_main_loops.py"
CEM, RANDOM = "algos/test_cem.py", "algos/test_random.py"
CREDITED = f"{CEM}::test_each_candidate_is_played_by_its_own_parameters_and_credited_with_its_own_return"
GIVEN = f"{LOOPS}::test_an_update_gets_what_the_environments_gave_and_took"
TAKEN = f"{LOOPS}::test_what_is_stored_and_valued_is_what_the_environments_gave_and_took"
SAME_UPDATE = f"{UPDATES}::test_update_equals_that_in_plain_torch"
SAME_DQN, SAME_DDPG = (f"{UPDATES}::test_{algo}_update_equals_that_in_plain_torch" for algo in ("dqn", "ddpg"))
TD3, SAC = "algos/test_td3.py", "algos/test_sac.py"
SAME_TD3, SAME_SAC = (f"{tests}::test_update_equals_that_in_plain_torch" for tests in (TD3, SAC))
TRPO = "algos/test_trpo.py"
SAME_TRPO, SEARCH = f"{TRPO}::test_update_equals_that_in_plain_torch", f"{TRPO}::test_line_search_shortens_until_the"
SAME_ON_RANKS = "test_mpi.py::test_whole_updates_are_those_of_one_rank_with_all_the_data[2]"
POOLED = "test_mpi.py::test_statistics_shares_and_memory_are_those_of_all_ranks"
FEATURES = f"{WHOLE}::test_features_do_not_change_between_acting_and_training"
TARGET = f"{WHOLE}::test_the_target_is_a_moving_average_of_the_network"
RESUMED = "rundir/test_checkpoint.py::test_a_resumed_run_is_the_run_that_was_not_interrupted"
GRID = "test_run.py::test_a_grid_names_what_varies_in_each_header_and_folder"
FILMED = "figures/test_film.py::test_a_frame_says_step_action_and_return_so_far"
LEGIBLE = "figures/test_film.py::test_pictures_of_every_size_stay_whole_above_a_text_that_can_be_read"
PRINTED = "test_run.py::test_the_commands_that_a_run_prints_at_its_end_work"
STATES = "rundir/test_summaries.py::test_states"
FITTED = "envs/test_making.py"
STATISTICS = "analysis/test_statistics.py"
MORE_STATE = "rundir/test_checkpoint.py::test_settings_with_more_state"

MUTANTS = [
    # ---- the four that a whole suite of tests once let pass
    Mutant("advantages standardised by the mean of this rank alone", "common/buffer.py",
           "(adv - everywhere.mean())", "(adv - adv.mean())", SAME_ON_RANKS),
    Mutant("minibatches that ignore the number of ranks", "common/buffer.py",
           "-(-samples * mpi.size // size)", "-(-samples // size)", SAME_ON_RANKS),
    Mutant("health that is not pooled over the ranks", "common/health.py",
           "(mpi.gather(epoch.column(name), axis=1) for name in names)", "map(epoch.column, names)", SAME_ON_RANKS),
    *(Mutant(f"{algo}: the normaliser is updated before the rollout is evaluated", f"algos/{algo}.py",
             "x, val, next_val, pi = evaluate", "ac.encode.update(buf.obs); x, val, next_val, pi = evaluate",
             f"{FEATURES}[{algo}]") for algo in ("vpg", "a2c", "ppo", "trpo")),

    # ---- the main loop of vpg, a2c and ppo
    Mutant("vpg: a new episode is begun with the last observation of the old one", "algos/vpg.py",
           "obs = envs.obs  # next_obs, or", "obs = next_obs  # or", GIVEN),
    Mutant("a2c: rewards are not scaled", "algos/a2c.py",
           "buf.rew = scaler(", "_ = scaler(", GIVEN),
    Mutant("ppo: the reward scaler does not see time limits", "algos/ppo.py",
           "scaler(buf.rew, buf.terminated | buf.truncated)", "scaler(buf.rew, buf.terminated)", GIVEN),
    Mutant("ppo: time limits and terminations confused", "algos/ppo.py",
           "gae(buf.rew, buf.rows(val), next_val, buf.terminated, buf.truncated,",
           "gae(buf.rew, buf.rows(val), next_val, buf.truncated, buf.terminated,", GIVEN),
    Mutant("vpg: values and next values confused", "algos/vpg.py",
           "gae(buf.rew, buf.rows(val), next_val,", "gae(buf.rew, next_val, buf.rows(val),", GIVEN),
    Mutant("a2c: the critic's targets lack its values", "algos/a2c.py",
           "buf.batch(x, adv, val, pi)", "buf.batch(x, adv, 0 * val, pi)", GIVEN),
    Mutant("vpg: the statistics of observations are never updated", "algos/vpg.py",
           "ac.encode.update(buf.obs)  # only", "pass  # only", f"{FEATURES}[vpg]"),
    Mutant("ppo: the critic's learning rate is not annealed", "algos/ppo.py",
           "training.anneal(pi_opt, v_opt)", "training.anneal(pi_opt)",
           f"{WHOLE}::test_linear_schedule_falls_to_the_last_rollouts_share[ppo]"),

    # ---- vpg
    Mutant("vpg: the policy's loss has the wrong sign", "algos/vpg.py",
           "return -(logp * adv).mean()", "return (logp * adv).mean()",
           f"{LOSSES}::test_policy_loss_equals_minus_E_logp_adv"),
    Mutant("vpg: the entropy bonus has the wrong sign", "algos/vpg.py",
           "(loss_pi - bonus).backward()", "(loss_pi + bonus).backward()", SAME_UPDATE),
    Mutant("vpg: advantages are not standardised", "algos/vpg.py",
           "adv = standardize(batch.adv)", "adv = batch.adv", SAME_UPDATE),
    Mutant("vpg: the critic learns advantages", "algos/vpg.py",
           "value_loss(ac.v(batch.x), batch.ret)", "value_loss(ac.v(batch.x), batch.adv)", SAME_UPDATE),
    Mutant("vpg: one step of the critic too few", "algos/vpg.py",
           "range(config.train_v_iters)", "range(config.train_v_iters - 1)",
           f"{UPDATES}::test_vpg_takes_one_policy_step_and_train_v_iters_value_steps"),
    Mutant("vpg: the critic never steps", "algos/vpg.py",
           "v_opt.step()\n        stats", "pi_opt.step()\n        stats", SAME_UPDATE),

    # ---- a2c
    Mutant("a2c: the policy's loss has the wrong sign", "algos/a2c.py",
           "return -(logp * adv).mean()", "return (logp * adv).mean()",
           f"{LOSSES}::test_policy_loss_equals_minus_E_logp_adv"),
    Mutant("a2c: the entropy bonus has the wrong sign", "algos/a2c.py",
           "loss_pi - bonus", "loss_pi + bonus", SAME_UPDATE),
    Mutant("a2c: the critic has no loss", "algos/a2c.py",
           "(loss_pi - bonus + loss_v)", "(loss_pi - bonus)", SAME_UPDATE),
    Mutant("a2c: the critic's gradient flows into its targets", "common/buffer.py",
           "flat_adv + val.detach()", "flat_adv + val",
           "common/test_buffer.py::test_with_its_graph_a_batch_carries_gradients_in_val_and_pi_and_none_in_its_targets"),
    Mutant("a2c: advantages are standardised", "algos/a2c.py",
           "adv = batch.adv ", "adv = (batch.adv - batch.adv.mean()) / batch.adv.std() ", SAME_UPDATE),
    Mutant("a2c: the loss of the critic is a sum", "algos/a2c.py",
           "mse_loss(val, ret)", 'mse_loss(val, ret, reduction="sum")',
           f"{LOSSES}::test_value_loss_equals_E_V_minus_ret_squared"),

    # ---- ppo
    Mutant("ppo: max instead of min", "algos/ppo.py",
           "torch.min(gain", "torch.max(gain", f"{LOSSES}::test_policy_loss_equals_minus_E_min_r_adv_clip_r_adv"),
    Mutant("ppo: no clip from below", "algos/ppo.py",
           "clamp(1 - clip_ratio, 1 + clip_ratio)", "clamp(max=1 + clip_ratio)",
           f"{LOSSES}::test_policy_loss_equals_minus_E_min_r_adv_clip_r_adv"),
    Mutant("ppo: ClipFrac counts the samples that are not clipped", "algos/ppo.py",
           "(clipped_gain < gain)", "(clipped_gain >= gain)",
           f"{LOSSES}::test_the_clip_switches_the_gradient_off_exactly_where_moving_further_would_pay"),
    Mutant("ppo: the ratio upside down", "algos/ppo.py",
           "torch.exp(logp - logp_old)", "torch.exp(logp_old - logp)",
           f"{LOSSES}::test_policy_loss_equals_minus_E_min_r_adv_clip_r_adv"),
    Mutant("ppo: the ratio to the present policy, not to the one that acted", "algos/ppo.py",
           "policy_loss(logp, logp_old[j], adv[j]", "policy_loss(logp, logp.detach(), adv[j]", SAME_UPDATE),
    Mutant("ppo: the advantages of other samples", "algos/ppo.py",
           "logp_old[j], adv[j]", "logp_old[j], adv[: len(j)]", SAME_UPDATE),
    Mutant("ppo: advantages are not standardised", "algos/ppo.py",
           "adv = standardize(batch.adv)", "adv = batch.adv", SAME_UPDATE),
    Mutant("ppo: the entropy bonus has the wrong sign", "algos/ppo.py",
           "loss_kl - bonus", "loss_kl + bonus", SAME_UPDATE),
    Mutant("ppo: gradients flow into the policy that acted", "algos/ppo.py",
           "with torch.no_grad():", "with torch.enable_grad():", f"{WHOLE}::test_the_policy_learns[ppo]"),
    *(Mutant(f"ppo: the KL penalty {what}", "algos/ppo.py", old, new, UPDATES) for what, old, new in (
        ("has the wrong sign", "loss_pi + loss_kl", "loss_pi - loss_kl"),
        ("is of the other direction", "pi_old.kl(pi)", "pi.kl(pi_old)"),
        ("adapts the wrong way", "if kl < self.target_kl / 1.5:", "if kl > self.target_kl * 1.5:"),
        ("never grows", "self.beta *= 2", "pass"),
        ("does not switch the early stop off", " and not config.kl_coef\n", "\n"))),
    Mutant("ppo: the weight of the KL penalty starts anew on resuming", "algos/ppo.py",
           'self.beta = float(state["beta"])', "pass", f"{MORE_STATE}[ppo-how5]"),
    Mutant("ppo: target_kl stops after any pass", "algos/ppo.py",
           "> config.target_kl:", "< config.target_kl:",
           f"{UPDATES}::test_ppo_stops_after_the_first_pass_whose_exact_kl_exceeds_target_kl"),
    Mutant("ppo: StopIter is one too few", "algos/ppo.py",
           "StopIter=i + 1", "StopIter=i",
           f"{UPDATES}::test_ppo_stops_after_the_first_pass_whose_exact_kl_exceeds_target_kl"),
    Mutant("ppo: losses are not weighted by their minibatch", "algos/ppo.py",
           "stats.add(len(j), ", "stats.add(1, ", SAME_UPDATE),
    Mutant("ppo: Ratio1 is that of every minibatch", "algos/ppo.py",
           "if i == k == 0:", "if True:", f"{UPDATES}::test_ppo_ratio_is_1_at_the_first_minibatch_and_not_later"),

    # ---- trpo
    Mutant("trpo: the surrogate has the wrong sign", "algos/trpo.py",
           "return -(torch.exp(logp", "return (torch.exp(logp", f"{TRPO}::test_policy_loss_equals_minus_E_r_adv"),
    Mutant("trpo: the step climbs the loss", "algos/trpo.py",
           "-pi_flat.grad, config", "pi_flat.grad, config", SAME_TRPO),
    Mutant("trpo: F is not damped", "algos/trpo.py",
           "fisher(v) + config.damping_coeff * v", "fisher(v)", SAME_TRPO),
    Mutant("trpo: steepest descent instead of conjugate directions", "algos/trpo.py",
           "p = res + (res_sq / before) * p", "p = 1 * res", f"{TRPO}::test_conjugate_gradient_solves_a_x_equals_b"),
    Mutant("trpo: the length of the step without the root", "algos/trpo.py",
           "math.sqrt(2 * target_kl / curvature)", "2 * target_kl / curvature",
           f"{TRPO}::test_full_step_has_half_s_F_s_of_target_kl_in_the_direction_of_x"),
    Mutant("trpo: the length of the step without the 2", "algos/trpo.py",
           "math.sqrt(2 * target_kl", "math.sqrt(target_kl",
           f"{TRPO}::test_full_step_has_half_s_F_s_of_target_kl_in_the_direction_of_x"),
    Mutant("trpo: the line search takes everything", "algos/trpo.py",
           "if loss < loss_old and kl <= config.target_kl:", "if True:",
           f"{TRPO}::test_line_search_that_finds_nothing_leaves_the_parameters_bit_equal"),
    Mutant("trpo: the KL may be anything", "algos/trpo.py",
           "if loss < loss_old and kl <= config.target_kl:", "if loss < loss_old:",
           f"{SEARCH}_kl_is_within_target_kl"),
    Mutant("trpo: the loss may be anything", "algos/trpo.py",
           "if loss < loss_old and kl <= config.target_kl:", "if kl <= config.target_kl:",
           f"{SEARCH}_loss_is_smaller"),
    Mutant("trpo: a step that is refused is taken", "algos/trpo.py",
           "flat.copy_(old)", "pass",
           f"{TRPO}::test_line_search_that_finds_nothing_leaves_the_parameters_bit_equal"),
    Mutant("trpo: the steps of the line search add up", "algos/trpo.py",
           "torch.add(old, step, alpha=share, out=flat)", "flat.add_(step, alpha=share)",
           f"{TRPO}::test_line_search_makes_backtrack_iters_tries"),
    Mutant("trpo: KLPredicted is that of the whole step", "algos/trpo.py",
           "share**2 * config.target_kl", "config.target_kl", f"{SEARCH}_kl_is_within_target_kl"),
    Mutant("trpo: the KL the wrong way round", "algos/trpo.py",
           "batch.mean(batch.pi.kl(pi))", "batch.mean(pi.kl(batch.pi))", f"{SAME_TRPO} "
           f"{TRPO}::test_after_an_accepted_step_the_exact_kl_is_within_target_kl_and_not_far_below"),
    Mutant("trpo: advantages are not standardised", "algos/trpo.py",
           "adv = standardize(batch.adv)", "adv = batch.adv", SAME_TRPO),
    Mutant("trpo: the gradient stays for the next update", "algos/trpo.py",
           "pi_flat.grad.zero_()", "pass", SAME_TRPO),
    Mutant("trpo: each rank has its own F", "common/optim.py",
           "mpi.average_(flat)", "pass", SAME_ON_RANKS),
    Mutant("trpo: each rank searches by its own samples", "common/buffer.py",
           "mpi.mean(values.double().mean().item())", "values.double().mean().item()", SAME_ON_RANKS),
    Mutant("trpo: a frozen parameter has no place in the gradient", "common/optim.py",
           "(next(grads) if p.requires_grad else torch.zeros_like(p)).reshape(-1) for p in self.params",
           "g.reshape(-1) for g in grads",
           f"{TRPO}::test_a_frozen_parameter_stands_still_and_one_without_effect_too"),

    # ---- dqn
    Mutant("dqn: a terminated state has a future", "algos/dqn.py",
           "gamma * ~terminated * value_of", "gamma * value_of",
           f"{Q_LOSSES}::test_dqn_target_equals_rew_plus_γ_next_q_of_next_act_unless_terminated"),
    Mutant("dqn: a time limit is stored as a termination", "algos/dqn.py",
           "next_obs, terminated, truncated)\n                epoch", "next_obs, terminated | truncated, truncated)\n"
           "                epoch", f"{WHOLE}::test_a_time_limit_leaves_the_next_observation_and_the_future"),
    Mutant("dqn: the target is computed from the state itself", "algos/dqn.py",
           "q_net.encode(batch.next_obs)", "q_net.encode(batch.obs)", SAME_DQN),
    Mutant("dqn: the network is its own target", "algos/dqn.py",
           "next_q = target.q(next_x)", "next_q = q_net.q(next_x)", SAME_DQN),
    Mutant("dqn: Double DQN chooses by the target network", "algos/dqn.py",
           "(q_net.q(next_x) if", "(target.q(next_x) if",
           f"{Q_LOSSES}::test_double_dqn_chooses_by_q_and_values_by_target"),
    Mutant("dqn: the two losses confused", "algos/dqn.py",
           'loss == "huber"', 'loss != "huber"', f"{Q_LOSSES}::test_huber_and_squared_loss_by_hand"),
    Mutant("dqn: gradients flow into the target", "algos/dqn.py",
           "torch.no_grad()", "torch.enable_grad()", SAME_DQN),
    Mutant("dqn: the target network with the weight of the other", "algos/dqn.py",
           "1 - config.polyak)", "config.polyak)", TARGET),
    Mutant("dqn: the target network never moves", "algos/dqn.py",
           "target_flat.lerp_(q_opt.flat,", "target_flat.lerp_(target_flat,", TARGET),
    Mutant("dqn: the target network moves at every update", "algos/dqn.py",
           "envs.passed(config.target_every)", "envs.passed(config.update_every)", TARGET),
    Mutant("dqn: TargetGap is measured after the move", "algos/dqn.py",
           "epoch.stats.add(TargetGap=target_gap(q_net, target, buf))\n                    "
           "target_flat.lerp_(q_opt.flat, 1 - config.polyak)",
           "target_flat.lerp_(q_opt.flat, 1 - config.polyak)\n                    "
           "epoch.stats.add(TargetGap=target_gap(q_net, target, buf))",
           f"{WHOLE}::test_a_target_that_never_moves_and_one_that_always_does[dqn]"),
    Mutant("dqn: no random actions at the start", "algos/dqn.py",
           "if step < config.start_steps:", "if step < 0:",
           f"{Q_LOSSES}::test_epsilon_is_1_for_start_steps_and_then_on_its_line"),
    Mutant("dqn: epsilon falls over the whole budget", "algos/dqn.py",
           "config.epsilon_share * config.total_steps", "config.total_steps",
           f"{Q_LOSSES}::test_epsilon_is_1_for_start_steps_and_then_on_its_line"),
    Mutant("dqn: greedy where it should explore", "algos/dqn.py",
           "if chance < epsilon:", "if chance > epsilon:", f"{Q_LOSSES}::test_explore_is_ε_greedy"),
    Mutant("dqn: QVals is the highest value, not that of the action taken", "algos/dqn.py",
           "q[np.arange(len(act)), act]", "q.max(1)", TAKEN),
    Mutant("dqn: the first update comes a step late", "algos/dqn.py",
           "envs.total_steps >= config.update_after", "envs.total_steps > config.update_after",
           f"{WHOLE}::test_updates_that_are_due_are_kept_whatever_the_number_of_environments"),
    Mutant("dqn: an update for each step, not for each that is due", "algos/dqn.py",
           "config.gradient_steps * envs.passed(config.update_every)", "config.gradient_steps",
           f"{WHOLE}::test_updates_that_are_due_are_kept_whatever_the_number_of_environments"),
    Mutant("dqn: the normaliser is updated at each step", "algos/dqn.py",
           "epsilon = epsilon_at", "q_net.encode.update(obs)\n                epsilon = epsilon_at",
           f"{FEATURES}[dqn]"),
    Mutant("dqn: checkpoints forget the target network", "algos/dqn.py",
           "target=target, q_opt", "q_opt", f"{RESUMED}[dqn-CartPole-v1]"),
    Mutant("dqn: checkpoints forget the replay buffer", "algos/dqn.py",
           "buf=buf, ", "", f"{RESUMED}[dqn-CartPole-v1]"),
    Mutant("dqn: checkpoints forget the generator", "algos/dqn.py",
           ", rng=rng)", ")", f"{RESUMED}[dqn-CartPole-v1]"),

    # ---- ddpg
    Mutant("ddpg: a terminated state has a future", "algos/ddpg.py",
           "gamma * ~terminated * next_q", "gamma * next_q",
           f"{Q_LOSSES}::test_ddpg_target_equals_rew_plus_γ_next_q_unless_terminated"),
    Mutant("ddpg: a time limit is stored as a termination", "algos/ddpg.py",
           "next_obs, terminated, truncated)\n                epoch", "next_obs, terminated | truncated, truncated)\n"
           "                epoch", f"{WHOLE}::test_a_time_limit_leaves_the_next_observation_and_the_future"),
    Mutant("ddpg: the policy's loss has the wrong sign", "algos/ddpg.py",
           "return -q.mean()", "return q.mean()", f"{Q_LOSSES}::test_policy_loss_is_minus_the_mean_q"),
    Mutant("ddpg: the policy's loss trains the critic", "algos/ddpg.py",
           "loss_pi.backward(inputs=pi_opt.params)", "loss_pi.backward()",
           f"{Q_LOSSES}::test_ddpg_update_moves_each_network_by_its_own_loss_and_leaves_the_target {SAME_DDPG}"),
    Mutant("ddpg: the policy climbs the critic of before its step", "algos/ddpg.py",
           "    q_opt.step()\n    # The critic has just moved, and it is its new gradient that the policy climbs.\n"
           "    loss_pi = policy_loss(ac.q(x, ac.pi(x)))\n    loss_pi.backward(inputs=pi_opt.params)",
           "    loss_pi = policy_loss(ac.q(x, ac.pi(x)))\n    loss_pi.backward(inputs=pi_opt.params)\n    q_opt.step()",
           f"{Q_LOSSES}::test_the_policy_climbs_the_critic_that_has_just_moved"),
    Mutant("ddpg: the next action is that of the policy, not of its target", "algos/ddpg.py",
           "target.q(next_x, target.pi(next_x))", "target.q(next_x, ac.pi(next_x))", SAME_DDPG),
    Mutant("ddpg: the critic is its own target", "algos/ddpg.py",
           "target.q(next_x, target.pi(next_x))", "ac.q(next_x, target.pi(next_x))", SAME_DDPG),
    Mutant("ddpg: the policy learns from the actions taken", "algos/ddpg.py",
           "policy_loss(ac.q(x, ac.pi(x)))", "policy_loss(ac.q(x, batch.act) + 0 * ac.pi(x).sum())", SAME_DDPG),
    Mutant("ddpg: the target of the policy never moves", "algos/ddpg.py",
           "target_pi.lerp_(pi_opt.flat,", "target_pi.lerp_(target_pi,", TARGET),
    Mutant("ddpg: the target of the critic with the weight of the other", "algos/ddpg.py",
           "target_q.lerp_(q_opt.flat, 1 - config.polyak)", "target_q.lerp_(q_opt.flat, config.polyak)", TARGET),
    Mutant("ddpg: noise is not clipped before it is stored", "algos/ddpg.py",
           "act = act.clip(low, high)  # what", "# not what", TAKEN),
    Mutant("ddpg: noise not in half widths of the bounds", "algos/ddpg.py",
           "noise * width * z,", "noise * z,", f"{WHOLE}::test_noise_is_as_wide_as_it_says"),
    Mutant("ddpg: correlated noise grows", "algos/ddpg.py",
           "(1 - corr**2) ** 0.5", "1.0",
           f"{Q_LOSSES}::test_noise_keeps_unit_variance_and_its_correlation_from_step_to_step"),
    Mutant("ddpg: the schedules of the noise confused", "algos/ddpg.py",
           'config.noise_schedule == "linear"', 'config.noise_schedule == "constant"',
           f"{WHOLE}::test_noise_follows_its_schedule_and_the_entropy_follows_the_noise"),
    Mutant("ddpg: the first actions as if all bounds were ±1", "algos/ddpg.py",
           "rng.uniform(low, high, z.shape)", "rng.uniform(-1, 1, z.shape)",
           f"{WHOLE}::test_the_first_actions_are_uniform"),
    Mutant("ddpg: QVals is the value of the policy's action, not of the one taken", "algos/ddpg.py",
           "ac.action_value(obs, act), entropy", "ac.value(obs), entropy", TAKEN),
    Mutant("ddpg: the normaliser is updated before the epoch is looked back on", "algos/ddpg.py",
           "            health = off_policy_health", "            ac.encode.update(buf.newest(9).obs)\n"
           "            health = off_policy_health", f"{WHOLE}::test_statistics_of_every_step_are_counted_once"),
    Mutant("ddpg: checkpoints forget the noise", "algos/ddpg.py",
           ', "z": z}', "}", f"{MORE_STATE}[ddpg-how3]"),
    Mutant("ddpg: checkpoints forget the target networks", "algos/ddpg.py",
           '{"target": target, ', "{", f"{RESUMED}[ddpg-Pendulum-v1]"),

    # ---- td3
    Mutant("td3: the mean of the critics in the target, not the smaller one", "algos/td3.py",
           "next_q.amin(0)", "next_q.mean(0)",
           f"{TD3}::test_target_equals_rew_plus_γ_times_the_smaller_next_q_unless_terminated"),
    Mutant("td3: a terminated state has a future", "algos/td3.py",
           "gamma * ~terminated * next_q", "gamma * next_q",
           f"{TD3}::test_target_equals_rew_plus_γ_times_the_smaller_next_q_unless_terminated"),
    Mutant("td3: the smoothing noise is not clipped", "algos/td3.py",
           "noise.clamp(-noise_clip, noise_clip)", "noise",
           f"{TD3}::test_smoothed_actions_are_within_the_clipped_noise_and_the_bounds"),
    Mutant("td3: the smoothed action leaves the bounds", "algos/td3.py",
           ".clamp(mid - width, mid + width)", "",
           f"{TD3}::test_smoothed_actions_are_within_the_clipped_noise_and_the_bounds"),
    Mutant("td3: the smoothing noise is not in half widths", "algos/td3.py",
           "(act + width * noise", "(act + noise",
           f"{TD3}::test_smoothed_actions_are_within_the_clipped_noise_and_the_bounds"),
    Mutant("td3: no smoothing", "algos/td3.py",
           "config.target_noise * torch.randn_like", "0 * torch.randn_like", SAME_TD3),
    Mutant("td3: the policy moves at every step", "algos/td3.py",
           "    if q_opt.steps % config.policy_delay == 0:\n        # The", "    if True:\n        # The", SAME_TD3),
    Mutant("td3: the targets move at every step", "algos/td3.py",
           "if q_opt.steps % config.policy_delay == 0:  # the", "if True:  # the", TARGET),
    Mutant("td3: the second critic is not trained", "algos/td3.py",
           "(loss_q + loss_q2).backward()", "loss_q.backward()", SAME_TD3),
    Mutant("td3: the policy climbs the second critic", "algos/td3.py",
           "ac.q.q1(x, ac.pi(x))", "ac.q.q2(x, ac.pi(x))", SAME_TD3),
    Mutant("td3: the policy's loss trains the critic", "algos/td3.py",
           "loss_pi.backward(inputs=pi_opt.params)", "loss_pi.backward()", SAME_TD3),
    Mutant("td3: the next action is that of the policy, not of its target", "algos/td3.py",
           "smoothed(target.pi(next_x)", "smoothed(ac.pi(next_x)", SAME_TD3),
    Mutant("twin critics: the value is that of the first", "common/q_networks.py",
           "q: Tensor = self.q(x, self.pi(x)).amin(0)", "q: Tensor = self.q(x, self.pi(x))[0]",
           "common/test_q_networks.py::test_of_two_critics_the_smaller_value_counts"),
    Mutant("twin critics: one network twice", "common/q_networks.py",
           "torch.stack([self.q1(x, act), self.q2(x, act)])", "torch.stack([self.q1(x, act), self.q1(x, act)])",
           SAME_TD3),

    # ---- sac
    Mutant("sac: the temperature's gradient has the wrong sign", "algos/sac.py",
           "return -log_alpha *", "return log_alpha *", f"{SAC}::test_α_rises_while_the_entropy_is_below_its_target"),
    Mutant("sac: the target entropy has the wrong sign", "algos/sac.py",
           "logp.detach().mean() + target_entropy", "logp.detach().mean() - target_entropy",
           f"{SAC}::test_α_rises_while_the_entropy_is_below_its_target"),
    Mutant("sac: the target entropy is not that of all dimensions", "algos/sac.py",
           "config.target_entropy * act.shape[1]", "config.target_entropy", SAME_SAC),
    Mutant("sac: the entropy is left out of the target", "algos/sac.py",
           "(next_q.amin(0) - alpha * next_logp)", "next_q.amin(0)",
           f"{SAC}::test_target_equals_rew_plus_γ_times_the_smaller_next_q_and_α_times_the_entropy_unless_terminated"),
    Mutant("sac: randomness is punished in the target", "algos/sac.py",
           "next_q.amin(0) - alpha * next_logp", "next_q.amin(0) + alpha * next_logp",
           f"{SAC}::test_target_equals_rew_plus_γ_times_the_smaller_next_q_and_α_times_the_entropy_unless_terminated"),
    Mutant("sac: the mean of the critics in the target, not the smaller one", "algos/sac.py",
           "(next_q.amin(0)", "(next_q.mean(0)",
           f"{SAC}::test_target_equals_rew_plus_γ_times_the_smaller_next_q_and_α_times_the_entropy_unless_terminated"),
    Mutant("sac: the policy climbs the mean of the critics", "algos/sac.py",
           "alpha * logp - q.amin(0)", "alpha * logp - q.mean(0)", f"{SAC}::test_losses_by_hand"),
    Mutant("sac: the policy is paid for being certain", "algos/sac.py",
           "(alpha * logp - q.amin(0))", "(-alpha * logp - q.amin(0))", f"{SAC}::test_losses_by_hand"),
    Mutant("sac: the policy's loss trains the critics", "algos/sac.py",
           "loss_pi.backward(inputs=pi_opt.params)", "loss_pi.backward()", SAME_SAC),
    Mutant("sac: the next values are those of the critics, not of their target", "algos/sac.py",
           "target(next_x, next_act), next_logp", "ac.q(next_x, next_act), next_logp", SAME_SAC),
    Mutant("sac: the next action is drawn in this state", "algos/sac.py",
           "ac.pi(next_x).rsample()", "ac.pi(x).rsample()", SAME_SAC),
    Mutant("sac: no entropy is earned in the returns of the log", "algos/sac.py",
           "bonus=-ac.alpha().item() * logp", "bonus=0 * logp",
           f"{SAC}::test_what_is_noted_of_each_step_is_its_entropy_and_what_that_earns"),
    Mutant("sac: the entropy of the log has the wrong sign", "algos/sac.py",
           "-logp.mean(), bonus", "logp.mean(), bonus", f"{WHOLE}::test_the_first_actions_are_uniform"),
    Mutant("the log-determinant of the squashing left out", "common/distributions.py",
           "- log_slope).sum(-1)", ").sum(-1)",
           "common/test_distributions.py::test_squashed_log_prob_equals_that_of_a_transformed_distribution"),
    Mutant("the log-determinant of the squashing by a difference", "common/distributions.py",
           "2 * (math.log(2) - u - nn.functional.softplus(-2 * u))", "torch.log(1 - u.tanh().square() + 1e-6)",
           "common/test_distributions.py::test_squashed_log_prob_stays_exact_where_tanh_rounds_to_one"),
    Mutant("squashed samples are not spread over the bounds", "common/distributions.py",
           "return self.mid + self.width * u.tanh(), self", "return u.tanh(), self",
           "common/test_distributions.py::test_squashed_samples_are_those_of_the_distribution_within_its_bounds"),
    Mutant("the soft return counts the entropy of its own step", "common/health.py",
           "terminated, truncated, gamma) - bonus", "terminated, truncated, gamma)",
           f"{SAC}::test_values_are_compared_with_the_soft_return_of_the_steps_that_follow"),
    Mutant("the soft value has no entropy of its own step", "common/soft_actor_critic.py",
           "self.q(x, act).amin(0) - self.alpha() * logp", "self.q(x, act).amin(0)",
           f"{SAC}::test_the_value_is_that_of_a_sampled_action_with_its_entropy"),

    # ---- what the on-policy algorithms share
    Mutant("gae: a terminated state has a future", "common/buffer.py",
           "gamma * next_val * ~terminated - val", "gamma * next_val - val",
           "common/test_buffer.py::test_gae_bootstraps_at_a_truncation_and_not_at_a_termination"),
    Mutant("gae: a time limit does not cut the trace", "common/buffer.py",
           "~(terminated | truncated)).astype", "~terminated).astype",
           "common/test_buffer.py::test_gae_bootstraps_at_a_truncation_and_not_at_a_termination"),
    Mutant("gae: the first step is left out", "common/buffer.py",
           "range(len(rew) - 2, -1, -1)", "range(len(rew) - 2, 0, -1)",
           "common/test_buffer.py::test_gae_recursion_by_hand"),
    Mutant("gae: the trace decays by lam alone", "common/buffer.py",
           "(gamma * lam * ~", "(lam * ~", "common/test_buffer.py::test_gae_recursion_by_hand"),
    Mutant("next values of the next row, also where an episode ended", "common/buffer.py",
           "ac.value(buf.next_obs.reshape", "ac.value(np.roll(buf.obs, -1, 0).reshape",
           "common/test_buffer.py::test_evaluate_rollout_is_what_the_networks_make_of_each_step"),
    Mutant("the critic's target without its value", "common/buffer.py",
           "flat_adv + val.detach()", "flat_adv",
           "common/test_buffer.py::test_a_batch_is_the_rollout_time_by_time_and_ret_is_adv_plus_val"),
    Mutant("advantages by environment, their samples by time", "common/buffer.py",
           "), adv.reshape(-1)", "), adv.T.reshape(-1)",
           "common/test_buffer.py::test_a_batch_is_the_rollout_time_by_time_and_ret_is_adv_plus_val"),
    Mutant("minibatches drawn with replacement", "common/buffer.py",
           "torch.randperm(samples, device=", "torch.randint(samples, (samples,), device=",
           "common/test_buffer.py::test_minibatches_hold_every_sample_once_in_a_new_order"),
    Mutant("the reward scaler shifts", "common/normalize.py",
           "return (rew / np.sqrt", "return ((rew - self.mean) / np.sqrt",
           "common/test_normalize.py::test_reward_scaler_never_shifts"),
    Mutant("the reward scaler sums over the ends of episodes", "common/normalize.py",
           "np.where(done[t], 0.0, self.running)", "self.running",
           "common/test_normalize.py::test_reward_scaler_starts_R_at_0_after_the_end_of_an_episode"),
    Mutant("a budget ends with a tiny rollout", "common/training.py",
           "if whole and 2 * rest < rollout_len:", "if whole and not rest:",
           "common/test_training.py::test_plan_epochs_by_hand"),
    Mutant("annealing to the end of the budget at its beginning", "common/training.py",
           "opt.base_lr * self.share_left", "opt.base_lr * (1 - self.share_left)",
           "common/test_training.py::test_anneal_takes_the_learning_rate_to_0_in_a_line_over_the_budget"),

    # ---- replay
    Mutant("replay: the next observation is that of another environment", "common/replay.py",
           "(i + self.num_envs) % self.slots, 0)", "(i + 1) % self.slots, 0)",
           "common/test_replay.py::test_the_buffer_holds_what_a_list_of_the_last_transitions_holds"),
    Mutant("replay: the slot that is written next is drawn too", "common/replay.py",
           "integers(1, self.count + 1,", "integers(0, self.count + 1,",
           "common/test_replay.py::test_samples_are_uniform_over_all_held"),
    Mutant("replay: the oldest transition is never drawn", "common/replay.py",
           "integers(1, self.count + 1,", "integers(1, self.count,",
           "common/test_replay.py::test_samples_are_uniform_over_all_held"),
    Mutant("replay: an episode's last observation is the next one's first", "common/replay.py",
           "if len(ended):", "if False:",
           f"{Q_LOSSES}::test_truncated_steps_bootstrap_from_what_they_led_to_and_terminated_ones_do_not"),
    Mutant("replay: no room for the newest observations", "common/replay.py",
           "self.slots = capacity + num_envs", "self.slots = capacity",
           "common/test_replay.py::test_the_buffer_holds_what_a_list_of_the_last_transitions_holds"),
    Mutant("replay: an episode that was broken off goes on in the next one", "common/replay.py",
           "if len(running):", "if False:",
           "common/test_replay.py::test_an_episode_that_is_broken_off_ends_before_the_next_one_begins"),

    # ---- networks and distributions
    Mutant("acting goes past what is hooked on the policy", "common/actor_critic.py",
           "self.pi(self.encode(obs))\n        return pi.sample()", "self.pi.forward(self.encode(obs))\n"
           "        return pi.sample()", "common/test_actor_critic.py::"
           "test_forward_hooks_of_networks_and_layers_run_when_acting_and_when_training"),
    Mutant("acting goes past an edited forward of Q", "common/q_networks.py",
           "self.q(self.encode(obs))\n        return q.cpu", "self.q.outputs(self.encode(obs))\n        return q.cpu",
           "common/test_actor_critic.py::test_an_edited_q_is_what_values_and_modes_come_from"),
    Mutant("the deterministic policy samples", "common/actor_critic.py",
           "return pi.mode()", "return pi.sample()",
           "common/test_actor_critic.py::test_arrays_are_what_the_modules_give_and_follow_training"),
    Mutant("σ does not depend on the bounds", "common/actor_critic.py",
           "(self.width.log() + self.log_std)", "self.log_std",
           "common/test_actor_critic.py::test_gaussian_policy_has_μ_mid_plus_width_outputs_and_ln_σ_ln_width_plus_log_std"),
    Mutant("dueling heads: the mean over the samples", "common/q_networks.py",
           "adv.mean(1, keepdim=True)", "adv.mean(0, keepdim=True)",
           "common/test_q_networks.py::test_dueling_heads_equal_V_plus_A_minus_the_mean_of_A"),
    Mutant("the critic sees actions in the units of their bounds", "common/q_networks.py",
           "(act - self.mid) * self.scale", "act - self.mid",
           "common/test_q_networks.py::test_q_depends_on_actions_in_half_widths_of_their_bounds"),
    Mutant("the density of a Gaussian with the wrong sign of ln σ", "common/distributions.py",
           "- self.log_std - 0.5 * math.log(2 * math.pi)).sum", "+ self.log_std - 0.5 * math.log(2 * math.pi)).sum",
           "common/test_distributions.py::test_log_densities_by_hand"),
    Mutant("the density of a Gaussian: the mean over its dimensions", "common/distributions.py",
           "math.log(2 * math.pi)).sum(-1)", "math.log(2 * math.pi)).mean(-1)",
           "common/test_distributions.py::test_log_densities_by_hand"),
    Mutant("samples by the noise with the wrong sign", "common/distributions.py",
           ") - noise).argmax", ") + noise).argmax",
           "common/test_distributions.py::test_gumbel_max_samples_have_the_softmax_frequencies"),

    # ---- statistics of observations
    Mutant("encoder: the variance of means is left out", "common/normalize.py",
           " + delta**2 * n_a * n_b / n)", ")",
           "common/test_normalize.py::test_merge_moments_equals_numpy_over_both_samples"),
    Mutant("encoder: the mean with the weight of the other sample", "common/normalize.py",
           "delta * n_b / n", "delta * n_a / n",
           "common/test_normalize.py::test_merge_moments_equals_numpy_over_both_samples"),
    Mutant("encoder: division by the variance", "common/normalize.py",
           "(self.var + 1e-8).rsqrt()", "(self.var + 1e-8).reciprocal()",
           "common/test_normalize.py::test_features_equal_x_minus_mean_over_std"),
    Mutant("encoder: the statistics of this rank alone", "common/normalize.py",
           "mpi.gather_objects((x.mean(0), x.var(0), len(x)))", "[(x.mean(0), x.var(0), len(x))]", SAME_ON_RANKS),

    # ---- optimisers
    Mutant("adam: the mean is not corrected for its start", "common/optim.py",
           " * root / (1 - 0.9**self.steps)", " * root", "common/test_optim.py::test_adam_by_hand"),
    Mutant("adam: the square is not corrected for its start", "common/optim.py",
           "root = math.sqrt(1 - 0.999**self.steps)", "root = 1.0", "common/test_optim.py::test_adam_by_hand"),
    Mutant("rmsprop: a decay of 0.9", "common/optim.py",
           "self.v.mul_(0.99).", "self.v.mul_(0.9).", "common/test_optim.py::test_rmsprop_by_hand"),
    Mutant("gradients are not clipped", "common/optim.py",
           "if norm > self.max_grad_norm:", "if False:",
           "common/test_optim.py::test_gradients_are_scaled_down_to_max_grad_norm_and_never_up"),
    Mutant("small gradients are scaled up", "common/optim.py",
           "if norm > self.max_grad_norm:", "if self.max_grad_norm < math.inf:",
           "common/test_optim.py::test_gradients_are_scaled_down_to_max_grad_norm_and_never_up"),
    Mutant("gradients add up over steps", "common/optim.py",
           "self.grad.zero_()", "pass",
           "common/test_optim.py::test_gradients_do_not_add_up_over_steps_and_do_before_one"),
    Mutant("GradNorm is that after clipping", "common/optim.py",
           "self.norms.append(norm)", "self.norms.append(min(norm, self.max_grad_norm))",
           "common/test_optim.py::test_columns_are_the_mean_norm_and_the_relative_change_since_the_epoch_began"),
    Mutant("each rank follows its own gradient", "common/optim.py",
           "mpi.average_(self.grad)", "pass", SAME_ON_RANKS),
    Mutant("each rank begins with its own parameters", "common/optim.py",
           "mpi.broadcast_(flat)", "pass", SAME_ON_RANKS),
    Mutant("the gradient is the sum over the ranks", "mpi.py",
           "data /= size", "data /= 1", SAME_ON_RANKS),
    Mutant("all ranks draw the same numbers", "common/seeding.py",
           "[seed, mpi.rank]", "[seed, 0]", "common/test_seeding.py::test_each_rank_draws_other_numbers"),

    # ---- health
    Mutant("KL: after against before", "common/health.py",
           "exact_kl(pi_old, ac.pi, ac.encode(epoch.obs))",
           "exact_kl(ac.pi(ac.encode(epoch.obs)), epoch.before.pi, epoch.before.encode(epoch.obs))",
           "common/test_health.py::test_kl_is_the_exact_one_from_the_first_policy_of_the_epoch_to_the_last"),
    Mutant("KL: since the last rollout, not since the epoch began", "common/health.py",
           "copy.deepcopy(ac)", "ac",
           "common/test_health.py::test_kl_is_the_exact_one_from_the_first_policy_of_the_epoch_to_the_last"),
    Mutant("Entropy of the policy after the epoch", "common/health.py",
           '"KL": exact_kl(pi_old,', '"Entropy": float(ac.pi(ac.encode(epoch.obs)).entropy().mean()), '
           '"KL": exact_kl(pi_old,',
           "common/test_health.py::test_entropy_is_that_of_the_policies_that_acted_at_each_rollout"),
    Mutant("Entropy of this rank alone", "common/health.py",
           "mpi.mean(epoch.entropy())", "epoch.entropy()", POOLED),
    Mutant("ExplainedVariance where nothing is left to explain", "common/diagnostics.py",
           "if var < 1e-8 or var**0.5 < 0.01 * np.abs(ret).mean():", "if var == 0:",
           "common/test_diagnostics.py::test_explained_variance_is_nan_where_there_is_nothing_to_explain"),
    Mutant("ExplainedVariance blames a constant error", "common/diagnostics.py",
           "(ret - val).var() / var", "np.square(ret - val).mean() / var",
           "common/test_diagnostics.py::test_explained_variance_equals_1_minus_Var_G_minus_V_over_Var_G"),
    Mutant("StateEntropy by the scale of each epoch", "common/health.py",
           "if not len(epoch.state_scale.std):", "if True:",
           "common/test_health.py::test_state_entropy_is_that_of_observations_standardised_by_the_first_epoch"),
    Mutant("StateEntropy: each state is its own nearest neighbour", "common/diagnostics.py",
           "dist.kthvalue(k + 1, dim=1)", "dist.kthvalue(k, dim=1)",
           "common/test_diagnostics.py::test_state_entropy_equals_the_kozachenko_leonenko_formula"),
    Mutant("entropies of rollouts that are not weighted by their length", "common/health.py",
           "[entropy] * len(buf.rew)", "[entropy]",
           "common/test_health.py::test_rollouts_without_a_critic_have_the_entropy_that_is_said_of_them"),
    Mutant("ValueBias has the wrong sign", "common/health.py",
           "float((val - ret).mean(", "float((ret - val).mean(",
           "common/test_health.py::test_values_and_returns_are_those_at_collection_over_the_whole_epoch"),
    Mutant("returns end with the rollout", "common/health.py",
           "unseen[-1] = True", "pass", "common/test_buffer.py::test_discounted_returns_by_hand"),
    Mutant("off-policy values from the beginning of the epoch, not from the steps that are held", "common/health.py",
           "noted[-len(steps.rew) :]", "noted[: len(steps.rew)]",
           "common/test_health.py::test_off_policy_columns_compare_q_at_collection_with_observed_returns"),
    Mutant("means are not weighted", "common/health.py",
           "weight * _number(value)", "_number(value)", "common/test_health.py::test_averages_are_weighted"),
    Mutant("greedy_entropy: the greedy action is never drawn at random", "common/diagnostics.py",
           "    g, o = 1 - epsilon + epsilon / n, epsilon / n\n    return -g", "    g, o = 1 - epsilon, epsilon / n\n"
           "    return -g",
           "common/test_diagnostics.py::test_greedy_entropy_and_kl_equal_those_of_torch_distributions"),
    Mutant("greedy_kl: one of its two terms", "common/diagnostics.py",
           "flips * (g - o) * math", "flips * g * math",
           "common/test_diagnostics.py::test_greedy_entropy_and_kl_equal_those_of_torch_distributions"),
    Mutant("KL of Gaussians: the variance of the wrong one", "common/diagnostics.py",
           "(mu_p - mu_q) / log_std_q.exp()", "(mu_p - mu_q) / log_std_p.exp()",
           "common/test_diagnostics.py::test_gaussian_kl_equals_torch_distributions"),
    Mutant("TargetGap: the target behind its own normaliser", "common/health.py",
           "target.q(x, taken)).abs()", "target.q(target.encode(obs), taken)).abs()",
           "common/test_health.py::test_a_target_sees_the_features_that_its_network_sees"),

    # ---- cem and random
    Mutant("cem: the elite are the worst", "algos/cem.py",
           "np.argsort(-ret,", "np.argsort(ret,", f"{CEM}::test_the_elite_are_those_with_the_largest_returns"),
    Mutant("cem: the variance of all candidates", "algos/cem.py",
           "mean[:], var = fit(theta[elite])", "mean[:], var = theta[elite].mean(0), theta.var(0)",
           f"{CEM}::test_update_equals_the_equations"),
    Mutant("cem: the noise does not fall", "algos/cem.py",
           "noise_init - noise_fall * t", "noise_init", f"{CEM}::test_extra_variance_falls_in_a_line_to_zero"),
    Mutant("cem: the noise is that of the first generation", "algos/cem.py",
           "generation.number - 1, config", "0, config", CREDITED),
    Mutant("cem: a candidate's return goes to its neighbour", "algos/cem.py",
           "self.total[self.turn] += rew", "self.total[self.turn - 1] += rew", CREDITED),
    Mutant("cem: an environment plays on with the parameters of its last candidate", "algos/cem.py",
           "self.flats[n].copy_(torch.from_numpy(self.theta[self.taken]))", "pass", CREDITED),
    Mutant("cem: all environments play with the parameters of the first", "algos/cem.py",
           "for n, pi in enumerate(self.players)]", "for n, pi in enumerate(self.players[:1] * len(x))]", CREDITED),
    Mutant("cem: a generation goes on with the episodes of the one before", "algos/cem.py",
           "obs = envs.reset()", "obs = envs.obs", f"{CEM}::test_every_generation_begins_with_new_episodes"),
    Mutant("cem: features change within a generation", "algos/cem.py",
           "generation.act(encode(obs))", "generation.act(ac.encode(obs))",
           f"{CEM}::test_features_change_only_between_generations"),
    Mutant("cem: the policy is not moved to the mean", "algos/cem.py",
           "flat.copy_(torch.from_numpy(mean))", "pass",
           f"{CEM}::test_the_policy_that_is_saved_is_that_of_the_mean"),
    Mutant("cem: entropy of all parameters together", "algos/cem.py",
           "float(search(mean, std).entropy()) / len(mean)", "float(search(mean, std).entropy())",
           f"{CEM}::test_an_environment_that_never_ends_is_no_generation_and_no_error"),
    Mutant("cem: KL of all parameters together", "algos/cem.py",
           "float(before.kl(after)) / len(before.mu)", "float(before.kl(after))",
           f"{CEM}::test_kl_entropy_and_ratio_are_those_of_the_gaussian_over_parameters"),
    Mutant("cem: a rank learns from its own candidates", "algos/cem.py",
           "return mpi.gather(self.theta), mpi.gather(self.total[:-1]) / self.episodes",
           "return self.theta, self.total[:-1] / self.episodes",
           "test_mpi.py::test_networks_are_bit_equal_on_all_ranks_after_every_epoch"),
    Mutant("cem: checkpoints forget the parameters that are being played", "algos/cem.py",
           '"playing", "total"', '"total"', f"{RESUMED}[cem-CartPole-v1]"),
    Mutant("cem: checkpoints forget the features of the generation", "algos/cem.py",
           '"encode": encode, ', "", f"{RESUMED}[cem-CartPole-v1]"),
    Mutant("random: entropy of one dimension", "algos/random.py",
           ".log().sum())", ".log().mean())", f"{RANDOM}::test_the_entropy_is_that_of_the_uniform_distribution"),
    Mutant("random: the last action is never taken", "algos/random.py",
           "torch.randint(int(self.act_space.n),", "torch.randint(int(self.act_space.n) - 1,",
           f"{RANDOM}::test_discrete_actions_are_equally_frequent"),
    Mutant("random: actions between 0 and the bounds", "algos/random.py",
           "low * (1 - share) + high * share", "high * share",
           f"{RANDOM}::test_box_actions_fill_their_bounds_evenly"),

    # ---- environments
    Mutant("all environments play the same episodes", "envs/stepping.py",
           "self.seed_of(n, int(self.ep_index[n]))", "self.seed_of(0, int(self.ep_index[n]))",
           "envs/test_stepping.py::test_every_episode_is_reset_with_its_own_seed"),
    Mutant("all ranks play the same episodes", "envs/stepping.py",
           "partial(episode_seed, seed, rank)", "partial(episode_seed, seed, 0)", POOLED),
    Mutant("an environment plays the same episode for ever", "envs/stepping.py",
           "self.ep_index[n] += 1", "self.ep_index[n] += 0",
           "envs/test_stepping.py::test_every_episode_is_reset_with_its_own_seed"),
    Mutant("episodes are reset without a seed", "envs/stepping.py",
           "self.envs[n].reset(seed=self.ep_seed[n])", "self.envs[n].reset()",
           "envs/test_stepping.py::test_every_episode_is_reset_with_its_own_seed"),
    Mutant("a new episode takes the place of the last observation", "envs/stepping.py",
           "self.obs = next_obs.copy()", "self.obs = next_obs",
           "envs/test_stepping.py::test_next_obs_is_the_final_observation_where_obs_is_the_new_one"),
    Mutant("a time limit ends no episode", "envs/stepping.py",
           "done = terminated | truncated", "done = terminated",
           "envs/test_stepping.py::test_next_obs_is_the_final_observation_where_obs_is_the_new_one"),
    Mutant("what falls due within a step falls out", "envs/stepping.py",
           "return self.total_steps // every - (self.total_steps - self.together) // every",
           "return int(self.total_steps % every == 0)",
           "envs/test_stepping.py::test_what_is_due_after_every_so_many_env_steps_does_not_depend_on_num_envs"),
    Mutant("env steps of this rank alone", "envs/stepping.py",
           "self.together = num_envs * mpi.size", "self.together = num_envs", SAME_ON_RANKS),
    Mutant("recorded actions follow the array of the policy", "envs/stepping.py",
           "self.actions.append(actions.copy())", "self.actions.append(actions)",
           "envs/test_stepping.py::test_an_environment_that_changes_its_actions_in_place_replays_too"),
    Mutant("an episode keeps the place of its actions when older ones are forgotten", "envs/stepping.py",
           "self.ep_start = [start - unused for", "self.ep_start = [start for",
           "envs/test_stepping.py::test_best_and_worst_episodes_replay_to_exactly_the_same_return"),
    Mutant("resuming replays the actions of another environment", "envs/stepping.py",
           "[step[n] for step in self.actions[self.ep_start[n] :]]",
           "[step[0] for step in self.actions[self.ep_start[n] :]]",
           "envs/test_stepping.py::test_resuming_plays_the_episodes_in_progress_again"),
    Mutant("resuming replays from the oldest action that is kept", "envs/stepping.py",
           "in self.actions[self.ep_start[n] :]], self", "in self.actions], self",
           "envs/test_stepping.py::test_resuming_plays_the_episodes_in_progress_again"),
    Mutant("test episodes with seeds of training", "envs/evaluation.py",
           "episode_seed(seed, TEST_EPISODES, 0, first + stride * i)", "episode_seed(seed, 0, 0, first + stride * i)",
           "envs/test_evaluation.py::test_evaluate_resets_with_other_seeds_than_training"),
    Mutant("every rank plays the test episodes of rank 0", "envs/evaluation.py",
           "_play(choose, env, episodes, seed, mpi.rank, mpi.size)", "_play(choose, env, episodes, seed, 0, mpi.size)",
           "envs/test_evaluation.py::test_ranks_share_the_test_episodes"),
    Mutant("every rank plays all test episodes", "envs/evaluation.py",
           "_play(choose, env, episodes, seed, mpi.rank, mpi.size)", "_play(choose, env, episodes, seed, 0, 1)",
           "envs/test_evaluation.py::test_ranks_share_the_test_episodes"),

    # ---- what every environment of a run is wrapped in
    Mutant("of repeated actions only the last reward counts", "envs/making.py",
           "total += number(rew)", "total = number(rew)", FITTED),
    Mutant("an action is repeated after the end of the episode", "envs/making.py",
           "if terminated or truncated:\n                break", "if terminated:\n                break", FITTED),
    Mutant("all repetitions of an action share one array", "envs/making.py",
           "action.copy() if isinstance(action, np.ndarray) else action", "action", FITTED),
    Mutant("environments of the user's own function do not repeat actions", "envs/making.py",
           "if config.frame_skip > 1:", "if config.frame_skip > 1 and not env_fn:", FITTED),

    Mutant("observations in parts are not checked before they are flattened", "envs/spaces.py",
           "    _check_parts(obs, space)\n", "", "envs/test_spaces.py"),
    Mutant("the parts of nested observations are not checked", "envs/spaces.py",
           "_check_parts(*part)", "pass", "envs/test_spaces.py"),
    Mutant("environments made from an id are not flattened", "envs/making.py",
           "if is_flattened(raw_obs_space(env)):", "if is_flattened(raw_obs_space(env)) and env_fn:",
           "test_run.py::test_a_run_says_once_that_it_flattens_observations"),
    Mutant("a loaded policy does not know the space before flattening", "loading.py",
           "return Policy(ac, obs_space)", "return Policy(ac)", "test_loading.py"),

    # ---- several components of an action
    *(Mutant(f"MultiDiscrete: one component is left out of the {what}", "common/distributions.py", old, new,
             "common/test_distributions.py") for what, old, new in (
        ("log-probability", 'act, reduction="none").sum(-1)', 'act, reduction="none")[:, 1:].sum(-1)'),
        ("entropy", "categorical_entropy(self.logits).sum(-1)", "categorical_entropy(self.logits)[:, 1:].sum(-1)"),
        ("KL", "categorical_kl(self.logits, other.logits).sum(-1)",
         "categorical_kl(self.logits, other.logits)[:, 1:].sum(-1)"))),
    Mutant("MultiDiscrete: actions that there are not can be taken", "common/actor_critic.py",
           "(0, 1), value=NEVER)", "(0, 1), value=0.0)", "common/test_actor_critic.py"),
    Mutant("MultiDiscrete: each component has the outputs of the first", "common/actor_critic.py",
           "torch.arange(end - n, end)", "torch.arange(n)", "common/test_actor_critic.py"),
    Mutant("MultiDiscrete: components are not counted from their start", "envs/spaces.py",
           " + act_space.start).astype", ").astype", "envs/test_spaces.py"),
    Mutant("ActionEntropy is that of the first component alone", "common/health.py",
           "for component in components])", "for component in components[:1]])", "common/test_health.py"),

    # ---- words of other suites
    Mutant("another suite's word names settings that the algorithm does not have", "flags.py",
           "ours = [each for each in theirs if each in fields]", "ours = list(theirs)", "test_synonyms.py"),
    Mutant("each of several names in a cell stands for the first of ours", "synonyms.py",
           "names[min(i, len(names) - 1)]", "names[0]", "test_synonyms.py"),

    # ---- the best policy
    Mutant("a mean of a single episode makes the best policy", "common/training.py",
           "(math.isnan(tested) and episodes < ENOUGH_EPISODES)", "episodes < 0", "common/test_training.py"),
    Mutant("checkpoints forget the best return", "common/training.py",
           '"returns": self.returns, ', "",
           "rundir/test_checkpoint.py::test_the_best_policy_of_a_resumed_run_is_that_of_the_run_that_was_not_interrupted"),

    Mutant("--help for an environment shows the defaults of Config", "run.py",
           'command(algorithm.Config(env, **settings), Launch()))', 'command(algorithm.Config(env), Launch()))',
           "test_run.py::test_help_for_an_environment_shows_what_a_run_there_starts_from"),

    # ---- stopping early
    Mutant("a run stops early without test episodes that confirm it", "common/training.py",
           "if tests < goal:", "if False:",
           "common/test_training_frame.py::test_test_episodes_must_confirm_the_return_of_an_epoch"),
    Mutant("a resumed run does not ask whether it had reached its return", "common/training.py",
           'return {"last": self.last, "best"', 'return {"last": -math.inf, "best"',
           "common/test_training_frame.py::test_a_run_that_is_stopped_while_it_is_confirmed_ends_there_when_it_is_"
           "resumed"),
    Mutant("a resumed run forgets at which return it was to stop", "run.py",
           'if "stop_at" in flags else launch.stop_at', 'if "stop_at" in flags else math.inf',
           "common/test_training_frame.py::test_a_run_that_is_stopped_while_it_is_confirmed_ends_there_when_it_is_"
           "resumed"),

    # ---- grids that go on
    Mutant("a grid that is whole is not trained again", "launching.py",
           "any(state != FINISHED for _, state in earlier(left, command))", "bool(left)",
           "test_run.py::test_an_interrupted_grid_goes_on_where_it_was_when_it_is_started_again"),
    Mutant("a grid goes on with what other source has made", "launching.py",
           "same and path.stat().st_mtime > changed", "same",
           "test_run.py::test_a_grid_leaves_alone_what_another_process_trains_and_what_other_source_or_words_have_made"),
    Mutant("a return that rounds to 0 keeps its sign", "common/console.py",
           "round(value, decimals) + 0.0", "value", "common/test_console.py"),

    # ---- runs side by side
    Mutant("a training outlives its pool", "pool.py",
           "    os.kill(os.getpid(), SIGTERM)", "    pass",
           "test_pool.py::test_nothing_outlives_a_pool_and_nothing_is_lost"),
    Mutant("a pool does not say that a run failed", "pool.py",
           "else 3 * bool(left)", "else 0",
           "test_pool.py::test_a_training_that_fails_or_is_killed_takes_no_other_with_it"),
    Mutant("a claim does not hold", "rundir/files.py",
           "free = error.errno not in (errno.EACCES, errno.EAGAIN)", "free = True",
           "test_pool.py::test_what_one_process_has_claimed_no_other_can_claim"),
    Mutant("a run of a grid is trained again although it is finished", "launching.py",
           "run, state = earlier([job], command)[0] if claimed", "run, state = (None, '') if claimed",
           "test_pool.py::test_started_again_it_trains_what_is_left"),
    Mutant("a process that waits for tasks takes itself for a rank", "mpi.py",
           "if launched_ranks() == 1 or is_pool():", "if launched_ranks() == 1:",
           "test_pool.py::test_tasks_wait_for_processes_of_mpi"),

    # ---- checkpoints
    Mutant("checkpoints forget the scale of states", "common/training.py",
           '"state_scale": self.state_scale, ', "", f"{RESUMED}[ppo-CartPole-v1]"),
    Mutant("checkpoints forget the environments", "common/training.py",
           '"envs": envs, ', "", f"{RESUMED}[ppo-CartPole-v1]"),
    Mutant("checkpoints forget the global generators", "rundir/checkpoint.py",
           '{"random": GlobalGenerators(), **parts}', "parts", f"{RESUMED}[ppo-CartPole-v1]"),
    Mutant("checkpoints forget how many steps an optimiser has made", "common/optim.py",
           'self.steps = int(state["steps"])', "pass", f"{RESUMED}[ppo-CartPole-v1]"),
    Mutant("ppo: checkpoints forget the reward scaler", "algos/ppo.py",
           '"scaler": scaler, ', "", f"{MORE_STATE}[ppo-how0]"),
    Mutant("a2c: checkpoints forget the optimiser of the critic", "algos/a2c.py",
           ", v_opt=v_opt,", ",", f"{RESUMED}[a2c-CartPole-v1]"),
    Mutant("resuming fills the replay buffer with all but the first part", "rundir/checkpoint.py",
           "self.memory.load(segments)", "self.memory.load(segments[1:])", f"{RESUMED}[dqn-CartPole-v1]"),

    # ---- the runs of a grid
    Mutant("folders of a grid do not name what varies", "launching.py",
           "suffix=folder_suffix(job.varied),", "", GRID),
    Mutant("headers of a grid do not name what varies", "launching.py",
           "seed {config.seed}{varied}{preset}", "seed {config.seed}{preset}", GRID),

    Mutant("an experiment's folder is loaded without saying which run that is", "loading.py",
           'print(f"rlsuite: {taken}", file=sys.stderr)', "pass",
           "test_loading.py::test_an_experiment_is_its_newest_run"),
    Mutant("an experiment's folder is not loaded", "loading.py",
           "run_dir, taken = newest_run([run_dir])", "taken = newest_run([run_dir])[1]",
           "test_loading.py::test_an_experiment_is_its_newest_run"),

    # ---- watching and filming
    Mutant("episodes of random actions are called deterministic", "common/console.py",
           'if sample or ac.mode == getattr(ac, "act", None) else', "if sample else",
           "algos/test_random.py::test_nobody_calls_its_test_episodes_deterministic"),
    Mutant("many episodes are shown or filmed", "play.py",
           "SHOWN_EPISODES, COUNTED_EPISODES = 1, 10", "SHOWN_EPISODES, COUNTED_EPISODES = 10, 10",
           "test_play.py::test_one_episode_is_shown_or_filmed_where_ten_are_counted"),
    Mutant("the replay of a training episode is not shown when that is asked for", "play.py",
           "which, render=args.render,", "which,",
           "test_play.py::test_the_replay_of_a_training_episode_is_shown_or_filmed_when_that_is_asked_for"),
    Mutant("a window without a display is refused only when it is to open", "play.py",
           "if args.render and not has_display():", "if False:",
           "test_play.py::test_without_a_display_a_window_is_refused_before_anything_is_done"),
    Mutant("the drivers of a film are heard", "envs/rendering.py",
           'nullcontext() if mode == "human" else _no_stderr()', "nullcontext()",
           "test_play.py::test_a_film_is_made_without_a_word_of_the_drivers"),
    Mutant("after a film, errors are not heard", "envs/rendering.py",
           "os.dup2(kept, 2)", "pass", "envs/test_rendering.py"),
    Mutant("the policy of a film is loaded where its drivers are heard", "play.py",
           "load(run_dir, env, best", "load(run_dir, best",
           "test_play.py::test_a_film_is_made_without_a_word_of_the_drivers"),
    Mutant("a film's return is that of the last step", "figures/film.py",
           "self.ret += float(result[1])", "self.ret = float(result[1])", FILMED),
    Mutant("a film's steps go on over its episodes", "figures/film.py",
           "self.steps, self.ret = 0, 0.0", "self.ret = 0.0", FILMED),
    Mutant("a film begins after the first step", "figures/film.py",
           "self._add(self.first)", "pass", "figures/test_film.py::test_it_is_as_long_as_it_says"),
    Mutant("a film has the first picture of an episode that is not played", "figures/film.py",
           'self.first = self.picture("-")', 'self._add(self.picture("-"))',
           "figures/test_film.py::test_it_is_as_long_as_it_says"),
    Mutant("small pictures stay small", "figures/film.py", "-(-MIN_WIDTH // image.width)", "1", LEGIBLE),
    Mutant("text is longer than its frame is wide", "figures/film.py",
           "if len(line) <= letters else", "if True else", LEGIBLE),
    Mutant("a GIF is faster than browsers show it", "figures/film.py",
           "self.fps = min(self.fps, MAX_GIF_FPS)", "pass", "figures/test_film.py::test_it_is_as_long_as_it_says"),

    Mutant("a run offers a window where there is no display", "launching.py",
           'if "human" in modes and has_display():', 'if "human" in modes:', PRINTED),
    Mutant("a run offers a window of an environment that has none", "launching.py",
           'if "human" in modes and has_display():', "if has_display():", PRINTED),
    Mutant("a run offers a film of an environment that draws no pictures", "launching.py",
           'if "rgb_array" in modes else', "if True else", PRINTED),
    Mutant("printed commands do not name the module of the environment", "envs/making.py",
           'f" --import-env {module}" if colon else ""', '""', PRINTED),

    # ---- the table of runs
    Mutant("a run that another process trains counts as stopped", "rundir/files.py",
           "fcntl.LOCK_SH | fcntl.LOCK_NB)\n    except BlockingIOError:\n        return True",
           "fcntl.LOCK_SH | fcntl.LOCK_NB)\n    except BlockingIOError:\n        return False", STATES),
    Mutant("a run trained to its budget without test episodes counts as stopped", "rundir/summaries.py",
           "if result or log.steps >= budget else", "if result else", STATES),
    Mutant("a refused attempt calls another's run failed", "common/logger.py",
           "if self._file is None or self.run_dir is None:  # another", "if self.run_dir is None:  # another",
           "common/test_training_frame.py::test_an_attempt_that_may_not_write_a_run_does_not_call_it_failed"),
    Mutant("a resumed run still counts as failed", "common/logger.py",
           '(self.run_dir / "error.json").unlink(missing_ok=True)', "pass",
           "common/test_training_frame.py::test_what_ended_a_run_is_kept_until_it_goes_on"),
    Mutant("the table of runs shows the last return as the best", "rundir/summaries.py",
           "best=max((returns[i] for i in finite), default=NAN)", "best=returns[finite[-1]] if finite else NAN",
           "rundir/test_summaries.py::test_a_finished_run_by_hand"),
    Mutant("an experiment's folder stands for its oldest run", "rundir/summaries.py",
           "newest = max(runs, key=age)", "newest = min(runs, key=age)",
           "rundir/test_summaries.py::test_the_newest_run_is_the_one_that_was_started_last"),
    Mutant("a repetition is drawn although the run it repeats was trained further", "rundir/summaries.py",
           "max(equal, key=steps)", "min(equal, key=steps)",
           "rundir/test_summaries.py::test_equal_settings_seed_and_commit_count_once"),
    Mutant("runs of other commits count as repetitions", "rundir/summaries.py",
           '(settings, f"{seed}", code) if known', '(settings, f"{seed}", "") if known',
           "rundir/test_summaries.py::test_equal_settings_seed_and_commit_count_once"),
    Mutant("a run that is trained twice further leaves its group", "common/logger.py",
           'self._config.setdefault("first_total_steps", self._config.get("total_steps"))',
           'self._config["first_total_steps"] = self._config.get("total_steps")',
           "rundir/test_checkpoint.py::test_a_resumed_run_stays_in_its_group"),
    Mutant("--where keeps runs of which only the first condition holds", "runs.py",
           "summary, name), wanted)]\n    return", "summary, name), wanted)]\n        break\n    return",
           "test_runs.py::test_where"),

    # ---- pictures
    Mutant("a panel for a column without values", "figures/panels.py",
           "return column in log and bool((np.abs(log[column]) < HUGE).any())", "return column in log",
           "figures/test_panels.py::test_columns_without_values_give_way"),
    Mutant("groups compared by a return that some of them lack", "figures/panels.py",
           "tested = all(any(", "tested = any(any(",
           "figures/test_panels.py::test_groups_are_compared_by_what_all_of_them_have"),
    Mutant("a KL of 0 that vanishes from a logarithmic axis", "figures/dashboard.py",
           "x[y <= 0] for", "x[y < 0] for",
           "figures/test_dashboard.py::test_a_kl_of_zero_is_marked_below_a_logarithmic_axis"),
    Mutant("smoothing that counts epochs without a value", "figures/intervals.py",
           "sums / np.maximum(counts, 1)", "sums / window.size", "figures/test_intervals.py"),
    Mutant("colours of a value map that the corners of the plane decide", "figures/value_map.py",
           "for s in snapshots if len(s.obs)]", "for s in snapshots[:0]]", "figures/test_value_map.py"),
    Mutant("TensorBoard's tags in one list", "common/logger.py",
           "add_scalar(tag(name),", "add_scalar(name,", "common/test_logger.py"),
    Mutant("an area under the curve that ignores how far epochs are apart", "figures/table.py",
           "((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0])", "y.mean()", "figures/test_table.py"),

    # ---- statistics
    Mutant("an interval of two seeds", "analysis/statistics.py",
           "MIN_SEEDS = 3", "MIN_SEEDS = 2",
           f"{STATISTICS}::test_t_interval_counts_only_the_seeds_that_are_there_and_needs_three"),
    Mutant("the interval of one seed instead of the mean", "analysis/statistics.py",
           "(count - 1) / count)", "(count - 1))",
           f"{STATISTICS}::test_coverage_of_the_t_interval"),
    Mutant("Student's t with a degree of freedom too many", "analysis/statistics.py",
           "t_quantile(count - 1, level)", "t_quantile(count, level)",
           f"{STATISTICS}::test_coverage_of_the_t_interval"),
    Mutant("scores of which random play has as much as the reference", "analysis/statistics.py",
           "(returns - random) / span", "returns / span",
           f"{STATISTICS}::test_normalized_scores_are_0_for_random_and_1_for_the_reference"),
    Mutant("an IQM that cuts off one score too many", "analysis/statistics.py",
           "cut = int(trim * flat.shape[-1])", "cut = int(trim * flat.shape[-1] + 0.75)",
           f"{STATISTICS}::test_iqm_is_scipys_trimmed_mean_of_each_table"),
    Mutant("a trimmed mean with the spread of all scores", "analysis/statistics.py",
           "w = scores.clip(flat[cut], flat[flat.size - 1 - cut])", "w = scores",
           f"{STATISTICS}::test_the_trimmed_interval_of_one_environment_by_hand"),
    Mutant("an interval over environments that trusts all degrees of freedom", "analysis/statistics.py",
           "(q.sum() ** 2 / (q**2).sum() if q.any() else 1.0)", "n_envs",
           f"{STATISTICS}::test_the_t_interval_of_two_environments_is_that_of_welch"),
    Mutant("the bootstrap draws whole rows", "analysis/statistics.py",
           "size=(RESAMPLES, *scores.shape))", "size=(RESAMPLES, len(scores), 1))",
           f"{STATISTICS}::test_the_bootstrap_draws_seeds_in_each_environment_anew"),
    Mutant("the bootstrap's plain percentiles", "analysis/statistics.py",
           "tail = float(ndtr(-math.sqrt(n / (n - 1)) * t_quantile(n - 1, level)))", "tail = (1 - level) / 2",
           f"{STATISTICS}::test_the_bootstrap_interval_is_wider_than_its_percentiles_as_few_seeds_ask_for"),
    Mutant("the bootstrap of few seeds", "analysis/statistics.py",
           "if len(scores) < MANY_SEEDS", "if len(scores) < FEW_SEEDS",
           f"{STATISTICS}::test_an_estimate_takes_t_below_10_seeds_and_the_bootstrap_from_10_on"),
    Mutant("a profile that counts what only reaches the threshold", "analysis/statistics.py",
           "(scores > np.asarray", "(scores >= np.asarray",
           f"{STATISTICS}::test_a_performance_profile_is_that_of_rliable_with_wilsons_interval"),
    Mutant("an interval of a share without width at 0 and 1", "analysis/statistics.py",
           "z2 / (4 * n**2))) / (1", "0 * z2)) / (1",
           f"{STATISTICS}::test_a_performance_profile_is_that_of_rliable_with_wilsons_interval"),
    Mutant("environments whose intervals are averaged", "analysis/statistics.py",
           "np.sqrt(((value - bound) ** 2).sum(-1))", "np.abs(value - bound).sum(-1)",
           f"{STATISTICS}::test_the_interval_over_environments_adds_up_their_squares"),
    Mutant("a tie counts as a win", "analysis/statistics.py",
           "0.5 * (new == old[:, None])", "(new == old[:, None])",
           f"{STATISTICS}::test_probability_of_improvement_is_that_of_rliable"),
    Mutant("a probability of improvement without the correction for few seeds", "analysis/statistics.py",
           " - 1 / (2 * pairs) <=", " <=",
           f"{STATISTICS}::test_its_interval_excludes_one_half_where_the_mann_whitney_test_finds_a_difference"),
    Mutant("a p-value of one side", "analysis/statistics.py",
           "float(2 * stdtr(", "float(stdtr(",
           f"{STATISTICS}::test_without_a_difference_few_are_found[normal]"),
    Mutant("a difference of pairs with the spread of one of them", "analysis/statistics.py",
           "spread / math.sqrt(n), n - 1,", "spread, n - 1,",
           f"{STATISTICS}::test_paired_and_welch_differences_are_scipys"),
    Mutant("Welch's test with Student's degrees of freedom", "analysis/statistics.py",
           "(error**2 / (np.array(n) - 1)).sum()) if", "error.sum() ** 2 / (sum(n) - 2)) if",
           f"{STATISTICS}::test_paired_and_welch_differences_are_scipys"),
    Mutant("pairs in the order of the runs", "analysis/statistics.py",
           "for seed in sorted(side)]", "for seed in side]",
           f"{STATISTICS}::test_compare_pairs_equal_seeds_whatever_their_order"),
    Mutant("a comparison that is never worse", "analysis/statistics.py",
           '"better" if self.difference > 0 else "worse"', '"better"',
           f"{STATISTICS}::test_without_any_spread_there_is_either_no_difference_or_no_doubt"),
    Mutant("many cells without a correction", "analysis/statistics.py",
           "np.arange(len(order), 0, -1)", "1",
           f"{STATISTICS}::test_of_many_cells_without_a_difference_hardly_any_is_found_after_the_correction"),
    Mutant("Bonferroni's correction instead of Holm's", "analysis/statistics.py",
           "np.arange(len(order), 0, -1)", "len(order)",
           f"{STATISTICS}::test_holm_is_statsmodels"),
    Mutant("a cell with too few seeds counts as a comparison", "analysis/statistics.py",
           "[: np.isfinite(p).sum()]", "",
           f"{STATISTICS}::test_holm_is_statsmodels"),
    Mutant("seeds for finding a difference in half of the cases", "analysis/statistics.py",
           "z + float(ndtri(power))", "z",
           f"{STATISTICS}::test_seeds_needed_are_statsmodels"),
]
# fmt: on


def copy(suite: Path, folder: Path) -> None:
    """Copy all that tests read."""
    shutil.copytree(suite, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "data", "build"))


def run_tests(suite: Path, tests: set[str], *options: str) -> tuple[int, str, float]:
    """Run tests of a suite, up to the first that fails: pytest's exit code, which test failed, seconds."""
    words = [sys.executable, "-m", "pytest", "--exitfirst", "--tb=no", "-p", "no:cacheprovider", *options]
    words += [f"tests/{test}" for test in sorted(tests)]
    environment, begun = {**os.environ, "PYTHONPATH": str(suite)}, time.monotonic()
    try:
        done = subprocess.run(words, cwd=suite, env=environment, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return 1, f"no end within {LIMIT} s", LIMIT
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
    said = failed[1] if failed else " ".join((done.stdout + done.stderr)[-500:].split())
    return done.returncode, said, time.monotonic() - begun


def run_mutant(suite: Path, mutant: Mutant) -> tuple[int, str, float]:
    """Put a fault into a copy of the suite and run the tests that should catch it."""
    with tempfile.TemporaryDirectory() as folder:
        copy(suite, Path(folder, "suite"))
        path = Path(folder, "suite", "rlsuite", mutant.file)
        path.write_text(path.read_text().replace(mutant.old, mutant.new))
        return run_tests(Path(folder, "suite"), set(mutant.tests.split()))


def main() -> int:
    """Print a line per mutant; 1 if any survives, 2 if the tests fail without a fault."""
    parser = argparse.ArgumentParser(description="Which one-line faults do the tests catch?")
    parser.add_argument("--only", default="", metavar="WORD", help="mutants whose name or file contains this")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    args = parser.parse_args()
    mutants = [m for m in MUTANTS if args.only in f"{m.name} {m.file}"]
    survivors = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:
        suite = Path(folder, "suite")
        copy(ROOT, suite)  # once, so that work can go on meanwhile
        code, said, seconds = run_tests(suite, {test for m in mutants for test in m.tests.split()}, f"-n{args.jobs}")
        if code:
            print(f"these tests must pass without a fault, and do not: {said}")
            return 2
        print(f"without a fault all of these tests pass, in {seconds:.0f} s\n")
        print("mutant | file | caught by | seconds\n--|--|--|--", flush=True)
        results = pool.map(partial(run_mutant, suite), mutants)
        for mutant, (code, said, seconds) in zip(mutants, results, strict=True):
            if code != 1:  # 0: all pass; any other: they did not even begin, which proves nothing
                survivors.append(mutant)
                said = "NOTHING" if code == 0 else f"ERROR {code}: {said}"
            print(f"{mutant.name} | {mutant.file} | {said} | {seconds:.1f}", flush=True)
    print(f"\n{len(mutants) - len(survivors)} of {len(mutants)} caught")
    for mutant in survivors:
        print(f"survives: {mutant.name}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
