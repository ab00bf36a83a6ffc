"""A fourth set of faults and of healthy runs, on which the diagnosis is judged once more.

It was written by someone who had not read the rules, their thresholds, or anything that came of them. It knew the
causes, the faults of the three sets before, and the text that it plants faults in. The trainings that faults are
planted in are the `CELLS` of `planted_faults.py` and the `LATER_CELLS` of `planted_later.py`. No rule was shown one of
these runs before it was judged.
"""

from planted_faults import CELLS, FAULTS, HARD, LONG, SOON, UNSEEN, Fault, edit, setting, world
from planted_fresh import FRESH, FRESH_HEALTHY
from planted_later import LATER, LATER_CELLS, LATER_HEALTHY

from rlsuite.analysis.causes import CAUSES

# fmt: off
LAST: list[Fault] = [
    # ---- ppo
    edit("ppo CartPole", "of each rollout it learns from the first sample", "little data", "common/buffer.py",
         "samples = len(batch.act)", "samples = 1"),
    edit("ppo CartPole", "it learns from each rollout thirty updates late", "old policy", "algos/ppo.py",
         "x, val, next_val, pi = evaluate_rollout(ac, buf)",
         "past = vars(training).setdefault('past', []); past.append(buf); buf = past[max(0, len(past) - 30)]; "
         "x, val, next_val, pi = evaluate_rollout(ac, buf)"),
    edit("ppo FrozenLake", "the first policy is certain of its actions", "little exploration",
         "common/actor_critic.py", "int(act_space.n)], activation, out_gain=0.01)",
         "int(act_space.n)], activation, out_gain=100)"),
    setting("ppo InvertedPendulum", "the KL penalty outweighs all else", "low learning rate", "--kl-coef 1e17"),
    world("ppo InvertedPendulum", "the first action of an episode is repeated to its end", "idle action",
          "StuckAction"),
    world("ppo InvertedPendulum", "of observations only the magnitude", "empty observation", "MagnitudeObservation"),
    # ---- vpg
    edit("vpg CartPole", "the mean reward is subtracted", "no reward", "algos/vpg.py",
         "scaler(buf.rew, buf", "scaler(buf.rew - buf.rew.mean(), buf"),
    edit("vpg CartPole", "gamma is rounded down to a whole number", "discount", "algos/vpg.py",
         "config.gamma, config.lam)", "int(config.gamma), config.lam)"),
    setting("vpg CartPole", "two steps of one environment to each update", "little data",
            "--num-envs 1 --rollout-len 2 --train-v-iters 5"),
    setting("vpg CartPole", "the largest norm of a gradient is 1e-12", "low learning rate", "--max-grad-norm 1e-12"),
    world("vpg CartPole", "each reward comes a hundred steps late", "late reward", "DelayedReward"),
    world("vpg CartPole", "observations are twenty steps old", "empty observation", "OldObservation"),
    # ---- a2c
    edit("a2c CartPole steady", "the critic's optimiser steps twice, the policy's never", "policy not trained",
         "algos/a2c.py", "    pi_opt.step()\n    v_opt.step()", "    v_opt.step()\n    v_opt.step()"),
    edit("a2c CartPole steady", "the entropy is made small", "little exploration", "algos/a2c.py",
         "(loss_pi - bonus + loss_v)", "(loss_pi + bonus + loss_v)", "--ent-coef 100"),
    edit("a2c CartPole steady", "rewards a hundred-millionth", "reward scale", "algos/a2c.py",
         "buf.store(obs, act, rew,", "buf.store(obs, act, 1e-8 * rew,"),
    edit("a2c CartPole steady", "a future only where an episode ended", "bootstrap", "common/buffer.py",
         "next_val * ~terminated - val", "next_val * terminated - val"),
    edit("a2c CartPole steady", "it learns from each rollout sixty updates late", "old policy", "algos/a2c.py",
         "x, val, next_val, pi = evaluate_rollout(ac, buf)",
         "past = vars(training).setdefault('past', []); past.append(buf); buf = past[max(0, len(past) - 60)]; "
         "x, val, next_val, pi = evaluate_rollout(ac, buf)"),
    setting("a2c CartPole steady", "the critic's learning rate is 30", "high learning rate", "--vf-lr 30"),
    world("a2c CartPole steady", "what is observed is another cart, which moves at random", "empty observation",
          "ForeignObservation"),
    # ---- trpo
    edit("trpo CartPole", "no step of the line search is accepted", "policy not trained", "algos/trpo.py",
         "and kl <= config.target_kl:", "and kl <= -config.target_kl:"),
    edit("trpo CartPole", "an end is worth as much as the state before it", "bootstrap", "common/buffer.py",
         "next_val * ~terminated - val", "np.where(terminated, val, next_val) - val"),
    edit("trpo CartPole", "the critic learns the returns with the wrong sign", "targets", "algos/trpo.py",
         "ac.v(batch.x[j]), batch.ret[j])", "ac.v(batch.x[j]), -batch.ret[j])"),
    setting("trpo CartPole", "four samples to each update", "little data", "--num-envs 1 --rollout-len 4"),
    world("trpo CartPole", "the first action of an episode is repeated to its end", "idle action", "StuckAction"),
    world("trpo CartPole", "the number of the step, in thousandths, is among the observations", "observation scale",
          "CounterObservation"),
    # ---- dqn
    edit("dqn CartPole", "the share of the batch that goes on stands for each sample", "bootstrap", "algos/dqn.py",
         "gamma * ~terminated * value_of", "gamma * (~terminated).float().mean() * value_of"),
    edit("dqn CartPole", "it is the target network that has the loss", "critic not trained", "algos/dqn.py",
         "q = value_of(q_net.q(x), batch.act)", "q = value_of(target.q(x), batch.act)"),
    edit("dqn CartPole", "the value of the opposite action is trained", "credit", "algos/dqn.py",
         "q = value_of(q_net.q(x), batch.act)", "q = value_of(q_net.q(x), 1 - batch.act)"),
    edit("dqn Acrobot", "Adam adds gradients up and forgets none", "high learning rate", "common/optim.py",
         "self.m.lerp_(self.grad, 0.1)", "self.m.add_(self.grad)"),
    edit("dqn FrozenLake", "the last step of an episode is not paid", "no reward", "algos/dqn.py",
         "buf.store(obs, act, rew,", "buf.store(obs, act, rew * ~terminated,"),
    setting("dqn FrozenLake", "it learns from one transition at a time", "little data", "--batch-size 1"),
    world("dqn Acrobot", "the first action of an episode is repeated to its end", "idle action", "StuckAction"),
    # ---- ddpg
    edit("ddpg Pendulum", "the target critic follows the gradient, not the weights", "target network",
         "algos/ddpg.py", "target_q.lerp_(q_opt.flat,", "target_q.lerp_(q_opt.grad,"),
    edit("ddpg Pendulum", "the critic's loss has the wrong sign", "sign", "algos/ddpg.py",
         "loss_q.backward()", "(-loss_q).backward()"),
    edit("ddpg Pendulum", "the opposite of the next action is valued", "targets", "algos/ddpg.py",
         "target.q(next_x, target.pi(next_x))", "target.q(next_x, -target.pi(next_x))"),
    setting("ddpg Pendulum", "the critic's learning rate is 1e-8", "low learning rate", "--q-lr 1e-8"),
    setting("ddpg Pendulum", "the critic's learning rate is 3", "high learning rate", "--q-lr 3"),
    world("ddpg Pendulum", "rewards come one episode late", "late reward", "EpisodeLateReward"),
    world("ddpg Pendulum", "the speed is in ten-thousandths", "observation scale", "FastObservation"),
    # ---- td3
    edit("td3 Pendulum", "Adam climbs the losses", "sign", "common/optim.py",
         "value=-self.lr * root", "value=self.lr * root"),
    edit("td3 Pendulum", "the second critic is subtracted from the first", "targets", "algos/td3.py",
         "next_q.amin(0)", "(next_q[0] - next_q[1])"),
    edit("td3 Pendulum", "actions are stored without their sign", "credit", "algos/td3.py",
         "buf.store(obs, act, rew,", "buf.store(obs, abs(act), rew,"),
    edit("td3 Pendulum", "a thousand is added to each reward", "reward scale", "algos/td3.py",
         "buf.store(obs, act, rew,", "buf.store(obs, act, rew + 1000,"),
    edit("td3 Pendulum", "the target critics take the weights in reverse order", "target network", "algos/td3.py",
         "target_q.lerp_(q_opt.flat,", "target_q.lerp_(q_opt.flat.flip(0),"),
    setting("td3 Pendulum", "the policy's learning rate is 1", "high learning rate", "--pi-lr 1"),
    setting("td3 Pendulum", "the noise pushes with full power, one way for a hundred steps", "endless exploration",
            "--act-noise 20 --noise-corr 0.99"),
    world("td3 Pendulum", "the number of the step, in thousandths, is among the observations", "observation scale",
          "CounterObservation"),
    # ---- sac
    edit("sac Pendulum", "the smallest value of the batch is the future of each sample", "targets", "algos/sac.py",
         "next_q.amin(0)", "next_q.amin()"),
    edit("sac Pendulum", "the policy's loss moves the critics in its place", "policy not trained", "algos/sac.py",
         "inputs=pi_opt.params)", "inputs=q_opt.params)"),
    edit("sac Pendulum", "the critics' loss is differentiated by the policy's parameters", "critic not trained",
         "algos/sac.py", "(loss_q + loss_q2).backward()", "(loss_q + loss_q2).backward(inputs=pi_opt.params)"),
    edit("sac Pendulum", "it discounts by the weight of the new target", "discount", "algos/sac.py",
         "next_logp, alpha, config.gamma)", "next_logp, alpha, 1 - config.polyak)"),
    setting("sac Pendulum", "a target for the entropy that no policy reaches", "endless exploration",
            "--target-entropy 10 --alpha-lr 0.003"),
    setting("sac Pendulum", "the policy's learning rate is 1e-8", "low learning rate", "--pi-lr 1e-8"),
    world("sac Pendulum", "costs are paid as if they were rewards", "sign", "NegativeReward"),
    world("sac InvertedPendulum", "observations are twenty steps old", "empty observation", "OldObservation"),
    # ---- cem
    edit("cem CartPole", "the first candidates are taken for the best", "credit", "algos/cem.py",
         "fit(theta[elite])", "fit(theta[: len(elite)])"),
    edit("cem CartPole", "each candidate plays one step", "little data", "algos/cem.py",
         "np.flatnonzero(done)", "np.flatnonzero(done | True)"),
    setting("cem CartPole", "the first generation never ends", "low learning rate", "--episodes-per-candidate 100"),
    world("cem CartPole", "nothing is ever paid", "no reward", "NoReward"),
    world("cem CartPole", "of observations only the magnitude", "empty observation", "MagnitudeObservation"),
]
# fmt: on
assert all(fault.cause in CAUSES and fault.cell in CELLS | LATER_CELLS for fault in LAST)
assert len({fault.name for fault in FAULTS + FRESH + LATER + LAST}) == sum(map(len, (FAULTS, FRESH, LATER, LAST)))

LAST_TRUE_RETURN: dict[str, float] = {}
"""what `planted_bugs.TRUE_RETURN` has to know of the wrappers that are new: they leave an episode's return as it is"""

# Healthy runs, on other pairs of algorithm and environment, or with other settings, than before. Many end before they
# have learned.
LAST_HEALTHY: dict[str, str] = {
    "ppo Ant": "ppo --env Ant-v5 --total-steps 20000 --steps-per-epoch 1000 --normalize-obs",
    "ppo InvertedPendulum penalty": "ppo --env InvertedPendulum-v5 --preset none --total-steps 30000"
    " --steps-per-epoch 1000 --rollout-len 64 --kl-coef 1 --target-kl 0.02 --activation relu --pi-lr 1e-3 --vf-lr 1e-3",
    "ppo CartPole short": "ppo --env CartPole-v1 --preset none --total-steps 5000 --steps-per-epoch 500"
    " --rollout-len 64",
    "ppo LunarLander continuous": 'ppo --env LunarLander-v3 --env-kwargs {"continuous":true} --preset none'
    " --total-steps 30000 --steps-per-epoch 1000 --scale-reward",
    "ppo Switches": "ppo --env rlsuite/Switches-v0 --total-steps 10000 --steps-per-epoch 500 --rollout-len 32",
    "vpg Swimmer": "vpg --env Swimmer-v5 --total-steps 30000 --steps-per-epoch 1000 --normalize-obs",
    "vpg Blackjack": "vpg --env Blackjack-v1 --total-steps 15000 --steps-per-epoch 1000 --rollout-len 64",
    "vpg Chain": "vpg --env rlsuite/Chain-v0 --total-steps 10000 --steps-per-epoch 500 --rollout-len 32",
    "a2c Hopper": "a2c --env Hopper-v5 --total-steps 30000 --steps-per-epoch 1000 --normalize-obs",
    "a2c CliffWalking": 'a2c --env CliffWalking-v1 --env-kwargs {"max_episode_steps":200} --total-steps 30000'
    " --steps-per-epoch 1000 --rollout-len 16 --ent-coef 0.01",
    "trpo Reacher": "trpo --env Reacher-v5 --total-steps 30000 --steps-per-epoch 1024 --rollout-len 128",
    "trpo MountainCarContinuous": "trpo --env MountainCarContinuous-v0 --total-steps 30000 --steps-per-epoch 1024",
    "dqn Acrobot double": "dqn --env Acrobot-v1 --preset none --total-steps 20000 --steps-per-epoch 1000"
    " --num-test-episodes 2 --double-q --loss huber",
    "dqn CartPole soft": "dqn --env CartPole-v1 --preset none --total-steps 20000 --steps-per-epoch 1000"
    " --num-test-episodes 2 --polyak 0.99 --target-every 4 --normalize-obs",
    "ddpg Walker2d": f"ddpg --env Walker2d-v5 {SOON}",
    "ddpg Pendulum slow noise": f"ddpg --env Pendulum-v1 {SOON} --act-noise 0.3 --noise-corr 0.9"
    " --noise-schedule linear",
    "td3 Swimmer": f"td3 --env Swimmer-v5 {LONG}",
    "td3 InvertedDoublePendulum": f"td3 --env InvertedDoublePendulum-v5 {SOON}",
    "sac Swimmer": f"sac --env Swimmer-v5 {LONG}",
    "sac BipedalWalker": f"sac --env BipedalWalker-v3 {SOON}",
    "cem Hopper": "cem --env Hopper-v5 --total-steps 30000 --steps-per-epoch 1000 --num-test-episodes 2",
    "cem FrozenLake": "cem --env FrozenLake-v1 --total-steps 30000 --steps-per-epoch 1000",
}
assert not LAST_HEALTHY.keys() & (CELLS | LATER_CELLS | HARD | UNSEEN | FRESH_HEALTHY | LATER_HEALTHY).keys()

# Of these: causes that are true of them all the same. Written before the first of them was trained.
LAST_TRUE_OF: dict[str, tuple[str, ...]] = {
    "ppo CartPole short": ("low learning rate",),  # ten updates
    "ppo LunarLander continuous": ("reward scale",),  # ±100 at the end, though scaled
    "vpg Swimmer": ("low learning rate", "discount"),  # seven updates; a swimmer's strokes pay over hundreds of steps
    "vpg Blackjack": ("late reward",),
    "vpg Chain": ("late reward",),
    "a2c CliffWalking": ("reward scale",),  # -1 a step, -100 for a fall
    "trpo MountainCarContinuous": ("late reward", "little exploration"),
    "td3 Swimmer": ("discount",),
    "sac Swimmer": ("discount",),
    "sac BipedalWalker": ("reward scale",),  # -100 for a fall
    "cem FrozenLake": ("late reward", "no reward", "little data"),  # one game of luck a candidate, and few are won
}
assert all(cause in CAUSES for causes in LAST_TRUE_OF.values() for cause in causes)
assert LAST_TRUE_OF.keys() <= LAST_HEALTHY.keys()
